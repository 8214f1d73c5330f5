// SPDX-License-Identifier: Apache-2.0
#include "tests/conformance/machine.h"

#include "lib/iommufd/uapi/iommufd_test.h"
#include "lib/iommufd/uapi/smmuv3.h"

namespace berth::conformance {

bool Has(const Machine& machine, Need need) {
  const Driver driver = machine.driver;
  switch (need) {
    case Need::kCdevs:
      return driver != Driver::kSelftest;
    case Need::kOtherUnit:
      return machine.other_device.has_value();
    case Need::kSharedGroup:
      return machine.group.size() >= 2;
    case Need::kSmmu:
    case Need::kPlainViommus:
      return driver == Driver::kTegra241Cmdqv || driver == Driver::kArmSmmuv3;
    case Need::kCmdqv:
      return driver == Driver::kTegra241Cmdqv;
    case Need::kViommus:
      return driver != Driver::kIntelVtd;
    case Need::kHwQueues:
      return driver == Driver::kTegra241Cmdqv || driver == Driver::kSelftest;
    case Need::kEventsOnDemand:
      return driver == Driver::kSelftest;
    case Need::kSmallIoPages:
      return IoPageSize(machine) < machine.page_size;
    case Need::kSysResource:
      return machine.sys_resource;
    case Need::kNoSysResource:
      return !machine.sys_resource;
    case Need::kMemlockLimit:
      return machine.limits_memlock;
  }
  return false;
}

std::string_view SkipReason(Need need) {
  switch (need) {
    case Need::kCdevs:
      return "needs VFIO cdevs";
    case Need::kOtherUnit:
      return "needs a device behind another unit";
    case Need::kSharedGroup:
      return "needs devices that share an IOMMU group";
    case Need::kSmmu:
      return "needs an SMMUv3";
    case Need::kCmdqv:
      return "needs a CMDQV";
    case Need::kViommus:
      return "needs vIOMMUs";
    case Need::kPlainViommus:
      return "needs vIOMMUs without HW queues";
    case Need::kHwQueues:
      return "needs HW queues";
    case Need::kEventsOnDemand:
      return "needs events on demand";
    case Need::kSmallIoPages:
      return "needs an IOMMU with smaller pages than the kernel's";
    case Need::kSysResource:
      return "needs CAP_SYS_RESOURCE";
    case Need::kNoSysResource:
      return "needs to be without CAP_SYS_RESOURCE";
    case Need::kMemlockLimit:
      return "needs a limit of locked memory";
  }
  return "";
}

Types TypesOf(Driver driver) {
  switch (driver) {
    case Driver::kTegra241Cmdqv:
      return {uapi::kHwInfoArmSmmuv3, uapi::kViommuTypeTegra241Cmdqv,
              uapi::kHwQueueTypeTegra241Cmdqv, uapi::kVeventqTypeArmSmmuv3,
              uapi::kHwptDataArmSmmuv3};
    case Driver::kArmSmmuv3:
      return {.hw_info = uapi::kHwInfoArmSmmuv3,
              .viommu = uapi::kViommuTypeArmSmmuv3,
              .veventq = uapi::kVeventqTypeArmSmmuv3,
              .nested = uapi::kHwptDataArmSmmuv3};
    case Driver::kSelftest:
      return {uapi::kHwInfoSelftest, uapi::kViommuTypeSelftest, uapi::kHwQueueTypeSelftest,
              uapi::kVeventqTypeSelftest, uapi::kHwptDataSelftest};
    case Driver::kIntelVtd:
      return {.hw_info = uapi::kHwInfoVtd};
  }
  return {};
}

uint64_t IoPageSize(const Machine& machine) {
  // selftest.c, MOCK_IO_PAGE_SIZE.
  return machine.driver == Driver::kSelftest ? machine.page_size / 2 : machine.page_size;
}

uint64_t ReservedIova(const Machine& machine) {
  switch (machine.driver) {
    case Driver::kTegra241Cmdqv:
    case Driver::kArmSmmuv3:
      return uapi::kSwMsiBase;
    case Driver::kSelftest:
      return uapi::kMockApertureLast + 1;  // it maps nothing from there on
    case Driver::kIntelVtd:
      return 0xfee00000;  // x86 interrupts (intel/iommu.c, IOAPIC_RANGE_START)
  }
  return 0;
}

}  // namespace berth::conformance
