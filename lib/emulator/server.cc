// SPDX-License-Identifier: Apache-2.0
#include "lib/emulator/server.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "lib/base/mapping.h"
#include "lib/base/status.h"

namespace berth::emulator {
namespace {

// epoll keys: channels count up from kFirstChannel.
constexpr uint64_t kListenerKey = 0;
constexpr uint64_t kStopKey = 1;
constexpr uint64_t kHangupKey = 2;
constexpr uint64_t kRemovalKey = 3;
constexpr uint64_t kFirstChannel = 16;
constexpr absl::Duration kPinnedPoll = absl::Milliseconds(20);

absl::Status AddToEpoll(int epoll, int fd, uint32_t events, uint64_t key) {
  epoll_event event = {};
  event.events = events;
  event.data.u64 = key;
  if (::epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0) return absl::OkStatus();
  return ErrnoToStatus(errno, "epoll_ctl");
}

absl::StatusOr<UniqueFd> TakeLock(const std::string& path) {
  UniqueFd lock(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!lock.valid()) return Annotate(ErrnoToStatus(errno, "open"), path);
  if (::flock(lock.get(), LOCK_EX | LOCK_NB) == 0) return lock;
  return Error(Reason::kStateConflict,
               absl::StrCat(path, ": another emulator is running on this folder"),
               {{"path", path}});
}

// Binds beside the final name and moves the socket there when it listens, so that whoever sees it
// can connect.
absl::StatusOr<UniqueFd> Listen(const std::string& path) {
  const std::string temporary = path + ".new";
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (temporary.size() >= sizeof(address.sun_path)) {
    return Error(Reason::kTooLarge, absl::StrCat(path, ": too long for a socket's name"),
                 {{"path", path}});
  }
  std::memcpy(address.sun_path, temporary.c_str(), temporary.size() + 1);
  UniqueFd listener(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!listener.valid()) return ErrnoToStatus(errno, "socket");
  ::unlink(temporary.c_str());
  const auto* name = reinterpret_cast<const sockaddr*>(&address);
  if (::bind(listener.get(), name, sizeof(address)) != 0) {
    return Annotate(ErrnoToStatus(errno, "bind"), path);
  }
  if (::chmod(temporary.c_str(), 0600) != 0 || ::listen(listener.get(), SOMAXCONN) != 0 ||
      ::rename(temporary.c_str(), path.c_str()) != 0) {
    return Annotate(ErrnoToStatus(errno, "listen"), path);
  }
  return listener;
}

struct Reply {
  int64_t result = 0;
  uint32_t flags = 0;
  uint32_t fd_offset = kNoOffset;
  std::span<const std::byte> struct_part = {};
  std::span<const std::byte> out_part = {};
  uint64_t zero_to = 0;
  int fd = -1;
};

iovec PartOf(const void* data, size_t size) { return {const_cast<void*>(data), size}; }

bool SendReply(int channel, const Reply& reply) {
  const ReplyHeader header = {
      kProtocolMagic,
      kProtocolVersion,
      reply.flags | (reply.fd >= 0 ? kNewFd : 0U),
      reply.fd_offset,
      reply.result,
      static_cast<uint32_t>(reply.struct_part.size()),
      static_cast<uint32_t>(reply.out_part.size()),
      reply.zero_to,
  };
  const iovec parts[] = {PartOf(&header, sizeof(header)),
                         PartOf(reply.struct_part.data(), reply.struct_part.size()),
                         PartOf(reply.out_part.data(), reply.out_part.size())};
  const std::span<const int> fds(&reply.fd, reply.fd >= 0 ? 1 : 0);
  // A client with one call at a time always has room for its answer.
  return SendPacket(channel, parts, fds, MSG_DONTWAIT) == 0;
}

bool SendIoctlReply(int channel, int64_t result, const UserCall& user) {
  Reply reply;
  reply.result = result;
  reply.fd_offset = user.fd_offset();
  reply.fd = user.new_fd().get();
  if (user.writes_struct()) {
    reply.flags |= kWriteStruct;
    reply.struct_part = user.struct_bytes();
  }
  reply.out_part = user.out();
  reply.zero_to = user.zero_to();
  return SendReply(channel, reply);
}

// The in part out of a memfd: sealed, so that it can be read in place.
absl::StatusOr<Mapping> MapIn(int fd, size_t size) {
  constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_WRITE;
  struct stat info;
  const int seals = ::fcntl(fd, F_GET_SEALS);
  if (seals < 0 || (seals & kSeals) != kSeals || ::fstat(fd, &info) != 0 ||
      static_cast<uint64_t>(info.st_size) < size) {
    return Error(Reason::kBadMessage, "the memfd of a call is not sealed or too short");
  }
  return Mapping::Map(fd, 0, size, Mapping::Access::kRead);
}

// Whom memory that the call pins is charged to. Other calls are not looked at.
Payer PayerOf(int channel, const CallHeader& header) {
  Payer payer;
  if (header.request != uapi::kIommuIoasMap && header.request != uapi::kIommuIoasMapFile &&
      header.request != uapi::kIommuIoasChangeProcess) {
    return payer;
  }
  ucred peer = {};
  socklen_t size = sizeof(peer);
  ::getsockopt(channel, SOL_SOCKET, SO_PEERCRED, &peer, &size);
  payer.user = peer.uid;
  payer.process = peer.pid;
  payer.limit = header.length;
  payer.exempt = (header.flags & kMayLockMemory) != 0;
  return payer;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Server>> Server::Start(Options options) {
  BERTH_RETURN_IF_ERROR(Validate(options.host));
  std::unique_ptr<Server> server(new Server(std::move(options)));
  BERTH_RETURN_IF_ERROR(server->Open());
  Server* running = server.get();
  server->thread_ = std::thread([running] { running->Loop(); });
  return server;
}

absl::Status Server::Open() {
  buffer_.resize(kMaxPacket);
  BERTH_ASSIGN_OR_RETURN(lock_, TakeLock(options_.socket_path + ".lock"));
  epoll_.Reset(::epoll_create1(EPOLL_CLOEXEC));
  hangups_.Reset(::epoll_create1(EPOLL_CLOEXEC));
  stop_.Reset(::eventfd(0, EFD_CLOEXEC));
  reserve_.Reset(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  if (!epoll_.valid() || !hangups_.valid() || !stop_.valid() || !reserve_.valid()) {
    return ErrnoToStatus(errno, "epoll_create1");
  }
  next_channel_ = kFirstChannel;
  kernel_ = std::make_unique<Kernel>(options_.host, [this](int server_end, uint64_t inode) {
    // No events are asked for: a hang-up is reported always. Once: where this process was forked,
    // the copy of our end keeps it registered beyond our close(2).
    return AddToEpoll(hangups_.get(), server_end, EPOLLONESHOT, inode).ok();
  });
  BERTH_RETURN_IF_ERROR(AddToEpoll(epoll_.get(), stop_.get(), EPOLLIN, kStopKey));
  BERTH_RETURN_IF_ERROR(
      AddToEpoll(epoll_.get(), kernel_->faults().removal_fd(), EPOLLIN, kRemovalKey));
  BERTH_RETURN_IF_ERROR(AddToEpoll(epoll_.get(), hangups_.get(), EPOLLIN, kHangupKey));
  if (options_.before_listening) BERTH_RETURN_IF_ERROR(options_.before_listening(*kernel_));
  BERTH_ASSIGN_OR_RETURN(listener_, Listen(options_.socket_path));
  return AddToEpoll(epoll_.get(), listener_.get(), EPOLLIN, kListenerKey);
}

Server::~Server() {
  if (!thread_.joinable()) return;
  const uint64_t one = 1;
  while (::write(stop_.get(), &one, sizeof(one)) < 0 && errno == EINTR) {
  }
  thread_.join();
  ::unlink(options_.socket_path.c_str());
}

int Server::WaitTimeout() {
  if (!delayed_.empty()) {
    const absl::Duration left = delayed_.begin()->first - absl::Now();
    const auto wait = std::clamp<int64_t>(absl::ToInt64Milliseconds(left) + 1, 0, 1 << 30);
    const int64_t most = pinned_ > 0 ? absl::ToInt64Milliseconds(kPinnedPoll) : wait;
    return static_cast<int>(std::min(wait, most));
  }
  if (pinned_ > 0) return static_cast<int>(absl::ToInt64Milliseconds(kPinnedPoll));
  if (options_.idle_after == absl::InfiniteDuration()) return -1;
  if (!channels_.empty() || !kernel_->idle()) {
    idle_since_ = absl::InfiniteFuture();
    return -1;
  }
  const absl::Time now = absl::Now();
  if (idle_since_ == absl::InfiniteFuture()) idle_since_ = now;
  const absl::Duration left = idle_since_ + options_.idle_after - now;
  if (left > absl::ZeroDuration()) {
    return static_cast<int>(std::min<int64_t>(absl::ToInt64Milliseconds(left) + 1, 1 << 30));
  }
  if (idle_since_ != absl::InfinitePast() && options_.on_idle) options_.on_idle();
  idle_since_ = absl::InfinitePast();
  return -1;
}

void Server::Loop() {
  epoll_event events[64];
  while (true) {
    const int count = ::epoll_wait(epoll_.get(), events, std::size(events), WaitTimeout());
    ReleaseClosed();
    ExecuteDelayed();
    for (int i = 0; i < count; ++i) {
      const uint64_t key = events[i].data.u64;
      if (key == kStopKey) return;
      if (key == kRemovalKey) ReleaseDelayed();
      if (key == kListenerKey) Accept();
      if (key >= kFirstChannel) Serve(key);
    }
  }
}

void Server::Accept() {
  UniqueFd channel(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
  if (!channel.valid() && (errno == EMFILE || errno == ENFILE)) {
    reserve_.Reset();
    channel.Reset(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    channel.Reset();
    reserve_.Reset(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    return;
  }
  if (!channel.valid() || channels_.size() >= kMaxChannels) return;
  const uint64_t key = next_channel_++;
  if (!AddToEpoll(epoll_.get(), channel.get(), EPOLLIN, key).ok()) return;
  channels_[key] = std::move(channel);
}

// close(2) and munmap(2) are done when they return, so what they ended has ended before any call
// that was made after them: hang-ups and pinned contexts are looked at before each call.
void Server::ReleaseClosed() {
  epoll_event events[64];
  int count = 0;
  do {
    count = ::epoll_wait(hangups_.get(), events, std::size(events), 0);
    for (int i = 0; i < count; ++i) kernel_->OnLastClose(events[i].data.u64);
    if (count > 0) pinned_ = 1;
  } while (count > 0);
  if (pinned_ > 0) pinned_ = kernel_->ReapPinned();
}

void Server::Serve(uint64_t key) {
  const auto channel = channels_.find(key);
  if (channel == channels_.end()) return;
  ReceivedPacket packet;
  const int rc = ReceivePacket(channel->second.get(), buffer_, MSG_DONTWAIT, &packet);
  if (rc == -EAGAIN) return;
  ReleaseClosed();
  // A channel carries one call at a time.
  if (rc == 0 && packet.size > 0 && !IsDelayed(key) &&
      HandlePacket({key, channel->second.get()}, std::move(packet))) {
    return;
  }
  channels_.erase(channel);
}

bool Server::HandlePacket(Channel channel, ReceivedPacket packet) {
  CallHeader header;
  if (packet.truncated || packet.size < sizeof(header)) return false;
  std::memcpy(&header, buffer_.data(), sizeof(header));
  if (header.magic != kProtocolMagic) return false;
  if (header.version != kProtocolVersion) {
    SendReply(channel.fd, {.result = -EPROTO});
    return false;
  }
  // Fds that could not be installed are this process' own shortage.
  if (packet.fds_truncated) return SendReply(channel.fd, {.result = -EMFILE});
  auto rest = std::span<const std::byte>(buffer_).first(packet.size).subspan(sizeof(header));
  if (header.struct_size > kMaxStruct || header.struct_size > rest.size()) return false;
  const auto struct_part = rest.first(header.struct_size);
  auto in_part = rest.subspan(header.struct_size);
  if (header.in_size > kMaxIn || header.out_size > kMaxOut || packet.fds.size() > kMaxFds) {
    return false;
  }
  CallFds fds;
  if ((header.flags & kInInMemfd) == 0) {
    if (in_part.size() != header.in_size) return false;
    return SortFds(header, std::move(packet.fds), &fds) &&
           HandleCall(channel, header, struct_part, in_part, std::move(fds));
  }
  if (!in_part.empty() || header.in_size == 0 || packet.fds.size() < 2) return false;
  const auto mapping = MapIn(packet.fds[1].get(), header.in_size);
  if (!mapping.ok()) return false;
  packet.fds.erase(packet.fds.begin() + 1);
  in_part = std::span<const std::byte>(mapping->data(), header.in_size);
  return SortFds(header, std::move(packet.fds), &fds) &&
         HandleCall(channel, header, struct_part, in_part, std::move(fds));
}

bool Server::SortFds(const CallHeader& header, std::vector<UniqueFd> received, CallFds* fds) {
  const bool opens = header.op == CallOp::kOpenContext || header.op == CallOp::kOpenDevice;
  const bool is_ioctl = header.op == CallOp::kIoctl;
  const bool has_memory = is_ioctl && (header.flags & kInInMemory) != 0;
  const bool has_inner = is_ioctl && (header.flags & kInnerFd) != 0;
  // In this order.
  std::vector<UniqueFd*> wanted;
  if (!opens) wanted.push_back(&fds->target);
  if (has_memory) wanted.push_back(&fds->memory);
  if (has_inner) wanted.push_back(&fds->inner);
  const bool has_eventfds = is_ioctl && (header.flags & kEventfds) != 0;
  const size_t most = wanted.size() + (has_eventfds ? kMaxEventfds : 0);
  if (received.size() < wanted.size() || received.size() > most) return false;
  if (has_memory && header.in_size != 0) return false;
  for (size_t i = 0; i < wanted.size(); ++i) *wanted[i] = std::move(received[i]);
  const auto rest = received.begin() + static_cast<ptrdiff_t>(wanted.size());
  fds->eventfds.assign(std::make_move_iterator(rest), std::make_move_iterator(received.end()));
  return true;
}

bool Server::HandleCall(Channel channel, const CallHeader& header,
                        std::span<const std::byte> struct_part, std::span<const std::byte> in_part,
                        CallFds fds) {
  UniqueFd& target = fds.target;
  UniqueFd opened;
  std::vector<std::byte> out;
  Reply reply;
  switch (header.op) {
    case CallOp::kOpenContext:
      reply.result = kernel_->OpenContext(&opened);
      break;
    case CallOp::kOpenDevice: {
      const std::string name(reinterpret_cast<const char*>(struct_part.data()), struct_part.size());
      reply.result = kernel_->OpenDevice(name, &opened);
      break;
    }
    case CallOp::kIoctl:
      return HandleIoctl(channel, header, struct_part, in_part, std::move(fds));
    case CallOp::kReadEvents:
      reply.result = kernel_->ReadEvents(target.get(), header.out_size, header.length, &out);
      break;
    case CallOp::kReadRegion:
      reply.result = kernel_->ReadRegion(target.get(), header.offset, header.out_size, &out);
      break;
    case CallOp::kWriteRegion:
      reply.result = kernel_->WriteRegion(target.get(), header.offset, in_part);
      break;
    case CallOp::kRegion:
      reply.result = kernel_->Region(target.get(), header.offset, header.length, &opened);
      break;
    default:
      return false;
  }
  // The caller may close its fd as soon as it has the answer; this dup must not outlive that.
  target.Reset();
  reply.out_part = out;
  reply.fd = opened.get();
  return SendReply(channel.fd, reply);
}

bool Server::HandleIoctl(Channel channel, const CallHeader& header,
                         std::span<const std::byte> struct_part, std::span<const std::byte> in_part,
                         CallFds fds) {
  const FaultPlan::IoctlFault fault = kernel_->faults().MeetIoctl(header.request);
  if (fault.delay > absl::ZeroDuration()) {
    delayed_.emplace(absl::Now() + fault.delay,
                     DelayedIoctl{.channel = channel.key,
                                  .fault = fault.id,
                                  .error = -fault.error,
                                  .header = header,
                                  .struct_part = {struct_part.begin(), struct_part.end()},
                                  .in_part = {in_part.begin(), in_part.end()},
                                  .fds = std::move(fds)});
    return true;
  }
  if (fault.error != 0) {
    fds.target.Reset();
    return SendReply(channel.fd, {.result = -fault.error});
  }
  return ExecuteIoctl(channel, header, struct_part, in_part, std::move(fds));
}

bool Server::IsDelayed(uint64_t channel) const {
  return std::ranges::any_of(delayed_, [channel](const auto& entry) {
    return std::visit([](const auto& delayed) { return delayed.channel; }, entry.second) == channel;
  });
}

void Server::ReleaseDelayed() {
  uint64_t told = 0;
  if (::read(kernel_->faults().removal_fd(), &told, sizeof(told)) < 0) return;
  std::vector<Delayed> due;
  for (auto entry = delayed_.begin(); entry != delayed_.end();) {
    const auto* call = std::get_if<DelayedIoctl>(&entry->second);
    if (call == nullptr || kernel_->faults().IsArmed(call->fault)) {
      ++entry;
      continue;
    }
    due.push_back(std::move(entry->second));
    entry = delayed_.erase(entry);
  }
  for (Delayed& call : due) delayed_.emplace(absl::InfinitePast(), std::move(call));
}

// A caller that has gone meanwhile changes nothing, as a signal does not interrupt these ioctls.
void Server::ExecuteDelayed() {
  while (!delayed_.empty() && delayed_.begin()->first <= absl::Now()) {
    Delayed delayed = std::move(delayed_.begin()->second);
    delayed_.erase(delayed_.begin());
    const uint64_t key = std::visit([](const auto& call) { return call.channel; }, delayed);
    const auto channel = channels_.find(key);
    const int fd = channel != channels_.end() ? channel->second.get() : -1;
    if (!ExecuteOne({key, fd}, std::move(delayed)) && channel != channels_.end()) {
      channels_.erase(channel);
    }
  }
}

bool Server::ExecuteOne(Channel channel, Delayed delayed) {
  if (const auto* answer = std::get_if<DelayedAnswer>(&delayed)) {
    return SendIoctlReply(channel.fd, answer->result, answer->call);
  }
  auto& call = std::get<DelayedIoctl>(delayed);
  if (call.error != 0) {
    call.fds.target.Reset();
    return SendReply(channel.fd, {.result = call.error});
  }
  return ExecuteIoctl(channel, call.header, call.struct_part, call.in_part, std::move(call.fds));
}

bool Server::ExecuteIoctl(Channel channel, const CallHeader& header,
                          std::span<const std::byte> struct_part,
                          std::span<const std::byte> in_part, CallFds fds) {
  UserCall user({.request = header.request,
                 .flags = header.flags,
                 .user_size = header.user_size,
                 .arg = struct_part,
                 .buffer = in_part,
                 .memory = std::move(fds.memory),
                 .buffer_address = header.offset,
                 .out_size = header.out_size,
                 .inner_fd = std::move(fds.inner),
                 .eventfds = std::move(fds.eventfds),
                 .payer = PayerOf(channel.fd, header),
                 .user_offset = header.offset});
  const int64_t result = kernel_->Ioctl(fds.target.get(), user);
  fds.target.Reset();
  user.DropInput();
  if (user.duration() == absl::ZeroDuration()) return SendIoctlReply(channel.fd, result, user);
  const absl::Time due = absl::Now() + user.duration();
  delayed_.emplace(due, DelayedAnswer{channel.key, result, std::move(user)});
  return true;
}

}  // namespace berth::emulator
