// SPDX-License-Identifier: Apache-2.0
#include "lib/wire/connection.h"

#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include "lib/base/status.h"
#include "lib/wire/encode.h"

namespace berth::wire {
namespace {

constexpr uint32_t kReading = EPOLLIN | EPOLLRDHUP;
constexpr uint32_t kWriting = EPOLLOUT | EPOLLRDHUP;
constexpr uint32_t kWaiting = EPOLLRDHUP;

}  // namespace

Connection::Connection(ConnectionId id, UniqueFd socket, uid_t uid, int epoll)
    : id_(id), uid_(uid), epoll_(epoll), socket_(std::move(socket)), events_(kReading) {
  epoll_event event = {};
  event.events = events_;
  event.data.u64 = static_cast<uint64_t>(id_);
  ::epoll_ctl(epoll_, EPOLL_CTL_ADD, socket_.get(), &event);
}

Connection::Received Connection::Receive(std::span<std::byte> buffer, ReceivedPacket* packet) {
  const absl::MutexLock lock(&mu_);
  if (!socket_.valid()) return Received::kNothing;
  if (unanswered_) {
    // Only now that the peer has run ahead: in an orderly exchange epoll is never told anything.
    ListenFor(kWaiting);
    return Received::kNothing;
  }
  const int error = ReceivePacket(socket_.get(), buffer, MSG_DONTWAIT, packet);
  if (error == -EAGAIN) return Received::kNothing;
  if (error < 0) return Received::kFailed;
  unanswered_ = true;
  return Received::kPacket;
}

void Connection::Reply(std::shared_ptr<const Message> reply) {
  const absl::MutexLock lock(&mu_);
  unsent_ = std::move(reply);
  SendLocked();
}

void Connection::Flush() {
  const absl::MutexLock lock(&mu_);
  SendLocked();
}

void Connection::Close() {
  const absl::MutexLock lock(&mu_);
  if (!socket_.valid()) return;
  // A fork of this process could hold the socket open, and epoll with it.
  ::epoll_ctl(epoll_, EPOLL_CTL_DEL, socket_.get(), nullptr);
  socket_.Reset();
  unsent_.reset();
}

void Connection::SendLocked() {
  if (!socket_.valid() || unsent_ == nullptr) return;
  const iovec part = {const_cast<std::byte*>(unsent_->bytes.data()), unsent_->bytes.size()};
  std::array<int, kMaxSentFds> fds = {};
  const size_t count = std::min(fds.size(), unsent_->fds.size());
  for (size_t i = 0; i < count; ++i) fds[i] = unsent_->fds[i].get();
  const int error =
      SendPacket(socket_.get(), {&part, 1}, std::span(fds).first(count), MSG_DONTWAIT);
  if (error == -EAGAIN) {
    ListenFor(kWriting);
    return;
  }
  unsent_.reset();
  unanswered_ = false;
  if (error < 0) {
    // The peer would wait for this answer for ever; after a new connection it can ask again. The
    // server's thread sees the hang-up.
    ::shutdown(socket_.get(), SHUT_RDWR);
  }
  ListenFor(kReading);
}

void Connection::ListenFor(uint32_t events) {
  if (events_ == events) return;
  events_ = events;
  epoll_event event = {};
  event.events = events_;
  event.data.u64 = static_cast<uint64_t>(id_);
  ::epoll_ctl(epoll_, EPOLL_CTL_MOD, socket_.get(), &event);
}

ReplyHandle::ReplyHandle(std::shared_ptr<Connection> connection, const berth_vmm_header& call)
    : connection_(std::move(connection)), call_(call) {}

ReplyHandle& ReplyHandle::operator=(ReplyHandle&& other) noexcept {
  ReplyHandle dropped(std::move(*this));
  connection_ = std::move(other.connection_);
  call_ = other.call_;
  return *this;
}

ReplyHandle::~ReplyHandle() {
  if (connection_ != nullptr) SendError(Error(Reason::kInternal, "the call was dropped"));
}

void ReplyHandle::Send(std::shared_ptr<const Message> reply) {
  if (const auto connection = std::exchange(connection_, nullptr)) {
    connection->Reply(std::move(reply));
  }
}

void ReplyHandle::SendError(const absl::Status& status) {
  Send(std::make_shared<const Message>(EncodeError(call_, status)));
}

}  // namespace berth::wire
