// SPDX-License-Identifier: Apache-2.0
//
// The part of Grant that lets go: from the end of a VMM to the proof that nobody holds a device.
#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "agent/grants/grant.h"
#include "agent/grants/grant_view.h"
#include "lib/base/failpoint.h"
#include "lib/base/status.h"

namespace berth {

bool Grant::TearDown() {
  absl::Status status = DestroyContext();
  if (status.ok()) status = ProveFree();
  if (status.ok()) status = ResetHandedOff();
  if (status.ok()) status = HitFailpoint(Failpoint::kTeardownDone);
  if (status.ok()) {
    env_.vintfs->Return(uid_);
    return true;
  }
  if (last_vmm_.pid != 0) {
    const std::string pid = std::to_string(last_vmm_.pid);
    status = WithMetadata(Annotate(status, "process " + pid + " had it last"), "last_vmm_pid", pid);
  }
  const bool long_pinned = Now() - since_ >= limits().orphan_after;
  if (long_pinned && observed_ != Observed::kOrphaned) {
    Move(Observed::kOrphaned, ToCondition(kPinned, true, status, Now()));
  }
  SetCondition(kPinned, true, status);
  RetryLater();
  return false;
}

absl::Status Grant::DestroyContext() {
  if (context_ == nullptr) return absl::OkStatus();
  TakeVintfs(VintfUse::Share::kMayHave);
  events_.reset();
  absl::Status status = HitFailpoint(Failpoint::kTeardownResetGuest);
  if (status.ok() && guest_ != nullptr) status = guest_->Reset();
  if (status.ok()) {
    guest_.reset();
    if (!devices_reset_) status = context_->ResetDevices(*env_.options.devices);
    devices_reset_ = status.ok();
  }
  if (status.ok()) status = context_->Destroy();
  if (!status.ok() && ReasonOf(status) != Reason::kKernelGone) return status;
  guest_.reset();
  context_.reset();
  return absl::OkStatus();
}

// Nobody holds a device that can be bound to a fresh context, here or by another grant.
absl::Status Grant::ProveFree() {
  if (bound_.has_value()) return absl::OkStatus();
  BERTH_RETURN_IF_ERROR(HitFailpoint(Failpoint::kTeardownProveFree));
  std::vector<GrantDevice> devices = held_;
  if (devices.empty()) {
    absl::StatusOr<std::vector<GrantDevice>> found = FindDevices(current_, *env_.options.devices);
    // What held them ended as a whole.
    if (ReasonOf(found.status()) == Reason::kKernelGone) return absl::OkStatus();
    if (!found.ok()) return found.status();
    devices = *std::move(found);
  }
  std::erase_if(devices, [this](const GrantDevice& device) {
    return env_.claims->BoundByOther(uid_, device.id);
  });
  BERTH_RETURN_IF_ERROR(env_.claims->Claim(uid_, devices));
  while (!devices.empty()) {
    absl::StatusOr<BoundContext> bound = BoundContext::Bind(env_.options.kernel, devices, {});
    if (bound.ok()) {
      bound_.emplace(*std::move(bound));
      env_.claims->NoteBound(uid_);
      return absl::OkStatus();
    }
    const Reason reason = ReasonOf(bound.status());
    // What held them ended as a whole.
    if (reason == Reason::kKernelGone) return absl::OkStatus();
    if (reason != Reason::kNotFound && reason != Reason::kDeviceGone) return bound.status();
    // A device that was pulled out is held by nobody; the others have to be proved.
    const std::string gone = MetadataOf(bound.status())["device"];
    const auto last =
        std::remove_if(devices.begin(), devices.end(),
                       [&](const GrantDevice& device) { return device.id.str() == gone; });
    if (last == devices.end()) return bound.status();
    devices.erase(last, devices.end());
  }
  return absl::OkStatus();
}

}  // namespace berth
