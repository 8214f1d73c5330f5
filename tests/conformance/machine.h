// SPDX-License-Identifier: Apache-2.0
//
// What the suites must know of a kernel's machine, and which cases make sense on it.
#ifndef BERTH_TESTS_CONFORMANCE_MACHINE_H_
#define BERTH_TESTS_CONFORMANCE_MACHINE_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace berth::conformance {

// The IOMMU driver behind the devices; types, lengths and the order of its checks follow from it.
enum class Driver : uint8_t {
  kTegra241Cmdqv,  // an SMMUv3 with CMDQV
  kArmSmmuv3,      // an SMMUv3 that nests, without
  kSelftest,       // the mock driver of CONFIG_IOMMUFD_TEST
  kIntelVtd,       // VT-d without nesting
};

struct Machine {
  Driver driver = Driver::kTegra241Cmdqv;
  uint64_t page_size = 4096;  // of the kernel
  // cdevs of unbound devices, each in a group of its own, behind one unit: at least two. None with
  // kSelftest, where the suite makes its devices.
  std::vector<std::string> devices = {};
  // One behind another unit with the same driver, where there is one.
  std::optional<std::string> other_device = std::nullopt;
  // cdevs of all devices of one IOMMU group, behind the unit of `devices` and none of those, where
  // there is one with at least two.
  std::vector<std::string> group = {};
  // Of kTegra241Cmdqv: VINTFs of the unit of `devices` that nobody has; at least two.
  int vintfs = 0;
  // Whether the suite's calls are made with CAP_SYS_RESOURCE.
  bool sys_resource = true;
  // Whether they can be made without CAP_IPC_LOCK: KernelUnderTest::SetIpcLock().
  bool limits_memlock = false;
};

// What a case cannot do without.
enum class Need : uint8_t {
  kCdevs,           // devices are VFIO cdevs
  kOtherUnit,       // a device behind another unit
  kSharedGroup,     // devices that share an IOMMU group
  kSmmu,            // an SMMUv3: stream table entries, its commands, its MSI window
  kCmdqv,           // a CMDQV: VINTFs, SID slots, registers in page0
  kViommus,         // vIOMMUs of some type
  kPlainViommus,    // vIOMMUs that have no HW queues
  kHwQueues,        // vIOMMUs that have them, and a region for the VMM
  kEventsOnDemand,  // a way to make an event happen
  kSmallIoPages,    // an IOMMU that maps less than a page of the kernel
  kSysResource,     // CAP_SYS_RESOURCE
  kNoSysResource,
  kMemlockLimit,  // calls to which RLIMIT_MEMLOCK applies
};

[[nodiscard]] bool Has(const Machine& machine, Need need);
// "needs VFIO cdevs".
[[nodiscard]] std::string_view SkipReason(Need need);

// The numbers of a driver's types. 0: it has none.
struct Types {
  uint32_t hw_info = 0;
  uint32_t viommu = 0;  // that the suite's vIOMMUs are of
  uint32_t hw_queue = 0;
  uint32_t veventq = 0;
  uint32_t nested = 0;  // HWPT data
};
[[nodiscard]] Types TypesOf(Driver driver);

// The smallest page that the driver maps, in bytes.
[[nodiscard]] uint64_t IoPageSize(const Machine& machine);
// Where no address space may map anything while a device is attached to it. Page aligned.
[[nodiscard]] uint64_t ReservedIova(const Machine& machine);

}  // namespace berth::conformance

#endif  // BERTH_TESTS_CONFORMANCE_MACHINE_H_
