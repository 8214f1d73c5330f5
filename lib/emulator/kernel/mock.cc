// SPDX-License-Identifier: Apache-2.0
#include "lib/emulator/kernel/mock.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

namespace berth::emulator {
namespace {

// One kmalloc is at most 4 MiB.
constexpr uint32_t kMostEntries = (4U << 20) / sizeof(uapi::IommuViommuInvalidateSelftest);

// iommu_copy_struct_from_user(): the caller may know less of the struct, down to `least` bytes, but
// not more.
template <typename T>
int CopyStruct(const UserCall& user, size_t offset, size_t length, size_t least, T* to) {
  if (length < least || length > sizeof(T)) return -EINVAL;
  *to = {};
  return user.CopyFromUser(offset, to, length);
}

}  // namespace

int MockHwInfo(uapi::IommuHwInfo& cmd, const void** data, size_t* size) {
  static constexpr uapi::IommuHwInfoSelftest kInfo = {0, uapi::kHwInfoSelftestRegval};
  if (cmd.data_type != uapi::kHwInfoDefault && cmd.data_type != uapi::kHwInfoSelftest) {
    return -EOPNOTSUPP;
  }
  cmd.data_type = uapi::kHwInfoSelftest;
  *data = &kInfo;
  *size = sizeof(kInfo);
  return 0;
}

int MockAllocPaging(Ucmd& ucmd, const uapi::IommuHwptAlloc& cmd) {
  if (cmd.data_len == 0) return 0;
  uapi::IommuHwptSelftest data;
  if (cmd.data_type != uapi::kHwptDataSelftest) return -EOPNOTSUPP;
  if (int rc = CopyStruct(ucmd.user, 0, cmd.data_len, sizeof(data.iotlb), &data); rc != 0) {
    return rc;
  }
  return data.pagetable_type == uapi::kMockPagetableDefault ? 0 : -EOPNOTSUPP;
}

int MockAllocNested(Ucmd& ucmd, const uapi::IommuHwptAlloc& cmd, HwptNested* hwpt) {
  uapi::IommuHwptSelftest data;
  if (cmd.data_type != uapi::kHwptDataSelftest) return -EOPNOTSUPP;
  if (int rc = CopyStruct(ucmd.user, 0, cmd.data_len, sizeof(data.iotlb), &data); rc != 0) {
    return rc;
  }
  hwpt->mock_iotlb.fill(data.iotlb);
  return 0;
}

int MockAttach(Hwpt* hwpt, Function* function) {
  Viommu* viommu = nullptr;
  uint64_t virt_id = 0;
  if (hwpt->type == ObjectType::kHwptNested) {
    viommu = static_cast<HwptNested*>(hwpt)->viommu.get();
    if (viommu != nullptr) {
      const Vdevice* vdevice = viommu->FindVdevice(function);
      if (vdevice == nullptr) return -ENOENT;
      virt_id = vdevice->virt_id;
    }
  }
  // An oddity of the mock: what was noted for this vIOMMU once is not looked up again.
  if (function->event_viommu == viommu) return 0;
  function->event_viommu = viommu;
  function->event_vsid = virt_id;
  return 0;
}

int MockInitViommu(Ucmd& ucmd, const uapi::IommuViommuAlloc& cmd, Viommu* viommu) {
  viommu->mock = std::make_unique<MockViommu>();
  if (cmd.data_len == 0) return 0;
  uapi::IommuViommuSelftest data;
  constexpr size_t kLeast = offsetof(uapi::IommuViommuSelftest, out_mmap_offset);
  if (int rc = CopyStruct(ucmd.user, 0, cmd.data_len, kLeast, &data); rc != 0) return rc;
  UniqueFd& page = viommu->mock->page;
  const uint64_t window = 2 * ucmd.context.machine().page_size;
  page.Reset(::memfd_create("mock-viommu", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!page.valid() || ::ftruncate(page.get(), static_cast<off_t>(window)) != 0 ||
      ::pwrite(page.get(), &data.in_data, sizeof(data.in_data), 0) != sizeof(data.in_data)) {
    return -ENOMEM;
  }
  viommu->mmap_length = window;
  viommu->mmap_offset = ucmd.context.TakeWindow(viommu);
  data.out_data = data.in_data;
  data.out_mmap_offset = viommu->mmap_offset;
  data.out_mmap_length = window;
  return ucmd.user.CopyToUser(&data, cmd.data_len);
}

int MockInitHwQueue(const uapi::IommuHwQueueAlloc& cmd, Viommu* viommu, HwQueue* queue) {
  if (cmd.index >= uapi::kMockHwQueues) return -EINVAL;
  MockViommu& mock = *viommu->mock;
  if (mock.taken[cmd.index]) return -EEXIST;
  if (cmd.index > 0 && !mock.taken[0]) return -EIO;
  if (cmd.index > 0) {
    queue->previous = Pin<HwQueue>(mock.first);
  } else {
    mock.first = queue;
  }
  mock.taken[cmd.index] = true;
  queue->mock = true;
  queue->index = cmd.index;
  return 0;
}

int MockInvalidateNested(const UserCall& user, const uapi::IommuHwptInvalidate& cmd,
                         HwptNested* hwpt, uint32_t* done) {
  *done = 0;
  if (cmd.data_type != uapi::kHwptInvalidateSelftest) return -EINVAL;
  for (uint32_t i = 0; i < cmd.entry_num; ++i) {
    uapi::IommuHwptInvalidateSelftest entry;
    if (int rc =
            CopyStruct(user, uint64_t{i} * cmd.entry_len, cmd.entry_len, sizeof(entry), &entry);
        rc != 0) {
      return rc;
    }
    if ((entry.flags & ~uapi::kTestInvalidateAll) != 0) return -EOPNOTSUPP;
    if (entry.iotlb_id >= uapi::kMockIotlbEntries) return -EINVAL;
    if ((entry.flags & uapi::kTestInvalidateAll) != 0) {
      hwpt->mock_iotlb.fill(0);
    } else {
      hwpt->mock_iotlb[entry.iotlb_id] = 0;
    }
    ++*done;
  }
  return 0;
}

int MockInvalidateViommu(const UserCall& user, const uapi::IommuHwptInvalidate& cmd,
                         const Viommu& viommu, uint32_t* done) {
  using Entry = uapi::IommuViommuInvalidateSelftest;
  *done = 0;
  if (cmd.entry_num == 0 && cmd.data_type == uapi::kViommuInvalidateSelftest) return 0;
  if (cmd.entry_num > kMostEntries) {
    *done = cmd.entry_num;
    return -ENOMEM;
  }
  std::vector<Entry> entries(cmd.entry_num);
  if (int rc = user.CopyFullArray(cmd, uapi::kViommuInvalidateSelftest,
                                  std::as_writable_bytes(std::span(entries)), sizeof(Entry));
      rc != 0) {
    return rc;
  }
  for (; *done < entries.size(); ++*done) {
    const Entry& entry = entries[*done];
    if ((entry.flags & ~uapi::kTestInvalidateAll) != 0) return -EOPNOTSUPP;
    if (entry.cache_id >= uapi::kMockCacheEntries) return -EINVAL;
    const auto vdevice = viommu.vdevices.find(entry.vdev_id);
    if (vdevice == viommu.vdevices.end()) return -EINVAL;
    auto& cache = vdevice->second->device->function->mock_cache;
    if ((entry.flags & uapi::kTestInvalidateAll) != 0) {
      cache.fill(0);
    } else {
      cache[entry.cache_id] = 0;
    }
  }
  return 0;
}

}  // namespace berth::emulator
