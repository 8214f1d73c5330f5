// SPDX-License-Identifier: Apache-2.0
#include "agent/grants/hand_off.h"

#include <fcntl.h>

#include <cerrno>
#include <utility>

#include "lib/base/status.h"
#include "lib/iommufd/uapi/iommufd.h"

namespace berth {
namespace {

// A context that charges memory to the process that maps it. It can only be said of an empty one,
// and only with CAP_SYS_RESOURCE, which the VMM does not have (Linux drivers/iommu/iommufd/ioas.c,
// iommufd_option_rlimit_mode()). Without, all VMMs of one user would share one RLIMIT_MEMLOCK.
absl::StatusOr<Context> OpenContext(KernelApi* kernel) {
  absl::StatusOr<Context> context = Context::Open(kernel);
  if (!context.ok()) return WithMetadata(context.status(), "step", "open_context");
  auto option = Sized<uapi::IommuOption>();
  option.option_id = uapi::kOptionRlimitMode;
  option.op = uapi::kOptionOpSet;
  option.val64 = 1;
  absl::Status set = context->Call(uapi::kIommuOption, &option);
  if (ErrnoOf(set) == EPERM) {
    set = Annotate(set, "attach_mode HAND_OFF: the agent needs CAP_SYS_RESOURCE for RLIMIT_MODE");
  }
  if (!set.ok()) return WithMetadata(set, "step", "set_rlimit_mode");
  return context;
}

absl::StatusOr<UniqueFd> Duplicated(int fd) {
  UniqueFd copy(::fcntl(fd, F_DUPFD_CLOEXEC, 0));
  if (!copy.valid()) return ErrnoToStatus(errno, "dup of an fd to hand off");
  return copy;
}

}  // namespace

absl::Status HandOff::CheckAllowed(KernelApi* kernel) { return OpenContext(kernel).status(); }

absl::StatusOr<HandOff> HandOff::Open(KernelApi* kernel, std::span<const GrantDevice> devices) {
  BERTH_ASSIGN_OR_RETURN(Context context, OpenContext(kernel));
  HandOff hand_off(std::move(context));
  for (const GrantDevice& facts : devices) {
    absl::StatusOr<UniqueFd> cdev = kernel->OpenDevice(facts.cdev);
    if (!cdev.ok()) {
      return WithMetadata(WithMetadata(cdev.status(), "step", "open_device"), "device",
                          facts.id.str());
    }
    hand_off.cdevs_.push_back(*std::move(cdev));
  }
  return hand_off;
}

absl::StatusOr<std::vector<UniqueFd>> HandOff::Duplicate() const {
  std::vector<UniqueFd> fds;
  BERTH_ASSIGN_OR_RETURN(fds.emplace_back(), Duplicated(context_.fd()));
  for (const UniqueFd& cdev : cdevs_) {
    BERTH_ASSIGN_OR_RETURN(fds.emplace_back(), Duplicated(cdev.get()));
  }
  return fds;
}

}  // namespace berth
