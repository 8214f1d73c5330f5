// SPDX-License-Identifier: Apache-2.0
#include "ctl/controller/book/validate.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "lib/base/status.h"
#include "lib/config/duration.h"

namespace berth {
namespace {

constexpr size_t kMaxLabels = 64;
constexpr size_t kMaxKey = 128;
constexpr size_t kMaxValue = 256;
constexpr size_t kMaxAnnotations = 64 * 1024;
constexpr int kMaxPriority = 1000;
constexpr absl::Duration kMinDeadline = absl::Seconds(1);

absl::string_view Abs(std::string_view text) { return {text.data(), text.size()}; }

absl::Status FieldError(Reason reason, std::string_view field, std::string_view what) {
  return Error(reason, absl::StrCat(Abs(field), ": ", Abs(what)), {{"field", std::string(field)}});
}

absl::Status RefuseUnsupported(const v1::AssignmentSpec& spec) {
  const auto unsupported = [](std::string_view field, std::string_view what) {
    return FieldError(Reason::kUnsupported, field, what);
  };
  if (spec.isolation() == v1::AssignmentSpec::CONFINED) {
    return unsupported("spec.isolation", "CONFINED is not offered by this version; use TRUSTED");
  }
  return absl::OkStatus();
}

absl::Status ValidateDeadlines(const v1::AssignmentSpec& spec) {
  const auto check = [](bool set, const google::protobuf::Duration& duration, const char* field) {
    const absl::Duration value = FromProtoDuration(duration);
    if (!set || (value >= kMinDeadline && value <= kMaxDeadline)) return absl::OkStatus();
    return FieldError(Reason::kInvalidField, field, "is not 1s to 8784h (366 days)");
  };
  BERTH_RETURN_IF_ERROR(
      check(spec.has_attach_timeout(), spec.attach_timeout(), "spec.attach_timeout"));
  return check(spec.has_lease_duration(), spec.lease_duration(), "spec.lease_duration");
}

absl::Status ValidateEnums(const v1::AssignmentSpec& spec) {
  using Spec = v1::AssignmentSpec;
  const struct {
    const char* field;
    bool valid;
  } enums[] = {{"spec.policy", Spec::Policy_IsValid(spec.policy())},
               {"spec.isolation", Spec::Isolation_IsValid(spec.isolation())},
               {"spec.attach_mode", Spec::AttachMode_IsValid(spec.attach_mode())},
               {"spec.when_unavailable", Spec::WhenUnavailable_IsValid(spec.when_unavailable())}};
  for (const auto& [field, valid] : enums) {
    if (!valid)
      return FieldError(Reason::kInvalidField, field,
                        "has a value that this version does not know");
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ValidateResourceId(std::string_view id, std::string_view field) {
  const auto inner = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
  };
  if (id.empty() || id.size() > 63 || !std::all_of(id.begin(), id.end(), inner) ||
      id.front() < 'a' || id.back() == '-') {
    return FieldError(
        Reason::kInvalidField, field,
        absl::StrCat("\"", Abs(id.substr(0, 80)),
                     "\" is not a name: 1-63 of [a-z0-9-], beginning with a letter and "
                     "not ending with -")
            .c_str());
  }
  return absl::OkStatus();
}

absl::Status ValidateLabels(const google::protobuf::Map<std::string, std::string>& labels,
                            std::string_view field) {
  if (labels.size() > kMaxLabels) {
    return FieldError(Reason::kTooLarge, field,
                      absl::StrCat("more than ", kMaxLabels, " entries").c_str());
  }
  for (const auto& [key, value] : labels) {
    if (key.empty() || key.size() > kMaxKey || value.size() > kMaxValue) {
      return FieldError(Reason::kInvalidField, field,
                        absl::StrCat("\"", key.substr(0, 80), "\": keys have 1-", kMaxKey,
                                     " bytes and values at most ", kMaxValue)
                            .c_str());
    }
  }
  return absl::OkStatus();
}

absl::Status ValidateSelector(const google::protobuf::Map<std::string, std::string>& selector) {
  constexpr size_t kMaxSelector = 16;
  if (selector.size() > kMaxSelector) {
    return FieldError(Reason::kTooLarge, "label_selector",
                      absl::StrCat("more than ", kMaxSelector, " entries").c_str());
  }
  return ValidateLabels(selector, "label_selector");
}

absl::Status ValidateAssignment(const v1::Assignment& assignment) {
  if (!assignment.has_spec()) {
    return FieldError(Reason::kMissingField, "spec", "is missing: it says what is asked for");
  }
  const v1::AssignmentSpec& spec = assignment.spec();
  if (spec.device_requests().empty()) {
    return FieldError(Reason::kMissingField, "spec.device_requests",
                      "is empty: ask for at least one device");
  }
  for (int i = 0; i < spec.device_requests_size(); ++i) {
    BERTH_RETURN_IF_ERROR(
        ValidateResourceId(spec.device_requests(i).name(),
                           absl::StrCat("spec.device_requests[", i, "].name").c_str()));
  }
  BERTH_RETURN_IF_ERROR(ValidateEnums(spec));
  BERTH_RETURN_IF_ERROR(RefuseUnsupported(spec));
  BERTH_RETURN_IF_ERROR(ValidateDeadlines(spec));
  if (spec.priority() < -kMaxPriority || spec.priority() > kMaxPriority) {
    return FieldError(Reason::kInvalidField, "spec.priority", "is not -1000 to 1000");
  }
  if (spec.memory_limit_bytes() < 0) {
    return FieldError(Reason::kInvalidField, "spec.memory_limit_bytes", "is negative");
  }
  if (spec.memory_limit_bytes() > 0 && spec.attach_mode() == v1::AssignmentSpec::HAND_OFF) {
    return FieldError(Reason::kInvalidField, "spec.memory_limit_bytes",
                      "cannot be held to with attach_mode HAND_OFF: the VMM maps its memory "
                      "itself, within its RLIMIT_MEMLOCK");
  }
  if (spec.has_huge_pages() &&
      (spec.huge_pages().page_size_bytes() <= 0 || spec.huge_pages().count() < 0)) {
    return FieldError(Reason::kInvalidField, "spec.huge_pages",
                      "needs a page_size_bytes above 0 and a count of 0 or more");
  }
  if (assignment.display_name().size() > kMaxValue) {
    return FieldError(Reason::kTooLarge, "display_name", "has more than 256 bytes");
  }
  BERTH_RETURN_IF_ERROR(ValidateLabels(assignment.labels(), "labels"));
  size_t annotations = 0;
  for (const auto& [key, value] : assignment.annotations())
    annotations += key.size() + value.size();
  if (annotations > kMaxAnnotations) {
    return FieldError(Reason::kTooLarge, "annotations", "have more than 64 KiB in all");
  }
  return absl::OkStatus();
}

}  // namespace berth
