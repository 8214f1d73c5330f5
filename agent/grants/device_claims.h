// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_AGENT_GRANTS_DEVICE_CLAIMS_H_
#define BERTH_AGENT_GRANTS_DEVICE_CLAIMS_H_

#include <map>
#include <span>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "agent/grants/device_lookup.h"
#include "lib/base/ids.h"

namespace berth {

// Which grant of this agent each device belongs to, from its first prepare until it is GONE. The
// kernel lets whoever is first bind a device that has just become free; that must not be the next
// grant while the one before has still to reset it and to prove that it is free. (Two grants name
// one device after the controller's store was restored.) Thread-safe.
class DeviceClaims {
 public:
  // All devices or none; what `uid` has already stays its own. DEVICE_BUSY, with metadata "device"
  // and "holder", when another grant has one.
  absl::Status Claim(const AssignmentUid& uid, std::span<const GrantDevice> devices);

  // `uid` has bound all that it claims: whoever had them before has let go of them.
  void NoteBound(const AssignmentUid& uid);

  // Whether another grant than `uid` has bound the device since it claimed it.
  [[nodiscard]] bool BoundByOther(const AssignmentUid& uid, const DeviceId& device) const;

  // Gives back all claims of `uid`.
  void Release(const AssignmentUid& uid);

 private:
  struct Holder {
    AssignmentUid uid;
    bool bound = false;
  };
  mutable absl::Mutex mu_;
  std::map<DeviceId, Holder> holders_ ABSL_GUARDED_BY(mu_);
};

}  // namespace berth

#endif  // BERTH_AGENT_GRANTS_DEVICE_CLAIMS_H_
