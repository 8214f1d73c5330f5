// SPDX-License-Identifier: Apache-2.0
#include "lib/capacity/unit_capacity.h"

#include <algorithm>
#include <limits>
#include <string>

#include "absl/strings/str_cat.h"
#include "lib/base/status.h"

namespace berth {
namespace {

// num_vcmdqs of the hardware: NUM_CMDQ_LOG2 is 7 at most.
constexpr uint32_t kMaxVcmdqs = 128;
// A VMID has 16 bits at most, and a unit no more streams than that behind it.
constexpr uint32_t kMaxVintfs = 65535;
constexpr uint32_t kMaxSids = 65535;
// The largest value that SMMU_IDR1.CMDQS may have (Arm IHI 0070).
constexpr uint32_t kMaxQueueLog2 = 19;
constexpr uint32_t kUncounted = std::numeric_limits<uint32_t>::max();

absl::Status OverLimit(Reason reason, const UnitId& unit, std::string_view what, uint64_t asked,
                       uint64_t limit) {
  return Error(
      reason,
      absl::StrCat("unit ", unit.str(), ": ", asked, " ", std::string(what),
                   " asked for in one VINTF, which has ", limit),
      {{"unit", unit.str()}, {"asked", std::to_string(asked)}, {"limit", std::to_string(limit)}});
}

}  // namespace

bool HasQueues(UnitProfile profile) { return profile == UnitProfile::kTegra241Cmdqv; }

bool CountsVintfs(UnitProfile profile) { return profile != UnitProfile::kVtd; }

UnitCapacity DefaultCapacity(UnitProfile profile) {
  UnitCapacity capacity{.profile = profile, .source = VintfSource::kDefault};
  if (HasQueues(profile)) {
    capacity.vintfs = 63;
    capacity.vcmdqs_per_vintf = 2;
    capacity.sids_per_vintf = 16;
    capacity.max_queue_log2 = kMaxQueueLog2;
  } else if (CountsVintfs(profile)) {
    capacity.vintfs = 255;
    capacity.sids_per_vintf = kMaxSids;
  }
  return capacity;
}

absl::Status ValidateCapacity(const UnitCapacity& capacity) {
  struct Row {
    std::string_view field;
    uint32_t value;
    uint32_t max;
  };
  const Row rows[] = {
      {"vintfs", capacity.vintfs, kMaxVintfs},
      {"vcmdqs_per_vintf", capacity.vcmdqs_per_vintf, HasQueues(capacity.profile) ? kMaxVcmdqs : 0},
      {"sids_per_vintf", capacity.sids_per_vintf, kMaxSids},
      {"max_queue_log2", capacity.max_queue_log2, kMaxQueueLog2},
  };
  for (const Row& row : rows) {
    if (row.value <= row.max) continue;
    const std::string field(row.field);
    return Error(
        Reason::kInvalidField,
        absl::StrCat(field, " is ", row.value, "; a ", std::string(ProfileName(capacity.profile)),
                     " unit has at most ", row.max),
        {{"field", field}});
  }
  return absl::OkStatus();
}

UnitCapacity CorrectDownward(UnitCapacity capacity, uint32_t vintfs_in_use) {
  if (vintfs_in_use < capacity.vintfs) {
    capacity.vintfs = vintfs_in_use;
    capacity.source = VintfSource::kObserved;
  }
  return capacity;
}

absl::Status CheckClaim(const UnitId& unit, const UnitCapacity& capacity, const VintfClaim& claim) {
  if (claim.sid_slots == 0) {
    return Error(Reason::kInvalidField,
                 absl::StrCat("unit ", unit.str(), ": a VINTF without a device is of no use"),
                 {{"unit", unit.str()}, {"asked", "0"}, {"limit", "1"}});
  }
  if (claim.sid_slots > SidSlotLimit(capacity)) {
    return OverLimit(Reason::kSidSlotsExhausted, unit, "SID slots", claim.sid_slots,
                     capacity.sids_per_vintf);
  }
  if (claim.vcmdqs > capacity.vcmdqs_per_vintf) {
    return OverLimit(Reason::kUnsatisfiable, unit, "vCMDQs", claim.vcmdqs,
                     capacity.vcmdqs_per_vintf);
  }
  return absl::OkStatus();
}

absl::Status Reserve(const UnitId& unit, const UnitCapacity& capacity, const VintfClaim& claim,
                     UnitUsage& usage) {
  BERTH_RETURN_IF_ERROR(CheckClaim(unit, capacity, claim));
  if (FreeVintfs(capacity, usage) == 0) {
    return Error(Reason::kVintfExhausted,
                 absl::StrCat("unit ", unit.str(), ": all ", capacity.vintfs, " VINTFs are in use"),
                 {{"unit", unit.str()},
                  {"in_use", std::to_string(usage.vintfs)},
                  {"limit", std::to_string(capacity.vintfs)}});
  }
  Charge(claim, usage);
  return absl::OkStatus();
}

void Charge(const VintfClaim& claim, UnitUsage& usage) {
  usage.vintfs += 1;
  usage.vcmdqs += claim.vcmdqs;
  usage.sid_slots += claim.sid_slots;
}

absl::Status Release(const UnitId& unit, const VintfClaim& claim, UnitUsage& usage) {
  if (usage.vintfs < 1 || usage.vcmdqs < claim.vcmdqs || usage.sid_slots < claim.sid_slots) {
    return Error(Reason::kStateConflict,
                 absl::StrCat("unit ", unit.str(), ": more is released than was reserved"),
                 {{"unit", unit.str()}, {"in_use", std::to_string(usage.vintfs)}});
  }
  usage.vintfs -= 1;
  usage.vcmdqs -= claim.vcmdqs;
  usage.sid_slots -= claim.sid_slots;
  return absl::OkStatus();
}

uint32_t FreeVintfs(const UnitCapacity& capacity, const UnitUsage& usage) {
  if (!CountsVintfs(capacity.profile)) return kUncounted;
  return capacity.vintfs - std::min(capacity.vintfs, usage.vintfs);
}

uint32_t SidSlotLimit(const UnitCapacity& capacity) {
  return CountsVintfs(capacity.profile) ? capacity.sids_per_vintf : kUncounted;
}

std::string_view ProfileName(UnitProfile profile) {
  switch (profile) {
    case UnitProfile::kTegra241Cmdqv:
      return "tegra241-cmdqv";
    case UnitProfile::kArmSmmuV3:
      return "arm-smmuv3";
    case UnitProfile::kAmdIommu:
      return "amd-iommu";
    case UnitProfile::kVtd:
      return "vtd";
  }
  return "unknown";
}

std::string_view SourceName(VintfSource source) {
  switch (source) {
    case VintfSource::kDefault:
      return "default";
    case VintfSource::kObserved:
      return "observed";
    case VintfSource::kConfigured:
      return "configured";
  }
  return "unknown";
}

}  // namespace berth
