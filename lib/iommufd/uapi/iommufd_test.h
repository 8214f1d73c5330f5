// SPDX-License-Identifier: Apache-2.0
//
// The test interface of a Linux 7.3 built with CONFIG_IOMMUFD_TEST: mock devices on /dev/iommu
// (drivers/iommu/iommufd/iommufd_test.h), as far as the emulator's SELFTEST profile has it. Native
// byte order.
#ifndef BERTH_LIB_IOMMUFD_UAPI_IOMMUFD_TEST_H_
#define BERTH_LIB_IOMMUFD_UAPI_IOMMUFD_TEST_H_

#include <cstddef>
#include <cstdint>

#include "lib/iommufd/uapi/iommufd.h"

namespace berth::uapi {

inline constexpr Request kIommuTestCmd = 0x3ba0;

// IommuTestCmd::op
inline constexpr uint32_t kTestOpMockDomain = 2;
inline constexpr uint32_t kTestOpMockDomainReplace = 10;
inline constexpr uint32_t kTestOpMdCheckIotlb = 14;
inline constexpr uint32_t kTestOpDevCheckCache = 16;
inline constexpr uint32_t kTestOpTriggerVevent = 17;

struct IommuTestMockDomain {
  uint32_t out_stdev_id;
  uint32_t out_hwpt_id;
  uint32_t out_idev_id;
};
static_assert(sizeof(IommuTestMockDomain) == 12 &&
              offsetof(IommuTestMockDomain, out_hwpt_id) == 4 &&
              offsetof(IommuTestMockDomain, out_idev_id) == 8);
struct IommuTestCheck {
  uint32_t id;     // of an entry
  uint32_t value;  // that is expected there
};
static_assert(sizeof(IommuTestCheck) == 8 && offsetof(IommuTestCheck, value) == 4);

struct IommuTestCmd {
  uint32_t size;
  uint32_t op;
  uint32_t id;
  uint32_t reserved;
  union {
    IommuTestMockDomain mock_domain;  // `id` is the page table to attach
    uint32_t pt_id;                   // MOCK_DOMAIN_REPLACE; `id` is the mock device
    IommuTestCheck check_iotlb;       // `id` is a nested HWPT
    IommuTestCheck check_dev_cache;   // `id` is a DEVICE
    uint32_t dev_id;                  // TRIGGER_VEVENT
    uint8_t bytes[48];
  };
  uint32_t last;
  uint32_t padding;
};
static_assert(sizeof(IommuTestCmd) == 72 && offsetof(IommuTestCmd, op) == 4 &&
              offsetof(IommuTestCmd, id) == 8 && offsetof(IommuTestCmd, reserved) == 12 &&
              offsetof(IommuTestCmd, mock_domain) == 16 && offsetof(IommuTestCmd, pt_id) == 16 &&
              offsetof(IommuTestCmd, check_iotlb) == 16 &&
              offsetof(IommuTestCmd, check_dev_cache) == 16 &&
              offsetof(IommuTestCmd, dev_id) == 16 && offsetof(IommuTestCmd, last) == 64);

// The types of everything that the mock driver has.
inline constexpr uint32_t kHwInfoSelftest = 0xfeedbeef;
inline constexpr uint32_t kHwptDataSelftest = 0xdead;
inline constexpr uint32_t kHwptInvalidateSelftest = 0xdeadbeef;
inline constexpr uint32_t kViommuInvalidateSelftest = 0xdeadbeef;
inline constexpr uint32_t kViommuTypeSelftest = 0xdeadbeef;
inline constexpr uint32_t kHwQueueTypeSelftest = 0xdeadbeef;
inline constexpr uint32_t kVeventqTypeSelftest = 0xbeefbeef;

inline constexpr uint64_t kMockApertureStart = 1U << 24;
inline constexpr uint64_t kMockApertureLast = (1U << 31) - 1;
inline constexpr uint32_t kMockIotlbEntries = 4;
inline constexpr uint32_t kMockCacheEntries = 4;
inline constexpr uint32_t kMockHwQueues = 2;
inline constexpr uint32_t kMockCacheDefault = 12345;  // of a fresh device's cache entries
inline constexpr uint32_t kTestInvalidateAll = 1;

struct IommuHwInfoSelftest {
  uint32_t flags;
  uint32_t test_reg;
};
static_assert(sizeof(IommuHwInfoSelftest) == 8 && offsetof(IommuHwInfoSelftest, test_reg) == 4);
inline constexpr uint32_t kHwInfoSelftestRegval = 0xdeadbeef;

struct IommuHwptSelftest {
  uint32_t iotlb;  // what all entries of the mock's IOTLB hold at first
  uint32_t pagetable_type;
};
static_assert(sizeof(IommuHwptSelftest) == 8 && offsetof(IommuHwptSelftest, pagetable_type) == 4);
inline constexpr uint32_t kMockPagetableDefault = 0;

struct IommuHwptInvalidateSelftest {
  uint32_t flags;
  uint32_t iotlb_id;
};
static_assert(sizeof(IommuHwptInvalidateSelftest) == 8 &&
              offsetof(IommuHwptInvalidateSelftest, iotlb_id) == 4);

struct IommuViommuInvalidateSelftest {
  uint32_t flags;
  uint32_t vdev_id;
  uint32_t cache_id;
};
static_assert(sizeof(IommuViommuInvalidateSelftest) == 12 &&
              offsetof(IommuViommuInvalidateSelftest, vdev_id) == 4 &&
              offsetof(IommuViommuInvalidateSelftest, cache_id) == 8);

struct IommuViommuSelftest {
  uint32_t in_data;
  uint32_t out_data;
  uint64_t out_mmap_offset;
  uint64_t out_mmap_length;
};
static_assert(sizeof(IommuViommuSelftest) == 24 && offsetof(IommuViommuSelftest, out_data) == 4 &&
              offsetof(IommuViommuSelftest, out_mmap_offset) == 8 &&
              offsetof(IommuViommuSelftest, out_mmap_length) == 16);

struct IommuVeventSelftest {
  uint32_t virt_id;
};
static_assert(sizeof(IommuVeventSelftest) == 4);

}  // namespace berth::uapi

#endif  // BERTH_LIB_IOMMUFD_UAPI_IOMMUFD_TEST_H_
