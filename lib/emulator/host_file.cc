// SPDX-License-Identifier: Apache-2.0
#include "lib/emulator/host_file.h"

#include <algorithm>
#include <charconv>
#include <optional>
#include <set>

#include "absl/strings/str_cat.h"
#include "berth/internal/v1/emulated_host.pb.h"
#include "lib/base/status.h"
#include "lib/config/config.h"

namespace berth::emulator {
namespace {

namespace pb = berth::internal::v1;

absl::Status Bad(const std::string& field, const std::string& what) {
  return Error(Reason::kInvalidField, absl::StrCat(field, ": ", what), {{"field", field}});
}

// `least` to `most` hexadecimal digits.
absl::StatusOr<uint64_t> ParseHex(const std::string& text, const std::string& field, size_t least,
                                  size_t most) {
  uint64_t value = 0;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value, 16);
  if (error == std::errc() && stop == end && text.size() >= least && text.size() <= most) {
    return value;
  }
  return Bad(field, absl::StrCat("\"", text, "\" is not ", least, " to ", most, " hex digits"));
}

// No valid value is that large.
int ClampToInt(uint32_t value) { return static_cast<int>(std::min<uint32_t>(value, 1U << 30)); }

int OrDefault(uint32_t value, int otherwise) { return value != 0 ? ClampToInt(value) : otherwise; }

Refusal RefusalOf(pb::EmulatedUnit::Refusal refusal) {
  return refusal == pb::EmulatedUnit::ILLEGAL_ACCESS ? Refusal::kIllegalAccess : Refusal::kIllegal;
}

// Whether the file says anything that only a CMDQV has.
bool DescribesCmdqv(const pb::EmulatedUnit& proto) {
  return proto.vintfs() != 0 || proto.vcmdqs() != 0 || proto.sid_slots() != 0 ||
         proto.version() != 0 || proto.forbidden_command() != 0 || proto.unmatched_vsid() != 0 ||
         proto.ignores_reserved_bits() || proto.ignores_prod_overrun();
}

absl::StatusOr<UnitSpec> UnitFromProto(const pb::EmulatedUnit& proto) {
  UnitSpec unit;
  unit.id = proto.id();
  unit.log2_max_commands = OrDefault(proto.log2_max_commands(), 17);
  unit.address_bits = OrDefault(proto.address_bits(), 48);
  unit.ats = !proto.no_ats();
  unit.httu = proto.httu();
  if (proto.profile() == pb::EmulatedUnit::ARM_SMMUV3 ||
      proto.profile() == pb::EmulatedUnit::SELFTEST) {
    const bool mock = proto.profile() == pb::EmulatedUnit::SELFTEST;
    unit.profile = mock ? UnitProfile::kSelftest : UnitProfile::kArmSmmuv3;
    if (DescribesCmdqv(proto)) {
      return Bad(absl::StrCat("unit ", unit.id),
                 mock ? "a SELFTEST has only an id" : "an ARM_SMMUV3 has no VINTFs to describe");
    }
    return unit;
  }
  unit.vintfs = OrDefault(proto.vintfs(), 64);
  unit.vcmdqs = OrDefault(proto.vcmdqs(), std::min(128, 2 * unit.vintfs));
  unit.sid_slots = OrDefault(proto.sid_slots(), 16);
  unit.version = OrDefault(proto.version(), 1);
  unit.forbidden_opcode = RefusalOf(proto.forbidden_command());
  unit.unmatched_vsid = RefusalOf(proto.unmatched_vsid());
  if (proto.ignores_reserved_bits()) unit.reserved_bits = ReservedBits::kIgnore;
  if (proto.ignores_prod_overrun()) unit.prod_overrun = ProdOverrun::kIgnore;
  return unit;
}

// Numbers that a file gives, and the lowest others for those that it leaves open.
class Numbers {
 public:
  void Take(uint32_t first, uint32_t count) {
    for (uint32_t i = 0; i < count; ++i) taken_.insert(first + i);
  }
  uint32_t Next() {
    while (taken_.contains(next_)) ++next_;
    return next_++;
  }

