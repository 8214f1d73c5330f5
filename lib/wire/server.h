// SPDX-License-Identifier: Apache-2.0
//
// The server side of the VMM protocol: connections, packets, fds, peer credentials. It knows
// nothing of sessions, grants or tokens.
#ifndef BERTH_LIB_WIRE_SERVER_H_
#define BERTH_LIB_WIRE_SERVER_H_

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "lib/base/unique_fd.h"
#include "lib/wire/decode.h"
#include "lib/wire/message.h"
#include "lib/wire/peer.h"

namespace berth::wire {

// Unique in the life of a server, never 0.
enum class ConnectionId : uint64_t {};
// A process whose end is waited for.
enum class WatchId : uint64_t {};

class Connection;

// The right to answer one call, exactly once, from any thread, also after the server is gone.
// Dropped without an answer it answers INTERNAL, so that no VMM waits for ever. Move-only.
class ReplyHandle {
 public:
  ReplyHandle() = default;
  ReplyHandle(std::shared_ptr<Connection> connection, const berth_vmm_header& call);
  ReplyHandle(ReplyHandle&&) noexcept = default;
  ReplyHandle& operator=(ReplyHandle&& other) noexcept;
  ~ReplyHandle();

  // Never blocks. To a connection that has ended it does nothing: keep the message for a replay.
  void Send(std::shared_ptr<const Message> reply);
  void SendError(const absl::Status& status);

 private:
  std::shared_ptr<Connection> connection_;
  berth_vmm_header call_ = {};
};

// What the server tells. All calls come from the server's one thread; none may block. For each
// connection: OnConnect, then OnCall any number of times, each after the one before was answered,
// then OnDisconnect, also when the server ends.
class Handler {
 public:
  virtual ~Handler() = default;
  virtual void OnConnect(ConnectionId connection, Peer peer) = 0;
  // Malformed messages do not come here: the server answers them, and the connection lives.
  virtual void OnCall(ConnectionId connection, Call call, ReplyHandle reply) = 0;
  // The peer closed its end, or CloseConnection() was called. A call may still be unanswered.
  virtual void OnDisconnect(ConnectionId connection) = 0;
  // The process of WatchExit() has ended; the watch is over.
  virtual void OnPeerExit(WatchId watch) = 0;
};

struct ServerOptions {
  size_t max_connections = 1024;
  // So that one user cannot keep the others out.
  size_t max_connections_per_uid = 512;
  size_t max_watches = 4096;
};

// Thread-safe.
class WireServer {
 public:
  // A listening SEQPACKET socket at `path` with file mode `mode`. A socket file that nobody listens
  // on is replaced. Errors: INVALID_FIELD (the path is too long), ALREADY_EXISTS (somebody listens,
  // or it is no socket), SYSTEM_ERROR.
  static absl::StatusOr<UniqueFd> Listen(const std::string& path, mode_t mode);

  // Serves `listener`, a listening SEQPACKET socket (Listen(), or one that was inherited), until
  // destroyed. `handler` must outlive the server. Connections past the limits are told OVERLOADED
  // and closed. Errors: INVALID_FIELD (not a listening SEQPACKET socket), SYSTEM_ERROR.
  static absl::StatusOr<std::unique_ptr<WireServer>> Start(UniqueFd listener, Handler* handler,
                                                           ServerOptions options);
  // Closes all connections and joins the thread. Does not unlink the socket's path.
  ~WireServer();
  WireServer(const WireServer&) = delete;
  WireServer& operator=(const WireServer&) = delete;

  // Ends a connection; OnDisconnect follows. An unknown id is ignored.
  void CloseConnection(ConnectionId connection);

  // Waits for the end of the process of `pidfd` (a dup of Peer::pidfd, or one from before a
  // restart): OnPeerExit() with the id that this returns, possibly before it has returned. Errors:
  // OVERLOADED, INVALID_FIELD (not a pidfd).
  absl::StatusOr<WatchId> WatchExit(UniqueFd pidfd);
  // OnPeerExit() may still come if it is under way on the server's thread.
  void StopWatching(WatchId watch);

 private:
  class Impl;
  explicit WireServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace berth::wire

#endif  // BERTH_LIB_WIRE_SERVER_H_
