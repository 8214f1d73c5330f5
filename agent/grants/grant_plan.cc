// SPDX-License-Identifier: Apache-2.0
#include "agent/grants/grant_plan.h"

#include <optional>
#include <set>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "lib/base/status.h"
#include "lib/rpc/sha256.h"

namespace berth {
namespace {

// The size of the field that carries a uid on the VMM socket, less its NUL.
constexpr size_t kMaxUid = 63;

absl::Status CheckSupported(const agent::v1::DesiredGrant& desired) {
  if (desired.isolation() == v1::AssignmentSpec::CONFINED) {
    return Error(Reason::kUnsupported,
                 "isolation CONFINED: this agent has no launcher that confines a VMM; use TRUSTED",
                 {{"field", "isolation"}});
  }
  return absl::OkStatus();
}

absl::Status CheckProfile(const GrantUnit& unit, int vcmdqs, v1::AssignmentSpec::AttachMode mode) {
  const bool smmu =
      unit.profile == v1::Unit::TEGRA241_CMDQV || unit.profile == v1::Unit::ARM_SMMUV3;
  // A VMM that makes its own ioctls makes of its context what its IOMMU offers.
  if (!smmu && mode != v1::AssignmentSpec::HAND_OFF) {
    return Error(Reason::kUnsupported,
                 absl::StrCat("unit ", unit.id.str(), ": no vIOMMU of this kind of IOMMU"),
                 {{"unit", unit.id.str()}});
  }
  const int most = unit.profile == v1::Unit::TEGRA241_CMDQV ? unit.vcmdqs_per_vintf : 0;
  if (vcmdqs > most) {
    return Error(
        Reason::kKernelFeatureMissing,
        absl::StrCat("unit ", unit.id.str(), ": ", vcmdqs, " queues wanted, a VINTF has ", most),
        {{"unit", unit.id.str()}});
  }
  return absl::OkStatus();
}

// Why something of a unit is not found. `gone` is the answer when it is really not there.
absl::Status WhyNotFound(const UnitId& unit, const DeviceLookup& lookup, const absl::Status& gone) {
  absl::Status known = lookup.CheckKnown(unit);
  if (known.ok()) return gone;
  if (ReasonOf(known) == Reason::kDeviceBusy) return known;
  return Error(Reason::kKernelGone, std::string(known.message()), {{"unit", unit.str()}});
}

}  // namespace

absl::Status CheckDesired(const agent::v1::DesiredGrant& desired, const GrantLimits& limits) {
  const auto bad = [](Reason reason, const char* field, std::string_view what) {
    return Error(reason, absl::StrCat(field, ": ", std::string(what)), {{"field", field}});
  };
  if (desired.assignment_uid().empty())
    return bad(Reason::kMissingField, "assignment_uid", "empty");
  if (desired.assignment_uid().size() > kMaxUid) {
    return bad(Reason::kTooLarge, "assignment_uid", "longer than 63 bytes");
  }
  if (desired.generation() < 1) return bad(Reason::kInvalidField, "generation", "less than 1");
  if (desired.intent() != v1::Assignment::PLACED && desired.intent() != v1::Assignment::RELEASING) {
    return bad(Reason::kInvalidField, "intent", "neither PLACED nor RELEASING");
  }
  if (desired.token_hash().size() != kSha256Size) {
    return bad(Reason::kInvalidField, "token_hash", "not 32 bytes");
  }
  if (desired.memory_limit_bytes() < 0)
    return bad(Reason::kInvalidField, "memory_limit_bytes", "negative");
  if (desired.units().empty()) return bad(Reason::kMissingField, "units", "empty");
  size_t devices = 0;
  std::set<std::string> seen;
  for (const v1::UnitPlacement& unit : desired.units()) {
    if (unit.devices().empty()) return bad(Reason::kMissingField, "units.devices", "empty");
    if (unit.vcmdqs() < 0) return bad(Reason::kInvalidField, "units.vcmdqs", "negative");
    if (!seen.insert("unit " + unit.unit()).second) {
      return bad(Reason::kInvalidField, "units.unit", "twice in one grant");
    }
    for (const v1::DevicePlacement& device : unit.devices()) {
      if (++devices > limits.devices_per_grant) {
        return bad(Reason::kTooLarge, "units.devices", "more than the limit of a grant");
      }
      if (!seen.insert("device " + device.device()).second) {
        return bad(Reason::kInvalidField, "units.devices.device", "twice in one grant");
      }
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<GrantPlan> MakePlan(const agent::v1::DesiredGrant& desired,
                                   const DeviceLookup& lookup) {
  BERTH_RETURN_IF_ERROR(CheckSupported(desired));
  GrantPlan plan;
  for (const v1::UnitPlacement& placement : desired.units()) {
    std::optional<GrantUnit> facts = lookup.FindUnit(UnitId(placement.unit()));
    if (!facts.has_value()) {
      return WhyNotFound(
          UnitId(placement.unit()), lookup,
          Error(Reason::kUnitUnknown, absl::StrCat("unit ", placement.unit(), " is not there"),
                {{"unit", placement.unit()}}));
    }
    BERTH_RETURN_IF_ERROR(CheckProfile(*facts, placement.vcmdqs(), desired.attach_mode()));
    GrantPlan::Unit unit;
    unit.vcmdqs = static_cast<uint32_t>(placement.vcmdqs());
    for (const v1::DevicePlacement& wanted : placement.devices()) {
      std::optional<GrantDevice> device = lookup.FindDevice(DeviceId(wanted.device()));
      if (!device.has_value() || device->unit != facts->id) {
        return WhyNotFound(facts->id, lookup,
                           Error(Reason::kDeviceGone,
                                 absl::StrCat("device ", wanted.device(), " is not behind unit ",
                                              placement.unit(), " any more"),
                                 {{"device", wanted.device()}, {"unit", placement.unit()}}));
      }
      unit.devices.push_back(plan.devices.size());
      plan.devices.push_back(*std::move(device));
    }
    if (facts->sids_per_vintf > 0 &&
        unit.devices.size() > static_cast<size_t>(facts->sids_per_vintf)) {
      return Error(Reason::kSidSlotsExhausted,
                   absl::StrCat("unit ", placement.unit(), ": ", unit.devices.size(),
                                " devices, a VINTF has ", facts->sids_per_vintf, " SID slots"),
                   {{"unit", placement.unit()}});
    }
    unit.facts = *std::move(facts);
    plan.units.push_back(std::move(unit));
  }
  return plan;
}

absl::StatusOr<std::vector<GrantDevice>> FindDevices(const agent::v1::DesiredGrant& desired,
                                                     const DeviceLookup& lookup) {
  std::vector<GrantDevice> found;
  for (const v1::UnitPlacement& unit : desired.units()) {
    for (const v1::DevicePlacement& wanted : unit.devices()) {
      std::optional<GrantDevice> device = lookup.FindDevice(DeviceId(wanted.device()));
      if (device.has_value()) {
        found.push_back(*std::move(device));
      } else {
        BERTH_RETURN_IF_ERROR(lookup.CheckKnown(UnitId(unit.unit())));
      }
    }
  }
  return found;
}

}  // namespace berth
