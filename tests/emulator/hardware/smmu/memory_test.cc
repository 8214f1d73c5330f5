// SPDX-License-Identifier: Apache-2.0
#include "lib/emulator/hardware/smmu/memory.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <string>

namespace berth::emulator {
namespace {

constexpr std::array<std::byte, 4> kBytes = {std::byte{1}, std::byte{2}, std::byte{3},
                                             std::byte{4}};

void CheckReadsAndWrites(const FileMemory& memory, uint64_t size) {
  std::array<std::byte, 4> read = {};
  for (const uint64_t offset : {uint64_t{0}, size / 2 - 2, size - 4}) {
    EXPECT_TRUE(memory.Write(offset, kBytes)) << offset;
    EXPECT_TRUE(memory.Read(offset, read));
    EXPECT_EQ(read, kBytes);
  }
  EXPECT_FALSE(memory.Write(size - 2, kBytes)) << "ends behind the file";
  EXPECT_FALSE(memory.Read(size - 2, read));
  EXPECT_FALSE(memory.Write(size, kBytes));
}

TEST(FileMemory, ReadsAndWritesInsideTheFile) {
  FileMemory memory;
  memory.file.Reset(::memfd_create("memory", MFD_CLOEXEC));
  ASSERT_EQ(::ftruncate(memory.file.get(), 10000), 0);
  CheckReadsAndWrites(memory, 10000);
  ASSERT_EQ(::ftruncate(memory.file.get(), 100), 0);
  std::array<std::byte, 4> read;
  EXPECT_FALSE(memory.Read(4096, read));
  EXPECT_FALSE(memory.Write(4096, kBytes));
  struct stat info;
  ASSERT_EQ(::fstat(memory.file.get(), &info), 0);
  EXPECT_EQ(info.st_size, 100);
}

TEST(FileMemory, ReadsAndWritesHugePages) {
  constexpr uint64_t kSize = 2 << 20;
  FileMemory memory;
  memory.file.Reset(::memfd_create("memory", MFD_CLOEXEC | MFD_HUGETLB));
  if (!memory.file.valid() || ::ftruncate(memory.file.get(), kSize) != 0 ||
      ::fallocate(memory.file.get(), 0, 0, kSize) != 0) {
    GTEST_SKIP() << "no huge pages";
  }
  CheckReadsAndWrites(memory, kSize);
}

TEST(FileMemory, ReadsAndWritesAProcess) {
  std::array<std::byte, 16> here = {};
  FileMemory memory;
  memory.file.Reset(::open("/proc/self/mem", O_RDWR | O_CLOEXEC));
  ASSERT_TRUE(memory.file.valid());
  const auto address = reinterpret_cast<uint64_t>(here.data());
  EXPECT_TRUE(memory.Write(address + 4, kBytes));
  EXPECT_EQ(std::memcmp(&here[4], kBytes.data(), kBytes.size()), 0);
  std::array<std::byte, 4> read;
  EXPECT_TRUE(memory.Read(address + 4, read));
  EXPECT_EQ(read, kBytes);
  EXPECT_FALSE(memory.Read(16, read)) << "nothing there";
}

void CheckExchanges(const FileMemory& memory, uint64_t at) {
  using Exchange = Memory::Exchange;
  const auto value = [&] {
    uint64_t dword = 0;
    EXPECT_TRUE(memory.Read(at, std::as_writable_bytes(std::span<uint64_t, 1>(&dword, 1))));
    return dword;
  };
  EXPECT_EQ(memory.CompareExchange(at, 0, 7), Exchange::kDone);
  EXPECT_EQ(value(), 7U);
  EXPECT_EQ(memory.CompareExchange(at, 0, 8), Exchange::kLost);
  EXPECT_EQ(value(), 7U);
  EXPECT_EQ(memory.CompareExchange(at, 7, 9), Exchange::kDone);
  EXPECT_EQ(value(), 9U);
}

TEST(FileMemory, ExchangesWhatIsAsExpected) {
  for (const int seals : {0, F_SEAL_SHRINK}) {
    FileMemory memory;
    memory.file.Reset(::memfd_create("memory", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    ASSERT_EQ(::ftruncate(memory.file.get(), 10000), 0);
    ASSERT_EQ(::fcntl(memory.file.get(), F_ADD_SEALS, seals), 0);
    for (const uint64_t at : {0, 4096, 9992}) CheckExchanges(memory, at);
    EXPECT_EQ(memory.CompareExchange(9996, 0, 1), Memory::Exchange::kAbort) << "ends behind it";
    EXPECT_EQ(memory.CompareExchange(1 << 20, 0, 1), Memory::Exchange::kAbort);
  }
  uint64_t here = 0;
  FileMemory process;
  process.file.Reset(::open("/proc/self/mem", O_RDWR | O_CLOEXEC));
  CheckExchanges(process, reinterpret_cast<uint64_t>(&here));
  EXPECT_EQ(process.CompareExchange(16, 0, 1), Memory::Exchange::kAbort) << "nothing there";
}

TEST(FileMemory, AFileOpenForReadingIsNotWritten) {
  const UniqueFd writable(::memfd_create("memory", MFD_CLOEXEC));
  ASSERT_EQ(::ftruncate(writable.get(), 4096), 0);
  FileMemory memory;
  const std::string path = "/proc/self/fd/" + std::to_string(writable.get());
  memory.file.Reset(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  std::array<std::byte, 4> read;
  EXPECT_TRUE(memory.Read(0, read));
  EXPECT_FALSE(memory.Write(0, kBytes));
  EXPECT_EQ(memory.CompareExchange(0, 0, 1), Memory::Exchange::kAbort);
}

}  // namespace
}  // namespace berth::emulator
