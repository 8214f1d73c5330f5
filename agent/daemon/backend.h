// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_AGENT_DAEMON_BACKEND_H_
#define BERTH_AGENT_DAEMON_BACKEND_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "agent/daemon/emulator_process.h"
#include "berth/internal/v1/agent_config.pb.h"
#include "lib/iommufd/kernel_api.h"

namespace berth {

// What stands for the kernel, as the configuration says. Not thread-safe, but kernel() is.
class Backend {
 public:
  // `config` is finished (FinishAgentConfig()).
  explicit Backend(const internal::v1::BackendConfig& config);

  KernelApi* kernel() const { return kernel_.get(); }
  const std::string& sysfs_root() const { return sysfs_root_; }
  // "real" or "emulated".
  const std::string& name() const { return name_; }

  // Bytes of guest memory that this process may pin; UINT64_MAX: no limit. RLIMIT_MEMLOCK, unless
  // it has CAP_IPC_LOCK (Linux drivers/iommu/iommufd/pages.c, incr_user_locked_vm()).
  uint64_t lockable_memory() const;

  // Starts the emulator when there is to be one and none listens. KERNEL_GONE.
  absl::Status Ensure();

 private:
  std::string name_;
  std::string sysfs_root_;
  std::unique_ptr<KernelApi> kernel_;
  std::unique_ptr<EmulatorProcess> emulator_;  // null: real
};

}  // namespace berth

#endif  // BERTH_AGENT_DAEMON_BACKEND_H_
