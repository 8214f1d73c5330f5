// SPDX-License-Identifier: Apache-2.0
#include "agent/inventory/pci_binder.h"

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <set>
#include <system_error>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "agent/inventory/device_rules.h"
#include "lib/base/absl_view.h"
#include "lib/base/status.h"

namespace berth {
namespace {

namespace fs = std::filesystem;

constexpr char kVfio[] = "vfio-pci";

bool IsNamed(const std::string& address, const std::vector<std::string>& addresses) {
  return std::find(addresses.begin(), addresses.end(), address) != addresses.end();
}

std::string NameOf(const std::string& driver) { return driver.empty() ? "no driver" : driver; }

// Drivers that leave their function to whoever has its IOMMU group (Linux drivers/iommu/iommu.c,
// driver_managed_dma), and the VFIO drivers of single vendors.
bool SharesItsGroup(const PciFunction& member) {
  static constexpr const char* kHarmless[] = {"", "pci-stub", "pcieport"};
  return IsVfioDriver(member.driver) ||
         std::any_of(std::begin(kHarmless), std::end(kHarmless),
                     [&member](const char* driver) { return member.driver == driver; });
}

absl::Status About(const PciFunction& function, Reason reason, std::string_view what) {
  return Error(reason, absl::StrCat(function.address, ": ", AbslView(what)),
               {{"device", function.address}});
}

std::string ReadFirstLine(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

}  // namespace

absl::StatusOr<std::vector<std::string>> PciBinder::Bind(const std::vector<std::string>& addresses,
                                                         Mode mode) {
  BERTH_ASSIGN_OR_RETURN(const std::vector<PciFunction> functions, Find(addresses));
  std::vector<std::string> lines;
  for (const PciFunction& function : functions) {
    if (function.driver == kVfio) {
      lines.push_back(absl::StrCat(function.address, ": on vfio-pci already"));
      continue;
    }
    BERTH_RETURN_IF_ERROR(CheckBindable(function, addresses));
    lines.push_back(absl::StrCat(function.address, ": ", NameOf(function.driver), " -> ", kVfio));
  }
  if (mode == Mode::kDryRun) return lines;
  std::vector<std::string> taken;
  for (const PciFunction& function : functions) {
    if (function.driver == kVfio) continue;
    absl::Status status = BindOne(function);
    if (!status.ok()) {
      for (const std::string& address : taken) {
        const absl::StatusOr<Memory> memory = Recall(address);
        const absl::Status back = memory.ok() ? GiveBack(address, *memory) : memory.status();
        if (!back.ok()) status = Annotate(status, std::string(back.message()));
      }
      return status;
    }
    taken.push_back(function.address);
  }
  return lines;
}

absl::StatusOr<std::vector<std::string>> PciBinder::Unbind(
    const std::vector<std::string>& addresses, Mode mode) {
  BERTH_ASSIGN_OR_RETURN(const std::vector<PciFunction> functions, Find(addresses));
  std::vector<std::string> lines;
  std::vector<Memory> memories;
  for (const PciFunction& function : functions) {
    BERTH_ASSIGN_OR_RETURN(Memory memory, CheckReturnable(function));
    lines.push_back(absl::StrCat(function.address, ": ", NameOf(function.driver), " -> ",
                                 NameOf(memory.driver)));
    memories.push_back(std::move(memory));
  }
  if (mode == Mode::kDryRun) return lines;
  // All of them leave vfio-pci first: a group whose members two kinds of drivers want is refused.
  for (const PciFunction& function : functions) {
    if (function.driver != kVfio) continue;
    BERTH_RETURN_IF_ERROR(
        options_.write(DevicePath(function.address, "driver/unbind"), function.address));
  }
  for (size_t i = 0; i < functions.size(); ++i) {
    BERTH_RETURN_IF_ERROR(GiveBack(functions[i].address, memories[i]));
  }
  return lines;
}

// ---- What may be done

absl::StatusOr<std::vector<PciFunction>> PciBinder::Find(
    const std::vector<std::string>& addresses) {
  std::set<std::string> seen;
  for (const std::string& address : addresses) {
    if (!IsPciAddress(address)) {
      return Error(Reason::kInvalidField,
                   absl::StrCat("\"", address, "\" is not a PCI address; write it as sysfs does, ",
                                "\"0000:01:00.0\", in lower case"));
    }
    if (!seen.insert(address).second) {
      return Error(Reason::kInvalidField, absl::StrCat(address, " is named twice"));
    }
  }
  BERTH_ASSIGN_OR_RETURN(all_, ReadPciFunctions(options_.files.sysfs_root));
  std::vector<PciFunction> found;
  for (const std::string& address : addresses) {
    BERTH_ASSIGN_OR_RETURN(PciFunction function, Look(address));
    if (!function.is_endpoint) return About(function, Reason::kInvalidField, "it is a bridge");
    found.push_back(std::move(function));
  }
  return found;
}

absl::StatusOr<PciFunction> PciBinder::Look(const std::string& address) const {
  BERTH_ASSIGN_OR_RETURN(std::vector<PciFunction> functions,
                         ReadPciFunctions(options_.files.sysfs_root));
  const auto found =
      std::find_if(functions.begin(), functions.end(),
                   [&address](const PciFunction& f) { return f.address == address; });
  if (found != functions.end()) return std::move(*found);
  return Error(Reason::kNotFound, absl::StrCat(address, ": there is no such PCI function"),
               {{"device", address}});
}

absl::Status PciBinder::CheckBindable(const PciFunction& function,
                                      const std::vector<std::string>& addresses) const {
  const internal::v1::DeviceRule* rule = MatchRule(options_.config, function);
  if (rule == nullptr || !rule->has_assignable() || !rule->assignable()) {
    return About(function, Reason::kPermissionDenied,
                 "the configuration does not allow it: the first of inventory.rules that matches "
                 "it has to say \"assignable: true\"");
  }
  if (function.iommu_group < 0) {
    return About(function, Reason::kKernelFeatureMissing, "it is not behind an IOMMU");
  }
  std::error_code error;
  if (!fs::exists(fs::path(options_.files.sysfs_root) / "bus/pci/drivers" / kVfio, error)) {
    return About(function, Reason::kKernelFeatureMissing,
                 "this kernel has no driver vfio-pci; run \"modprobe vfio-pci\"");
  }
  const std::vector<std::string> uses = UsesOf(function, options_.files);
  if (!uses.empty()) {
    return About(function, Reason::kDeviceBusy, "this host uses it: " + absl::StrJoin(uses, "; "));
  }
  return CheckGroup(function, addresses);
}

absl::Status PciBinder::CheckGroup(const PciFunction& function,
                                   const std::vector<std::string>& addresses) const {
  std::vector<std::string> others;
  for (const PciFunction& member : all_) {
    if (member.iommu_group != function.iommu_group || !member.is_endpoint) continue;
    if (SharesItsGroup(member) || IsNamed(member.address, addresses)) continue;
    others.push_back(absl::StrCat(member.address, " (", member.driver, ")"));
  }
  if (others.empty()) return absl::OkStatus();
  return About(function, Reason::kStateConflict,
               absl::StrCat("other drivers have members of its IOMMU group ", function.iommu_group,
                            ": ", absl::StrJoin(others, ", "), "; name them, too"));
}

absl::StatusOr<PciBinder::Memory> PciBinder::CheckReturnable(const PciFunction& function) const {
  BERTH_ASSIGN_OR_RETURN(Memory memory, Recall(function.address));
  if (memory.device_id != MakeDeviceId(function)) {
    return About(function, Reason::kStateConflict,
                 absl::StrCat("it was ", memory.device_id,
                              " that was bound; another card is there "
                              "now, which belongs to ",
                              NameOf(function.driver)));
  }
  if (function.cdev.empty()) return memory;
  // The kernel would wait, without end, for whoever has it (Linux drivers/vfio/vfio_main.c,
  // vfio_unregister_group_dev()).
  const absl::Status claimed = options_.claim_cdev(function.cdev);
  if (claimed.ok()) return memory;
  if (ReasonOf(claimed) != Reason::kDeviceBusy) return Annotate(claimed, function.address);
  return About(function, Reason::kDeviceBusy,
               "it is held, or another of its IOMMU group is: release the assignment that has it");
}

// ---- Doing it

absl::Status PciBinder::BindOne(const PciFunction& function) {
  BERTH_RETURN_IF_ERROR(Remember(function));
  const absl::Status status = TakeDriver(function);
  if (status.ok()) return absl::OkStatus();
  absl::StatusOr<Memory> memory = Recall(function.address);
  const absl::Status back = memory.ok() ? GiveBack(function.address, *memory) : memory.status();
  return back.ok() ? status : Annotate(status, std::string(back.message()));
}

absl::Status PciBinder::TakeDriver(const PciFunction& function) {
  const std::string& address = function.address;
  BERTH_RETURN_IF_ERROR(options_.write(DevicePath(address, "driver_override"), kVfio));
  if (!function.driver.empty()) {
    BERTH_RETURN_IF_ERROR(options_.write(DevicePath(address, "driver/unbind"), address));
  }
  BERTH_RETURN_IF_ERROR(
      options_.write(options_.files.sysfs_root + "/bus/pci/drivers_probe", address));
  // The probe of no driver is an error of drivers_probe (Linux drivers/base/bus.c).
  BERTH_ASSIGN_OR_RETURN(const PciFunction now, Look(address));
  if (now.driver != kVfio) {
    return About(now, Reason::kKernelRefused,
                 absl::StrCat("vfio-pci did not take it; it is with ", NameOf(now.driver)));
  }
  if (now.cdev.empty()) {
    return About(now, Reason::kKernelFeatureMissing,
                 "vfio-pci makes no cdev of it (CONFIG_VFIO_DEVICE_CDEV)");
  }
  return absl::OkStatus();
}

absl::Status PciBinder::GiveBack(const std::string& address, const Memory& memory) {
  // A newline alone takes the override away (Linux drivers/base/driver.c, driver_set_override()).
  BERTH_RETURN_IF_ERROR(
      options_.write(DevicePath(address, "driver_override"),
                     memory.override_driver.empty() ? "\n" : memory.override_driver));
  BERTH_ASSIGN_OR_RETURN(PciFunction now, Look(address));
  if (now.driver == kVfio && memory.driver != kVfio) {
    BERTH_RETURN_IF_ERROR(options_.write(DevicePath(address, "driver/unbind"), address));
    now.driver.clear();
  }
  if (now.driver != memory.driver && !memory.driver.empty()) {
    const std::string bus = options_.files.sysfs_root + "/bus/pci";
    // By name: the driver that a probe finds need not be the one that had it.
    const absl::Status bound =
        options_.write(absl::StrCat(bus, "/drivers/", memory.driver, "/bind"), address);
    BERTH_ASSIGN_OR_RETURN(now, Look(address));
    if (now.driver != memory.driver) {
      return About(
          now, Reason::kKernelRefused,
          absl::StrCat(memory.driver, " did not take it back; it is with ", NameOf(now.driver),
                       bound.ok() ? "" : ": ", bound.ok() ? "" : bound.message()));
    }
  }
  std::error_code error;
  fs::remove(MemoryPath(address), error);
  return absl::OkStatus();
}

// ---- Memory

std::string PciBinder::DevicePath(const std::string& address, std::string_view file) const {
  return absl::StrCat(options_.files.sysfs_root, "/bus/pci/devices/", address, "/", AbslView(file));
}

std::string PciBinder::MemoryPath(const std::string& address) const {
  return absl::StrCat(options_.memory_dir, "/", address);
}

absl::Status PciBinder::Remember(const PciFunction& function) const {
  std::error_code error;
  fs::create_directories(options_.memory_dir, error);
  if (error) return ErrnoToStatus(error.value(), "making the folder " + options_.memory_dir);
  std::string old = ReadFirstLine(DevicePath(function.address, "driver_override"));
  if (old == "(null)") old.clear();
  const std::string path = MemoryPath(function.address);
  const std::string fresh = path + ".new";
  std::ofstream file(fresh, std::ios::trunc);
  file << MakeDeviceId(function) << "\n" << function.driver << "\n" << old << "\n";
  file.close();
  if (!file) return ErrnoToStatus(EIO, "writing " + fresh);
  fs::rename(fresh, path, error);
  return error ? ErrnoToStatus(error.value(), "renaming " + fresh) : absl::OkStatus();
}

absl::StatusOr<PciBinder::Memory> PciBinder::Recall(const std::string& address) const {
  Memory memory;
  std::ifstream file(MemoryPath(address));
  if (std::getline(file, memory.device_id) && std::getline(file, memory.driver) &&
      std::getline(file, memory.override_driver)) {
    return memory;
  }
  return Error(Reason::kStateConflict,
               absl::StrCat(address,
                            ": nothing is remembered of it: \"berth-agent bind\" did not "
                            "bind it since this host booted"),
               {{"device", address}});
}

}  // namespace berth
