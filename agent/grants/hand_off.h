// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_AGENT_GRANTS_HAND_OFF_H_
#define BERTH_AGENT_GRANTS_HAND_OFF_H_

#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent/grants/device_lookup.h"
#include "lib/base/unique_fd.h"
#include "lib/iommufd/context.h"

namespace berth {

// The agent's copies of what it hands off to a VMM that makes its own ioctls: a fresh context and
// the cdevs of a grant, unbound. As long as they are open the kernel keeps what the VMM makes with
// its own, so they go as soon as the VMM has said that it has them. Move-only.
class HandOff {
 public:
  // Opens everything or nothing. Errors: Context::Open(), KernelApi::OpenDevice(), CheckAllowed(),
  // with metadata "step" and "device".
  static absl::StatusOr<HandOff> Open(KernelApi* kernel, std::span<const GrantDevice> devices);

  // Whether Open() will be allowed to set RLIMIT_MODE. AGENT_PRIVILEGE: this process has no
  // CAP_SYS_RESOURCE.
  static absl::Status CheckAllowed(KernelApi* kernel);

  // For one reply: the context, then the cdevs in the order given. Errors: OUT_OF_MEMORY.
  [[nodiscard]] absl::StatusOr<std::vector<UniqueFd>> Duplicate() const;

 private:
  explicit HandOff(Context context) : context_(std::move(context)) {}

  Context context_;
  std::vector<UniqueFd> cdevs_;
};

}  // namespace berth

#endif  // BERTH_AGENT_GRANTS_HAND_OFF_H_
