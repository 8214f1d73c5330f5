// SPDX-License-Identifier: Apache-2.0
#include "lib/emulator/hardware/register_block.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>

namespace berth::emulator {
namespace {

UniqueFd Memfd(size_t size) {
  UniqueFd fd(::memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  EXPECT_EQ(::ftruncate(fd.get(), static_cast<off_t>(size)), 0);
  return fd;
}

TEST(RegisterBlockTest, HasTheSizeOfTheTegra264) {
  EXPECT_EQ(RegisterBlock::Size(64), 0x830000u) << "reg in nvidia,tegra264-cmdqv's binding";
}

TEST(RegisterBlockTest, OnAFileItIsWhatOthersMapThere) {
  const UniqueFd fd = Memfd(4096 + RegisterBlock::Size(2));
  auto block = RegisterBlock::OnFile(fd.get(), 4096, 2);
  ASSERT_TRUE(block.ok()) << block.status();
  EXPECT_TRUE(block->shared());
  const auto other =
      Mapping::Map(fd.get(), 4096, RegisterBlock::Size(2), Mapping::Access::kReadWrite);
  ASSERT_TRUE(other.ok());
  block->view().Store(VintfPage1(1) + 0xfffc, 77);
  EXPECT_EQ(RegisterView(other->data()).Load(VintfPage1(1) + 0xfffc), 77u);
}

TEST(RegisterBlockTest, AFileThatIsTooShortIsRefused) {
  const UniqueFd fd = Memfd(RegisterBlock::Size(2));
  EXPECT_TRUE(RegisterBlock::OnFile(fd.get(), 0, 2).ok());
  EXPECT_FALSE(RegisterBlock::OnFile(fd.get(), 4096, 2).ok());
  EXPECT_FALSE(RegisterBlock::OnFile(fd.get(), uint64_t{1} << 60, 2).ok());
  EXPECT_FALSE(RegisterBlock::OnFile(fd.get(), 0, 4).ok());
}

TEST(RegisterBlockTest, Page0CanLieOnAFileOfItsOwnAndComeBack) {
  auto block = RegisterBlock::Create(4);
  ASSERT_TRUE(block.ok());
  EXPECT_FALSE(block->shared());
  const RegisterView view = block->view();
  view.Store(VintfPage0(1), 1);
  view.Store(VintfPage1(1), 2);
  view.Store(VintfPage1(0) + 0xfffc, 3);
  const UniqueFd fd = Memfd(kRegisterPageSize);
  ASSERT_EQ(block->MovePage0(1, fd.get()), 0);
  EXPECT_EQ(view.Load(VintfPage0(1)), 0u);
  view.Store(VintfPage0(1), 4);
  const auto other = Mapping::Map(fd.get(), 0, kRegisterPageSize, Mapping::Access::kReadWrite);
  EXPECT_EQ(RegisterView(other->data()).Load(0), 4u);
  EXPECT_EQ(view.Load(VintfPage1(1)), 2u) << "its neighbours stay";
  EXPECT_EQ(view.Load(VintfPage1(0) + 0xfffc), 3u);
  block->ReturnPage0(1);
  EXPECT_EQ(view.Load(VintfPage0(1)), 1u);
}

TEST(RegisterBlockTest, AReturnedFileIsNotMappedAnyMore) {
  auto block = RegisterBlock::Create(2);
  const UniqueFd fd = Memfd(kRegisterPageSize);
  ASSERT_EQ(block->MovePage0(1, fd.get()), 0);
  EXPECT_EQ(::fcntl(fd.get(), F_ADD_SEALS, F_SEAL_WRITE), -1);
  EXPECT_EQ(errno, EBUSY);
  block->ReturnPage0(1);
  EXPECT_EQ(::fcntl(fd.get(), F_ADD_SEALS, F_SEAL_WRITE), 0);
}

}  // namespace
}  // namespace berth::emulator