 private:
  std::set<uint32_t> taken_;
  uint32_t next_ = 0;
};

struct Range {
  uint32_t count = 1;
  uint32_t stride = 1;
  uint32_t per_group = 1;
  [[nodiscard]] uint32_t groups() const { return (count + per_group - 1) / per_group; }
};

Range RangeOf(const pb::EmulatedDevices& proto) {
  const auto or_one = [](uint32_t value) { return value != 0 ? value : 1; };
  return {or_one(proto.count()), or_one(proto.address_stride()), or_one(proto.devices_per_group())};
}

// What all devices of a range share, and the first one's serial.
absl::StatusOr<DeviceSpec> FirstDevice(const pb::EmulatedDevices& proto, const std::string& field) {
  DeviceSpec device;
  auto address = PciAddress::Parse(proto.first_address());
  if (!address.ok()) return Annotate(address.status(), field + ".first_address");
  device.address = *address;
  BERTH_ASSIGN_OR_RETURN(const uint64_t vendor, ParseHex(proto.vendor(), field + ".vendor", 4, 4));
  BERTH_ASSIGN_OR_RETURN(const uint64_t id, ParseHex(proto.device(), field + ".device", 4, 4));
  BERTH_ASSIGN_OR_RETURN(const uint64_t class_code,
                         ParseHex(proto.class_code(), field + ".class_code", 6, 6));
  device.vendor = static_cast<uint16_t>(vendor);
  device.device = static_cast<uint16_t>(id);
  device.class_code = static_cast<uint32_t>(class_code);
  if (!proto.first_serial().empty()) {
    BERTH_ASSIGN_OR_RETURN(device.serial,
                           ParseHex(proto.first_serial(), field + ".first_serial", 1, 16));
  }
  device.unit = proto.unit();
  if (proto.model() == pb::EmulatedDevices::DMA_TEST) device.model = DeviceModel::kDmaTest;
  if (proto.has_msi_vectors()) device.msi_vectors = ClampToInt(proto.msi_vectors());
  device.msix_vectors = ClampToInt(proto.msix_vectors());
  device.intx = proto.intx();
  device.numa_node = proto.has_numa_node() ? proto.numa_node() : -1;
  device.reset_method = proto.has_reset_method() ? proto.reset_method() : "flr bus";
  return device;
}

absl::Status Expand(const pb::EmulatedDevices& proto, const std::string& field, Numbers* groups,
                    Numbers* cdevs, std::vector<DeviceSpec>* devices) {
  const Range range = RangeOf(proto);
  BERTH_ASSIGN_OR_RETURN(DeviceSpec device, FirstDevice(proto, field));
  const uint64_t last = device.address.routing_id + uint64_t{range.count - 1} * range.stride;
  if (last > UINT16_MAX) return Bad(field, "the range reaches beyond bus ff");
  uint32_t group = 0;
  for (uint32_t i = 0; i < range.count; ++i) {
    if (proto.has_first_iommu_group()) {
      group = proto.first_iommu_group() + i / range.per_group;
    } else if (i % range.per_group == 0) {
      group = groups->Next();
    }
    device.iommu_group = group;
    const uint32_t cdev = proto.has_first_vfio() ? proto.first_vfio() + i : cdevs->Next();
    device.vfio_name = absl::StrCat("vfio", cdev);
    devices->push_back(device);
    if (device.serial) ++*device.serial;
    device.address.routing_id = static_cast<uint16_t>(device.address.routing_id + range.stride);
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<HostSpec> HostFromProto(const pb::EmulatedHost& proto) {
  HostSpec host;
  for (const pb::EmulatedUnit& unit : proto.units()) {
    BERTH_ASSIGN_OR_RETURN(UnitSpec spec, UnitFromProto(unit));
    host.units.push_back(std::move(spec));
  }
  Numbers groups;
  Numbers cdevs;
  uint64_t total = 0;
  for (const pb::EmulatedDevices& devices : proto.devices()) {
    const Range range = RangeOf(devices);
    total += range.count;
    if (total > kMaxDevices) {
      return Error(Reason::kTooLarge, absl::StrCat("devices: at most ", kMaxDevices),
                   {{"field", "devices"}});
    }
    if (devices.has_first_iommu_group()) groups.Take(devices.first_iommu_group(), range.groups());
    if (devices.has_first_vfio()) cdevs.Take(devices.first_vfio(), range.count);
  }
  for (int i = 0; i < proto.devices_size(); ++i) {
    BERTH_RETURN_IF_ERROR(
        Expand(proto.devices(i), absl::StrCat("devices[", i, "]"), &groups, &cdevs, &host.devices));
  }
  if (proto.page_size() != 0) host.page_size = proto.page_size();
  host.limits_memlock = proto.limits_memlock();
  host.hardware_threads = OrDefault(proto.hardware_threads(), 1);
  host.huge_pages_total = proto.huge_pages().total_2m();
  host.huge_pages_free = proto.huge_pages().free_2m();
  BERTH_RETURN_IF_ERROR(Validate(host));
  return host;
}

absl::StatusOr<HostSpec> LoadHostFile(const std::string& path) {
  pb::EmulatedHost proto;
  BERTH_RETURN_IF_ERROR(LoadYamlFile(path, &proto));
  auto host = HostFromProto(proto);
  if (!host.ok()) return Annotate(host.status(), path);
  return host;
}

}  // namespace berth::emulator
