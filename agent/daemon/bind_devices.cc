// SPDX-License-Identifier: Apache-2.0
#include "agent/daemon/bind_devices.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "agent/inventory/pci_binder.h"
#include "lib/base/status.h"
#include "lib/base/unique_fd.h"
#include "lib/iommufd/context.h"
#include "lib/iommufd/device.h"
#include "lib/iommufd/real_kernel.h"

namespace berth {
namespace {

// One write(2): a second one would be a second command.
absl::Status WriteSysfs(const std::string& path, std::string_view text) {
  const UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!fd.valid() || ::write(fd.get(), text.data(), text.size()) < 0) {
    return ErrnoToStatus(errno, absl::StrCat("writing ", path));
  }
  return absl::OkStatus();
}

// O_EXCL without O_CREAT on a block device: open(2).
absl::Status ClaimDisk(const std::string& dev_root, const std::string& disk) {
  // As in sysfs: "cciss!c0d0" is /dev/cciss/c0d0.
  const std::string path = absl::StrCat(dev_root, "/", absl::StrReplaceAll(disk, {{"!", "/"}}));
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_EXCL | O_NONBLOCK | O_CLOEXEC));
  // Nobody can have opened what has no node, no medium or no driver.
  if (fd.valid() || errno == ENOENT || errno == ENOMEDIUM || errno == ENXIO)
    return absl::OkStatus();
  if (errno == EBUSY) return Error(Reason::kDeviceBusy, absl::StrCat(path, " is in use"));
  return ErrnoToStatus(errno, absl::StrCat("opening ", path));
}

absl::Status ClaimCdev(KernelApi* kernel, const std::string& cdev) {
  BERTH_ASSIGN_OR_RETURN(const Context context, Context::Open(kernel));
  return Device::Open(context, cdev).status();
}

}  // namespace

absl::Status BindDevices(const internal::v1::AgentConfig& config, const BindRequest& request,
                         std::ostream& out) {
  if (!config.backend().has_real()) {
    return Error(Reason::kUnsupported,
                 "the backend is emulated: its devices belong to vfio-pci already");
  }
  const internal::v1::RealBackend& real = config.backend().real();
  RealKernel kernel(real.dev_root());
  PciBinder binder(
      {.files = {.sysfs_root = real.sysfs_root(),
                 .proc_root = "/proc",
                 .claim_disk =
                     [&real](const std::string& disk) { return ClaimDisk(real.dev_root(), disk); }},
       .memory_dir = absl::StrCat(config.runtime_dir(), "/bound"),
       .config = config.inventory(),
       .write = WriteSysfs,
       .claim_cdev = [&kernel](const std::string& cdev) { return ClaimCdev(&kernel, cdev); }});
  const auto mode = request.dry_run ? PciBinder::Mode::kDryRun : PciBinder::Mode::kApply;
  BERTH_ASSIGN_OR_RETURN(const std::vector<std::string> lines,
                         request.to == BindRequest::To::kVfio
                             ? binder.Bind(request.addresses, mode)
                             : binder.Unbind(request.addresses, mode));
  for (const std::string& line : lines) {
    out << line << (request.dry_run ? " (not done: --dry-run)" : "") << "\n";
  }
  return absl::OkStatus();
}

}  // namespace berth
