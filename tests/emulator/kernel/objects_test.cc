// SPDX-License-Identifier: Apache-2.0
#include "lib/emulator/kernel/objects.h"

#include <gtest/gtest.h>

#include <cerrno>

#include "lib/emulator/kernel/context.h"
#include "lib/iommufd/uapi/iommufd.h"

namespace berth::emulator {
namespace {

struct Queue : EventQueue {
  explicit Queue(size_t the_depth) : EventQueue(ObjectType::kVeventq) { depth = the_depth; }
  void Add(uint64_t value) { Report(&value, sizeof(value)); }
  void ContinueFrom(uint32_t sequence) { sequence_ = sequence; }
};

uapi::IommufdVeventHeader HeaderAt(const std::vector<std::byte>& bytes, size_t at) {
  uapi::IommufdVeventHeader header;
  std::memcpy(&header, bytes.data() + at, sizeof(header));
  return header;
}

TEST(EventQueue, GivesWholeRecordsAndNothingWhenEmpty) {
  Queue queue(4);
  int64_t rc = 0;
  EXPECT_TRUE(queue.Read(100, 100, &rc).empty());
  EXPECT_EQ(rc, 0);
  queue.Add(1);
  queue.Add(2);
  EXPECT_TRUE(queue.Read(15, 15, &rc).empty());
  EXPECT_EQ(rc, -EINVAL) << "room for the header but not for the payload";
  EXPECT_EQ(queue.Read(31, 31, &rc).size(), 16U);
  const auto second = queue.Read(100, 100, &rc);
  EXPECT_EQ(rc, 16);
  EXPECT_EQ(HeaderAt(second, 0).sequence, 1U);
}

TEST(EventQueue, SaysThatEventsWereLostInOneHeaderAtTheEnd) {
  Queue queue(2);
  for (int i = 0; i < 5; ++i) queue.Add(i);
  int64_t rc = 0;
  const auto all = queue.Read(100, 100, &rc);
  ASSERT_EQ(rc, 2 * 16 + 8);
  EXPECT_EQ(HeaderAt(all, 32).flags, uapi::kVeventLostEvents);
  EXPECT_EQ(HeaderAt(all, 32).sequence, 4U) << "of the last one lost";
  EXPECT_TRUE(queue.empty());
}

TEST(EventQueue, ANormalEventRemovesTheLostHeader) {
  Queue queue(2);
  for (int i = 0; i < 3; ++i) queue.Add(i);
  int64_t rc = 0;
  ASSERT_EQ(queue.Read(16, 16, &rc).size(), 16U);
  queue.Add(3);
  const auto rest = queue.Read(100, 100, &rc);
  ASSERT_EQ(rc, 32);
  EXPECT_EQ(HeaderAt(rest, 16).flags, 0U);
  EXPECT_EQ(HeaderAt(rest, 16).sequence, 3U) << "the gap tells of the loss";
}

// eventq.c, iommufd_viommu_report_event(): a sequence number has 31 bits.
TEST(EventQueue, SequenceNumbersBeginAnewBehindTheLargest) {
  Queue queue(2);
  queue.ContinueFrom(uapi::kVeventMaxSequence - 1);
  for (int i = 0; i < 3; ++i) queue.Add(i);
  int64_t rc = 0;
  const auto all = queue.Read(100, 100, &rc);
  ASSERT_EQ(rc, 2 * 16 + 8);
  EXPECT_EQ(HeaderAt(all, 0).sequence, uapi::kVeventMaxSequence - 1);
  EXPECT_EQ(HeaderAt(all, 16).sequence, uapi::kVeventMaxSequence);
  EXPECT_EQ(HeaderAt(all, 32).flags, uapi::kVeventLostEvents);
  EXPECT_EQ(HeaderAt(all, 32).sequence, 0U);
  queue.Add(3);
  EXPECT_EQ(HeaderAt(queue.Read(100, 100, &rc), 0).sequence, 1U);
}

class ContextTest : public ::testing::Test {
 protected:
  uint32_t Add() { return NewObject<Ioas>(&context_, kPageSize).Install()->id; }

  HostSpec host_;
  Machine machine_{host_};
  Context context_{&machine_};
};

TEST_F(ContextTest, TheLowestFreeIdIsNext) {
  EXPECT_EQ(Add(), 1U);
  EXPECT_EQ(Add(), 2U);
  EXPECT_EQ(Add(), 3U);
  EXPECT_EQ(context_.Destroy(2), 0);
  EXPECT_EQ(context_.Destroy(1), 0);
  EXPECT_EQ(Add(), 1U);
  EXPECT_EQ(Add(), 2U);
  EXPECT_EQ(Add(), 4U);
}

TEST_F(ContextTest, AnObjectUnderConstructionIsInvisibleAndGivesItsIdBack) {
  {
    const NewObject<Ioas> ioas(&context_, kPageSize);
    EXPECT_EQ(ioas->id, 1U);
    EXPECT_EQ(context_.FindAny(1), nullptr);
    EXPECT_EQ(context_.Destroy(1), -ENOENT);
  }
  EXPECT_TRUE(context_.empty());
  EXPECT_EQ(Add(), 1U);
}

TEST_F(ContextTest, ATombstoneIsGoneAndItsIdStaysTaken) {
  EXPECT_EQ(Add(), 1U);
  context_.DestroyToTombstone(1);
  EXPECT_EQ(context_.FindAny(1), nullptr);
  EXPECT_EQ(context_.Destroy(1), -ENOENT);
  EXPECT_FALSE(context_.empty());
  EXPECT_EQ(Add(), 2U);
}

TEST_F(ContextTest, AnObjectWithUsersIsBusy) {
  const uint32_t id = Add();
  Pin<Ioas> pin(context_.Find<Ioas>(id));
  EXPECT_EQ(context_.Destroy(id), -EBUSY);
  pin.Reset();
  EXPECT_EQ(context_.Destroy(id), 0);
}

TEST_F(ContextTest, IdsEndAtTheBound) {
  for (size_t i = 0; i < kMaxObjects; ++i) Add();
  const NewObject<Ioas> ioas(&context_, kPageSize);
  EXPECT_EQ(ioas.error(), -ENOMEM);
}

}  // namespace
}  // namespace berth::emulator
