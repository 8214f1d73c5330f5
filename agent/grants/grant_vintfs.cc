// SPDX-License-Identifier: Apache-2.0
//
// The part of Grant that looks after VINTFs which a VMM took for itself: one that made its context
// immortal (it mapped the iommufd into its own IOAS, Linux drivers/iommu/iommufd/pages.c,
// iopt_alloc_file_pages()) keeps its VINTF until the host boots, however dead the VMM is.
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "agent/grants/grant.h"
#include "lib/base/status.h"
#include "lib/iommufd/vintf_count.h"

namespace berth {

void Grant::TakeVintfs(VintfUse::Share share) {
  for (const v1::UnitPlacement& unit : current_.units()) {
    if (unit.vcmdqs() > 0 || hand_off()) env_.vintfs->Take(uid_, UnitId(unit.unit()), share);
  }
}

// The devices are bound here, so that none of theirs can be behind what is missing but a context
// that nobody can reach.
void Grant::CountVintfs() {
  std::set<UnitId> counted;
  bool all = true;
  for (size_t i = 0; i < bound_->devices.size(); ++i) {
    const UnitId& unit = bound_->facts[i].unit;
    if (!counted.insert(unit).second) continue;
    env_.vintfs->Count(uid_, unit, [&](const VintfUse::Others& others) {
      all = CountVintfsOf(unit, bound_->devices[i], others) && all;
    });
  }
  if (all) fds_given_ = false;
}

// Whether it is known how many there are.
bool Grant::CountVintfsOf(const UnitId& unit, const Device& device,
                          const VintfUse::Others& others) {
  const std::optional<GrantUnit> facts = env_.options.devices->FindUnit(unit);
  if (!facts.has_value()) return false;
  if (facts->profile != v1::Unit::TEGRA241_CMDQV) return true;
  const int expected = facts->vintfs - others.grants;
  // Some of those that were lost may be back: whoever kept the iommufd has closed it.
  const int most = expected + (others.all_have ? facts->lost_vintfs : 0);
  if (most <= 0) return true;
  const absl::StatusOr<int> free =
      berth::CountVintfs(bound_->context, device, static_cast<size_t>(most));
  if (!free.ok()) {
    NoteUnitFault(WithMetadata(free.status(), "unit", unit.str()));
    return false;
  }
  if (*free == expected || !env_.options.on_vintfs) return true;
  const std::string why =
      fds_given_ ? absl::StrCat("a VMM of assignment ", uid_.str(), " (process ", last_vmm_.pid,
                                ") has ended, its devices are free, and a VINTF is not")
                 : "";
  env_.options.on_vintfs(
      unit, {.usable = others.grants + *free, .missing = expected - *free, .lost_by = why});
  return true;
}

}  // namespace berth
