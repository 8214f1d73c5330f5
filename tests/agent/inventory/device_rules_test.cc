// SPDX-License-Identifier: Apache-2.0
#include "agent/inventory/device_rules.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lib/base/status.h"
#include "lib/config/config.h"

namespace berth {
namespace {

using internal::v1::DeviceRule;
using internal::v1::InventoryConfig;
using ::testing::HasSubstr;

InventoryConfig Config(const std::string& yaml) {
  InventoryConfig config;
  const absl::Status status = ParseYaml(yaml, "test", &config);
  EXPECT_TRUE(status.ok()) << status;
  return config;
}

// On vfio-pci, behind a unit, with a reset method: nothing stands against it.
PciFunction Gpu() {
  PciFunction gpu;
  gpu.address = "0000:01:00.0";
  gpu.vendor_id = 0x10de;
  gpu.device_id = 0x2342;
  gpu.iommu_group = 3;
  gpu.unit = "smmu3.0";
  gpu.driver = "vfio-pci";
  gpu.cdev = "vfio0";
  gpu.resettable = true;
  return gpu;
}

TEST(MatchRule, TheFirstRuleWhoseConditionsAllHoldDecides) {
  const InventoryConfig config = Config(R"(rules:
- {vendor: "15b3", class: nic}
- {vendor: "10de", device: "9999", class: never}
- {vendor: "10de", address: "0000:02:00.0", class: second-slot}
- {vendor: "10DE", class: nvidia}
- {class: rest})");
  const auto match = [&](const PciFunction& function) {
    const DeviceRule* rule = MatchRule(config, function);
    return rule == nullptr ? "none" : rule->class_();
  };
  PciFunction function = Gpu();
  EXPECT_EQ(match(function), "nvidia");
  function.address = "0000:02:00.0";
  EXPECT_EQ(match(function), "second-slot");
  function.vendor_id = 0x15b3;
  EXPECT_EQ(match(function), "nic");
  function.vendor_id = 0x8086;
  EXPECT_EQ(match(function), "rest") << "a rule without conditions matches all";
}

TEST(MatchRule, NoRulesMatchNothing) { EXPECT_EQ(MatchRule({}, Gpu()), nullptr); }

TEST(ValidateRules, TakesWhatTheManualShows) {
  EXPECT_TRUE(ValidateRules({}).ok());
  EXPECT_TRUE(ValidateRules(Config(R"(
rules: [{vendor: "10de", device: "0x2342", address: "0000:3b:00.1", class: big-gpu}]
vintfs: {smmu3.0: 63, smmu3.1: 0}
)"))
                  .ok());
}

TEST(ValidateRules, SaysWhichRuleIsWrongAndHowToWriteIt) {
  const std::pair<const char*, const char*> cases[] = {
      {"rules: [{}, {vendor: nvidia}]", "inventory.rules[1]: \"nvidia\" is not a PCI id"},
      {"rules: [{device: '12345'}]", "\"12345\" is not a PCI id; write four hex digits"},
      {"rules: [{vendor: '0x0010de'}]", "is not a PCI id"},
      {"rules: [{address: '01:00.0'}]", "\"01:00.0\" is not a PCI address"},
      {"rules: [{address: '0000:3B:00.0'}]", "in lower case"},
      {"rules: [{address: '0000:3b:00,0'}]", "is not a PCI address"},
      {"rules: [{class: GPU}]", "\"GPU\" is not a class; use 1-63 of [a-z0-9-]"},
      {"vintfs: {smmu3.0: -1}", "inventory.vintfs[\"smmu3.0\"]: -1 is not 0 to 4096"},
      {"vintfs: {smmu3.0: 4097}", "4097 is not 0 to 4096"},
  };
  for (const auto& [yaml, message] : cases) {
    const absl::Status status = ValidateRules(Config(yaml));
    EXPECT_EQ(ReasonOf(status), Reason::kInvalidField) << yaml;
    EXPECT_THAT(std::string(status.message()), HasSubstr(message));
  }
  InventoryConfig config;
  config.add_rules()->set_class_(std::string(64, 'a'));
  EXPECT_FALSE(ValidateRules(config).ok()) << "a class has at most 63 characters";
}

TEST(WhyNotAssignable, NothingStandsAgainstAGoodDevice) {
  EXPECT_EQ(WhyNotAssignable(Gpu(), nullptr), "");
  DeviceRule rule;
  rule.set_assignable(true);
  EXPECT_EQ(WhyNotAssignable(Gpu(), &rule), "");
}

TEST(WhyNotAssignable, SaysWhatStandsAgainstTheOthers) {
  struct Case {
    std::function<void(PciFunction*)> change;
    const char* why;
  };
  const Case cases[] = {
      {[](PciFunction* f) { f->driver = ""; }, "no driver; bind it to vfio-pci"},
      {[](PciFunction* f) { f->driver = "nvme"; }, "belongs to nvme, not to vfio-pci"},
      {[](PciFunction* f) { f->cdev = ""; }, "CONFIG_VFIO_DEVICE_CDEV"},
      {[](PciFunction* f) { f->unit = ""; }, "not behind an IOMMU"},
      {[](PciFunction* f) { f->iommu_group = -1; }, "not behind an IOMMU"},
      {[](PciFunction* f) { f->resettable = false; }, "allow_without_reset"},
  };
  for (const Case& c : cases) {
    PciFunction function = Gpu();
    c.change(&function);
    EXPECT_THAT(WhyNotAssignable(function, nullptr), HasSubstr(c.why));
  }
}

TEST(WhyNotAssignable, TheOperatorDecidesAboutWhatTheKernelAllows) {
  DeviceRule keep_back;
  keep_back.set_assignable(false);
  EXPECT_THAT(WhyNotAssignable(Gpu(), &keep_back), HasSubstr("configuration keeps it back"));
  PciFunction stubborn = Gpu();
  stubborn.resettable = false;
  DeviceRule all_the_same;
  all_the_same.set_allow_without_reset(true);
  EXPECT_EQ(WhyNotAssignable(stubborn, &all_the_same), "");
  stubborn.driver = "nouveau";
  EXPECT_NE(WhyNotAssignable(stubborn, &all_the_same), "") << "but not about the driver";
}

}  // namespace
}  // namespace berth
