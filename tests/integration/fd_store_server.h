// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_TESTS_INTEGRATION_FD_STORE_SERVER_H_
#define BERTH_TESTS_INTEGRATION_FD_STORE_SERVER_H_

#include <atomic>
#include <memory>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "agent/supervise/fd_keeper.h"
#include "lib/daemon/logging.h"
#include "tests/integration/process.h"

namespace berth::testing {

// A service manager's store of fds, on a thread of its own: what outlives an agent that a test
// kills. Thread-safe.
class FdStoreServer {
 public:
  // Listens at `path`.
  explicit FdStoreServer(const std::string& path);
  ~FdStoreServer();
  FdStoreServer(const FdStoreServer&) = delete;
  FdStoreServer& operator=(const FdStoreServer&) = delete;

  // What the next agent is started with. The one before must have ended.
  void Pass(Process::Options* options);
  // From now on this process is listened to.
  void Serve(pid_t agent);
  [[nodiscard]] std::vector<std::string> names();

 private:
  std::ostringstream err_;
  Logger log_{"store", LogLevel::kInfo, Logger::Format::kJournal, &err_};
  absl::Mutex mu_;
  std::unique_ptr<FdKeeper> keeper_ ABSL_GUARDED_BY(mu_);
  pid_t agent_ ABSL_GUARDED_BY(mu_) = 0;  // 0: none
  std::atomic<bool> stop_ = false;
  std::thread thread_;
};

}  // namespace berth::testing

#endif  // BERTH_TESTS_INTEGRATION_FD_STORE_SERVER_H_
