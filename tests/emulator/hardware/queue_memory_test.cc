// SPDX-License-Identifier: Apache-2.0
#include "lib/emulator/hardware/queue_memory.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <memory>

#include "tests/emulator/hardware/guest.h"

namespace berth::emulator {
namespace {

std::shared_ptr<UniqueFd> FileWithCommands(int count) {
  auto fd = std::make_shared<UniqueFd>(::memfd_create("ring", MFD_CLOEXEC));
  for (int i = 0; i < count; ++i) {
    const RawCommand command = {static_cast<uint64_t>(i), static_cast<uint64_t>(i) << 32};
    EXPECT_EQ(::write(fd->get(), &command, sizeof(command)), ssize_t{sizeof(command)});
  }
  return fd;
}

TEST(QueueMemoryTest, NoMemoryHasNothing) {
  RawCommand command;
  EXPECT_EQ(QueueMemory().Fetch(0, 1, &command), 0u);
}

TEST(QueueMemoryTest, AMappingIsReadInPlaceUpToItsEnd) {
  testing::Ring ring(2);
  for (uint32_t i = 0; i < 4; ++i) ring.Write(i, {i, i + 10});
  std::array<RawCommand, 8> out;
  EXPECT_EQ(ring.memory().Fetch(1, 8, out.data()), 3u);
  EXPECT_EQ(out[0], (RawCommand{1, 11}));
  EXPECT_EQ(out[2], (RawCommand{3, 13}));
  EXPECT_EQ(ring.memory().Fetch(4, 1, out.data()), 0u);
}

TEST(QueueMemoryTest, AMappingLivesAsLongAsItsReaders) {
  QueueMemory memory;
  {
    testing::Ring ring(1);
    ring.Write(1, {5, 6});
    memory = ring.memory();
  }
  RawCommand command;
  ASSERT_EQ(memory.Fetch(1, 1, &command), 1u);
  EXPECT_EQ(command, (RawCommand{5, 6}));
}

TEST(QueueMemoryTest, AFileIsReadFromItsOffset) {
  QueueMemory memory = QueueMemory::FromFile(FileWithCommands(8), 4 * 16, 4 * 16);
  std::array<RawCommand, 4> out;
  ASSERT_EQ(memory.Fetch(1, 4, out.data()), 3u);
  EXPECT_EQ(out[0].dword0, 5u);
  EXPECT_EQ(out[2].dword1, uint64_t{7} << 32);
}

TEST(QueueMemoryTest, AFileThatShrinksGivesWholeCommandsOnly) {
  auto fd = FileWithCommands(8);
  QueueMemory memory = QueueMemory::FromFile(fd, 0, 8 * 16);
  ASSERT_EQ(::ftruncate(fd->get(), 2 * 16 + 8), 0);
  std::array<RawCommand, 8> out;
  EXPECT_EQ(memory.Fetch(0, 8, out.data()), 2u);
  EXPECT_EQ(memory.Fetch(4, 1, out.data()), 0u);
}

}  // namespace
}  // namespace berth::emulator
