// SPDX-License-Identifier: Apache-2.0
//
// What of a host can stand in for what else, whatever is asked for: hashes that are equal for parts
// that are alike in all that placement looks at, names apart. A gang's search needs them, because
// there the choice for one member must not look at that member alone.
#ifndef BERTH_LIB_PLACEMENT_LIKENESS_H_
#define BERTH_LIB_PLACEMENT_LIKENESS_H_

#include <cstddef>
#include <cstdint>

#include "lib/placement/host_record.h"

namespace berth::placement {

// Never 0.
uint64_t GroupLikeness(const HostRecord& host, const HostRecord::Group& group);
// Of the unit with the devices [first, last). Never 0.
uint64_t UnitLikeness(const HostRecord& host, uint8_t unit, size_t first, size_t last);
// Of all but name and labels. Units, and groups of a unit, may change places. kEmpty: of what
// counts for an empty host.
uint64_t ProfileLikeness(const HostRecord& host, View view);

}  // namespace berth::placement

#endif  // BERTH_LIB_PLACEMENT_LIKENESS_H_
