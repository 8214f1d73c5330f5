// SPDX-License-Identifier: Apache-2.0
#include "lib/wire/server.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <map>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "lib/base/status.h"
#include "lib/wire/connection.h"
#include "lib/wire/encode.h"

namespace berth::wire {
namespace {

// epoll's user data: these two, or the number of a connection or watch, which share one sequence.
constexpr uint64_t kListenerTag = 0;
constexpr uint64_t kWakeTag = 1;
constexpr uint64_t kFirstId = 2;
// New connections taken in a row before the existing ones are looked at again.
constexpr int kAcceptsPerTurn = 16;
constexpr uint32_t kHungUp = EPOLLHUP | EPOLLERR | EPOLLRDHUP;

int AddToEpoll(int epoll, int fd, uint64_t tag) {
  epoll_event event = {};
  event.events = EPOLLIN;
  event.data.u64 = tag;
  return ::epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0 ? 0 : errno;
}

int SocketOption(int socket, int option) {
  int value = -1;
  socklen_t length = sizeof(value);
  return ::getsockopt(socket, SOL_SOCKET, option, &value, &length) == 0 ? value : -1;
}

UniqueFd OpenSpare() { return UniqueFd(::open("/dev/null", O_RDONLY | O_CLOEXEC)); }

}  // namespace

class WireServer::Impl {
 public:
  Impl(UniqueFd listener, Handler* handler, const ServerOptions& options)
      : listener_(std::move(listener)),
        handler_(handler),
        options_(options),
        epoll_(::epoll_create1(EPOLL_CLOEXEC)),
        wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
        spare_(OpenSpare()),
        // One more byte than is allowed, so that a longer packet shows.
        buffer_(BERTH_VMM_MAX_MESSAGE + 1) {}
  ~Impl();

  absl::Status Start();
  void CloseConnection(ConnectionId id);
  absl::StatusOr<WatchId> WatchExit(UniqueFd pidfd);
  void StopWatching(WatchId watch);

 private:
  void Run();
  void Wake();
  // False: the server is to end.
  bool OnWake();
  void OnEvent(uint64_t id, uint32_t events);
  void OnExit(uint64_t id);
  void Accept();
  void AcceptOne(UniqueFd socket);
  void ShedOne();
  absl::Status CheckLimits(uid_t uid) const;
  void Read(const std::shared_ptr<Connection>& connection, uint32_t events);
  void OnPacket(const std::shared_ptr<Connection>& connection, ReceivedPacket packet);
  void End(const std::shared_ptr<Connection>& connection);

  const UniqueFd listener_;
  Handler* const handler_;
  const ServerOptions options_;
  const UniqueFd epoll_;
  const UniqueFd wake_;

  // Only the thread touches these.
  UniqueFd spare_;  // given up for a moment to turn a connection away when fds have run out
  std::vector<std::byte> buffer_;
  absl::flat_hash_map<uint64_t, std::shared_ptr<Connection>> connections_;
  std::map<uid_t, size_t> per_uid_;

  absl::Mutex mu_;
  uint64_t next_id_ ABSL_GUARDED_BY(mu_) = kFirstId;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  absl::flat_hash_set<uint64_t> to_close_ ABSL_GUARDED_BY(mu_);
  absl::flat_hash_map<uint64_t, UniqueFd> watches_ ABSL_GUARDED_BY(mu_);

