// SPDX-License-Identifier: Apache-2.0
#include "lib/iommufd/context.h"

#include <cerrno>
#include <string>

#include "lib/iommufd/uapi/iommufd.h"

namespace berth {

absl::StatusOr<Context> Context::Open(KernelApi* kernel, LeakReporter on_leak) {
  BERTH_ASSIGN_OR_RETURN(UniqueFd fd, kernel->OpenContext());
  return Adopt(kernel, std::move(fd), std::move(on_leak));
}

Context Context::Adopt(KernelApi* kernel, UniqueFd fd, LeakReporter on_leak) {
  return Context(std::make_shared<const State>(State{kernel, std::move(fd), std::move(on_leak)}));
}

absl::Status Context::CheckSame(const Context& other) const {
  if (state_ == other.state_) return absl::OkStatus();
  return Error(Reason::kInternal, "objects of two iommufd contexts in one call");
}

KernelObject& KernelObject::operator=(KernelObject&& other) noexcept {
  if (this != &other) {
    DestroyOrReport();
    context_ = other.context_;
    kind_ = other.kind_;
    id_ = std::exchange(other.id_, 0);
  }
  return *this;
}

absl::Status KernelObject::Destroy() {
  if (id_ == 0) return absl::OkStatus();
  auto arg = Sized<uapi::IommuDestroy>();
  arg.id = id_;
  absl::Status status =
      context_.Call(uapi::kIommuDestroy, &arg,
                    {{"object", std::string(ToString(kind_))}, {"id", std::to_string(id_)}}, kind_);
  if (ErrnoOf(status) != EBUSY) id_ = 0;
  return status;
}

void KernelObject::DestroyOrReport() {
  const absl::Status status = Destroy();
  id_ = 0;
  // What an emulator held went with it.
  if (!status.ok() && ReasonOf(status) != Reason::kKernelGone) context_.ReportLeak(status);
}

}  // namespace berth
