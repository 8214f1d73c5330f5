// SPDX-License-Identifier: Apache-2.0
#include "lib/iommufd/veventq.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>

#include "lib/base/status.h"
#include "tests/iommufd/fake_kernel.h"

namespace berth {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

// Bytes of u32 words, in the machine's order, as the kernel writes them.
std::vector<std::byte> Bytes(const std::vector<uint32_t>& words) {
  const auto bytes = std::as_bytes(std::span(words));
  return {bytes.begin(), bytes.end()};
}

constexpr auto kSmmu = Veventq::Type::kArmSmmuv3;
constexpr auto kCmdqv = Veventq::Type::kTegra241Cmdqv;

TEST(ParseVevents, NothingIsNoEvent) { EXPECT_THAT(*ParseVevents(kSmmu, {}), IsEmpty()); }

TEST(ParseVevents, EventsOfBothTypes) {
  EXPECT_THAT(*ParseVevents(kCmdqv, Bytes({0, 5, 3, 0, 0, 1, 0, 6, 0, 0, 9, 0})),
              ElementsAre(Vevent{.sequence = 5, .data = {3, 1ULL << 32}},
                          Vevent{.sequence = 6, .data = {0, 9}}));
  EXPECT_THAT(*ParseVevents(kSmmu, Bytes({0, 0x7fffffff, 0x10, 0x42, 1, 2, 3, 4, 5, 6})),
              ElementsAre(Vevent{
                  .sequence = 0x7fffffff,
                  .data = {0x10 | 0x42ULL << 32, 1 | 2ULL << 32, 3 | 4ULL << 32, 5 | 6ULL << 32}}));
}

TEST(ParseVevents, LostEventsAreTheLastRecord) {
  const auto events = ParseVevents(kCmdqv, Bytes({0, 5, 1, 0, 0, 0, 1, 9}));
  EXPECT_THAT(*events, ElementsAre(Vevent{.sequence = 5, .data = {1}},
                                   Vevent{.kind = Vevent::Kind::kLost, .sequence = 9}));
  EXPECT_EQ(ReasonOf(ParseVevents(kCmdqv, Bytes({1, 9, 0, 10, 1, 0, 0, 0})).status()),
            Reason::kSystemError);
}

TEST(ParseVevents, HalfARecordIsAnError) {
  const std::vector<std::byte> whole = Bytes({0, 5, 3, 0, 0, 1});
  for (size_t size = 1; size < whole.size(); ++size) {
    EXPECT_EQ(ReasonOf(ParseVevents(kCmdqv, std::span(whole).first(size)).status()),
              Reason::kSystemError)
        << size;
  }
}

TEST(ParseVevents, UnknownFlagIsAnError) {
  EXPECT_EQ(ReasonOf(ParseVevents(kCmdqv, Bytes({2, 5, 3, 0, 0, 1})).status()),
            Reason::kSystemError);
}

TEST(EventsLostBetween, CountsAcrossTheWrap) {
  EXPECT_EQ(EventsLostBetween(4, 5), 0U);
  EXPECT_EQ(EventsLostBetween(4, 9), 4U);
  EXPECT_EQ(EventsLostBetween(0x7fffffff, 0), 0U);
  EXPECT_EQ(EventsLostBetween(0x7ffffffe, 2), 3U);
}

TEST(Veventq, ReadGivesRecordsOrTheError) {
  testing::FakeKernel kernel;
  const Context context = *Context::Open(&kernel);
  Veventq queue = Veventq::Adopt(context, 9, *kernel.OpenContext(), kCmdqv);
  kernel.events = Bytes({0, 1, 1, 0, 0, 0});
  EXPECT_THAT(*queue.Read(), ElementsAre(Vevent{.sequence = 1, .data = {1}}));
  EXPECT_THAT(*queue.Read(), IsEmpty());
  kernel.read_result = -ESHUTDOWN;
  EXPECT_EQ(ReasonOf(queue.Read().status()), Reason::kKernelGone);
  EXPECT_EQ(queue.Forget(), 9U);
  EXPECT_EQ(queue.fd(), -1);
}

}  // namespace
}  // namespace berth
