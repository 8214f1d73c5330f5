// SPDX-License-Identifier: Apache-2.0
#include "lib/iommufd/vintf_count.h"

#include <utility>
#include <vector>

#include "lib/base/status.h"
#include "lib/iommufd/hwpt.h"
#include "lib/iommufd/ioas.h"
#include "lib/iommufd/viommu.h"

namespace berth {

absl::StatusOr<int> CountVintfs(const Context& context, const Device& device, size_t most) {
  BERTH_ASSIGN_OR_RETURN(Ioas ioas, Ioas::Create(context));
  BERTH_ASSIGN_OR_RETURN(Hwpt parent, Hwpt::CreateNestingParent(device, ioas));
  std::vector<Viommu> viommus;
  while (viommus.size() < most) {
    absl::StatusOr<Viommu> viommu = Viommu::Create(device, parent, Viommu::Type::kTegra241Cmdqv);
    if (ReasonOf(viommu.status()) == Reason::kVintfExhausted) break;
    BERTH_RETURN_IF_ERROR(viommu.status());
    viommus.push_back(*std::move(viommu));
  }
  const int count = static_cast<int>(viommus.size());
  while (!viommus.empty()) {
    BERTH_RETURN_IF_ERROR(viommus.back().Destroy());
    viommus.pop_back();
  }
  return count;
}

}  // namespace berth
