// SPDX-License-Identifier: Apache-2.0
#include "ctl/controller/book/convert.h"

#include <algorithm>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "lib/base/absl_view.h"
#include "lib/base/status.h"
#include "lib/config/timestamp.h"

namespace berth {
namespace {

constexpr std::string_view kHosts = "hosts/";
constexpr std::string_view kAssignments = "assignments/";

std::string StripPrefix(const std::string& name, std::string_view prefix) {
  return name.rfind(prefix, 0) == 0 ? name.substr(prefix.size()) : "";
}

absl::Status Invalid(const std::string& field, std::string_view what) {
  return Error(Reason::kInvalidField, absl::StrCat("spec.", field, ": ", std::string(what)),
               {{"field", absl::StrCat("spec.", field)}});
}

using Requirements = google::protobuf::RepeatedPtrField<v1::Requirement>;

absl::StatusOr<std::vector<placement::Requirement>> ToRequirements(const Requirements& from,
                                                                   const std::string& field) {
  std::vector<placement::Requirement> to;
  for (int i = 0; i < from.size(); ++i) {
    placement::Requirement requirement;
    requirement.key = from[i].key();
    requirement.values.assign(from[i].values().begin(), from[i].values().end());
    switch (from[i].operator_()) {
      case v1::Requirement::IN:
        requirement.op = placement::Operator::kIn;
        break;
      case v1::Requirement::NOT_IN:
        requirement.op = placement::Operator::kNotIn;
        break;
      case v1::Requirement::EXISTS:
        requirement.op = placement::Operator::kExists;
        break;
      case v1::Requirement::DOES_NOT_EXIST:
        requirement.op = placement::Operator::kDoesNotExist;
        break;
      case v1::Requirement::GT:
        requirement.op = placement::Operator::kGt;
        break;
      case v1::Requirement::LT:
        requirement.op = placement::Operator::kLt;
        break;
      default:
        return Invalid(absl::StrCat(field, "[", i, "].operator"),
                       "is missing or unknown; use IN, NOT_IN, EXISTS, DOES_NOT_EXIST, GT or LT");
    }
    to.push_back(std::move(requirement));
  }
  return to;
}

absl::StatusOr<placement::QueueRequest> ToQueues(const v1::QueueRequest& from,
                                                 const std::string& field) {
  placement::QueueRequest to;
  switch (from.need()) {
    case v1::QueueRequest::NEED_UNSPECIFIED:
    case v1::QueueRequest::PREFERRED:
      to.need = placement::QueueNeed::kPreferred;
      break;
    case v1::QueueRequest::REQUIRED:
      to.need = placement::QueueNeed::kRequired;
      break;
    case v1::QueueRequest::NONE:
      to.need = placement::QueueNeed::kNone;
      break;
    default:
      return Invalid(absl::StrCat(field, ".need"), "is unknown; use PREFERRED, REQUIRED or NONE");
  }
  if (from.count() < 0 || from.count() > 128)
    return Invalid(absl::StrCat(field, ".count"), "is not 0 to 128");
  to.count = static_cast<uint32_t>(from.count());
  return to;
}

// DeviceRequest and DeviceAlternative have these fields in common.
template <typename From>
absl::StatusOr<placement::DeviceSpec> ToDeviceSpec(const From& from, const std::string& field) {
  placement::DeviceSpec to;
  to.device_class = from.class_();
  if (to.device_class.empty()) {
    return Error(
        Reason::kMissingField,
        absl::StrCat("spec.", field, ".class: is missing; name the class of device, e.g. gpu"),
        {{"field", absl::StrCat("spec.", field, ".class")}});
  }
  if (from.count() < 0 || from.count() > static_cast<int>(placement::kMaxDeviceCount)) {
    return Invalid(absl::StrCat(field, ".count"),
                   absl::StrCat("is not 1 to ", placement::kMaxDeviceCount).c_str());
  }
  to.count = from.count() == 0 ? 1 : static_cast<uint32_t>(from.count());
  BERTH_ASSIGN_OR_RETURN(to.requirements,
                         ToRequirements(from.requirements(), absl::StrCat(field, ".requirements")));
  BERTH_ASSIGN_OR_RETURN(to.queues, ToQueues(from.queues(), absl::StrCat(field, ".queues")));
  return to;
}

absl::StatusOr<placement::DeviceRequest> ToDeviceRequest(const v1::DeviceRequest& from,
                                                         const std::string& field) {
  placement::DeviceRequest to;
  to.name = from.name();
  if (from.alternatives().empty()) {
    BERTH_ASSIGN_OR_RETURN(placement::DeviceSpec spec, ToDeviceSpec(from, field));
    to.alternatives.push_back(std::move(spec));
    return to;
  }
  if (!from.class_().empty() || from.count() != 0 || !from.requirements().empty() ||
      from.has_queues()) {
    return Invalid(field,
                   "has alternatives, so class, count, requirements and queues belong into them");
  }
  for (int i = 0; i < from.alternatives_size(); ++i) {
    BERTH_ASSIGN_OR_RETURN(
        placement::DeviceSpec spec,
        ToDeviceSpec(from.alternatives(i), absl::StrCat(field, ".alternatives[", i, "]")));
    to.alternatives.push_back(std::move(spec));
  }
  return to;
}

absl::StatusOr<placement::Constraint> ToConstraint(const v1::PlacementConstraint& from,
                                                   const std::string& field) {
  placement::Constraint to;
  to.requests.assign(from.requests().begin(), from.requests().end());
  using Kind = placement::Constraint::Kind;
  switch (from.kind_case()) {
    case v1::PlacementConstraint::kSameUnit:
      to.kind = Kind::kSameUnit;
      break;
    case v1::PlacementConstraint::kSameNumaNode:
      to.kind = Kind::kSameNumaNode;
      break;
    case v1::PlacementConstraint::kSameAttribute:
      to.kind = Kind::kSameAttribute;
      to.attribute = from.same_attribute().key();
      break;
    case v1::PlacementConstraint::kDistinctUnits:
      to.kind = Kind::kDistinctUnits;
      break;
    case v1::PlacementConstraint::KIND_NOT_SET:
      return Invalid(
          field, "has no kind; use same_unit, same_numa_node, same_attribute or distinct_units");
  }
  return to;
}

absl::StatusOr<placement::Toleration> ToToleration(const v1::Toleration& from,
                                                   const std::string& field) {
  using Effect = placement::Toleration::Effect;
  placement::Toleration to{.key = from.key(), .value = from.value(), .effect = Effect::kAny};
  switch (from.effect()) {
    case v1::Taint::EFFECT_UNSPECIFIED:
      return to;
    case v1::Taint::NO_NEW:
      to.effect = Effect::kNoNew;
      return to;
    case v1::Taint::EVICT:
      to.effect = Effect::kEvict;
      return to;
    default:
      return Invalid(absl::StrCat(field, ".effect"), "is unknown; use NO_NEW or EVICT");
  }
}

// The engine calls the device requests of a spec devices.
absl::Status InSpec(const absl::Status& status) {
  if (status.ok()) return status;
  constexpr char kEngine[] = "devices";
  const auto translate = [&kEngine](const std::string& text) {
    const bool device = text.rfind(kEngine, 0) == 0;
    return absl::StrCat("spec.", device ? "device_requests" : "",
                        device ? text.substr(sizeof(kEngine) - 1) : text);
  };
  ErrorMetadata metadata = MetadataOf(status);
  if (const auto field = metadata.find("field"); field != metadata.end()) {
    field->second = translate(field->second);
  }
  return Error(ReasonOf(status), translate(std::string(StdView(status.message()))), metadata);
}

}  // namespace

placement::Taint ToTaint(const v1::Taint& from) {
  return {.key = from.key(),
          .value = from.value(),
          .effect = from.effect() == v1::Taint::EVICT ? placement::TaintEffect::kEvict
                                                      : placement::TaintEffect::kNoNew};
}

namespace {

UnitProfile ToProfile(v1::Unit::Profile profile) {
  switch (profile) {
    case v1::Unit::TEGRA241_CMDQV:
      return UnitProfile::kTegra241Cmdqv;
    case v1::Unit::ARM_SMMUV3:
      return UnitProfile::kArmSmmuV3;
    case v1::Unit::AMD_IOMMU:
      return UnitProfile::kAmdIommu;
    default:
      return UnitProfile::kVtd;
  }
}

// A number that an agent sent; a negative one becomes one that validation refuses.
uint32_t Number(int64_t value) {
  return value < 0 || value > UINT32_MAX ? UINT32_MAX : static_cast<uint32_t>(value);
}

placement::UnitSnapshot ToUnit(const v1::Unit& from) {
  placement::UnitSnapshot to;
  to.id = UnitId(from.id());
  to.capacity.profile = ToProfile(from.profile());
  to.capacity.source = from.vintf_source() == v1::Unit::CONFIGURED ? VintfSource::kConfigured
                       : from.vintf_source() == v1::Unit::OBSERVED ? VintfSource::kObserved
                                                                   : VintfSource::kDefault;
  to.capacity.vintfs = Number(from.vintfs());
  to.capacity.vcmdqs_per_vintf = Number(from.vcmdqs_per_vintf());
  to.capacity.sids_per_vintf = Number(from.sids_per_vintf());
  to.capacity.max_queue_log2 = Number(from.max_queue_log2());
  for (const v1::Taint& taint : from.taints()) to.taints.push_back(ToTaint(taint));
  return to;
}

placement::AttributeValue ToAttribute(const v1::AttributeValue& from) {
  switch (from.kind_case()) {
    case v1::AttributeValue::kIntValue:
      return from.int_value();
    case v1::AttributeValue::kBoolValue:
      return from.bool_value();
    default:
      return from.string_value();
  }
}

placement::DeviceSnapshot ToDevice(const v1::Device& from) {
  placement::DeviceSnapshot to;
  to.id = DeviceId(from.id());
  to.device_class = from.class_();
  to.vendor_id = from.vendor_id();
  to.device_id = from.device_id();
  to.numa_node = from.numa_node();
  to.unit = UnitId(from.unit());
  to.iommu_group = from.iommu_group();
  to.assignability = from.assignable() ? placement::Assignability::kAssignable
                                       : placement::Assignability::kNotAssignable;
  for (const auto& [key, value] : from.attributes()) to.attributes[key] = ToAttribute(value);
  return to;
}

}  // namespace

std::string HostName(const std::string& host_id) { return absl::StrCat("hosts/", host_id); }
std::string HostIdOf(const std::string& name) { return StripPrefix(name, kHosts); }
std::string AssignmentName(const std::string& assignment_id) {
  return absl::StrCat("assignments/", assignment_id);
}
std::string AssignmentIdOf(const std::string& name) { return StripPrefix(name, kAssignments); }

absl::StatusOr<placement::Request> ToPlacementRequest(const v1::AssignmentSpec& spec,
                                                      uint64_t seed) {
  placement::Request request;
  request.seed = seed;
  for (int i = 0; i < spec.device_requests_size(); ++i) {
    BERTH_ASSIGN_OR_RETURN(
        placement::DeviceRequest device,
        ToDeviceRequest(spec.device_requests(i), absl::StrCat("device_requests[", i, "]")));
    request.devices.push_back(std::move(device));
  }
  for (int i = 0; i < spec.constraints_size(); ++i) {
    BERTH_ASSIGN_OR_RETURN(placement::Constraint constraint,
                           ToConstraint(spec.constraints(i), absl::StrCat("constraints[", i, "]")));
    request.constraints.push_back(std::move(constraint));
  }
  BERTH_ASSIGN_OR_RETURN(request.host_selector,
                         ToRequirements(spec.host_selector(), "host_selector"));
  for (int i = 0; i < spec.tolerations_size(); ++i) {
    BERTH_ASSIGN_OR_RETURN(placement::Toleration toleration,
                           ToToleration(spec.tolerations(i), absl::StrCat("tolerations[", i, "]")));
    request.tolerations.push_back(std::move(toleration));
  }
  if (spec.has_huge_pages()) {
    request.huge_pages.push_back(
        {.page_size = spec.huge_pages().page_size_bytes(), .count = spec.huge_pages().count()});
  }
  for (const v1::AntiAffinity& term : spec.anti_affinity()) {
    request.anti_affinity.push_back({.group = term.group(), .label = term.label()});
  }
  request.policy = spec.policy() == v1::AssignmentSpec::SPREAD ? placement::Policy::kSpread
                                                               : placement::Policy::kPack;
  BERTH_RETURN_IF_ERROR(InSpec(placement::ValidateRequest(request)));
  return request;
}

v1::Failure ToFailure(const absl::Status& status, absl::Time now) {
  v1::Failure failure;
  const absl::string_view message = status.message();
  failure.set_reason(std::string(ReasonName(ReasonOf(status))));
  failure.set_message(std::string(message));
  for (const auto& [key, value] : MetadataOf(status)) (*failure.mutable_metadata())[key] = value;
  *failure.mutable_time() = ToTimestamp(now);
  return failure;
}

absl::StatusOr<std::vector<placement::GangConstraint>> ToGangConstraints(
    const google::protobuf::RepeatedPtrField<v1::GangConstraint>& from_constraints) {
  using Kind = placement::GangConstraint::Kind;
  const auto invalid = [](int index, std::string_view what) {
    const std::string field = absl::StrCat("constraints[", index, "]");
    return Error(Reason::kInvalidField, absl::StrCat(field, ": ", std::string(what)),
                 {{"field", field}});
  };
  std::vector<placement::GangConstraint> constraints;
  for (int i = 0; i < from_constraints.size(); ++i) {
    const v1::GangConstraint& from = from_constraints[i];
    placement::GangConstraint& to = constraints.emplace_back();
    for (const int32_t member : from.members()) {
      if (member < 0) return invalid(i, "members begin at 0");
      to.members.push_back(static_cast<size_t>(member));
    }
    switch (from.kind_case()) {
      case v1::GangConstraint::kSameHost:
        to.kind = Kind::kSameHost;
        break;
      case v1::GangConstraint::kDistinctHosts:
        to.kind = Kind::kDistinctHosts;
        break;
      case v1::GangConstraint::kSameLabel:
        to.kind = Kind::kSameLabel;
        to.label = from.same_label().key();
        break;
      case v1::GangConstraint::KIND_NOT_SET:
        return invalid(i, "has no kind; use same_host, distinct_hosts or same_label");
    }
  }
  return constraints;
}

bool Tolerates(const v1::AssignmentSpec& spec, const v1::Taint& taint) {
  std::vector<placement::Toleration> tolerations;
  for (const v1::Toleration& from : spec.tolerations()) {
    if (auto toleration = ToToleration(from, ""); toleration.ok()) {
      tolerations.push_back(*std::move(toleration));
    }
  }
  return placement::Tolerates(tolerations, {ToTaint(taint)});
}

std::map<std::string, std::string> EffectiveLabels(const internal::v1::HostRecord& record) {
  std::map<std::string, std::string> labels(record.labels().begin(), record.labels().end());
  labels.insert(record.inventory().labels().begin(), record.inventory().labels().end());
  return labels;
}

placement::HostSnapshot ToSnapshot(const std::string& host_id,
                                   const internal::v1::HostRecord& record) {
  placement::HostSnapshot snapshot;
  snapshot.id = HostId(host_id);
  snapshot.labels = EffectiveLabels(record);
  for (const v1::Taint& taint : record.taints()) snapshot.taints.push_back(ToTaint(taint));
  for (const v1::HugePages& pages : record.inventory().huge_pages()) {
    snapshot.huge_pages.push_back({.page_size = pages.page_size_bytes(), .count = pages.free()});
  }
  for (const v1::Unit& unit : record.inventory().units()) snapshot.units.push_back(ToUnit(unit));
  for (const v1::Device& device : record.inventory().devices()) {
    // A device without a unit cannot be placed, and keeps its group from being placed: the agent
    // has marked its group mates already.
    if (!device.unit().empty()) snapshot.devices.push_back(ToDevice(device));
  }
  return snapshot;
}

v1::Placement ToProto(const placement::Placement& placement,
                      const agent::v1::Inventory& inventory) {
  v1::Placement to;
  to.set_host(HostName(placement.host.str()));
  to.set_attach_endpoint(inventory.attach_endpoint());
  for (const placement::PlacedUnit& unit : placement.units) {
    v1::UnitPlacement* unit_to = to.add_units();
    unit_to->set_unit(unit.unit.str());
    unit_to->set_vcmdqs(static_cast<int32_t>(unit.claim.vcmdqs));
    const auto found = std::find_if(inventory.units().begin(), inventory.units().end(),
                                    [&](const v1::Unit& u) { return u.id() == unit.unit.str(); });
    if (found != inventory.units().end()) unit_to->set_profile(found->profile());
    for (const placement::PlacedDevice& device : placement.devices) {
      if (device.unit != unit.unit) continue;
      v1::DevicePlacement* device_to = unit_to->add_devices();
      device_to->set_device(device.device.str());
      device_to->set_request(device.request);
      const auto known =
          std::find_if(inventory.devices().begin(), inventory.devices().end(),
                       [&](const v1::Device& d) { return d.id() == device.device.str(); });
      if (known == inventory.devices().end()) continue;
      device_to->set_address(known->address());
      device_to->set_class_(known->class_());
    }
  }
  return to;
}

placement::Placement FromProto(const v1::Placement& placement, const v1::AssignmentSpec& spec) {
  placement::Placement to;
  to.host = HostId(HostIdOf(placement.host()));
  for (const v1::UnitPlacement& unit : placement.units()) {
    to.units.push_back({.unit = UnitId(unit.unit()),
                        .claim = {.vcmdqs = Number(unit.vcmdqs()),
                                  .sid_slots = static_cast<uint32_t>(unit.devices_size())}});
    for (const v1::DevicePlacement& device : unit.devices()) {
      to.devices.push_back({.device = DeviceId(device.device()),
                            .unit = UnitId(unit.unit()),
                            .request = device.request()});
    }
  }
  for (const v1::AntiAffinity& term : spec.anti_affinity()) {
    to.anti_affinity.push_back({.group = term.group(), .label = term.label()});
  }
  if (spec.has_huge_pages() && spec.huge_pages().count() > 0) {
    to.huge_pages.push_back(
        {.page_size = spec.huge_pages().page_size_bytes(), .count = spec.huge_pages().count()});
  }
  return to;
}

}  // namespace berth
