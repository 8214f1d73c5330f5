// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_LIB_EMULATOR_SERVER_H_
#define BERTH_LIB_EMULATOR_SERVER_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "lib/base/packet.h"
#include "lib/base/unique_fd.h"
#include "lib/emulator/host_spec.h"
#include "lib/emulator/kernel/kernel.h"
#include "lib/emulator/protocol.h"

namespace berth::emulator {

// Serves an emulated kernel on a UNIX socket (protocol.h). One thread does everything: no call
// waits, so none is worth another thread's wake-up. Thread-safe.
//
// Whoever may connect may do what root may on a real host: keep the socket's folder private.
class Server {
 public:
  struct Options {
    // At most 100 bytes. A file `socket_path` + ".lock" beside it keeps a second server away.
    std::string socket_path;
    HostSpec host;
    // How long nothing may be connected, open or pinned before `on_idle` is called, once, on the
    // server's thread.
    absl::Duration idle_after = absl::InfiniteDuration();
    std::function<void()> on_idle;
    // Runs under the lock of the socket, before the socket exists: what a client may expect to find
    // there. An error ends Start(). The kernel lives as long as the server. May be empty.
    std::function<absl::Status(Kernel&)> before_listening;
  };

  // The socket exists when this returns. Errors: those of Validate(); STATE_CONFLICT when another
  // server has the socket; SYSTEM_ERROR.
  static absl::StatusOr<std::unique_ptr<Server>> Start(Options options);
  // Removes the socket and ends as a kernel does at power-off: everything is gone.
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  // For introspection and fault injection.
  Kernel& kernel() { return *kernel_; }

 private:
  struct Channel {
    uint64_t key;
    int fd;
  };
  // What came with a call.
  struct CallFds {
    UniqueFd target;
    UniqueFd inner;                  // named in the struct
    std::vector<UniqueFd> eventfds;  // named in the struct, with kEventfds
    UniqueFd memory;                 // of the caller, with kInInMemory
  };
  // An ioctl that takes its time, by a fault: it is executed, or answered, only then.
  struct DelayedIoctl {
    uint64_t channel;
    uint64_t fault;
    int64_t error = 0;  // what it answers; 0: it is executed
    CallHeader header;
    std::vector<std::byte> struct_part;
    std::vector<std::byte> in_part;
    CallFds fds;
  };
  struct DelayedAnswer {
    uint64_t channel;
    int64_t result;
    UserCall call;
  };
  using Delayed = std::variant<DelayedIoctl, DelayedAnswer>;

  explicit Server(Options options) : options_(std::move(options)) {}
  absl::Status Open();
  void Loop();
  int WaitTimeout();
  void Accept();
  void ReleaseClosed();
  void Serve(uint64_t channel);
  // False: the channel is to be closed.
  bool HandlePacket(Channel channel, ReceivedPacket packet);
  bool HandleCall(Channel channel, const CallHeader& header, std::span<const std::byte> struct_part,
                  std::span<const std::byte> in_part, CallFds fds);
  bool HandleIoctl(Channel channel, const CallHeader& header,
                   std::span<const std::byte> struct_part, std::span<const std::byte> in_part,
                   CallFds fds);
  bool ExecuteIoctl(Channel channel, const CallHeader& header,
                    std::span<const std::byte> struct_part, std::span<const std::byte> in_part,
                    CallFds fds);
  // Sorts what came along; false when that does not fit the call.
  static bool SortFds(const CallHeader& header, std::vector<UniqueFd> received, CallFds* fds);
  // Whether the channel waits for the answer of a delayed call.
  [[nodiscard]] bool IsDelayed(uint64_t channel) const;
  // Calls that a fault delays which is no more are due now.
  void ReleaseDelayed();
  // Does and answers the delayed calls that are due.
  void ExecuteDelayed();
  bool ExecuteOne(Channel channel, Delayed delayed);

  const Options options_;
  UniqueFd lock_;
  UniqueFd listener_;
  UniqueFd epoll_;
  UniqueFd hangups_;  // an epoll of its own: the server's ends of all fds given out
  UniqueFd stop_;     // eventfd
  UniqueFd reserve_;  // given up to turn a client away when fds run out
  std::unique_ptr<Kernel> kernel_;
  std::map<uint64_t, UniqueFd> channels_;
  uint64_t next_channel_ = 0;
  std::multimap<absl::Time, Delayed> delayed_;  // by when they are due; one for a channel
  std::vector<std::byte> buffer_;
  int pinned_ = 0;  // contexts and cdevs that only mappings keep
  absl::Time idle_since_ = absl::InfiniteFuture();
  std::thread thread_;
};

// Channels that a server serves at once; one more is turned away.
inline constexpr size_t kMaxChannels = 1024;

}  // namespace berth::emulator

#endif  // BERTH_LIB_EMULATOR_SERVER_H_
