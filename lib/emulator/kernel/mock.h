// SPDX-License-Identifier: Apache-2.0
//
// The kernel's mock IOMMU driver (Linux drivers/iommu/iommufd/selftest.c, CONFIG_IOMMUFD_TEST),
// behind units of profile SELFTEST: what it does differently from an SMMUv3, its oddities included.
#ifndef BERTH_LIB_EMULATOR_KERNEL_MOCK_H_
#define BERTH_LIB_EMULATOR_KERNEL_MOCK_H_

#include <array>
#include <cstdint>

#include "lib/base/unique_fd.h"
#include "lib/emulator/kernel/context.h"
#include "lib/emulator/kernel/ops.h"
#include "lib/iommufd/uapi/iommufd_test.h"

namespace berth::emulator {

// What the mock keeps of a vIOMMU.
struct MockViommu {
  UniqueFd page;  // of two pages, which a VMM can map; -1 without user data
  // Which indices count as taken. Not which queues there are: the driver never notes a queue's
  // index, so that the end of any queue frees index 0, and index 1 stays taken.
  std::array<bool, uapi::kMockHwQueues> taken = {};
  HwQueue* first = nullptr;  // where index 0 is taken

  void OnQueueEnd() {
    taken[0] = false;
    first = nullptr;
  }
};

// A mock device and its binding in one: object type SELFTEST, the "stdev".
struct MockDevice : Object {
  static constexpr ObjectType kType = ObjectType::kSelftest;
  MockDevice() : Object(kType) {}
  // Detaches and unbinds, as the close of a cdev does.
  ~MockDevice() override;

  Context* context = nullptr;
  IommuGroup group;
  Function function;
  DeviceObject* device = nullptr;
  bool attached = false;
};

// IOMMU_TEST_CMD.
int TestCmd(Ucmd& ucmd);

int MockHwInfo(uapi::IommuHwInfo& cmd, const void** data, size_t* size);
// domain_alloc_paging_flags(), of what HWPT_ALLOC names.
int MockAllocPaging(Ucmd& ucmd, const uapi::IommuHwptAlloc& cmd);
// domain_alloc_nested(); in a vIOMMU alloc_domain_nested().
int MockAllocNested(Ucmd& ucmd, const uapi::IommuHwptAlloc& cmd, HwptNested* hwpt);
// attach_dev().
int MockAttach(Hwpt* hwpt, Function* function);
int MockInitViommu(Ucmd& ucmd, const uapi::IommuViommuAlloc& cmd, Viommu* viommu);
int MockInitHwQueue(const uapi::IommuHwQueueAlloc& cmd, Viommu* viommu, HwQueue* queue);
// cache_invalidate_user() and cache_invalidate(). *done is the entry_num that goes back.
int MockInvalidateNested(const UserCall& user, const uapi::IommuHwptInvalidate& cmd,
                         HwptNested* hwpt, uint32_t* done);
int MockInvalidateViommu(const UserCall& user, const uapi::IommuHwptInvalidate& cmd,
                         const Viommu& viommu, uint32_t* done);

}  // namespace berth::emulator

#endif  // BERTH_LIB_EMULATOR_KERNEL_MOCK_H_
