// SPDX-License-Identifier: Apache-2.0
#include "agent/daemon/backend.h"

#include <linux/capability.h>
#include <sys/resource.h>

#include "absl/strings/str_cat.h"
#include "lib/emulator/argument.h"
#include "lib/emulator/emulator_client.h"
#include "lib/iommufd/real_kernel.h"

namespace berth {

Backend::Backend(const internal::v1::BackendConfig& config) {
  if (config.has_real()) {
    name_ = "real";
    sysfs_root_ = config.real().sysfs_root();
    kernel_ = std::make_unique<RealKernel>(config.real().dev_root());
    return;
  }
  const auto& emulated = config.emulated();
  name_ = "emulated";
  sysfs_root_ = absl::StrCat(emulated.dir(), "/sys");
  emulator_ = std::make_unique<EmulatorProcess>(
      EmulatorProcess::Options{.program = emulated.program(),
                               .dir = emulated.dir(),
                               .host_file = emulated.external() ? "" : emulated.host_file()});
  // RLIMIT_MODE needs a privilege of the emulated host, which is nothing of this machine's to
  // guard.
  const auto capable = [](int capability) {
    return capability == CAP_SYS_RESOURCE || emulator::HasCapability(capability);
  };
  kernel_ = std::make_unique<emulator::EmulatorClient>(emulator_->socket_path(), capable);
}

uint64_t Backend::lockable_memory() const {
  rlimit limit = {};
  const bool limited = emulator_ == nullptr && !emulator::HasCapability(CAP_IPC_LOCK) &&
                       ::getrlimit(RLIMIT_MEMLOCK, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY;
  return limited ? limit.rlim_cur : UINT64_MAX;
}

absl::Status Backend::Ensure() {
  return emulator_ == nullptr ? absl::OkStatus() : emulator_->EnsureRunning();
}

}  // namespace berth
