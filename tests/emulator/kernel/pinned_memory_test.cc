// SPDX-License-Identifier: Apache-2.0
#include "lib/emulator/kernel/pinned_memory.h"

#include <gtest/gtest.h>

#include <array>
#include <set>

namespace berth::emulator {
namespace {

class PinnedMemoryTest : public ::testing::Test {
 protected:
  QueueMemory Memory(size_t size) { return QueueMemory::FromMapping(nullptr, bytes_.data(), size); }

  alignas(16) std::array<std::byte, 1 << 16> bytes_ = {};
  PinnedMemory memory_;
};

TEST_F(PinnedMemoryTest, EachPieceHasItsPlaceAlignedToItsSize) {
  std::set<uint64_t> places;
  for (const size_t size : {32, 4096, 65536, 4096, 32}) {
    const uint64_t address = memory_.Add(Memory(size));
    EXPECT_EQ(address % size, 0u);
    EXPECT_TRUE(places.insert(address).second);
    EXPECT_EQ(memory_.Open(address, size).data(), bytes_.data());
  }
}

TEST_F(PinnedMemoryTest, WhereNothingIsAnEmptyPieceIsFound) {
  const uint64_t address = memory_.Add(Memory(4096));
  EXPECT_EQ(memory_.Open(address, 8192).size(), 0u) << "more than there is";
  EXPECT_EQ(memory_.Open(address + 4096, 16).size(), 0u);
  memory_.Remove(address);
  EXPECT_EQ(memory_.Open(address, 4096).size(), 0u);
}

}  // namespace
}  // namespace berth::emulator
