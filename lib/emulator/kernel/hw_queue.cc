// SPDX-License-Identifier: Apache-2.0
//
// Linux drivers/iommu/iommufd/viommu.c, iommufd_hw_queue_alloc_ioctl(), over tegra241-cmdqv.c.
#include <fcntl.h>
#include <sys/mman.h>

#include <bit>
#include <cerrno>
#include <limits>

#include "lib/base/mapping.h"
#include "lib/emulator/kernel/mock.h"
#include "lib/emulator/kernel/ops.h"
#include "lib/iommufd/uapi/smmuv3.h"

namespace berth::emulator {
namespace {

// kvcalloc() of page pointers refuses more than INT_MAX bytes.
constexpr uint64_t kMostPages = std::numeric_limits<int32_t>::max() / sizeof(void*);

// Whether all pages follow one another in physical memory: within one page of a shmem file, within
// one huge page of a hugetlb file, and nowhere else. Two areas may continue one another.
bool IsContiguous(const std::vector<Extent>& extents) {
  const Extent& first = extents.front();
  const uint64_t unit = first.pages->contiguous;
  uint64_t next = first.file_offset;
  for (const Extent& extent : extents) {
    if (extent.pages->device != first.pages->device || extent.pages->inode != first.pages->inode ||
        extent.file_offset != next) {
      return false;
    }
    next += extent.length;
  }
  return first.file_offset / unit == (next - 1) / unit;
}

// Queue memory is read in place where the file cannot shrink under the mapping, else with pread(2).
QueueMemory OpenMemory(const Extent& extent, uint64_t offset, size_t length) {
  const int file = extent.pages->file.get();
  const int seals = ::fcntl(file, F_GET_SEALS);
  if (seals >= 0 && (seals & F_SEAL_SHRINK) != 0) {
    const uint64_t page = extent.pages->contiguous;
    const uint64_t start = offset / page * page;
    const uint64_t end = (offset + length + page - 1) / page * page;
    if (auto mapping = Mapping::Map(file, start, end - start, Mapping::Access::kRead);
        mapping.ok()) {
      auto owner = std::make_shared<Mapping>(*std::move(mapping));
      const std::byte* data = owner->data() + (offset - start);
      return QueueMemory::FromMapping(std::move(owner), data, length);
    }
  }
  // The aliasing pointer keeps the pages, and with them the file, open.
  return QueueMemory::FromFile(std::shared_ptr<const UniqueFd>(extent.pages, &extent.pages->file),
                               offset, length);
}

// iommufd_hw_queue_alloc_phys(): pins the memory in `access`. *base is the offset in the file of
// the queue's first byte, which is aligned as its physical address is, up to the size of its (huge)
// page.
int PinMemory(const uapi::IommuHwQueueAlloc& cmd, Ioas* ioas, NewObject<Access>* access,
              std::vector<Extent>* extents) {
  const uint64_t page_size = ioas->iopt.page_size();
  const uint64_t iova = cmd.nesting_parent_iova & ~(page_size - 1);
  uint64_t length = cmd.nesting_parent_iova - iova;
  if (__builtin_add_overflow(length, cmd.length, &length) ||
      __builtin_add_overflow(length, page_size - 1, &length)) {
    return -ERANGE;
  }
  length &= ~(page_size - 1);
  if (length / page_size > kMostPages) return -ENOMEM;
  if ((*access).error() != 0) return (*access).error();
  if (int rc = ioas->iopt.AddAccess(); rc != 0) return rc;
  (*access)->ioas = Pin<Ioas>(ioas);
  (*access)->added = true;
  if (int rc = ioas->iopt.Pin(iova, length, extents); rc != 0) return rc;
  (*access)->iova = iova;
  (*access)->length = length;
  return IsContiguous(*extents) ? 0 : -EFAULT;
}

// tegra241_vintf_alloc_lvcmdq_user().
int CheckQueue(const uapi::IommuHwQueueAlloc& cmd, const Viommu& viommu, uint64_t base) {
  if (cmd.index >= static_cast<uint32_t>(viommu.unit->cmdqv->lvcmdqs_per_vintf())) return -EINVAL;
  if (viommu.queues.contains(cmd.index)) return -EEXIST;
  if (cmd.index > 0 && !viommu.queues.contains(cmd.index - 1)) return -EIO;
  const uint64_t most = uint64_t{16} << viommu.unit->spec.log2_max_commands;
  if (!std::has_single_bit(cmd.length) || cmd.length < uapi::kMinHwQueueLength ||
      cmd.length > most) {
    return -EINVAL;
  }
  return base % cmd.length != 0 ? -EINVAL : 0;
}

int MapQueue(const uapi::IommuHwQueueAlloc& cmd, Viommu* viommu, const Extent& extent,
             HwQueue* queue) {
  const uint64_t base = extent.file_offset + cmd.nesting_parent_iova % extent.pages->page_size;
  if (int rc = CheckQueue(cmd, *viommu, base); rc != 0) return rc;
  const auto log2size = static_cast<uint32_t>(std::countr_zero(cmd.length / 16));
  if (int rc = viommu->unit->cmdqv->MapLvcmdq(viommu->vintf, static_cast<int>(cmd.index),
                                              OpenMemory(extent, base, cmd.length), log2size);
      rc != 0) {
    return rc;
  }
  queue->mapped = true;
  queue->index = cmd.index;
  if (cmd.index > 0) queue->previous = Pin<HwQueue>(viommu->queues.at(cmd.index - 1));
  viommu->queues[cmd.index] = queue;
  return 0;
}

}  // namespace

int HwQueueAlloc(Ucmd& ucmd) {
  auto& cmd = ucmd.As<uapi::IommuHwQueueAlloc>();
  if (cmd.flags != 0 || cmd.type == uapi::kHwQueueTypeDefault) return -EOPNOTSUPP;
  if (cmd.length == 0) return -EINVAL;
  uint64_t last = 0;
  if (__builtin_add_overflow(cmd.nesting_parent_iova, cmd.length - 1, &last)) return -EOVERFLOW;
  Viommu* viommu = ucmd.context.Find<Viommu>(cmd.viommu_id);
  if (viommu == nullptr) return -ENOENT;
  const uint32_t type =
      viommu->mock != nullptr ? uapi::kHwQueueTypeSelftest : uapi::kHwQueueTypeTegra241Cmdqv;
  if ((viommu->vintf == 0 && viommu->mock == nullptr) || cmd.type != type) return -EOPNOTSUPP;
  NewObject<HwQueue> queue(&ucmd.context);
  if (queue.error() != 0) return queue.error();
  NewObject<Access> access(&ucmd.context);
  std::vector<Extent> extents;
  if (int pinned = PinMemory(cmd, viommu->parent->ioas.get(), &access, &extents); pinned != 0) {
    return pinned;
  }
  FaultPlan& faults = ucmd.context.machine().faults;
  if (faults.Meet(FaultKind::kNonContiguous, viommu->unit->spec.id)) return -EFAULT;
  queue->context = &ucmd.context;
  queue->viommu = Pin<Viommu>(viommu);
  const int rc = viommu->mock != nullptr ? MockInitHwQueue(cmd, viommu, queue.get())
                                         : MapQueue(cmd, viommu, extents.front(), queue.get());
  if (rc != 0) return rc;
  cmd.out_hw_queue_id = queue->id;
  if (int fault = ucmd.user.Respond(); fault != 0) return fault;
  queue->access_id = access.Install()->id;
  queue.Install();
  return 0;
}

}  // namespace berth::emulator
