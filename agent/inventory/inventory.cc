// SPDX-License-Identifier: Apache-2.0
#include "agent/inventory/inventory.h"

#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "agent/inventory/device_rules.h"
#include "agent/inventory/unit_record.h"
#include "lib/base/status.h"
#include "lib/capacity/unit_capacity.h"
#include "lib/config/timestamp.h"

namespace berth {
namespace {

using internal::v1::DeviceRule;
using v1::Unit;

constexpr char kHealthCondition[] = "KernelHealthy";

bool IsVfio(const PciFunction& function) { return IsVfioDriver(function.driver); }

// Endpoints on vfio-pci, and what shares an IOMMU group with them: those make a group unavailable.
std::vector<PciFunction> Relevant(std::vector<PciFunction> functions) {
  std::set<int> groups;
  for (const PciFunction& function : functions) {
    if (IsVfio(function) && function.iommu_group >= 0) groups.insert(function.iommu_group);
  }
  std::erase_if(functions, [&groups](const PciFunction& function) {
    const bool shown = IsVfio(function) || groups.count(function.iommu_group) > 0;
    return !function.is_endpoint || !shown;
  });
  return functions;
}

bool IsUncounted(const UnitFacts& facts) {
  return facts.profile == Unit::TEGRA241_CMDQV && !facts.observed_vintfs.has_value();
}

GrantDevice ToGrantDevice(const PciFunction& function) {
  return {.id = DeviceId(MakeDeviceId(function)),
          .cdev = function.cdev,
          .address = function.address,
          .unit = UnitId(function.unit),
          .vendor_id = function.vendor_id,
          .device_id = function.device_id,
          .pci_class = function.pci_class,
          .resettable = function.resettable};
}

GrantUnit ToGrantUnit(const UnitId& id, const UnitFacts& facts) {
  return {.id = id,
          .profile = facts.profile,
          .vcmdqs_per_vintf = facts.vcmdqs_per_vintf,
          .sids_per_vintf = facts.sids_per_vintf,
          .max_queue_log2 = facts.max_queue_log2};
}

int DefaultVintfs(Unit::Profile profile) {
  switch (profile) {
    case Unit::TEGRA241_CMDQV:
      return static_cast<int>(DefaultCapacity(UnitProfile::kTegra241Cmdqv).vintfs);
    case Unit::ARM_SMMUV3:
      return static_cast<int>(DefaultCapacity(UnitProfile::kArmSmmuV3).vintfs);
    default:
      return 0;  // nothing to count
  }
}

}  // namespace

Inventory::Inventory(KernelApi* kernel, Clock* clock, Options options)
    : kernel_(kernel),
      clock_(clock),
      options_(std::move(options)),
      last_look_(Error(Reason::kKernelGone, "the host has not been looked at yet")) {}

void Inventory::Remember(const std::vector<internal::v1::JournaledUnitFacts>& units) {
  for (const auto& unit : units) {
    UnitFacts& facts = units_[unit.id()] = FromRecord(unit);
    if (!options_.config.observe_vintfs()) facts.observed_vintfs.reset();
  }
}

std::vector<internal::v1::JournaledUnitFacts> Inventory::ToRemember() const {
  std::vector<internal::v1::JournaledUnitFacts> units;
  absl::MutexLock lock(&mu_);
  for (const auto& [id, facts] : units_) {
    units.push_back(ToRecord(id, facts));
    const auto fault = faults_.find(id);
    if (fault != faults_.end()) units.back().set_lost_vintfs(fault->second.lost_vintfs);
  }
  return units;
}

absl::Status Inventory::CheckKernel(const absl::Status& known) {
  absl::Status status = known.ok() ? kernel_->OpenContext().status() : known;
  // Another error (no fds left, say) is of this process: the units are what they were.
  if (ReasonOf(status) == Reason::kKernelGone) {
    for (const auto& [unit, facts] : units_) stale_.insert(unit);
    nodes_.clear();
    events_.Clear();
    absl::MutexLock lock(&mu_);
    faults_.clear();
  }
  return status;
}

absl::Status Inventory::Refresh(const absl::Status& kernel) {
  absl::Status status = CheckKernel(kernel);
  std::vector<PciFunction> functions;
  if (status.ok()) {
    absl::StatusOr<std::vector<PciFunction>> read = ReadPciFunctions(options_.sysfs_root);
    status = read.status();
    if (read.ok()) functions = Relevant(*std::move(read));
  }
  if (status.ok()) {
    ProbeNodes(functions);
    ProbeUnits(functions);
    RecheckFaults(functions);
    events_.Review();
    agent::v1::Inventory built = Build(functions);
    agent::v1::Hardware hardware = BuildHardware(functions);
    std::map<DeviceId, GrantDevice> devices;
    std::map<UnitId, GrantUnit> units;
    for (const PciFunction& function : functions) {
      const auto facts = units_.find(function.unit);
      if (facts == units_.end() || !WhyNot(function).empty()) continue;
      const GrantDevice device = ToGrantDevice(function);
      devices[device.id] = device;
      units[device.unit] = ToGrantUnit(device.unit, facts->second);
      units[device.unit].vintfs = AllVintfs(function.unit, facts->second).first;
    }
    std::map<UnitId, absl::Status> not_asked;
    for (const auto& [unit, error] : unit_errors_) {
      // Whatever the kernel says of a device that is there may be due to who holds it.
      const bool gone = ReasonOf(error) == Reason::kKernelGone;
      not_asked[UnitId(unit)] = Error(gone ? Reason::kKernelGone : Reason::kDeviceBusy,
                                      std::string(error.message()), {{"unit", unit}});
    }
    absl::MutexLock lock(&mu_);
    not_asked_ = std::move(not_asked);
    current_ = std::move(built);
    hardware_ = std::move(hardware);
    devices_ = std::move(devices);
    grant_units_ = std::move(units);
  }
  SetHealth(status);
  return status;
}

void Inventory::SetHealth(const absl::Status& status) {
  absl::MutexLock lock(&mu_);
  last_look_ = status;
  const absl::string_view message = status.message();
  const bool first = health_.type().empty();
  if (first || health_.status() != status.ok()) {
    *health_.mutable_last_transition_time() = ToTimestamp(clock_->Now());
  }
  health_.set_type(kHealthCondition);
  health_.set_status(status.ok());
  health_.set_reason(status.ok() ? "" : std::string(ReasonName(ReasonOf(status))));
  health_.set_message(std::string(message));
}

// sysfs knows a cdev also where its node is missing, or is not for this process. Whoever has it
// bound keeps nobody from opening it (Linux drivers/vfio/device_cdev.c,
// vfio_device_fops_cdev_open()).
void Inventory::ProbeNodes(const std::vector<PciFunction>& functions) {
  std::map<std::pair<std::string, std::string>, absl::Status> nodes;
  for (const PciFunction& function : functions) {
    if (!WhyNotAssignable(function, MatchRule(options_.config, function)).empty()) continue;
    const auto node = std::make_pair(function.cdev, MakeDeviceId(function));
    const auto known = nodes_.find(node);
    const bool opened = known != nodes_.end() && known->second.ok();
    nodes[node] = opened ? absl::OkStatus() : kernel_->OpenDevice(function.cdev).status();
  }
  nodes_ = std::move(nodes);
}

std::string Inventory::WhyNot(const PciFunction& function) const {
  std::string why = WhyNotAssignable(function, MatchRule(options_.config, function));
  if (!why.empty()) return why;
  const auto node = nodes_.find({function.cdev, MakeDeviceId(function)});
  if (node == nodes_.end() || node->second.ok()) return "";
  return absl::StrCat("its cdev ", function.cdev, " cannot be opened: ", node->second.message());
}

std::vector<std::string> Inventory::OthersBehind(const PciFunction& function,
                                                 const std::vector<PciFunction>& functions) {
  std::vector<std::string> others;
  for (const PciFunction& other : functions) {
    if (other.unit == function.unit && other.address != function.address && IsVfio(other) &&
        !other.cdev.empty()) {
      others.push_back(other.cdev);
    }
  }
  return others;
}

void Inventory::ProbeUnits(const std::vector<PciFunction>& functions) {
  unit_errors_.clear();
  std::set<std::string> asked;
  for (const PciFunction& function : functions) {
    if (function.unit.empty() || asked.count(function.unit) > 0) continue;
    const auto known = units_.find(function.unit);
    const bool observe =
        options_.config.observe_vintfs() && options_.config.vintfs().count(function.unit) == 0;
    const bool stale = stale_.contains(function.unit);
    if (known != units_.end() && !stale && !(observe && IsUncounted(known->second))) continue;
    if (!WhyNot(function).empty()) continue;
    absl::StatusOr<UnitFacts> facts =
        ProbeUnit(kernel_, function.cdev, observe ? VintfCount::kObserve : VintfCount::kAssume,
                  OthersBehind(function, functions));
    if (facts.ok() || (known != units_.end() && !stale)) asked.insert(function.unit);
    if (facts.ok()) {
      if (facts->observed_vintfs.has_value()) SettleLost(function.unit, &*facts);
      units_[function.unit] = *facts;
      unit_errors_.erase(function.unit);
      stale_.erase(function.unit);
    } else if (known == units_.end()) {
      unit_errors_[function.unit] = Annotate(
          facts.status(), absl::StrCat("probing ", function.unit, " through ", function.address));
    }
  }
}

agent::v1::Inventory Inventory::Build(const std::vector<PciFunction>& functions) const {
  agent::v1::Inventory inventory;
  for (const auto& [id, facts] : units_) {
    const auto behind = std::find_if(functions.begin(), functions.end(),
                                     [&id = id](const PciFunction& f) { return f.unit == id; });
    if (behind == functions.end()) continue;
    Unit* unit = inventory.add_units();
    *unit = BuildUnit(id, facts);
    unit->set_numa_node(behind->numa_node);
  }
  for (const PciFunction& function : functions) *inventory.add_devices() = BuildDevice(function);
  for (const HugePageCount& count : ReadHugePages(options_.sysfs_root)) {
    v1::HugePages* pages = inventory.add_huge_pages();
    pages->set_page_size_bytes(count.page_size);
    pages->set_total(count.total);
    pages->set_free(count.free);
  }
  inventory.mutable_labels()->insert(options_.labels.begin(), options_.labels.end());
  inventory.set_attach_endpoint(options_.attach_endpoint);
  return inventory;
}

std::pair<int, Unit::VintfSource> Inventory::AllVintfs(const std::string& id,
                                                       const UnitFacts& facts) const {
  const auto configured = options_.config.vintfs().find(id);
  if (configured != options_.config.vintfs().end()) return {configured->second, Unit::CONFIGURED};
  if (facts.observed_vintfs.has_value()) return {*facts.observed_vintfs, Unit::OBSERVED};
  return {DefaultVintfs(facts.profile), Unit::DEFAULT};
}

Unit Inventory::BuildUnit(const std::string& id, const UnitFacts& facts) const {
  Unit unit;
  unit.set_id(id);
  unit.set_profile(facts.profile);
  unit.set_vcmdqs_per_vintf(facts.vcmdqs_per_vintf);
  unit.set_sids_per_vintf(facts.sids_per_vintf);
  unit.set_max_queue_log2(facts.max_queue_log2);
  const auto [vintfs, source] = AllVintfs(id, facts);
  unit.set_vintfs(vintfs);
  unit.set_vintf_source(source);
  ApplyFault(&unit);
  events_.AddTo(&unit);
  return unit;
}

v1::Device Inventory::BuildDevice(const PciFunction& function) const {
  const DeviceRule* rule = MatchRule(options_.config, function);
  v1::Device device;
  device.set_id(MakeDeviceId(function));
  device.set_address(function.address);
  device.set_vendor_id(function.vendor_id);
  device.set_device_id(function.device_id);
  device.set_pci_class(function.pci_class);
  device.set_serial(function.serial);
  device.set_class_(rule != nullptr && !rule->class_().empty() ? rule->class_()
                                                               : DefaultClass(function.pci_class));
  // Only a unit that is in this inventory can be named.
  if (units_.count(function.unit) > 0) device.set_unit(function.unit);
  device.set_iommu_group(function.iommu_group);
  device.set_numa_node(function.numa_node);
  device.set_resettable(function.resettable);
  std::string why = WhyNot(function);
  if (why.empty() && units_.count(function.unit) == 0) {
    const auto error = unit_errors_.find(function.unit);
    why = error == unit_errors_.end() ? "its unit is not known yet"
                                      : std::string(error->second.message());
  }
  device.set_assignable(why.empty());
  device.set_unassignable_reason(why);
  if (rule != nullptr) *device.mutable_attributes() = rule->attributes();
  events_.AddTo(&device);
  return device;
}

agent::v1::Hardware Inventory::BuildHardware(const std::vector<PciFunction>& functions) const {
  agent::v1::Hardware hardware;
  std::set<std::string> shown;
  for (const PciFunction& function : functions) {
    agent::v1::DeviceHardware* device = hardware.add_devices();
    device->set_device(MakeDeviceId(function));
    device->set_cdev(function.cdev);
    for (const std::string& method : function.reset_methods) device->add_reset_methods(method);
    for (const ReservedIovas& reserved : function.reserved_iovas) {
      agent::v1::ReservedIovas* range = device->add_reserved_iovas();
      range->set_first(reserved.first);
      range->set_last(reserved.last);
      range->set_kind(reserved.kind);
    }
    const auto facts = units_.find(function.unit);
    if (facts == units_.end() || !shown.insert(function.unit).second) continue;
    agent::v1::UnitHardware* unit = hardware.add_units();
    unit->set_unit(function.unit);
    unit->set_cmdqv_version(facts->second.cmdqv_version);
    for (const int64_t size : PageSizes(facts->second)) unit->add_page_sizes_bytes(size);
    if (!facts->second.smmu.has_value()) continue;
    for (const uint32_t idr : facts->second.smmu->idr) unit->add_smmu_idr(idr);
    unit->set_smmu_iidr(facts->second.smmu->iidr);
    unit->set_smmu_aidr(facts->second.smmu->aidr);
  }
  return hardware;
}

agent::v1::Hardware Inventory::CurrentHardware() const {
  absl::MutexLock lock(&mu_);
  return hardware_;
}

agent::v1::Inventory Inventory::Current() const {
  absl::MutexLock lock(&mu_);
  agent::v1::Inventory inventory = current_;
  inventory.set_attach_endpoint(options_.attach_endpoint);
  if (!health_.type().empty()) *inventory.add_conditions() = health_;
  return inventory;
}

bool Inventory::healthy() const {
  absl::MutexLock lock(&mu_);
  return health_.status();
}

std::optional<GrantDevice> Inventory::FindDevice(const DeviceId& id) const {
  absl::MutexLock lock(&mu_);
  const auto it = devices_.find(id);
  if (it == devices_.end()) return std::nullopt;
  return it->second;
}

std::optional<GrantUnit> Inventory::FindUnit(const UnitId& id) const {
  absl::MutexLock lock(&mu_);
  const auto it = grant_units_.find(id);
  if (it == grant_units_.end()) return std::nullopt;
  GrantUnit unit = it->second;
  if (const auto fault = faults_.find(id.str()); fault != faults_.end()) {
    unit.vintfs = fault->second.Usable(unit.vintfs);
    unit.lost_vintfs = fault->second.lost_vintfs;
  }
  return unit;
}

absl::Status Inventory::CheckKnown(const UnitId& id) const {
  absl::MutexLock lock(&mu_);
  if (!last_look_.ok()) return last_look_;
  const auto it = not_asked_.find(id);
  return it == not_asked_.end() ? absl::OkStatus() : it->second;
}

}  // namespace berth
