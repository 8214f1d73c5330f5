// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_LIB_IOMMUFD_VINTF_COUNT_H_
#define BERTH_LIB_IOMMUFD_VINTF_COUNT_H_

#include <cstddef>

#include "absl/status/statusor.h"
#include "lib/iommufd/context.h"
#include "lib/iommufd/device.h"

namespace berth {

// How many VINTFs the CMDQV in front of `device`, which is bound to `context`, still gives, but not
// more than `most`. The kernel has no word for it: they are allocated until ENOSPC, and freed
// again; whoever else wants one meanwhile may find none. Errors: Ioas::Create(),
// Hwpt::CreateNestingParent(), Viommu::Create() but VINTF_EXHAUSTED; what was allocated goes with
// the context at the latest.
absl::StatusOr<int> CountVintfs(const Context& context, const Device& device, size_t most);

}  // namespace berth

#endif  // BERTH_LIB_IOMMUFD_VINTF_COUNT_H_
