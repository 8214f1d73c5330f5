// SPDX-License-Identifier: Apache-2.0
#include "ctl/controller/book/validate.h"

#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "ctl/controller/book/convert.h"
#include "lib/base/status.h"

namespace berth {
namespace {

using v1::Assignment;
using v1::AssignmentSpec;
using v1::QueueRequest;
using v1::Requirement;

Assignment Good() {
  Assignment assignment;
  v1::DeviceRequest* gpu = assignment.mutable_spec()->add_device_requests();
  gpu->set_name("gpu");
  gpu->set_class_("gpu");
  return assignment;
}

absl::Status Check(const Assignment& assignment) {
  BERTH_RETURN_IF_ERROR(ValidateAssignment(assignment));
  return ToPlacementRequest(assignment.spec(), 0).status();
}

struct Case {
  const char* field;  // that the error names
  Reason reason;
  std::function<void(Assignment*)> spoil;
};

// What can be wrong in an assignment, field by field.
constexpr int kUnknown = 99;
constexpr Reason kInvalid = Reason::kInvalidField;
constexpr Reason kMissing = Reason::kMissingField;
constexpr Reason kLarge = Reason::kTooLarge;

std::function<void(Assignment*)> Spec(const std::function<void(AssignmentSpec*)>& spoil) {
  return [spoil](Assignment* a) { spoil(a->mutable_spec()); };
}

std::function<void(Assignment*)> Device(const std::function<void(v1::DeviceRequest*)>& spoil) {
  return [spoil](Assignment* a) { spoil(a->mutable_spec()->mutable_device_requests(0)); };
}

std::function<void(Assignment*)> Constraint(
    const std::function<void(v1::PlacementConstraint*)>& spoil) {
  return [spoil](Assignment* a) { spoil(a->mutable_spec()->add_constraints()); };
}

std::vector<Case> DeviceRequestCases() {
  return {
      {"spec.device_requests[0].name", kInvalid, Device([](auto* d) { d->clear_name(); })},
      {"spec.device_requests[0].name", kInvalid, Device([](auto* d) { d->set_name("GPU"); })},
      {"spec.device_requests[1].name", kInvalid,
       Spec([](auto* s) { *s->add_device_requests() = s->device_requests(0); })},
      {"spec.device_requests[0].class", kMissing, Device([](auto* d) { d->clear_class_(); })},
      {"spec.device_requests[0].class", kInvalid,
       Device([](auto* d) { d->set_class_(std::string(257, 'x')); })},
      {"spec.device_requests[0].count", kInvalid, Device([](auto* d) { d->set_count(-1); })},
      {"spec.device_requests[0].count", kInvalid, Device([](auto* d) { d->set_count(129); })},
      {"spec.device_requests[0].queues.need", kInvalid, Device([](auto* d) {
         d->mutable_queues()->set_need(static_cast<QueueRequest::Need>(kUnknown));
       })},
      {"spec.device_requests[0].queues.count", kInvalid,
       Device([](auto* d) { d->mutable_queues()->set_count(-1); })},
      {"spec.device_requests[0].requirements[0].operator", kInvalid,
       Device([](auto* d) { d->add_requirements()->set_key("memory"); })},
      {"spec.device_requests[0].requirements[0].key", kMissing,
       Device([](auto* d) { d->add_requirements()->set_operator_(Requirement::EXISTS); })},
      {"spec.device_requests[0].requirements[0].values", kMissing, Device([](auto* d) {
         d->add_requirements()->set_key("memory");
         d->mutable_requirements(0)->set_operator_(Requirement::IN);
       })},
      {"spec.device_requests[0].requirements[0].values", kInvalid, Device([](auto* d) {
         d->add_requirements()->set_key("memory");
         d->mutable_requirements(0)->set_operator_(Requirement::GT);
         d->mutable_requirements(0)->add_values("much");
       })},
      {"spec.device_requests[0]", kInvalid,
       Device([](auto* d) { d->add_alternatives()->set_class_("nic"); })},
      {"spec.device_requests[0].alternatives[0].class", kMissing, Device([](auto* d) {
         d->clear_class_();
         d->add_alternatives();
       })},
      {"spec.device_requests[0].alternatives", kInvalid, Device([](auto* d) {
         d->clear_class_();
         for (int i = 0; i < 9; ++i) d->add_alternatives()->set_class_("nic");
       })},
  };
}

std::vector<Case> SpecCases() {
  return {
      {"spec", kMissing, [](Assignment* a) { a->clear_spec(); }},
      {"spec.device_requests", kMissing, Spec([](auto* s) { s->clear_device_requests(); })},
      {"spec.device_requests", kInvalid, Spec([](auto* s) {
         for (int i = 0; i < 16; ++i) {
           *s->add_device_requests() = s->device_requests(0);
           s->mutable_device_requests(i + 1)->set_name(absl::StrCat("gpu", i));
         }
       })},
      {"spec.constraints[0]", kInvalid, Constraint([](auto*) {})},
      {"spec.constraints[0].requests", kInvalid, Constraint([](auto* c) {
         c->mutable_same_unit();
         c->add_requests("none");
       })},
      {"spec.constraints[0].attribute", kMissing,
       Constraint([](auto* c) { c->mutable_same_attribute(); })},
      {"spec.host_selector[0].operator", kInvalid,
       Spec([](auto* s) { s->add_host_selector()->set_key("rack"); })},
      {"spec.tolerations[0].effect", kInvalid, Spec([](auto* s) {
         s->add_tolerations()->set_effect(static_cast<v1::Taint::Effect>(kUnknown));
       })},
      {"spec.tolerations", kInvalid, Spec([](auto* s) {
         for (int i = 0; i < 17; ++i) s->add_tolerations();
       })},
      {"spec.policy", kInvalid,
       Spec([](auto* s) { s->set_policy(static_cast<AssignmentSpec::Policy>(kUnknown)); })},
      {"spec.isolation", kInvalid,
       Spec([](auto* s) { s->set_isolation(static_cast<AssignmentSpec::Isolation>(kUnknown)); })},
      {"spec.attach_mode", kInvalid, Spec([](auto* s) {
         s->set_attach_mode(static_cast<AssignmentSpec::AttachMode>(kUnknown));
       })},
      {"spec.when_unavailable", kInvalid, Spec([](auto* s) {
         s->set_when_unavailable(static_cast<AssignmentSpec::WhenUnavailable>(kUnknown));
       })},
      {"spec.isolation", Reason::kUnsupported,
       Spec([](auto* s) { s->set_isolation(AssignmentSpec::CONFINED); })},
      {"spec.isolation", Reason::kUnsupported, Spec([](auto* s) {
         s->set_isolation(AssignmentSpec::CONFINED);
         s->set_attach_mode(AssignmentSpec::HAND_OFF);
       })},
      {"spec.memory_limit_bytes", kInvalid, Spec([](auto* s) {
         s->set_memory_limit_bytes(1 << 20);
         s->set_attach_mode(AssignmentSpec::HAND_OFF);
       })},
      {"spec.priority", kInvalid, Spec([](auto* s) { s->set_priority(1001); })},
      {"spec.priority", kInvalid, Spec([](auto* s) { s->set_priority(-1001); })},
      {"spec.memory_limit_bytes", kInvalid, Spec([](auto* s) { s->set_memory_limit_bytes(-1); })},
      {"spec.huge_pages", kInvalid, Spec([](auto* s) { s->mutable_huge_pages()->set_count(1); })},
      {"spec.huge_pages", kInvalid, Spec([](auto* s) {
         s->mutable_huge_pages()->set_page_size_bytes(1 << 21);
         s->mutable_huge_pages()->set_count(-1);
       })},
  };
}

std::vector<Case> DeadlineCases() {
  return {
      {"spec.attach_timeout", kInvalid, Spec([](auto* s) { s->mutable_attach_timeout(); })},
      {"spec.attach_timeout", kInvalid,
       Spec([](auto* s) { s->mutable_attach_timeout()->set_seconds(367L * 24 * 3600); })},
      {"spec.lease_duration", kInvalid,
       Spec([](auto* s) { s->mutable_lease_duration()->set_nanos(999'999'999); })},
      {"spec.lease_duration", kInvalid,
       Spec([](auto* s) { s->mutable_lease_duration()->set_seconds(-60); })},
  };
}

std::vector<Case> ResourceCases() {
  return {
      {"display_name", kLarge, [](Assignment* a) { a->set_display_name(std::string(257, 'x')); }},
      {"labels", kInvalid, [](Assignment* a) { (*a->mutable_labels())[""] = "x"; }},
      {"labels", kInvalid,
       [](Assignment* a) { (*a->mutable_labels())["k"] = std::string(257, 'x'); }},
      {"labels", kLarge,
       [](Assignment* a) {
         for (int i = 0; i < 65; ++i) (*a->mutable_labels())[absl::StrCat(i)] = "x";
       }},
      {"annotations", kLarge,
       [](Assignment* a) { (*a->mutable_annotations())["k"] = std::string(65'536, 'x'); }},
  };
}

TEST(ValidateAssignmentTest, AcceptsWhatIsGood) { EXPECT_TRUE(Check(Good()).ok()); }

TEST(ValidateAssignmentTest, NamesTheFieldThatIsWrong) {
  std::vector<Case> cases = SpecCases();
  for (const auto& more : {DeviceRequestCases(), DeadlineCases(), ResourceCases()}) {
    cases.insert(cases.end(), more.begin(), more.end());
  }
  for (const Case& wrong : cases) {
    Assignment assignment = Good();
    wrong.spoil(&assignment);
    const absl::Status status = Check(assignment);
    EXPECT_EQ(ReasonOf(status), wrong.reason) << wrong.field << ": " << status;
    EXPECT_EQ(MetadataOf(status)["field"], wrong.field) << status;
    EXPECT_EQ(std::string(status.message()).rfind(wrong.field, 0), 0U) << status;
  }
}

TEST(ValidateResourceIdTest, KnowsANameFromOther) {
  for (const char* id : {"a", "vm-1", "a0"}) EXPECT_TRUE(ValidateResourceId(id, "f").ok()) << id;
  EXPECT_TRUE(ValidateResourceId(std::string(63, 'a'), "f").ok());
  for (const char* id : {"", "0a", "-a", "a-", "A", "a_b", "a/b", "a b", "\xc3\xa9"}) {
    EXPECT_EQ(ReasonOf(ValidateResourceId(id, "f")), Reason::kInvalidField) << id;
  }
  EXPECT_FALSE(ValidateResourceId(std::string(64, 'a'), "f").ok());
}

TEST(ValidateSelectorTest, HasAtMostSixteenEntries) {
  v1::Assignment holder;
  auto* selector = holder.mutable_labels();
  for (int i = 0; i < 16; ++i) (*selector)[absl::StrCat(i)] = "x";
  EXPECT_TRUE(ValidateSelector(*selector).ok());
  (*selector)["one-more"] = "x";
  EXPECT_EQ(ReasonOf(ValidateSelector(*selector)), Reason::kTooLarge);
}

}  // namespace
}  // namespace berth
