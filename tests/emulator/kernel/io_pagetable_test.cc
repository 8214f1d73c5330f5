// SPDX-License-Identifier: Apache-2.0
#include "lib/emulator/kernel/io_pagetable.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <limits>
#include <map>
#include <optional>
#include <random>
#include <utility>
#include <vector>

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

// Linux io_pagetable.c, iopt_alloc_iova() and __alloc_iova_check_range(), byte by byte in a small
// space, of which nothing else may be used.
class IovaModel {
 public:
  static constexpr uint64_t kFirst = 0x10000;
  static constexpr uint64_t kSize = 1024;
  static constexpr uint64_t kLast = kFirst + kSize - 1;

  void Allow(uint64_t first, uint64_t last) { Set(&allowed_, first, last, true); }
  // All that there is, which begins far below this space.
  void AllowAll() {
    Allow(kFirst, kLast);
    all_allowed_ = true;
  }
  void SetUsed(uint64_t first, uint64_t last, bool value) { Set(&used_, first, last, value); }
  [[nodiscard]] bool AnyUsed(uint64_t first, uint64_t last) const {
    const auto runs = Runs(used_, first, last, true);
    return !runs.empty();
  }

  // Where `length` bytes of what lies at `address` come.
  [[nodiscard]] std::optional<uint64_t> Find(uint64_t address, uint64_t length) const {
    uint64_t alignment = std::bit_ceil(length);
    if (address != 0) alignment = std::min(alignment, uint64_t{1} << std::countr_zero(address));
    const auto start_in = [&](const Run& run) -> std::optional<uint64_t> {
      const uint64_t aligned = (run.first + alignment - 1) & ~(alignment - 1);
      const uint64_t start = aligned | address % kPageSize;
      if (start >= run.second || run.second - start < length - 1) return std::nullopt;
      return start;
    };
    for (const Run& allowed : Runs(allowed_, kFirst, kLast, true)) {
      const auto from = all_allowed_ ? allowed.first : start_in(allowed);
      if (!from) continue;
      for (const Run& hole : Runs(used_, *from, allowed.second, false)) {
        if (const auto start = start_in(hole)) return start;
      }
    }
    return std::nullopt;
  }

 private:
  using Run = std::pair<uint64_t, uint64_t>;
  using Bytes = std::array<bool, kSize>;

  static void Set(Bytes* bytes, uint64_t first, uint64_t last, bool value) {
    for (uint64_t at = first; at <= last; ++at) bytes->at(at - kFirst) = value;
  }
  static std::vector<Run> Runs(const Bytes& bytes, uint64_t first, uint64_t last, bool value) {
    std::vector<Run> runs;
    for (uint64_t at = first; at <= last; ++at) {
      if (bytes.at(at - kFirst) != value) continue;
      if (runs.empty() || runs.back().second != at - 1) runs.emplace_back(at, at);
      runs.back().second = at;
    }
    return runs;
  }

  Bytes allowed_ = {};
  bool all_allowed_ = false;
  Bytes used_ = {};
};

class AutomaticIova : public IoPagetableTest, public ::testing::WithParamInterface<bool> {
 protected:
  uint64_t Random(uint64_t first, uint64_t last) {
    return std::uniform_int_distribution<uint64_t>(first, last)(random_);
  }
  // Up to four of them, in ascending order; some touch.
  std::vector<uapi::IommuIovaRange> RandomRanges() {
    std::vector<uapi::IommuIovaRange> ranges;
    uint64_t at = IovaModel::kFirst + Random(0, 20);
    for (int i = 0; i < 4 && at + 2 < IovaModel::kLast; ++i) {
      const uint64_t last = std::min(at + Random(1, 300), IovaModel::kLast);
      ranges.push_back({at, last});
      at = last + 1 + (Random(0, 1) == 0 ? 0 : Random(1, 40));
    }
    return ranges;
  }
  // Either some ranges are allowed, or all but some reserved ones.
  void Limit() {
    const bool allows = GetParam();
    if (!allows) {
      model_.AllowAll();
      EXPECT_EQ(iopt_.Reserve(0, IovaModel::kFirst - 1, &domain_), 0);
      EXPECT_EQ(iopt_.Reserve(IovaModel::kLast + 1, kMax, &domain_), 0);
    }
    const auto ranges = RandomRanges();
    for (const auto& range : ranges) {
      if (allows) {
        model_.Allow(range.start, range.last);
      } else if (range.last - range.start < 60) {
        model_.SetUsed(range.start, range.last, true);
        EXPECT_EQ(iopt_.Reserve(range.start, range.last, &device_), 0);
      }
    }
    if (allows) {
      EXPECT_EQ(iopt_.SetAllowed(ranges), 0);
    }
  }

  IovaModel model_;
  std::mt19937 random_;  // NOLINT(cert-msc51-cpp): the same each time
};

TEST_P(AutomaticIova, IsWhereTheModelHasIt) {
  for (unsigned seed = 0; seed < 100; ++seed) {
    SCOPED_TRACE(seed);
    random_.seed(seed);
    model_ = {};
    uint64_t unmapped = 0;
    ASSERT_EQ(iopt_.UnmapAll(&unmapped), 0);
    iopt_.RemoveReserved(&domain_);
    iopt_.RemoveReserved(&device_);
    ASSERT_EQ(iopt_.SetAllowed({}), 0);
    Limit();
    std::map<uint64_t, uint64_t> mapped;  // first -> last
    for (int i = 0; i < 60; ++i) {
      const uint64_t length = Random(1, Random(1, 100));
      const uint64_t start = Random(0, 3) == 0 ? 0 : Random(0, 1023);
      const auto expected = model_.Find(start, length);
      uint64_t iova = 0;
      ASSERT_EQ(Map(0, start, length, kReadWrite, &iova), expected ? 0 : -ENOSPC) << i;
      if (expected) {
        ASSERT_EQ(iova, *expected) << i << ": " << length << " bytes at " << start;
        ASSERT_FALSE(model_.AnyUsed(iova, iova + length - 1));
        model_.SetUsed(iova, iova + length - 1, true);
        mapped[iova] = iova + length - 1;
      }
      if (mapped.empty() || Random(0, 2) != 0) continue;
      const auto gone =
          std::next(mapped.begin(), static_cast<ptrdiff_t>(Random(0, mapped.size() - 1)));
      ASSERT_EQ(iopt_.Unmap(gone->first, gone->second - gone->first + 1, &unmapped), 0);
      model_.SetUsed(gone->first, gone->second, false);
      mapped.erase(gone);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Limits, AutomaticIova, ::testing::Bool(), [](const auto& test) {
  return test.param ? "AllowedRanges" : "ReservedRanges";
});

}  // namespace
}  // namespace berth::emulator
