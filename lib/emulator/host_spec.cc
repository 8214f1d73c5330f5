// SPDX-License-Identifier: Apache-2.0
#include "lib/emulator/host_spec.h"

#include <bit>
#include <charconv>
#include <map>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "lib/base/status.h"
#include "lib/emulator/protocol.h"

namespace berth::emulator {
namespace {

absl::Status Bad(Reason reason, const std::string& field, const std::string& what) {
  return Error(reason, absl::StrCat(field, ": ", what), {{"field", field}});
}

absl::Status CheckRange(const std::string& field, int value, int low, int high) {
  if (value >= low && value <= high) return absl::OkStatus();
  return Bad(Reason::kInvalidField, field,
             absl::StrCat("must be ", low, " to ", high, ", not ", value));
}

absl::Status CheckPowerOfTwo(const std::string& field, int value, int low, int high) {
  BERTH_RETURN_IF_ERROR(CheckRange(field, value, low, high));
  if (std::has_single_bit(static_cast<unsigned>(value))) return absl::OkStatus();
  return Bad(Reason::kInvalidField, field, absl::StrCat("must be a power of two, not ", value));
}

absl::Status CheckUnit(const UnitSpec& unit, const std::string& field) {
  constexpr std::string_view kAllowed = "abcdefghijklmnopqrstuvwxyz0123456789._-";
  if (unit.id.empty()) return Bad(Reason::kMissingField, field + ".id", "a unit needs an id");
  if (unit.id.size() > 64 || unit.id.find_first_not_of(kAllowed) != std::string::npos ||
      unit.id[0] == '.') {
    return Bad(Reason::kInvalidField, field + ".id",
               absl::StrCat("\"", unit.id, "\" is not 1 to 64 of [a-z0-9._-]"));
  }
  BERTH_RETURN_IF_ERROR(CheckRange(field + ".log2_max_commands", unit.log2_max_commands, 1, 19));
  static const std::set<int> kAddressBits = {32, 36, 40, 42, 44, 48};
  if (!kAddressBits.contains(unit.address_bits)) {
    return Bad(Reason::kInvalidField, field + ".address_bits",
               absl::StrCat("must be 32, 36, 40, 42, 44 or 48, not ", unit.address_bits));
  }
  if (unit.profile != UnitProfile::kTegra241Cmdqv) return absl::OkStatus();
  BERTH_RETURN_IF_ERROR(CheckPowerOfTwo(field + ".vintfs", unit.vintfs, 2, 64));
  BERTH_RETURN_IF_ERROR(CheckPowerOfTwo(field + ".vcmdqs", unit.vcmdqs, unit.vintfs, 128));
  BERTH_RETURN_IF_ERROR(CheckPowerOfTwo(field + ".sid_slots", unit.sid_slots, 1, 16));
  return CheckRange(field + ".version", unit.version, 1, 15);
}

// The value of 1 to 4 hexadecimal digits, all of `text`.
std::optional<uint32_t> Hex(std::string_view text) {
  uint32_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, 16);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

absl::Status CheckInterrupts(const DeviceSpec& device, const std::string& field) {
  constexpr int kMost = kMaxEventfds;
  if (device.msi_vectors != 0) {
    BERTH_RETURN_IF_ERROR(CheckPowerOfTwo(field + ".msi_vectors", device.msi_vectors, 1, kMost));
  }
  BERTH_RETURN_IF_ERROR(CheckRange(field + ".msix_vectors", device.msix_vectors, 0, kMost));
  if (device.model == DeviceModel::kDmaTest) return absl::OkStatus();
  if (device.msix_vectors == 0 && !device.intx) return absl::OkStatus();
  return Bad(Reason::kInvalidField, field, "only a DMA_TEST has MSI-X and INTx");
}

absl::Status CheckDevices(const HostSpec& host, const std::set<std::string>& units) {
  std::set<PciAddress> addresses;
  std::set<std::string> names;
  std::map<uint32_t, std::string> group_units;
  for (const DeviceSpec& device : host.devices) {
    const std::string field = absl::StrCat("device ", device.address.ToString());
    if (!addresses.insert(device.address).second) {
      return Bad(Reason::kAlreadyExists, field, "the address is used twice");
    }
    if (device.vfio_name.empty() || !names.insert(device.vfio_name).second) {
      return Bad(Reason::kAlreadyExists, field,
                 absl::StrCat("the cdev name \"", device.vfio_name, "\" is empty or used twice"));
    }
    if (!units.contains(device.unit)) {
      return Bad(Reason::kInvalidField, field,
                 absl::StrCat("is behind \"", device.unit, "\", which is no unit for devices"));
    }
    const auto [group, fresh] = group_units.emplace(device.iommu_group, device.unit);
    if (!fresh && group->second != device.unit) {
      return Bad(Reason::kInvalidField, field,
                 absl::StrCat("IOMMU group ", device.iommu_group, " spans two units"));
    }
    if (device.class_code > 0xffffff) {
      return Bad(Reason::kInvalidField, field, "the class has more than 24 bits");
    }
    BERTH_RETURN_IF_ERROR(CheckRange(field + ".numa_node", device.numa_node, -1, 1023));
    BERTH_RETURN_IF_ERROR(CheckInterrupts(device, field));
  }
  return absl::OkStatus();
}

}  // namespace

std::string PciAddress::ToString() const {
  return absl::StrFormat("%04x:%02x:%02x.%x", segment, routing_id >> 8, (routing_id >> 3) & 0x1f,
                         routing_id & 7);
}

absl::StatusOr<PciAddress> PciAddress::Parse(std::string_view text) {
  const auto refuse = [&] {
    return Error(Reason::kInvalidField,
                 absl::StrCat("\"", std::string(text), "\" is no PCI address dddd:bb:dd.f"),
                 {{"field", "address"}});
  };
  if (text.size() != 12 || text[4] != ':' || text[7] != ':' || text[10] != '.') return refuse();
  const auto segment = Hex(text.substr(0, 4));
  const auto bus = Hex(text.substr(5, 2));
  const auto device = Hex(text.substr(8, 2));
  const auto function = Hex(text.substr(11, 1));
  if (!segment || !bus || !device || *device > 0x1f || !function || *function > 7) return refuse();
  return PciAddress{static_cast<uint16_t>(*segment),
                    static_cast<uint16_t>(*bus << 8 | *device << 3 | *function)};
}

absl::Status Validate(const HostSpec& host) {
  if (host.units.empty()) return Bad(Reason::kMissingField, "units", "a host needs a unit");
  if (host.units.size() > kMaxUnits) {
    return Bad(Reason::kTooLarge, "units", absl::StrCat("at most ", kMaxUnits));
  }
  if (host.devices.size() > kMaxDevices) {
    return Bad(Reason::kTooLarge, "devices", absl::StrCat("at most ", kMaxDevices));
  }
  std::set<std::string> ids;
  std::set<std::string> units;  // that can have devices
  int mocks = 0;
  for (size_t i = 0; i < host.units.size(); ++i) {
    const std::string field = absl::StrCat("units[", i, "]");
    BERTH_RETURN_IF_ERROR(CheckUnit(host.units[i], field));
    if (!ids.insert(host.units[i].id).second) {
      return Bad(Reason::kAlreadyExists, field + ".id",
                 absl::StrCat("\"", host.units[i].id, "\" is used twice"));
    }
    if (host.units[i].profile != UnitProfile::kSelftest) {
      units.insert(host.units[i].id);
    } else if (++mocks > 1) {
      return Bad(Reason::kAlreadyExists, field + ".profile",
                 "a host has one SELFTEST unit at most");
    }
  }
  if (host.page_size != 4096 && host.page_size != 65536) {
    return Bad(Reason::kInvalidField, "page_size",
               absl::StrCat("must be 4096 or 65536, not ", host.page_size));
  }
  BERTH_RETURN_IF_ERROR(
      CheckRange("hardware_threads", host.hardware_threads, 1, kMaxHardwareThreads));
  if (host.huge_pages_total > 1U << 20 || host.huge_pages_free > host.huge_pages_total) {
    return Bad(Reason::kInvalidField, "huge_pages", "free <= total <= 1048576 must hold");
  }
  return CheckDevices(host, units);
}

}  // namespace berth::emulator
