// SPDX-License-Identifier: Apache-2.0
#include "ctl/cli/printer/capacity.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace berth::cli {
namespace {

TableRow AmountRow(std::string_view name, const v1::Amount& amount, const std::string& reachable) {
  return {Cell(name), absl::StrCat(amount.total()), absl::StrCat(amount.free()), reachable};
}

}  // namespace

std::string CapacityTables(const v1::Capacity& capacity) {
  std::vector<TableRow> fleet = {AmountRow("hosts", capacity.hosts(), kNone),
                                 AmountRow("vintfs", capacity.vintfs(), kNone)};
  for (const v1::ClassCapacity& device_class : capacity.classes()) {
    fleet.push_back(AmountRow(device_class.class_(), device_class.devices(),
                              absl::StrCat(device_class.reachable())));
  }
  std::string text = Table({"RESOURCE", "TOTAL", "FREE", "REACHABLE"}, fleet);
  if (capacity.stranded_device_ratio() > 0) {
    absl::StrAppend(&text,
                    absl::StrFormat("\n%.1f%% of the free devices are behind units without a "
                                    "free VINTF\n",
                                    capacity.stranded_device_ratio() * 100));
  }
  if (capacity.units().empty()) return text;
  std::vector<TableRow> units;
  for (const v1::UnitCapacity& unit : capacity.units()) {
    units.push_back({Cell(unit.unit()), Cell(Id(unit.host())),
                     Ratio(unit.vintfs().free(), unit.vintfs().total()),
                     Ratio(unit.devices().free(), unit.devices().total())});
  }
  return absl::StrCat(text, "\n", Table({"UNIT", "HOST", "VINTFS", "DEVICES"}, units));
}

}  // namespace berth::cli
