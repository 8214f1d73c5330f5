// SPDX-License-Identifier: Apache-2.0
#include "lib/emulator/hardware/smmu/dirty_log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <set>
#include <utility>
#include <vector>

namespace berth::emulator {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using Pieces = std::vector<std::pair<uint64_t, uint64_t>>;

constexpr uint64_t kPage = 4096;
constexpr uint64_t kBlock = 2 << 20;
constexpr uint64_t kBase = 0x40000000;
constexpr Rights kBoth = {true, true};

Pieces Read(DirtyLog& log, uint64_t first, uint64_t last,
            DirtyLog::Then then = DirtyLog::Then::kKeep) {
  Pieces pieces;
  log.Read(first, last, then, [&](uint64_t from, uint64_t to) { pieces.emplace_back(from, to); });
  return pieces;
}
Pieces All(DirtyLog& log) { return Read(log, 0, ~uint64_t{0}); }
void Clean(DirtyLog& log) { Read(log, 0, ~uint64_t{0}, DirtyLog::Then::kClean); }
std::pair<uint64_t, uint64_t> PagesAt(uint64_t first, uint64_t count = 1) {
  return {first, first + count * kPage - 1};
}

TEST(DirtyLogTest, WhatMayBeWrittenBeginsDirty) {
  DirtyLog log(12);
  log.Map(kBase, kBase + 4 * kPage - 1, 0, kPage, kBoth);
  log.Map(kBase + 8 * kPage, kBase + 9 * kPage - 1, 0, kPage, {true, false});
  EXPECT_THAT(All(log), ElementsAre(PagesAt(kBase, 4)));
  Clean(log);
  EXPECT_THAT(All(log), IsEmpty());
}

TEST(DirtyLogTest, AWriteMarksEachPageThatItMeets) {
  DirtyLog log(12);
  log.Map(kBase, kBase + 16 * kPage - 1, 0, kPage, kBoth);
  Clean(log);
  log.Write(kBase + 5 * kPage + 100, 8);
  EXPECT_THAT(All(log), ElementsAre(PagesAt(kBase + 5 * kPage)));
  log.Write(kBase + 8 * kPage - 1, 2);
  EXPECT_THAT(All(log), ElementsAre(PagesAt(kBase + 5 * kPage), PagesAt(kBase + 7 * kPage, 2)));
  log.Write(kBase + 6 * kPage, 1);
  EXPECT_THAT(All(log), ElementsAre(PagesAt(kBase + 5 * kPage, 4))) << "one piece now";
}

TEST(DirtyLogTest, WhatIsNotMappedForWritingIsNotMarked) {
  DirtyLog log(12);
  log.Map(kBase, kBase + kPage - 1, 0, kPage, {true, false});
  log.Write(kBase, 8);
  log.Write(kBase + kPage, 8);
  log.Write(0, 8);
  EXPECT_THAT(All(log), IsEmpty());
}

TEST(DirtyLogTest, OnlyWhatIsAskedForIsReadAndCleaned) {
  DirtyLog log(12);
  log.Map(kBase, kBase + 8 * kPage - 1, 0, kPage, kBoth);
  EXPECT_THAT(Read(log, kBase + 2 * kPage, kBase + 4 * kPage - 1, DirtyLog::Then::kClean),
              ElementsAre(PagesAt(kBase + 2 * kPage, 2)));
  EXPECT_THAT(All(log), ElementsAre(PagesAt(kBase, 2), PagesAt(kBase + 4 * kPage, 4)));
  EXPECT_THAT(Read(log, kBase + 2 * kPage, kBase + 4 * kPage - 1), IsEmpty());
}

TEST(DirtyLogTest, AnUnmappedStretchIsForgotten) {
  DirtyLog log(12);
  log.Map(kBase, kBase + 2 * kPage - 1, 0, kPage, kBoth);
  log.Map(kBase + 2 * kPage, kBase + 4 * kPage - 1, 0, kPage, kBoth);
  log.Unmap(kBase);
  log.Unmap(kBase + kPage);  // none begins here
  EXPECT_THAT(All(log), ElementsAre(PagesAt(kBase + 2 * kPage, 2)));
  log.Write(kBase, 8);
  EXPECT_THAT(All(log), ElementsAre(PagesAt(kBase + 2 * kPage, 2)));
}

TEST(DirtyLogTest, AHugePageIsOneDescriptorWhereItIsAligned) {
  DirtyLog log(12);
  // The first huge page lacks its beginning, the last its end.
  log.Map(kBase + kPage, kBase + 3 * kBlock - kPage - 1, kPage, kBlock, kBoth);
  Clean(log);
  log.Write(kBase + kBlock + 5, 1);
  EXPECT_THAT(All(log), ElementsAre(std::pair(kBase + kBlock, kBase + 2 * kBlock - 1)));
  // Cleaned as a whole, though only a part was asked for.
  EXPECT_THAT(
      Read(log, kBase + kBlock + kPage, kBase + kBlock + 2 * kPage - 1, DirtyLog::Then::kClean),
      ElementsAre(PagesAt(kBase + kBlock + kPage)));
  EXPECT_THAT(All(log), IsEmpty());
  log.Write(kBase + 2 * kPage, 1);
  log.Write(kBase + 2 * kBlock, 1);
  EXPECT_THAT(All(log), ElementsAre(PagesAt(kBase + 2 * kPage), PagesAt(kBase + 2 * kBlock)));
}

TEST(DirtyLogTest, AHugePageThatLiesAskewIsMappedByPages) {
  DirtyLog log(12);
  log.Map(kBase, kBase + 2 * kBlock - 1, kPage, kBlock, kBoth);
  Clean(log);
  log.Write(kBase, 1);
  EXPECT_THAT(All(log), ElementsAre(PagesAt(kBase)));
}

TEST(DirtyLogTest, LargerPagesHaveLargerBlocks) {
  constexpr uint64_t kBlockOf64K = uint64_t{512} << 20;
  DirtyLog log(16);
  log.Map(kBlockOf64K, 3 * kBlockOf64K - 1, 0, uint64_t{1} << 30, kBoth);
  log.Map(0, kBlock - 1, 0, kBlock, kBoth);
  Clean(log);
  log.Write(kBlockOf64K + 7, 1);
  log.Write(0x10000, 1);
  EXPECT_THAT(All(log), ElementsAre(std::pair(uint64_t{0x10000}, uint64_t{0x1ffff}),
                                    std::pair(kBlockOf64K, 2 * kBlockOf64K - 1)));
}

// Against a set of pages. With few pieces allowed more may be dirty, never less.
void CompareWithPages(size_t most_pieces, bool exact) {
  constexpr uint64_t kPages = 64;
  std::mt19937 random(7);
  DirtyLog log(12, most_pieces);
  log.Map(kBase, kBase + kPages * kPage - 1, 0, kPage, kBoth);
  Clean(log);
  std::set<uint64_t> dirty;
  for (int i = 0; i < 20000; ++i) {
    const uint64_t first = random() % kPages;
    const uint64_t last = first + random() % (kPages - first);
    if (random() % 4 != 0) {
      log.Write(kBase + first * kPage + random() % kPage, 1);
      dirty.insert(first);
    } else {
      Read(log, kBase + first * kPage, kBase + (last + 1) * kPage - 1, DirtyLog::Then::kClean);
      dirty.erase(dirty.lower_bound(first), dirty.upper_bound(last));
    }
    std::set<uint64_t> found;
    for (const auto& [from, to] : All(log)) {
      for (uint64_t at = from; at < to; at += kPage) found.insert((at - kBase) / kPage);
    }
    if (exact) {
      ASSERT_EQ(found, dirty);
    } else {
      ASSERT_LE(All(log).size(), most_pieces);
      ASSERT_THAT(found, ::testing::IsSupersetOf(dirty));
    }
  }
}
TEST(DirtyLogTest, IsASetOfPages) { CompareWithPages(1000, true); }
TEST(DirtyLogTest, IsBounded) { CompareWithPages(4, false); }

}  // namespace
}  // namespace berth::emulator
