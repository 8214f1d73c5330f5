// SPDX-License-Identifier: Apache-2.0
#include "lib/emulator/kernel/io_pagetable.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <limits>

#include "tests/emulator/emulator_fixture.h"

namespace berth::emulator {
namespace {

constexpr uint64_t kMb = 1 << 20;
constexpr uint64_t kMax = std::numeric_limits<uint64_t>::max();
constexpr uint32_t kReadWrite = uapi::kIoasMapReadable | uapi::kIoasMapWriteable;
constexpr uint32_t kFixed = kReadWrite | uapi::kIoasMapFixedIova;

class IoPagetableTest : public ::testing::Test {
 protected:
  int Map(uint64_t iova, uint64_t start, uint64_t length, uint32_t flags = kFixed,
          uint64_t* out = nullptr) {
    std::shared_ptr<Pages> pages;
    UniqueFd copy(::fcntl(memfd_.get(), F_DUPFD_CLOEXEC, 0));
    if (int rc = Pages::Open(std::move(copy), start, length, kPageSize, &pages); rc != 0) return rc;
    pages->writable = true;
    const int rc = iopt_.Map({{pages, start, length}}, flags, &iova);
    if (out != nullptr) *out = iova;
    return rc;
  }
  UniqueFd memfd_ = GuestMemory(4 * kMb);
  IoPagetable iopt_{kPageSize};
  const int domain_ = 0;
  const int device_ = 0;
};

TEST_F(IoPagetableTest, AnAreaIsUnmappedWholeOrNotAtAll) {
  ASSERT_EQ(Map(kMb, 0, kMb), 0);
  EXPECT_EQ(Map(kMb + 4096, 0, 4096), -EEXIST);
  uint64_t unmapped = 0;
  EXPECT_EQ(iopt_.Unmap(kMb, 4096, &unmapped), -ENOENT);
  EXPECT_EQ(iopt_.Unmap(kMb, 0, &unmapped), -EINVAL);
  EXPECT_EQ(iopt_.Unmap(kMax - 10, 100, &unmapped), -EOVERFLOW);
  EXPECT_EQ(iopt_.Unmap(0, 4 * kMb, &unmapped), 0) << "a larger range is fine";
  EXPECT_EQ(unmapped, kMb);
  EXPECT_EQ(iopt_.Unmap(0, 4 * kMb, &unmapped), -ENOENT);
  EXPECT_EQ(iopt_.UnmapAll(&unmapped), 0) << "of nothing is fine, too";
}

TEST_F(IoPagetableTest, UnmapTakesWhatIsBelowAPinnedAreaBeforeItStops) {
  ASSERT_EQ(iopt_.AddDomain(&domain_, {0, kMax}), 0);
  ASSERT_EQ(Map(kMb, 0, 4096), 0);
  ASSERT_EQ(Map(2 * kMb, 0, 4096), 0);
  std::vector<Extent> extents;
  ASSERT_EQ(iopt_.Pin(2 * kMb, 4096, &extents), 0);
  uint64_t unmapped = 0;
  EXPECT_EQ(iopt_.UnmapAll(&unmapped), -EBUSY);
  EXPECT_EQ(iopt_.area_count(), 1U);
  iopt_.Unpin(2 * kMb, 4096);
  EXPECT_EQ(iopt_.UnmapAll(&unmapped), 0);
}

TEST_F(IoPagetableTest, PinNeedsReadableAreasWithoutAHole) {
  ASSERT_EQ(Map(kMb, 0, 4096), 0);
  ASSERT_EQ(Map(kMb + 4096, 4096, 4096, uapi::kIoasMapWriteable | uapi::kIoasMapFixedIova), 0);
  std::vector<Extent> extents;
  EXPECT_EQ(iopt_.Pin(2 * kMb, 4096, &extents), -ENOENT);
  EXPECT_EQ(iopt_.Pin(kMb, 8192, &extents), -EPERM);
  extents.clear();
  EXPECT_EQ(iopt_.Pin(kMb, 4096, &extents), 0);
  ASSERT_EQ(extents.size(), 1U);
  EXPECT_EQ(extents[0].file_offset, 0U);
}

TEST_F(IoPagetableTest, ReservedRangesMeetNeitherAreasNorAllowedOnes) {
  ASSERT_EQ(Map(kMb, 0, 4096), 0);
  EXPECT_EQ(iopt_.Reserve(0, kMb, &device_), -EADDRINUSE);
  EXPECT_EQ(iopt_.Reserve(2 * kMb, 3 * kMb - 1, &device_), 0);
  EXPECT_EQ(Map(2 * kMb, 0, 4096), -EINVAL);
  EXPECT_EQ(iopt_.SetAllowed({{2 * kMb, 4 * kMb}}), -EADDRINUSE);
  EXPECT_EQ(iopt_.SetAllowed({{4 * kMb, 5 * kMb - 1}}), 0);
  EXPECT_EQ(iopt_.Reserve(4 * kMb, 4 * kMb, &domain_), -EADDRINUSE);
  const auto holes = iopt_.Holes();
  ASSERT_EQ(holes.size(), 2U);
  EXPECT_EQ(holes[0].last, 2 * kMb - 1);
  EXPECT_EQ(holes[1].start, 3 * kMb);
  uint64_t iova = 0;
  EXPECT_EQ(Map(0, 0, kMb, kReadWrite, &iova), 0);
  EXPECT_EQ(iova, 4 * kMb) << "automatic IOVAs keep to what is allowed";
  EXPECT_EQ(Map(0, 0, kMb, kReadWrite, &iova), -ENOSPC);
}

TEST_F(IoPagetableTest, ADomainTakesOnlyWhatCanBePinned) {
  ASSERT_EQ(Map(kMb, 3 * kMb, 2 * kMb), 0) << "beyond the end, but nobody looks yet";
  EXPECT_EQ(iopt_.AddDomain(&domain_, {0, kMax}), -EINVAL);
  uint64_t unmapped = 0;
  ASSERT_EQ(iopt_.UnmapAll(&unmapped), 0);
  ASSERT_EQ(Map(17, 0, 100), 0) << "bytes are fine without a domain";
  EXPECT_EQ(iopt_.AddDomain(&domain_, {0, kMax}), -EADDRINUSE);
  ASSERT_EQ(iopt_.UnmapAll(&unmapped), 0);
  EXPECT_EQ(iopt_.AddDomain(&domain_, {0, (uint64_t{1} << 44) - 1}), 0);
  EXPECT_EQ(iopt_.Holes().back().last, (uint64_t{1} << 44) - 1);
  EXPECT_EQ(Map(17, 0, 4096), -EINVAL);
  EXPECT_EQ(Map(kMb, 3 * kMb, 2 * kMb), -EINVAL);
  iopt_.RemoveDomain(&domain_);
  EXPECT_EQ(iopt_.alignment(), 1U);
  EXPECT_EQ(iopt_.Holes().back().last, kMax);
}

TEST_F(IoPagetableTest, LargePagesCannotBeTurnedOffUnderADomainWithAreas) {
  EXPECT_TRUE(iopt_.large_pages());
  ASSERT_EQ(Map(17, 0, 100), 0);
  EXPECT_EQ(iopt_.DisableLargePages(), -EADDRINUSE);
  uint64_t unmapped = 0;
  ASSERT_EQ(iopt_.UnmapAll(&unmapped), 0);
  EXPECT_EQ(iopt_.DisableLargePages(), 0);
  EXPECT_EQ(iopt_.alignment(), kPageSize);
  EXPECT_EQ(iopt_.EnableLargePages(), 0);
  ASSERT_EQ(iopt_.AddDomain(&domain_, {0, kMax}), 0);
  ASSERT_EQ(Map(kMb, 0, 4096), 0);
  EXPECT_EQ(iopt_.DisableLargePages(), -EINVAL);
}

TEST_F(IoPagetableTest, AnAutomaticIovaKeepsTheAlignmentOfTheFile) {
  uint64_t iova = 0;
  ASSERT_EQ(Map(0, 0, 2 * kMb, kReadWrite, &iova), 0);
  EXPECT_EQ(iova, 2 * kMb);
  ASSERT_EQ(Map(0, 4096, 2 * kMb, kReadWrite, &iova), 0);
  EXPECT_EQ(iova, 4 * kMb) << "4 KiB aligned, but no room below";
  ASSERT_EQ(Map(0, 4096, 4096, kReadWrite, &iova), 0);
  EXPECT_EQ(iova, 4096U) << "the lowest, never 0";
}

}  // namespace
}  // namespace berth::emulator
