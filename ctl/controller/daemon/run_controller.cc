// SPDX-License-Identifier: Apache-2.0
#include "ctl/controller/daemon/run_controller.h"

#include <unistd.h>

#include <csignal>
#include <memory>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "ctl/controller/daemon/controller_daemon.h"
#include "lib/base/clock.h"

namespace berth {
namespace {

// Why the controller cannot go on, if it cannot.
class Verdict {
 public:
  void Fail(const absl::Status& status) {
    {
      absl::MutexLock lock(&mu_);
      if (!status_.ok()) return;
      status_ = status;
    }
    // What stops it in order; a second one would end it at once.
    ::kill(::getpid(), SIGTERM);
  }
  absl::Status status() const {
    absl::MutexLock lock(&mu_);
    return status_;
  }

 private:
  mutable absl::Mutex mu_;
  absl::Status status_ ABSL_GUARDED_BY(mu_);
};

}  // namespace

absl::Status RunController(const internal::v1::ControllerConfig& config, Daemon& daemon) {
  Verdict verdict;
  const absl::StatusOr<std::unique_ptr<ControllerDaemon>> controller = ControllerDaemon::Start(
      {.config = config,
       .clock = daemon.clock,
       .log = &daemon.log,
       .metrics = &daemon.metrics,
       .on_fatal = [&verdict](const absl::Status& status) { verdict.Fail(status); }});
  if (!controller.ok()) return controller.status();
  ServeUntilStopped(daemon);
  return verdict.status();
}

}  // namespace berth