  std::thread thread_;
};

WireServer::Impl::~Impl() {
  if (!thread_.joinable()) return;
  {
    const absl::MutexLock lock(&mu_);
    stopping_ = true;
  }
  Wake();
  thread_.join();
}

absl::Status WireServer::Impl::Start() {
  if (SocketOption(listener_.get(), SO_ACCEPTCONN) != 1 ||
      SocketOption(listener_.get(), SO_DOMAIN) != AF_UNIX ||
      SocketOption(listener_.get(), SO_TYPE) != SOCK_SEQPACKET) {
    return Error(Reason::kInvalidField, "not a listening Unix SEQPACKET socket");
  }
  const int flags = ::fcntl(listener_.get(), F_GETFL);
  if (!epoll_.valid() || !wake_.valid() || !spare_.valid() ||
      ::fcntl(listener_.get(), F_SETFL, flags | O_NONBLOCK) != 0) {
    return ErrnoToStatus(errno, "setting up the VMM socket");
  }
  for (const auto& [fd, tag] :
       {std::pair(listener_.get(), kListenerTag), std::pair(wake_.get(), kWakeTag)}) {
    if (const int error = AddToEpoll(epoll_.get(), fd, tag); error != 0) {
      return ErrnoToStatus(error, "epoll_ctl");
    }
  }
  thread_ = std::thread([this] { Run(); });
  return absl::OkStatus();
}

void WireServer::Impl::Run() {
  std::array<epoll_event, 64> events;
  bool running = true;
  while (running) {
    const int count = ::epoll_wait(epoll_.get(), events.data(), events.size(), -1);
    for (int i = 0; i < count; ++i) {
      switch (events[i].data.u64) {
        case kListenerTag:
          Accept();
          break;
        case kWakeTag:
          running = OnWake();
          break;
        default:
          OnEvent(events[i].data.u64, events[i].events);
      }
    }
  }
  while (!connections_.empty()) End(connections_.begin()->second);
}

void WireServer::Impl::Wake() {
  const uint64_t one = 1;
  // It can only fail when the counter is full, and then the thread is awake already.
  [[maybe_unused]] const ssize_t written = ::write(wake_.get(), &one, sizeof(one));
}

bool WireServer::Impl::OnWake() {
  uint64_t count = 0;
  [[maybe_unused]] const ssize_t got = ::read(wake_.get(), &count, sizeof(count));
  absl::flat_hash_set<uint64_t> to_close;
  bool running = false;
  {
    const absl::MutexLock lock(&mu_);
    to_close.swap(to_close_);
    running = !stopping_;
  }
  for (const uint64_t id : to_close) {
    if (const auto found = connections_.find(id); found != connections_.end()) End(found->second);
  }
  return running;
}

void WireServer::Impl::OnEvent(uint64_t id, uint32_t events) {
  const auto found = connections_.find(id);
  if (found == connections_.end()) {
    OnExit(id);
    return;
  }
  const std::shared_ptr<Connection> connection = found->second;
  if ((events & EPOLLOUT) != 0) connection->Flush();
  Read(connection, events);
}

void WireServer::Impl::OnExit(uint64_t id) {
  {
    const absl::MutexLock lock(&mu_);
    const auto found = watches_.find(id);
    // An event of this turn for something that ended earlier in it.
    if (found == watches_.end()) return;
    ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, found->second.get(), nullptr);
    watches_.erase(found);
  }
  handler_->OnPeerExit(WatchId{id});
}

void WireServer::Impl::Accept() {
  for (int i = 0; i < kAcceptsPerTurn; ++i) {
    UniqueFd socket(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (socket.valid()) {
      AcceptOne(std::move(socket));
    } else if (errno == EMFILE || errno == ENFILE) {
      ShedOne();
      return;
    } else if (errno != EINTR && errno != ECONNABORTED) {
      return;
    }
  }
}

// A connection that cannot be taken for want of fds would wake the thread again and again.
void WireServer::Impl::ShedOne() {
  spare_.Reset();
  UniqueFd(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC)).Reset();
  spare_ = OpenSpare();
}

absl::Status WireServer::Impl::CheckLimits(uid_t uid) const {
  if (connections_.size() >= options_.max_connections) {
    return Error(Reason::kOverloaded,
                 absl::StrCat("more than ", options_.max_connections, " connections"));
  }
  const auto found = per_uid_.find(uid);
  if (found != per_uid_.end() && found->second >= options_.max_connections_per_uid) {
    return Error(Reason::kOverloaded, absl::StrCat("more than ", options_.max_connections_per_uid,
                                                   " connections of uid ", uid));
  }
  return absl::OkStatus();
}

void WireServer::Impl::AcceptOne(UniqueFd socket) {
  absl::StatusOr<Peer> peer = ReadPeer(socket.get());
  const absl::Status status = peer.ok() ? CheckLimits(peer->uid) : peer.status();
  if (!status.ok()) {
    const Message refusal = EncodeError({}, status);
    const iovec part = {const_cast<std::byte*>(refusal.bytes.data()), refusal.bytes.size()};
    // Best effort: the connection is closed either way.
    SendPacket(socket.get(), {&part, 1}, {}, MSG_DONTWAIT);
    return;
  }
  uint64_t id = 0;
  {
    const absl::MutexLock lock(&mu_);
    id = next_id_++;
  }
  const uid_t uid = peer->uid;
  ++per_uid_[uid];
  connections_[id] =
      std::make_shared<Connection>(ConnectionId{id}, std::move(socket), uid, epoll_.get());
  handler_->OnConnect(ConnectionId{id}, *std::move(peer));
}

