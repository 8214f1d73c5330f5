// SPDX-License-Identifier: Apache-2.0
#include "lib/placement/request.h"

#include <algorithm>
#include <optional>
#include <string_view>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "lib/base/status.h"

namespace berth::placement {
namespace {

std::optional<int64_t> Number(const std::string& text) {
  int64_t number = 0;
  if (!absl::SimpleAtoi(text, &number)) return std::nullopt;
  return number;
}

bool Equals(const AttributeValue& value, const std::string& text) {
  if (const auto* string = std::get_if<std::string>(&value)) return *string == text;
  if (const auto* boolean = std::get_if<bool>(&value)) return text == (*boolean ? "true" : "false");
  return Number(text) == std::get<int64_t>(value);
}

bool IsIn(const AttributeValue& value, const std::vector<std::string>& texts) {
  return std::any_of(texts.begin(), texts.end(),
                     [&](const std::string& text) { return Equals(value, text); });
}

std::optional<int64_t> AsNumber(const AttributeValue& value) {
  if (const auto* number = std::get_if<int64_t>(&value)) return *number;
  if (const auto* text = std::get_if<std::string>(&value)) return Number(*text);
  return std::nullopt;
}

bool Tolerates(const Toleration& toleration, const Taint& taint) {
  const bool effect =
      toleration.effect == Toleration::Effect::kAny ||
      (toleration.effect == Toleration::Effect::kEvict) == (taint.effect == TaintEffect::kEvict);
  return effect && (toleration.key.empty() || toleration.key == taint.key) &&
         (toleration.value.empty() || toleration.value == taint.value);
}

absl::Status Bad(Reason reason, const std::string& field, std::string_view what) {
  return Error(reason, absl::StrCat(field, ": ", std::string(what)), {{"field", field}});
}

absl::Status AtMost(size_t size, size_t limit, const std::string& field) {
  if (size <= limit) return absl::OkStatus();
  return Bad(Reason::kInvalidField, field, absl::StrCat(size, " entries; at most ", limit));
}

absl::Status CheckText(const std::string& text, const std::string& field) {
  if (text.empty()) return Bad(Reason::kMissingField, field, "is empty");
  if (text.size() > kMaxText) return Bad(Reason::kInvalidField, field, "is too long");
  return absl::OkStatus();
}

absl::Status CheckRequirements(const std::vector<Requirement>& list, const std::string& field) {
  BERTH_RETURN_IF_ERROR(AtMost(list.size(), kMaxRequirements, field));
  for (size_t i = 0; i < list.size(); ++i) {
    const Requirement& requirement = list[i];
    const std::string at = absl::StrCat(field, "[", i, "]");
    BERTH_RETURN_IF_ERROR(CheckText(requirement.key, at + ".key"));
    const std::string values = at + ".values";
    BERTH_RETURN_IF_ERROR(AtMost(requirement.values.size(), kMaxValues, values));
    switch (requirement.op) {
      case Operator::kIn:
      case Operator::kNotIn:
        if (requirement.values.empty()) return Bad(Reason::kMissingField, values, "is empty");
        break;
      case Operator::kExists:
      case Operator::kDoesNotExist:
        BERTH_RETURN_IF_ERROR(AtMost(requirement.values.size(), 0, values));
        break;
      case Operator::kGt:
      case Operator::kLt:
        if (requirement.values.size() != 1 || !Number(requirement.values[0]).has_value()) {
          return Bad(Reason::kInvalidField, values, "must be one whole number");
        }
        break;
    }
  }
  return absl::OkStatus();
}

absl::Status CheckSpec(const DeviceSpec& spec, const std::string& field) {
  BERTH_RETURN_IF_ERROR(CheckText(spec.device_class, field + ".class"));
  if (spec.count < 1 || spec.count > kMaxDeviceCount) {
    return Bad(Reason::kInvalidField, field + ".count",
               absl::StrCat(spec.count, "; 1 to ", kMaxDeviceCount));
  }
  return CheckRequirements(spec.requirements, field + ".requirements");
}

absl::Status CheckDevices(const Request& request) {
  if (request.devices.empty()) return Bad(Reason::kMissingField, "devices", "is empty");
  BERTH_RETURN_IF_ERROR(AtMost(request.devices.size(), kMaxDeviceRequests, "devices"));
  absl::flat_hash_set<std::string> names;
  for (size_t i = 0; i < request.devices.size(); ++i) {
    const DeviceRequest& device = request.devices[i];
    const std::string at = absl::StrCat("devices[", i, "]");
    BERTH_RETURN_IF_ERROR(CheckText(device.name, at + ".name"));
    if (!names.insert(device.name).second) {
      return Bad(Reason::kInvalidField, at + ".name", "is there twice");
    }
    if (device.alternatives.empty()) return Bad(Reason::kMissingField, at, "asks for nothing");
    BERTH_RETURN_IF_ERROR(
        AtMost(device.alternatives.size(), kMaxAlternatives, at + ".alternatives"));
    for (const DeviceSpec& spec : device.alternatives) BERTH_RETURN_IF_ERROR(CheckSpec(spec, at));
  }
  return absl::OkStatus();
}

absl::Status CheckConstraints(const Request& request) {
  BERTH_RETURN_IF_ERROR(AtMost(request.constraints.size(), kMaxConstraints, "constraints"));
  for (size_t i = 0; i < request.constraints.size(); ++i) {
    const Constraint& constraint = request.constraints[i];
    const std::string at = absl::StrCat("constraints[", i, "]");
    for (const std::string& name : constraint.requests) {
      if (std::none_of(request.devices.begin(), request.devices.end(),
                       [&](const DeviceRequest& device) { return device.name == name; })) {
        return Bad(Reason::kInvalidField, at + ".requests", "names a request that is not there");
      }
    }
    BERTH_RETURN_IF_ERROR(AtMost(constraint.requests.size(), kMaxDeviceRequests, at + ".requests"));
    if (constraint.kind == Constraint::Kind::kSameAttribute) {
      BERTH_RETURN_IF_ERROR(CheckText(constraint.attribute, at + ".attribute"));
    }
  }
  return absl::OkStatus();
}

}  // namespace

bool Meets(const Requirement& requirement, const AttributeValue* value) {
  switch (requirement.op) {
    case Operator::kIn:
      return value != nullptr && IsIn(*value, requirement.values);
    case Operator::kNotIn:
      return value == nullptr || !IsIn(*value, requirement.values);
    case Operator::kExists:
      return value != nullptr;
    case Operator::kDoesNotExist:
      return value == nullptr;
    case Operator::kGt:
    case Operator::kLt: {
      if (value == nullptr || requirement.values.empty()) return false;
      const std::optional<int64_t> have = AsNumber(*value);
      const std::optional<int64_t> bound = Number(requirement.values[0]);
      if (!have.has_value() || !bound.has_value()) return false;
      return requirement.op == Operator::kGt ? *have > *bound : *have < *bound;
    }
  }
  return false;
}

bool Meets(const std::vector<Requirement>& requirements, const AttributeMap& attributes) {
  return std::all_of(requirements.begin(), requirements.end(), [&](const Requirement& requirement) {
    const auto it = attributes.find(requirement.key);
    return Meets(requirement, it == attributes.end() ? nullptr : &it->second);
  });
}

bool Meets(const std::vector<Requirement>& requirements,
           const std::map<std::string, std::string>& labels) {
  return std::all_of(requirements.begin(), requirements.end(), [&](const Requirement& requirement) {
    const auto it = labels.find(requirement.key);
    if (it == labels.end()) return Meets(requirement, nullptr);
    const std::vector<std::string>& values = requirement.values;
    if (requirement.op == Operator::kIn) {  // without a copy: the usual one
      return std::find(values.begin(), values.end(), it->second) != values.end();
    }
    const AttributeValue value = it->second;
    return Meets(requirement, &value);
  });
}

bool Tolerates(const std::vector<Toleration>& tolerations, const std::vector<Taint>& taints) {
  return std::all_of(taints.begin(), taints.end(), [&](const Taint& taint) {
    return std::any_of(tolerations.begin(), tolerations.end(),
                       [&](const Toleration& toleration) { return Tolerates(toleration, taint); });
  });
}

absl::Status ValidateRequest(const Request& request) {
  BERTH_RETURN_IF_ERROR(CheckDevices(request));
  BERTH_RETURN_IF_ERROR(CheckConstraints(request));
  BERTH_RETURN_IF_ERROR(CheckRequirements(request.host_selector, "host_selector"));
  BERTH_RETURN_IF_ERROR(AtMost(request.tolerations.size(), kMaxTolerations, "tolerations"));
  BERTH_RETURN_IF_ERROR(AtMost(request.huge_pages.size(), kMaxHugePageSizes, "huge_pages"));
  BERTH_RETURN_IF_ERROR(AtMost(request.anti_affinity.size(), kMaxAntiAffinity, "anti_affinity"));
  for (size_t i = 0; i < request.anti_affinity.size(); ++i) {
    const AntiAffinity& term = request.anti_affinity[i];
    const std::string at = absl::StrCat("anti_affinity[", i, "]");
    BERTH_RETURN_IF_ERROR(CheckText(term.group, at + ".group"));
    if (term.label.size() > kMaxText) {
      return Bad(Reason::kInvalidField, at + ".label", "is too long");
    }
  }
  for (const HugePages& pages : request.huge_pages) {
    if (pages.page_size <= 0 || pages.count < 0) {
      return Bad(Reason::kInvalidField, "huge_pages", "a size or count is negative or zero");
    }
  }
  return absl::OkStatus();
}

}  // namespace berth::placement
