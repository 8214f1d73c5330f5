// SPDX-License-Identifier: Apache-2.0
//
// Dirty tracking: Linux drivers/iommu/iommufd/{hw_pagetable.c,io_pagetable.c,iova_bitmap.c} over
// drivers/iommu/arm/arm-smmu-v3, which marks pages from the first mapping on, asked to or not.
// Domains of the mock driver track where asked for, but nothing makes a page dirty there.
#include <bit>
#include <cerrno>
#include <limits>
#include <span>
#include <vector>

#include "lib/emulator/kernel/ops.h"
#include "lib/iommufd/uapi/iommufd.h"

namespace berth::emulator {
namespace {

constexpr uint64_t kMax = std::numeric_limits<uint64_t>::max();

// io_pagetable.c, iommufd_check_iova_range().
int CheckDirtyRange(const uapi::IommuHwptGetDirtyBitmap& cmd, uint64_t alignment) {
  if (cmd.length == 0) return -EINVAL;
  const uint64_t last = cmd.iova + (cmd.length - 1);
  if (last < cmd.iova) return -EOVERFLOW;
  for (const uint64_t step : {alignment, cmd.page_size}) {
    if (step == 0 || ((cmd.iova | (last + 1)) & (step - 1)) != 0) return -EINVAL;
  }
  return 0;
}

// iova_bitmap_set(): a bit for each page of the bitmap's own size, from `iova` on.
void SetBits(const uapi::IommuHwptGetDirtyBitmap& cmd, uint64_t first, uint64_t last,
             std::vector<uint8_t>* bitmap) {
  const int shift = std::countr_zero(cmd.page_size);
  for (uint64_t bit = (first - cmd.iova) >> shift; bit <= (last - cmd.iova) >> shift; ++bit) {
    (*bitmap)[bit / 8] |= static_cast<uint8_t>(1U << bit % 8);
  }
}

// iommu_read_and_clear_dirty(): up to the first gap between areas, which is no error (what
// iova_bitmap_for_each() returns is not looked at), nor is a bitmap that cannot be written: what
// would be set there is lost (iova_bitmap_set()).
int ReadDirty(Ucmd& ucmd, const uapi::IommuHwptGetDirtyBitmap& cmd, const HwptPaging& hwpt) {
  const uint64_t bytes = ((cmd.length - 1) >> std::countr_zero(cmd.page_size)) / 8 + 1;
  if (bytes > kMaxIn) return -ENOMEM;
  std::vector<uint8_t> bitmap(bytes);
  const bool keep = (cmd.flags & uapi::kHwptGetDirtyBitmapNoClear) != 0;
  const uint64_t last = cmd.iova + (cmd.length - 1);
  hwpt.ioas->iopt.ForEachContiguous(cmd.iova, last, [&](uint64_t first, uint64_t end) {
    hwpt.dirty_log->Read(first, end, keep ? DirtyLog::Then::kKeep : DirtyLog::Then::kClean,
                         [&](uint64_t from, uint64_t to) { SetBits(cmd, from, to, &bitmap); });
  });
  // iommu_iotlb_sync(): writes under what was dirty before have ended.
  if (!keep) (void)hwpt.unit->smmu->Sync();
  return ucmd.user.PutBits(std::as_bytes(std::span(bitmap)));
}

}  // namespace

// iopt_set_dirty_tracking().
int HwptSetDirtyTracking(Ucmd& ucmd) {
  const auto& cmd = ucmd.As<uapi::IommuHwptSetDirtyTracking>();
  if ((cmd.flags & ~uapi::kHwptDirtyTrackingEnable) != 0) return -EOPNOTSUPP;
  const HwptPaging* hwpt = ucmd.context.Find<HwptPaging>(cmd.hwpt_id);
  if (hwpt == nullptr) return -ENOENT;
  if (!hwpt->dirty_tracking) return -EOPNOTSUPP;
  if (hwpt->dirty_log && (cmd.flags & uapi::kHwptDirtyTrackingEnable) != 0) {
    hwpt->dirty_log->Read(0, kMax, DirtyLog::Then::kClean, [](uint64_t, uint64_t) {});
    (void)hwpt->unit->smmu->Sync();
  }
  return 0;
}

int HwptGetDirtyBitmap(Ucmd& ucmd) {
  const auto& cmd = ucmd.As<uapi::IommuHwptGetDirtyBitmap>();
  if ((cmd.flags & ~uapi::kHwptGetDirtyBitmapNoClear) != 0 || cmd.reserved != 0) {
    return -EOPNOTSUPP;
  }
  const HwptPaging* hwpt = ucmd.context.Find<HwptPaging>(cmd.hwpt_id);
  if (hwpt == nullptr) return -ENOENT;
  if (int rc = CheckDirtyRange(cmd, hwpt->ioas->iopt.alignment()); rc != 0) return rc;
  if (!hwpt->dirty_tracking) return -EOPNOTSUPP;
  return hwpt->dirty_log ? ReadDirty(ucmd, cmd, *hwpt) : 0;
}

}  // namespace berth::emulator
