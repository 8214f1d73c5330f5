// SPDX-License-Identifier: Apache-2.0
//
// Capacity of one unit. VINTFs are the pool; queues and SID slots are limits of each VINTF, because
// Linux partitions them statically (drivers/iommu/arm/arm-smmu-v3/tegra241-cmdqv.c:
// num_lvcmdqs_per_vintf = num_vcmdqs / num_vintfs). Asking for fewer queues therefore frees
// nothing.
#ifndef BERTH_LIB_CAPACITY_UNIT_CAPACITY_H_
#define BERTH_LIB_CAPACITY_UNIT_CAPACITY_H_

#include <cstdint>
#include <string_view>

#include "absl/status/status.h"
#include "lib/base/ids.h"

namespace berth {

// What a unit offers to VMs, as berth.v1.Unit.Profile.
enum class UnitProfile : uint8_t {
  kTegra241Cmdqv,  // vIOMMUs with guest-owned queues
  kArmSmmuV3,      // vIOMMUs without queues
  kAmdIommu,       // vIOMMUs without queues
  kVtd,            // no vIOMMU: a plain hardware page table for each grant; nothing to count
};

// Where `vintfs` comes from, weakest first. The kernel does not report it.
enum class VintfSource : uint8_t {
  kDefault,     // assumed from the profile
  kObserved,    // allocated until ENOSPC, or corrected by a later ENOSPC
  kConfigured,  // the agent's configuration says it
};

struct UnitCapacity {
  UnitProfile profile = UnitProfile::kTegra241Cmdqv;
  VintfSource source = VintfSource::kDefault;
  // For VMs: the host's own VINTF 0 is not in it. 0-65535.
  uint32_t vintfs = 0;
  // Limit of each VINTF, 0-128; 0 unless the profile has queues.
  uint32_t vcmdqs_per_vintf = 0;
  // Limit of each VINTF: devices of one assignment behind this unit. 0-65535.
  uint32_t sids_per_vintf = 0;
  // log2 of the entries of the largest queue (IDR1.CMDQS); 0-19.
  uint32_t max_queue_log2 = 0;

  bool operator==(const UnitCapacity&) const = default;
};

// True for profiles whose vIOMMUs have guest-owned queues.
bool HasQueues(UnitProfile profile);
// False for kVtd: its units have no VINTFs and no SID slots, and are limited by their devices
// alone.
bool CountsVintfs(UnitProfile profile);

// What is assumed when nobody says more. kTegra241Cmdqv: 63 VINTFs, 2 vCMDQs and 16 SID slots each
// (64 VINTFs and 128 vCMDQs, less the host's VINTF), queues of 2^19. kArmSmmuV3, kAmdIommu: 255
// (an 8-bit VMID or domain id, the least there is, without the host's), 65535 SID slots.
UnitCapacity DefaultCapacity(UnitProfile profile);

// INVALID_FIELD with metadata "field" when a number is outside its range, or queues are promised by
// a profile that has none.
absl::Status ValidateCapacity(const UnitCapacity& capacity);

// Takes an ENOSPC into account: `vintfs_in_use` were all there were. Never raises the count.
UnitCapacity CorrectDownward(UnitCapacity capacity, uint32_t vintfs_in_use);

// What one assignment wants of one unit: always one VINTF, with so much in it.
struct VintfClaim {
  uint32_t vcmdqs = 0;
  uint32_t sid_slots = 0;  // one per device, those that only travel with their IOMMU group included

  bool operator==(const VintfClaim&) const = default;
};

struct UnitUsage {
  uint32_t vintfs = 0;
  uint32_t vcmdqs = 0;     // promised to guests, over all VINTFs
  uint32_t sid_slots = 0;  // in use, over all VINTFs

  bool operator==(const UnitUsage&) const = default;
};

// Would the claim fit an empty unit? Errors, each with metadata "unit", "asked", "limit":
//   INVALID_FIELD        no SID slot is asked for: an assignment has a device on every unit it
//   takes SID_SLOTS_EXHAUSTED  more devices than a VINTF has SID slots UNSATISFIABLE        more
//   vCMDQs than a VINTF has
absl::Status CheckClaim(const UnitId& unit, const UnitCapacity& capacity, const VintfClaim& claim);

// Charges the claim to `usage`, or leaves it alone and says why: the errors of CheckClaim(), or
// VINTF_EXHAUSTED with metadata "unit", "in_use", "limit".
absl::Status Reserve(const UnitId& unit, const UnitCapacity& capacity, const VintfClaim& claim,
                     UnitUsage& usage);

// Charges the claim whether it fits or not: for claims that already stand (a book that is loaded, a
// host whose capacity shrank).
void Charge(const VintfClaim& claim, UnitUsage& usage);

// The inverse of Reserve() and Charge(). STATE_CONFLICT, and nothing changed, when `usage` does not
// hold so much.
absl::Status Release(const UnitId& unit, const VintfClaim& claim, UnitUsage& usage);

// VINTFs that are free; 0 when more are in use than there are. UINT32_MAX when the profile counts
// none.
uint32_t FreeVintfs(const UnitCapacity& capacity, const UnitUsage& usage);

// Devices that one assignment may have behind the unit; UINT32_MAX when the profile counts none.
uint32_t SidSlotLimit(const UnitCapacity& capacity);

std::string_view ProfileName(UnitProfile profile);
std::string_view SourceName(VintfSource source);

}  // namespace berth

#endif  // BERTH_LIB_CAPACITY_UNIT_CAPACITY_H_
