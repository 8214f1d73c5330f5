// SPDX-License-Identifier: Apache-2.0
//
// The part of Inventory that remembers what grants have found out of the hardware.
#include <algorithm>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "agent/inventory/inventory.h"
#include "lib/base/status.h"
#include "lib/config/timestamp.h"

namespace berth {
namespace {

using v1::Unit;

void AddCondition(std::string_view type, std::string_view reason, const std::string& message,
                  absl::Time since, Unit* unit) {
  v1::Condition* condition = unit->add_conditions();
  condition->set_type(std::string(type));
  condition->set_status(false);
  condition->set_reason(std::string(reason));
  condition->set_message(message);
  *condition->mutable_last_transition_time() = ToTimestamp(since);
}

std::string LostText(int lost, const std::string& by) {
  return absl::StrCat(lost, lost == 1 ? " VINTF is" : " VINTFs are",
                      " lost until the host boots, or until whoever still has the iommufd ends; "
                      "the last: ",
                      by);
}

}  // namespace

void Inventory::NoteUnitFault(const UnitId& unit, const absl::Status& fault, int vintfs_in_use) {
  absl::MutexLock lock(&mu_);
  UnitFault& known = faults_[unit.str()];
  if (ReasonOf(fault) == Reason::kVintfExhausted) {
    known.most_vintfs = std::min(known.most_vintfs.value_or(vintfs_in_use), vintfs_in_use);
  } else {
    if (known.timeout.empty()) known.timeout_since = clock_->Now();
    known.timeout = std::string(fault.message());
  }
  known.next_check = clock_->Now() + kFaultRecheck;
}

void Inventory::NoteLostVintfs(const UnitId& unit, int missing, const std::string& by) {
  absl::MutexLock lock(&mu_);
  UnitFault& known = faults_[unit.str()];
  if (known.lost_vintfs == 0) known.lost_since = clock_->Now();
  known.lost_vintfs = std::max(0, known.lost_vintfs + missing);
  if (missing > 0) known.lost_by = by;
  known.next_check = std::min(known.next_check, clock_->Now() + kFaultRecheck);
}

void Inventory::RememberLost(const std::vector<internal::v1::JournaledUnitFacts>& units) {
  for (const internal::v1::JournaledUnitFacts& unit : units) {
    if (unit.lost_vintfs() == 0) continue;
    NoteLostVintfs(UnitId(unit.id()), unit.lost_vintfs(), "found by an agent before this one");
  }
}

int Inventory::UnitFault::Usable(int all) const {
  const int left = std::max(0, all - lost_vintfs);
  return std::min(left, most_vintfs.value_or(left));
}

void Inventory::ApplyFault(Unit* unit) const {
  absl::MutexLock lock(&mu_);
  const auto known = faults_.find(unit->id());
  if (known == faults_.end()) return;
  const UnitFault& fault = known->second;
  if (const int usable = fault.Usable(unit->vintfs()); usable < unit->vintfs()) {
    unit->set_vintfs(usable);
    unit->set_vintf_source(Unit::OBSERVED);
  }
  if (fault.lost_vintfs > 0) {
    unit->set_lost_vintfs(fault.lost_vintfs);
    AddCondition("VintfsReturned", "VINTF_LOST", LostText(fault.lost_vintfs, fault.lost_by),
                 fault.lost_since, unit);
  }
  if (fault.timeout.empty()) return;
  v1::Taint* taint = unit->add_taints();
  taint->set_key(kTimeoutTaint);
  taint->set_effect(v1::Taint::NO_NEW);
  taint->set_message(fault.timeout);
  AddCondition("Responding", ReasonName(Reason::kHardwareTimeout), fault.timeout,
               fault.timeout_since, unit);
}

std::vector<PciFunction> Inventory::AssignableBehind(
    const std::string& unit, const std::vector<PciFunction>& functions) const {
  std::vector<PciFunction> found;
  for (const PciFunction& function : functions) {
    if (function.unit != unit) continue;
    if (!WhyNot(function).empty()) continue;
    found.push_back(function);
  }
  return found;
}

// Whether nothing is left of it.
bool Inventory::RecheckFault(const std::string& unit, const std::vector<PciFunction>& functions,
                             UnitFault* fault) {
  const std::vector<PciFunction> devices = AssignableBehind(unit, functions);
  for (const PciFunction& device : devices) {
    if (fault->timeout.empty()) break;
    const absl::Status answer = CheckVintf(kernel_, device.cdev);
    if (answer.ok()) fault->timeout.clear();
    if (ReasonOf(answer) != Reason::kDeviceBusy) break;
  }
  if (!fault->timeout.empty()) return false;
  if (!fault->most_vintfs.has_value() && fault->lost_vintfs == 0) return true;
  if (devices.empty()) return false;
  absl::StatusOr<UnitFacts> facts = ProbeUnit(kernel_, devices.front().cdev, VintfCount::kObserve,
                                              OthersBehind(devices.front(), functions));
  if (!facts.ok() || !facts->observed_vintfs.has_value()) return false;
  const int counted = *facts->observed_vintfs;
  fault->lost_vintfs = StillLost(unit, *fault, counted);
  facts->observed_vintfs = counted + fault->lost_vintfs;
  units_[unit] = *facts;
  // The operator's number stands, unless there are fewer.
  const bool operators = options_.config.vintfs().count(unit) > 0;
  if (!operators) fault->most_vintfs.reset();
  if (fault->most_vintfs.has_value()) fault->most_vintfs = counted;
  if (fault->lost_vintfs > 0) return false;
  fault->next_check = absl::InfiniteFuture();
  return !fault->most_vintfs.has_value();
}

// All devices of the unit are idle, and `counted` VINTFs are free: those that are still lost, as
// far as there ever were more.
int Inventory::StillLost(const std::string& unit, const UnitFault& fault, int counted) const {
  const auto known = units_.find(unit);
  if (known == units_.end()) return fault.lost_vintfs;
  return std::clamp(AllVintfs(unit, known->second).first - counted, 0, fault.lost_vintfs);
}

void Inventory::SettleLost(const std::string& unit, UnitFacts* facts) {
  absl::MutexLock lock(&mu_);
  const auto known = faults_.find(unit);
  if (known == faults_.end()) return;
  UnitFault& fault = known->second;
  fault.lost_vintfs = StillLost(unit, fault, *facts->observed_vintfs);
  *facts->observed_vintfs += fault.lost_vintfs;
}

void Inventory::RecheckFaults(const std::vector<PciFunction>& functions) {
  std::map<std::string, UnitFault> due;
  {
    absl::MutexLock lock(&mu_);
    for (auto& [unit, fault] : faults_) {
      if (fault.next_check > clock_->Now()) continue;
      fault.next_check = clock_->Now() + kFaultRecheck;
      due[unit] = fault;
    }
  }
  for (auto& [unit, fault] : due) {
    const absl::Time asked = fault.next_check;
    const bool over = RecheckFault(unit, functions, &fault);
    absl::MutexLock lock(&mu_);
    const auto known = faults_.find(unit);
    // Unless there is news of it.
    if (known == faults_.end() || known->second.next_check != asked) continue;
    if (over) {
      faults_.erase(known);
    } else {
      known->second = fault;
    }
  }
}

}  // namespace berth
