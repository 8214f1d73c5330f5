// SPDX-License-Identifier: Apache-2.0
#include "agent/grants/device_claims.h"

#include "absl/strings/str_cat.h"
#include "lib/base/status.h"

namespace berth {

absl::Status DeviceClaims::Claim(const AssignmentUid& uid, std::span<const GrantDevice> devices) {
  absl::MutexLock lock(&mu_);
  for (const GrantDevice& device : devices) {
    const auto holder = holders_.find(device.id);
    if (holder == holders_.end() || holder->second.uid == uid) continue;
    const std::string& other = holder->second.uid.str();
    return Error(Reason::kDeviceBusy,
                 absl::StrCat("device ", device.id.str(), " belongs to assignment uid ", other,
                              " until that is gone"),
                 {{"device", device.id.str()}, {"holder", other}, {"step", "claim_device"}});
  }
  for (const GrantDevice& device : devices) holders_.try_emplace(device.id, Holder{.uid = uid});
  return absl::OkStatus();
}

void DeviceClaims::NoteBound(const AssignmentUid& uid) {
  absl::MutexLock lock(&mu_);
  for (auto& [device, holder] : holders_) {
    if (holder.uid == uid) holder.bound = true;
  }
}

bool DeviceClaims::BoundByOther(const AssignmentUid& uid, const DeviceId& device) const {
  absl::MutexLock lock(&mu_);
  const auto holder = holders_.find(device);
  return holder != holders_.end() && holder->second.uid != uid && holder->second.bound;
}

void DeviceClaims::Release(const AssignmentUid& uid) {
  absl::MutexLock lock(&mu_);
  std::erase_if(holders_, [&](const auto& held) { return held.second.uid == uid; });
}

}  // namespace berth
