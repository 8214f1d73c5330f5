// SPDX-License-Identifier: Apache-2.0
#include "agent/inventory/device_rules.h"

#include <algorithm>
#include <string_view>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "lib/base/status.h"

namespace berth {
namespace {

using internal::v1::DeviceRule;

bool IsId(const std::string& hex, uint32_t* value) {
  return hex.size() <= 6 && absl::SimpleHexAtoi(hex, value) && *value <= 0xffff;
}

bool Matches(const DeviceRule& rule, const PciFunction& function) {
  uint32_t id = 0;
  if (!rule.vendor().empty() && (!IsId(rule.vendor(), &id) || id != function.vendor_id))
    return false;
  if (!rule.device().empty() && (!IsId(rule.device(), &id) || id != function.device_id))
    return false;
  return rule.address().empty() || rule.address() == function.address;
}

bool IsName(std::string_view text) {
  return !text.empty() && text.size() <= 63 && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
  });
}

absl::Status ValidateRule(const DeviceRule& rule) {
  uint32_t id = 0;
  for (const std::string* hex : {&rule.vendor(), &rule.device()}) {
    if (!hex->empty() && !IsId(*hex, &id)) {
      return Error(
          Reason::kInvalidField,
          absl::StrCat("\"", *hex, "\" is not a PCI id; write four hex digits, as in \"10de\""));
    }
  }
  if (!rule.address().empty() && !IsPciAddress(rule.address())) {
    return Error(Reason::kInvalidField,
                 absl::StrCat("\"", rule.address(),
                              "\" is not a PCI address; write it as sysfs does, "
                              "\"0000:01:00.0\", in lower case"));
  }
  if (!rule.class_().empty() && !IsName(rule.class_())) {
    return Error(Reason::kInvalidField,
                 absl::StrCat("\"", rule.class_(), "\" is not a class; use 1-63 of [a-z0-9-]"));
  }
  return absl::OkStatus();
}

}  // namespace

const DeviceRule* MatchRule(const internal::v1::InventoryConfig& config,
                            const PciFunction& function) {
  const auto rule = std::find_if(config.rules().begin(), config.rules().end(),
                                 [&](const DeviceRule& r) { return Matches(r, function); });
  return rule == config.rules().end() ? nullptr : &*rule;
}

absl::Status ValidateRules(const internal::v1::InventoryConfig& config) {
  for (int i = 0; i < config.rules_size(); ++i) {
    BERTH_RETURN_IF_ERROR(
        Annotate(ValidateRule(config.rules(i)), absl::StrCat("inventory.rules[", i, "]")));
  }
  for (const auto& [unit, vintfs] : config.vintfs()) {
    if (vintfs < 0 || vintfs > 4096) {
      return Error(Reason::kInvalidField,
                   absl::StrCat("inventory.vintfs[\"", unit, "\"]: ", vintfs, " is not 0 to 4096"));
    }
  }
  return absl::OkStatus();
}

bool IsPciAddress(std::string_view text) {
  constexpr std::string_view kShape = "xxxx:xx:xx.x";
  return text.size() == kShape.size() &&
         std::equal(text.begin(), text.end(), kShape.begin(), [](char c, char shape) {
           const bool hex = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
           return shape == 'x' ? hex : c == shape;
         });
}

bool IsVfioDriver(std::string_view driver) { return driver.find("vfio") != std::string_view::npos; }

std::string WhyNotAssignable(const PciFunction& function, const DeviceRule* rule) {
  if (rule != nullptr && rule->has_assignable() && !rule->assignable()) {
    return "the agent's configuration keeps it back";
  }
  if (!IsVfioDriver(function.driver)) {
    return function.driver.empty()
               ? "it has no driver; bind it to vfio-pci"
               : absl::StrCat("it belongs to ", function.driver, ", not to vfio-pci");
  }
  if (function.cdev.empty()) return "it has no VFIO cdev (CONFIG_VFIO_DEVICE_CDEV)";
  if (function.unit.empty() || function.iommu_group < 0) return "it is not behind an IOMMU";
  if (!function.resettable && (rule == nullptr || !rule->allow_without_reset())) {
    return "it has no reset method; set allow_without_reset to hand it out all the same";
  }
  return "";
}

}  // namespace berth
