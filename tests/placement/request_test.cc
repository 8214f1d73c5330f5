// SPDX-License-Identifier: Apache-2.0
#include "lib/placement/request.h"

#include <gtest/gtest.h>

#include <string>

#include "lib/base/status.h"
#include "tests/placement/fleet_builder.h"

namespace berth::placement {
namespace {

bool Holds(Operator op, const std::vector<std::string>& values, const AttributeValue& value) {
  return Meets(Requirement{"key", op, values}, &value);
}

TEST(RequirementTest, ValuesAreReadAsTheAttributesType) {
  EXPECT_TRUE(Holds(Operator::kIn, {"40", "80"}, int64_t{80}));
  EXPECT_FALSE(Holds(Operator::kIn, {"eighty"}, int64_t{80}));
  EXPECT_TRUE(Holds(Operator::kIn, {"true"}, true));
  EXPECT_FALSE(Holds(Operator::kIn, {"true"}, false));
  EXPECT_TRUE(Holds(Operator::kIn, {"H100"}, std::string("H100")));
  EXPECT_FALSE(Holds(Operator::kNotIn, {"80"}, int64_t{80}));
}

TEST(RequirementTest, AKeyThatDoesNotExistMeetsOnlyTheNegatives) {
  const auto absent = [](Operator op, std::vector<std::string> values = {}) {
    return Meets(Requirement{"key", op, std::move(values)}, nullptr);
  };
  EXPECT_TRUE(absent(Operator::kDoesNotExist));
  EXPECT_TRUE(absent(Operator::kNotIn, {"a"}));
  EXPECT_FALSE(absent(Operator::kExists));
  EXPECT_FALSE(absent(Operator::kIn, {"a"}));
  EXPECT_FALSE(absent(Operator::kGt, {"1"}));
  EXPECT_FALSE(absent(Operator::kLt, {"1"}));
}

TEST(RequirementTest, ComparisonsAreOfWholeNumbersAlsoInText) {
  EXPECT_TRUE(Holds(Operator::kGt, {"79"}, int64_t{80}));
  EXPECT_FALSE(Holds(Operator::kGt, {"80"}, int64_t{80}));
  EXPECT_TRUE(Holds(Operator::kLt, {"-1"}, int64_t{-2}));
  EXPECT_TRUE(Holds(Operator::kLt, {"10"}, std::string("9"))) << "not by the alphabet";
  EXPECT_FALSE(Holds(Operator::kGt, {"1"}, std::string("many")));
  EXPECT_FALSE(Holds(Operator::kGt, {"0"}, true));
}

TEST(RequirementTest, LabelsAreMatchedByEveryOperator) {
  const std::map<std::string, std::string> labels{{"rack", "7"}};
  const auto meets = [&](Operator op, std::vector<std::string> values = {}) {
    return Meets({Requirement{"rack", op, std::move(values)}}, labels);
  };
  EXPECT_TRUE(meets(Operator::kIn, {"6", "7"}));
  EXPECT_FALSE(meets(Operator::kNotIn, {"7"}));
  EXPECT_TRUE(meets(Operator::kExists));
  EXPECT_FALSE(meets(Operator::kDoesNotExist));
  EXPECT_TRUE(meets(Operator::kGt, {"6"}));
  EXPECT_TRUE(Meets({Requirement{"zone", Operator::kDoesNotExist, {}}}, labels));
}

TEST(TolerationTest, EveryTaintMustBeTolerated) {
  const std::vector<Taint> taints{{"repair", "disk", TaintEffect::kNoNew},
                                  {"old", "", TaintEffect::kEvict}};
  using Effect = Toleration::Effect;
  EXPECT_TRUE(Tolerates({}, {}));
  EXPECT_FALSE(Tolerates({}, taints));
  EXPECT_TRUE(Tolerates({{"", "", Effect::kAny}}, taints));
  EXPECT_FALSE(Tolerates({{"repair", "", Effect::kAny}}, taints));
  EXPECT_TRUE(Tolerates({{"repair", "disk", Effect::kNoNew}, {"old", "", Effect::kEvict}}, taints));
  EXPECT_FALSE(Tolerates({{"repair", "fan", Effect::kAny}, {"old", "", Effect::kAny}}, taints));
  EXPECT_FALSE(Tolerates({{"", "", Effect::kNoNew}}, taints));
}

std::string BadField(const Request& request) {
  const absl::Status status = ValidateRequest(request);
  return status.ok() ? "" : MetadataOf(status)["field"];
}

TEST(ValidateRequestTest, NamesTheFieldThatIsWrong) {
  EXPECT_EQ(BadField(Ask("gpu")), "");
  EXPECT_EQ(BadField(Request()), "devices");
  EXPECT_EQ(BadField(Ask("")), "devices[0].name");
  EXPECT_EQ(BadField(Ask("gpu", 0)), "devices[0].count");
  EXPECT_EQ(BadField(Ask("gpu", 129)), "devices[0].count");
  EXPECT_EQ(BadField(And(Ask("gpu"), "gpu")), "devices[1].name");
  Request request = Ask("gpu");
  request.devices[0].alternatives.clear();
  EXPECT_EQ(BadField(request), "devices[0]");
  request.devices[0].alternatives.resize(kMaxAlternatives + 1, Spec("gpu"));
  EXPECT_EQ(BadField(request), "devices[0].alternatives");
  request = Ask("gpu");
  request.devices[0].alternatives[0].requirements = {{"mem", Operator::kGt, {"much"}}};
  EXPECT_EQ(BadField(request), "devices[0].requirements[0].values");
  request = Ask("gpu");
  request.constraints = {{Constraint::Kind::kSameUnit, {"nic"}, ""}};
  EXPECT_EQ(BadField(request), "constraints[0].requests");
  EXPECT_EQ(BadField(With(Ask("gpu"), Constraint::Kind::kSameAttribute)),
            "constraints[0].attribute");
  request = Ask("gpu");
  request.host_selector = {{"rack", Operator::kIn, {}}};
  EXPECT_EQ(BadField(request), "host_selector[0].values");
  request = Ask("gpu");
  request.huge_pages = {{0, 1}};
  EXPECT_EQ(BadField(request), "huge_pages");
}

}  // namespace
}  // namespace berth::placement
