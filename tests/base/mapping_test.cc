// SPDX-License-Identifier: Apache-2.0
#include "lib/base/mapping.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "lib/base/status.h"
#include "lib/base/unique_fd.h"

namespace berth {
namespace {

constexpr size_t kLength = 65536;

// Whether any page of the range is still mapped: msync(2) fails with ENOMEM otherwise.
bool IsMapped(void* data) { return ::msync(data, kLength, MS_ASYNC) == 0; }

class MappingTest : public ::testing::Test {
 protected:
  MappingTest() : fd_(::memfd_create("mapping_test", MFD_CLOEXEC)) {
    EXPECT_EQ(::ftruncate(fd_.get(), 2 * kLength), 0);
  }
  Mapping Map(uint64_t offset = 0) {
    auto mapping = Mapping::Map(fd_.get(), offset, kLength, Mapping::Access::kReadWrite);
    EXPECT_TRUE(mapping.ok()) << mapping.status();
    return *std::move(mapping);
  }
  UniqueFd fd_;
};

TEST_F(MappingTest, SharesTheFileFromItsOffsetAndOutlivesTheFd) {
  const Mapping writer = Map(kLength);
  auto reader = Mapping::Map(fd_.get(), 0, 2 * kLength, Mapping::Access::kRead);
  ASSERT_TRUE(reader.ok());
  fd_.Reset();
  writer.data()[3] = std::byte{42};
  EXPECT_EQ(reader->data()[kLength + 3], std::byte{42});
  EXPECT_EQ(reader->size(), 2 * kLength);
}

TEST_F(MappingTest, UnmapsAtTheEnd) {
  void* data = nullptr;
  {
    const Mapping mapping = Map();
    data = mapping.data();
    EXPECT_TRUE(IsMapped(data));
  }
  EXPECT_FALSE(IsMapped(data));
}

TEST_F(MappingTest, MovingMovesTheOwnership) {
  Mapping first = Map();
  void* const data = first.data();
  Mapping second = std::move(first);
  EXPECT_FALSE(first.valid());  // NOLINT(bugprone-use-after-move): its state is what is tested.
  EXPECT_EQ(second.data(), data);

  Mapping third = Map();
  void* const old = third.data();
  third = std::move(second);
  EXPECT_EQ(third.data(), data);
  EXPECT_TRUE(IsMapped(data));
  EXPECT_FALSE(IsMapped(old)) << "what it owned before is unmapped";

  third.Reset();
  EXPECT_FALSE(third.valid());
  EXPECT_EQ(third.size(), 0u);
}

TEST_F(MappingTest, AnErrorNamesTheErrno) {
  const auto unaligned = Mapping::Map(fd_.get(), 1, kLength, Mapping::Access::kRead);
  EXPECT_EQ(ErrnoOf(unaligned.status()), EINVAL);
  const auto closed = Mapping::Map(-1, 0, kLength, Mapping::Access::kRead);
  EXPECT_EQ(ErrnoOf(closed.status()), EBADF);
}

TEST(NoMappingTest, IsNotValid) { EXPECT_FALSE(Mapping().valid()); }

}  // namespace
}  // namespace berth