void WireServer::Impl::Read(const std::shared_ptr<Connection>& connection, uint32_t events) {
  ReceivedPacket packet;
  Connection::Received received = Connection::Received::kNothing;
  if ((events & EPOLLIN) != 0) received = connection->Receive(buffer_, &packet);
  // An empty packet reads like the end of the stream, which also shows as a hang-up.
  const bool got_packet =
      received == Connection::Received::kPacket && (packet.size > 0 || (events & kHungUp) == 0);
  if (got_packet) {
    OnPacket(connection, std::move(packet));
  } else if (received == Connection::Received::kFailed || (events & kHungUp) != 0) {
    End(connection);
  }
}

void WireServer::Impl::OnPacket(const std::shared_ptr<Connection>& connection,
                                ReceivedPacket packet) {
  const std::span<const std::byte> bytes(buffer_.data(), std::min(packet.size, buffer_.size()));
  ReplyHandle reply(connection, PeekHeader(bytes));
  if (packet.fds_truncated) {
    // The kernel cuts both for lack of room and for lack of free descriptors (net/core/scm.c).
    const bool too_many = packet.fds.size() > kMaxPacketFds;
    reply.SendError(Error(too_many ? Reason::kTooManyFds : Reason::kOutOfMemory,
                          "not all fds of the packet could be received"));
    return;
  }
  absl::StatusOr<Call> call = Decode(bytes, packet.fds.size());
  if (!call.ok()) {
    reply.SendError(call.status());
    return;
  }
  if (!packet.fds.empty()) call->fd = std::move(packet.fds.front());
  handler_->OnCall(connection->id(), *std::move(call), std::move(reply));
}

void WireServer::Impl::End(const std::shared_ptr<Connection>& connection) {
  // The node keeps it alive: `connection` may be the map's own.
  const auto node = connections_.extract(static_cast<uint64_t>(connection->id()));
  if (node.empty()) return;
  Connection& ended = *node.mapped();
  ended.Close();
  if (--per_uid_[ended.uid()] == 0) per_uid_.erase(ended.uid());
  handler_->OnDisconnect(ended.id());
}

void WireServer::Impl::CloseConnection(ConnectionId id) {
  {
    const absl::MutexLock lock(&mu_);
    to_close_.insert(static_cast<uint64_t>(id));
  }
  Wake();
}

absl::StatusOr<WatchId> WireServer::Impl::WatchExit(UniqueFd pidfd) {
  BERTH_RETURN_IF_ERROR(ReadPidfd(pidfd.get()).status());
  const absl::MutexLock lock(&mu_);
  if (watches_.size() >= options_.max_watches) {
    return Error(Reason::kOverloaded,
                 absl::StrCat("more than ", options_.max_watches, " processes are waited for"));
  }
  const uint64_t id = next_id_++;
  if (const int error = AddToEpoll(epoll_.get(), pidfd.get(), id); error != 0) {
    return ErrnoToStatus(error, "epoll_ctl");
  }
  watches_.emplace(id, std::move(pidfd));
  return WatchId{id};
}

void WireServer::Impl::StopWatching(WatchId watch) {
  const absl::MutexLock lock(&mu_);
  const auto found = watches_.find(static_cast<uint64_t>(watch));
  if (found == watches_.end()) return;
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, found->second.get(), nullptr);
  watches_.erase(found);
}

WireServer::WireServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
WireServer::~WireServer() = default;

absl::StatusOr<std::unique_ptr<WireServer>> WireServer::Start(UniqueFd listener, Handler* handler,
                                                              ServerOptions options) {
  auto impl = std::make_unique<Impl>(std::move(listener), handler, options);
  BERTH_RETURN_IF_ERROR(impl->Start());
  return std::unique_ptr<WireServer>(new WireServer(std::move(impl)));
}

void WireServer::CloseConnection(ConnectionId connection) { impl_->CloseConnection(connection); }
absl::StatusOr<WatchId> WireServer::WatchExit(UniqueFd pidfd) {
  return impl_->WatchExit(std::move(pidfd));
}
void WireServer::StopWatching(WatchId watch) { impl_->StopWatching(watch); }

}  // namespace berth::wire
