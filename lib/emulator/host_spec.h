// SPDX-License-Identifier: Apache-2.0
//
// The machine that an emulator plays, as plain data.
#ifndef BERTH_LIB_EMULATOR_HOST_SPEC_H_
#define BERTH_LIB_EMULATOR_HOST_SPEC_H_

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "lib/emulator/hardware/cmdqv.h"

namespace berth::emulator {

// Segment, bus, device and function of a PCI function.
struct PciAddress {
  uint16_t segment = 0;
  uint16_t routing_id = 0;  // bus << 8 | device << 3 | function

  auto operator<=>(const PciAddress&) const = default;
  // "0000:3b:00.0", lower case.
  [[nodiscard]] std::string ToString() const;
  // Accepts exactly the form above, in either case. INVALID_FIELD otherwise.
  static absl::StatusOr<PciAddress> Parse(std::string_view text);
};

enum class UnitProfile : uint8_t {
  kTegra241Cmdqv,  // vIOMMU types ARM_SMMUV3 and TEGRA241_CMDQV
  kArmSmmuv3,      // vIOMMU type ARM_SMMUV3 alone
  kSelftest,       // the kernel's mock driver: devices are made by IOMMU_TEST_CMD
};

struct UnitSpec {
  std::string id;  // the name under /sys/class/iommu
  UnitProfile profile = UnitProfile::kTegra241Cmdqv;
  int vintfs = 64;  // with the host's own VINTF 0
  int vcmdqs = 128;
  int sid_slots = 16;
  int version = 1;
  int log2_max_commands = 17;  // IDR1.CMDQS
  int address_bits = 48;       // IDR5.OAS
  bool ats = true;
  bool httu = false;  // IDR0.HTTU: hardware updates access flag and dirty state
  // What is not known of the hardware: see CmdqvConfig.
  Refusal forbidden_opcode = Refusal::kIllegal;
  Refusal unmatched_vsid = Refusal::kIllegal;
  ReservedBits reserved_bits = ReservedBits::kRefuse;
  ProdOverrun prod_overrun = ProdOverrun::kIllegal;
};

enum class DeviceModel : uint8_t {
  kPlain,    // config space and reset
  kDmaTest,  // and BAR 0 of a DmaDevice, and interrupts
};

struct DeviceSpec {
  PciAddress address;
  uint16_t vendor = 0;
  uint16_t device = 0;
  uint32_t class_code = 0;         // 24 bits
  std::optional<uint64_t> serial;  // PCIe Device Serial Number
  std::string unit;
  uint32_t iommu_group = 0;
  int numa_node = -1;
  std::string reset_method;  // empty: cannot be reset
  std::string vfio_name;     // of its cdev: "vfio3"
  DeviceModel model = DeviceModel::kPlain;
  int msi_vectors = 1;
  int msix_vectors = 0;  // kDmaTest
  bool intx = false;     // kDmaTest
};

struct HostSpec {
  std::vector<UnitSpec> units;
  std::vector<DeviceSpec> devices;
  uint32_t page_size = 4096;      // of the kernel: 4096 or 65536 bytes
  bool limits_memlock = false;    // pinned memory counts against RLIMIT_MEMLOCK
  int hardware_threads = 1;       // that poll: PollerOptions::threads
  uint32_t huge_pages_total = 0;  // of 2 MiB
  uint32_t huge_pages_free = 0;
};

inline constexpr size_t kMaxUnits = 64;
inline constexpr size_t kMaxDevices = 4096;
inline constexpr int kMaxHardwareThreads = 64;

// Checks what the types cannot: ranges, unique ids, addresses and cdev names, devices behind known
// units, one unit for a group. Errors: INVALID_FIELD, MISSING_FIELD, TOO_LARGE or ALREADY_EXISTS,
// with metadata "field".
absl::Status Validate(const HostSpec& host);

}  // namespace berth::emulator

#endif  // BERTH_LIB_EMULATOR_HOST_SPEC_H_
