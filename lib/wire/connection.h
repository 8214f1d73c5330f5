// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_LIB_WIRE_CONNECTION_H_
#define BERTH_LIB_WIRE_CONNECTION_H_

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "lib/base/packet.h"
#include "lib/base/unique_fd.h"
#include "lib/wire/message.h"
#include "lib/wire/server.h"

namespace berth::wire {

// One connected VMM. Takes a packet only when the one before was answered and the answer is out, so
// that a peer which sends without reading fills its own socket and nothing of ours. Thread-safe.
class Connection {
 public:
  enum class Received {
    kPacket,
    kNothing,  // nothing there, or a call is not answered yet
    kFailed,   // the socket is broken
  };

  // Registers `socket` with `epoll` under `id`. `epoll` must be open until Close().
  Connection(ConnectionId id, UniqueFd socket, uid_t uid, int epoll);
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  [[nodiscard]] ConnectionId id() const { return id_; }
  [[nodiscard]] uid_t uid() const { return uid_; }

  // Reads a packet into `buffer`. After kPacket nothing is read until Reply().
  Received Receive(std::span<std::byte> buffer, ReceivedPacket* packet);
  // Answers the packet that was received last. Never blocks.
  void Reply(std::shared_ptr<const Message> reply);
  // Goes on with a reply for which there was no room.
  void Flush();
  void Close();

 private:
  void SendLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void ListenFor(uint32_t events) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const ConnectionId id_;
  const uid_t uid_;
  const int epoll_;
  absl::Mutex mu_;
  UniqueFd socket_ ABSL_GUARDED_BY(mu_);  // invalid once closed
  bool unanswered_ ABSL_GUARDED_BY(mu_) = false;
  std::shared_ptr<const Message> unsent_ ABSL_GUARDED_BY(mu_);
  uint32_t events_ ABSL_GUARDED_BY(mu_) = 0;
};

}  // namespace berth::wire

#endif  // BERTH_LIB_WIRE_CONNECTION_H_
