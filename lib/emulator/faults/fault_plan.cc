// SPDX-License-Identifier: Apache-2.0
#include "lib/emulator/faults/fault_plan.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "absl/strings/str_cat.h"
#include "lib/base/status.h"
#include "lib/iommufd/uapi/ops.h"

namespace berth::emulator {
namespace {

absl::Status Invalid(const char* field, const std::string& why) {
  return Error(Reason::kInvalidField, absl::StrCat(field, ": ", why), {{"field", field}});
}

absl::Status Validate(const FaultSpec& spec) {
  if (spec.kind == FaultKind::kIoctl) {
    if (uapi::FindIommuOp(spec.request) == nullptr && uapi::FindVfioOp(spec.request) == nullptr) {
      return Invalid("ioctl.request", "not an ioctl of iommufd or of a VFIO cdev");
    }
    if (spec.error < 0 || spec.error > kMaxErrno) return Invalid("ioctl.error", "not an errno");
    if (spec.delay < absl::ZeroDuration()) return Invalid("ioctl.delay", "must not be negative");
    if (spec.delay > kMaxFaultDelay) {
      return Error(Reason::kTooLarge, "ioctl.delay: a minute at most", {{"field", "ioctl.delay"}});
    }
    if (spec.error == 0 && spec.delay == absl::ZeroDuration()) {
      return Invalid("ioctl", "give an error, a delay, or both");
    }
  }
  if (spec.kind == FaultKind::kDeviceGone) {
    if (spec.subject.empty()) return Invalid("device_gone.device", "say which, e.g. 0000:01:00.0");
    if (spec.skip != 0 || spec.count != 0) {
      return Invalid("count",
                     "a device is gone until the fault is deleted: leave skip and count 0");
    }
  }
  return absl::OkStatus();
}

}  // namespace

FaultPlan::FaultPlan() : removal_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}

void FaultPlan::TellRemoval() const {
  // Full (EAGAIN) is readable, too.
  const uint64_t one = 1;
  while (::write(removal_.get(), &one, sizeof(one)) < 0 && errno == EINTR) {
  }
}

absl::StatusOr<uint64_t> FaultPlan::Add(const FaultSpec& spec) {
  BERTH_RETURN_IF_ERROR(Validate(spec));
  absl::MutexLock lock(&mu_);
  if (faults_.size() >= kMaxFaults) {
    return Error(Reason::kTooLarge, absl::StrCat("there are ", kMaxFaults, " faults already"));
  }
  faults_.push_back({.id = next_id_++, .spec = spec});
  armed_.store(true, std::memory_order_relaxed);
  return faults_.back().id;
}

std::vector<ArmedFault> FaultPlan::List() const {
  absl::MutexLock lock(&mu_);
  return faults_;
}

absl::Status FaultPlan::Remove(uint64_t id) {
  absl::MutexLock lock(&mu_);
  if (std::erase_if(faults_, [id](const ArmedFault& fault) { return fault.id == id; }) == 0) {
    return Error(Reason::kNotFound, absl::StrCat("there is no fault ", id));
  }
  armed_.store(!faults_.empty(), std::memory_order_relaxed);
  TellRemoval();
  return absl::OkStatus();
}

size_t FaultPlan::Clear() {
  absl::MutexLock lock(&mu_);
  const size_t count = faults_.size();
  faults_.clear();
  armed_.store(false, std::memory_order_relaxed);
  TellRemoval();
  return count;
}

bool FaultPlan::Fits(const FaultSpec& spec, FaultKind kind, std::string_view subject) {
  return spec.kind == kind && (spec.subject.empty() || spec.subject == subject);
}

bool FaultPlan::Strikes(ArmedFault* fault) {
  ++fault->met;
  if (fault->met <= fault->spec.skip) return false;
  if (fault->spec.count != 0 && fault->struck >= fault->spec.count) return false;
  ++fault->struck;
  return true;
}

FaultPlan::IoctlFault FaultPlan::MeetIoctl(uapi::Request request) {
  IoctlFault result;
  if (!armed()) return result;
  bool struck = false;
  absl::MutexLock lock(&mu_);
  for (ArmedFault& fault : faults_) {
    if (fault.spec.kind != FaultKind::kIoctl || fault.spec.request != request) continue;
    if (!Strikes(&fault) || struck) continue;
    struck = true;
    result = {fault.spec.error, fault.spec.delay, fault.id};
  }
  return result;
}

bool FaultPlan::Meet(FaultKind kind, std::string_view subject) {
  if (!armed()) return false;
  bool struck = false;
  absl::MutexLock lock(&mu_);
  for (ArmedFault& fault : faults_) {
    if (Fits(fault.spec, kind, subject) && Strikes(&fault)) struck = true;
  }
  return struck;
}

bool FaultPlan::IsGone(std::string_view device) const {
  if (!armed()) return false;
  absl::MutexLock lock(&mu_);
  return std::ranges::any_of(faults_, [device](const ArmedFault& fault) {
    return Fits(fault.spec, FaultKind::kDeviceGone, device);
  });
}

bool FaultPlan::IsArmed(uint64_t id) const {
  absl::MutexLock lock(&mu_);
  return std::ranges::any_of(faults_, [id](const ArmedFault& fault) { return fault.id == id; });
}

}  // namespace berth::emulator
