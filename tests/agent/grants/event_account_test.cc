// SPDX-License-Identifier: Apache-2.0
#include "agent/grants/event_account.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "lib/base/status.h"
#include "lib/iommufd/uapi/smmuv3.h"

namespace berth {
namespace {

using Kind = EventNews::Kind;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

Vevent Fault(uint32_t sequence, uint64_t vsid, uint64_t id = uapi::kEvtFTranslation) {
  Vevent event;
  event.sequence = sequence;
  event.data[0] = uapi::kEvt0Id.Put(id) | uapi::kEvt0Sid.Put(vsid);
  event.data[2] = 0x1000;
  return event;
}
Vevent Lost(uint32_t sequence) {
  return {.kind = Vevent::Kind::kLost, .sequence = sequence, .data = {}};
}

class EventAccountTest : public ::testing::Test {
 protected:
  EventAccount::Source faults_{
      .unit = UnitId("smmu0"),
      .type = Veventq::Type::kArmSmmuv3,
      .streams = {{DeviceId("gpu"), 5}, {DeviceId("nic"), 6}, {DeviceId("idle"), {}}}};
  EventAccount account_;
};

TEST_F(EventAccountTest, AFaultIsOfTheDeviceThatTheGuestGaveTheVsid) {
  const std::vector<Vevent> records = {Fault(0, 6), Fault(1, 6, uapi::kEvtCBadCd), Fault(2, 5)};
  const std::vector<EventNews> news = account_.OnRead(faults_, records);
  ASSERT_EQ(news.size(), 2U);
  EXPECT_EQ(news[0].kind, Kind::kFault);
  EXPECT_EQ(news[0].unit, UnitId("smmu0"));
  EXPECT_THAT(news[0].devices, ElementsAre(DeviceId("nic")));
  EXPECT_EQ(news[0].count, 2U);
  EXPECT_EQ(news[0].last, "C_BAD_CD of vSID 0x6 at 0x1000");
  EXPECT_THAT(news[1].devices, ElementsAre(DeviceId("gpu")));
  EXPECT_EQ(news[1].count, 1U);
}

TEST_F(EventAccountTest, AFaultOfAStreamThatIsNoMoreIsOfAllThatItCanBe) {
  const std::vector<EventNews> news = account_.OnRead(faults_, std::vector{Fault(0, 77)});
  ASSERT_EQ(news.size(), 1U);
  EXPECT_THAT(news[0].devices, ElementsAre(DeviceId("gpu"), DeviceId("nic"), DeviceId("idle")));
}

TEST_F(EventAccountTest, LostEventsAreCountedByTheGapAndByTheRecord) {
  EXPECT_EQ(account_.OnRead(faults_, std::vector{Fault(0, 5)}).size(), 1U);
  // 1 and 2 are missing, then 4 and 5.
  const std::vector<EventNews> news = account_.OnRead(faults_, std::vector{Fault(3, 5), Lost(5)});
  ASSERT_EQ(news.size(), 2U);
  EXPECT_EQ(news[0].kind, Kind::kLost);
  EXPECT_EQ(news[0].count, 4U);
  EXPECT_EQ(news[0].devices.size(), 3U);
  EXPECT_EQ(news[1].kind, Kind::kFault);
  // The record had the number of the last one.
  EXPECT_EQ(account_.OnRead(faults_, std::vector{Fault(6, 5)}).size(), 1U);
}

TEST_F(EventAccountTest, TheNumbersOfOneQueueSayNothingOfAnother) {
  EXPECT_EQ(account_.OnRead(faults_, std::vector{Fault(7, 5)}).size(), 1U)
      << "an agent before this one may have read the others";
  EventAccount::Source errors = faults_;
  errors.type = Veventq::Type::kTegra241Cmdqv;
  Vevent error;
  error.sequence = 0;
  error.data[0] = 2;
  const std::vector<EventNews> news = account_.OnRead(errors, std::vector{error});
  ASSERT_EQ(news.size(), 1U);
  EXPECT_EQ(news[0].kind, Kind::kQueueError);
  EXPECT_THAT(news[0].devices, IsEmpty()) << "it is the VINTF's";
  EXPECT_EQ(news[0].last, "LVCMDQs in error: 0x0:0000000000000002");
}

TEST_F(EventAccountTest, WhatCannotBeReadIsTheUnits) {
  const EventNews news =
      EventAccount::OnUnreadable(faults_, Error(Reason::kSystemError, "half a record"));
  EXPECT_EQ(news.kind, Kind::kUnreadable);
  EXPECT_EQ(news.unit, UnitId("smmu0"));
  EXPECT_THAT(news.devices, IsEmpty());
  EXPECT_THAT(news.last, HasSubstr("half a record"));
}

}  // namespace
}  // namespace berth
