// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_LIB_DAEMON_SIGNALS_H_
#define BERTH_LIB_DAEMON_SIGNALS_H_

#include <signal.h>

#include <memory>
#include <optional>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "lib/base/unique_fd.h"

namespace berth {

enum class Signal { kStop, kReload };

// Where a daemon hears that it is to stop or to reload.
class SignalSource {
 public:
  virtual ~SignalSource() = default;
  // Blocks until a signal comes or `timeout` (which may be infinite) passes; nullopt: the latter.
  // One thread at a time.
  virtual std::optional<Signal> Wait(absl::Duration timeout) = 0;
  // For poll(2): POLLIN when Wait() would return at once. -1: cannot be polled.
  [[nodiscard]] virtual int poll_fd() const = 0;
};

// SIGTERM and SIGINT are kStop, SIGHUP is kReload, by signalfd(2). SIGPIPE is ignored.
class ProcessSignals : public SignalSource {
 public:
  // Call before any thread is started: threads inherit the mask, and a signal must find no thread
  // that would take it in the default way. Children inherit the mask, too, and the ignored SIGPIPE:
  // whoever spawns resets both (posix_spawnattr_setsigmask(3), _setsigdefault(3)).
  static absl::StatusOr<std::unique_ptr<ProcessSignals>> Block();
  // Restores the mask of the calling thread and the disposition of SIGPIPE.
  ~ProcessSignals() override;

  std::optional<Signal> Wait(absl::Duration timeout) override;
  [[nodiscard]] int poll_fd() const override { return fd_.get(); }

 private:
  ProcessSignals() = default;

  sigset_t old_mask_ = {};
  struct sigaction old_pipe_ = {};
  UniqueFd fd_;
};

}  // namespace berth

#endif  // BERTH_LIB_DAEMON_SIGNALS_H_
