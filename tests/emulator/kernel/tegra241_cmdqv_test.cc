// SPDX-License-Identifier: Apache-2.0
#include "lib/emulator/kernel/tegra241_cmdqv.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cerrno>
#include <thread>
#include <vector>

#include "tests/emulator/hardware/unit_fixture.h"

namespace berth::emulator::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class Tegra241Test : public UnitTest {};
class PolledTegra241Test : public PolledUnitTest {};

TEST_F(Tegra241Test, VintfsAreTakenFromTheLowestAndRunOut) {
  for (int i = 1; i < 64; ++i) ASSERT_EQ(cmdqv_->AllocVintf(i, 0), i);
  EXPECT_EQ(cmdqv_->AllocVintf(0, 0), -ENOSPC);
  EXPECT_EQ(cmdqv_->FreeVintf(40), 0);
  EXPECT_EQ(cmdqv_->FreeVintf(7), 0);
  EXPECT_EQ(cmdqv_->AllocVintf(0, 0), 7);
  EXPECT_EQ(cmdqv_->AllocatedVintfs().size(), 62u);
}

TEST_F(Tegra241Test, WhatIsNotAllocatedIsNotThere) {
  for (int vintf : {-1, 0, 1, 64}) {
    EXPECT_EQ(cmdqv_->FreeVintf(vintf), -ENOENT);
    EXPECT_EQ(cmdqv_->Page0Fd(vintf), -ENOENT);
    EXPECT_EQ(cmdqv_->RetirePage0(vintf), -ENOENT);
    EXPECT_EQ(cmdqv_->AddSid(vintf, 1, 1), -ENOENT);
    EXPECT_EQ(cmdqv_->RemoveSid(vintf, 0), -ENOENT);
    EXPECT_EQ(cmdqv_->MapLvcmdq(vintf, 0, {}, 6), -ENOENT);
    EXPECT_EQ(cmdqv_->UnmapLvcmdq(vintf, 0), -ENOENT);
    EXPECT_FALSE(cmdqv_->Snapshot(vintf).has_value());
    EXPECT_FALSE(cmdqv_->Counters(vintf, 0).has_value());
  }
}

TEST_F(Tegra241Test, QueuesAreMappedUpwardAndUnmappedDownward) {
  ASSERT_EQ(cmdqv_->AllocVintf(1, 0), 1);
  const Ring ring(6);
  EXPECT_EQ(cmdqv_->MapLvcmdq(1, 1, ring.memory(), 6), -EIO);
  EXPECT_EQ(cmdqv_->MapLvcmdq(1, 0, ring.memory(), 6), 0);
  EXPECT_EQ(cmdqv_->MapLvcmdq(1, 0, ring.memory(), 6), -EEXIST);
  EXPECT_EQ(cmdqv_->MapLvcmdq(1, 1, ring.memory(), 6), 0);
  EXPECT_EQ(cmdqv_->UnmapLvcmdq(1, 0), -EIO);
  EXPECT_EQ(cmdqv_->UnmapLvcmdq(1, 1), 0);
  EXPECT_EQ(cmdqv_->UnmapLvcmdq(1, 1), -ENXIO);
  EXPECT_EQ(cmdqv_->UnmapLvcmdq(1, 0), 0);
}

TEST_F(Tegra241Test, AQueueThatDoesNotFitIsRefused) {
  ASSERT_EQ(cmdqv_->AllocVintf(1, 0), 1);
  const Ring ring(6);
  EXPECT_EQ(cmdqv_->MapLvcmdq(1, -1, ring.memory(), 6), -EINVAL);
  EXPECT_EQ(cmdqv_->MapLvcmdq(1, 2, ring.memory(), 6), -EINVAL);
  EXPECT_EQ(cmdqv_->MapLvcmdq(1, 0, ring.memory(), 0), -EINVAL);
  EXPECT_EQ(cmdqv_->MapLvcmdq(1, 0, ring.memory(), 20), -EINVAL);
  EXPECT_EQ(cmdqv_->MapLvcmdq(1, 0, ring.memory(), 7), -EINVAL) << "more than the memory";
  EXPECT_EQ(cmdqv_->MapLvcmdq(1, 0, ring.memory(), 5), -EINVAL) << "less than the memory";
}

TEST_F(Tegra241Test, TwoVintfsExecuteTheSameCommandUnderTheirOwnNames) {
  for (int vintf : {1, 2}) {
    ASSERT_EQ(cmdqv_->AllocVintf(vintf, static_cast<uint16_t>(70 + vintf)), vintf);
    ASSERT_EQ(cmdqv_->AddSid(vintf, 0x100, 0x1000u + vintf), 0);
    const Mapping page0 = MapPage0(*cmdqv_, vintf);
    GuestQueue guest = MapQueue(vintf, 0, page0);
    ASSERT_TRUE(guest.Enable());
    guest.Submit({kTlbiVa});
    ASSERT_TRUE(guest.AwaitIdle());
    EXPECT_EQ(cmdqv_->Snapshot(vintf)->lvcmdqs[0].last->vmid, 70 + vintf);
    guest.Submit({AtcInv(0x100)});
    ASSERT_TRUE(guest.AwaitIdle());
    EXPECT_EQ(cmdqv_->Snapshot(vintf)->lvcmdqs[0].last->sid, 0x1000u + vintf);
  }
}

TEST_F(Tegra241Test, AnErrorIsReportedOnceWithItsMapAndTouchesNoOtherQueue) {
  ASSERT_EQ(cmdqv_->AllocVintf(77, 0), 1);
  const Mapping page0 = MapPage0(*cmdqv_, 1);
  GuestQueue good = MapQueue(1, 0, page0);
  GuestQueue bad = MapQueue(1, 1, page0);
  ASSERT_TRUE(good.Enable());
  ASSERT_TRUE(bad.Enable());
  bad.Submit({AtcInv(0x500), kSync});  // a vSID without a slot
  ASSERT_TRUE(bad.AwaitError());
  good.Submit({kTlbiVa, kSync});
  ASSERT_TRUE(good.AwaitIdle());
  ASSERT_EQ(errors().size(), 1u);
  EXPECT_EQ(errors()[0].vintf, 1);
  EXPECT_EQ(errors()[0].cookie, 77u);
  EXPECT_THAT(errors()[0].lvcmdq_err_map, ElementsAre(0b10, 0));

  good.Submit({kCfgiSte});
  ASSERT_TRUE(good.AwaitError());
  ASSERT_EQ(errors().size(), 2u);
  EXPECT_THAT(errors()[1].lvcmdq_err_map, ElementsAre(0b11, 0)) << "all that are in error";

  bad.ReplaceBadCommandAndAcknowledge();
  ASSERT_TRUE(bad.AwaitIdle());
  EXPECT_THAT(cmdqv_->Snapshot(1)->lvcmdq_err_map, ElementsAre(0b01, 0));
  EXPECT_EQ(errors().size(), 2u);
}

TEST_F(Tegra241Test, TheErrorMapReachesTheLastQueue) {
  CmdqvConfig config;
  config.vintfs = 2;
  config.polling = CmdqvConfig::Polling::kManual;
  Make(config);
  ASSERT_EQ(cmdqv_->AllocVintf(1, 0), 1);
  const Mapping page0 = MapPage0(*cmdqv_, 1);
  std::vector<GuestQueue> guests;
  for (int q = 0; q < 64; ++q) guests.push_back(MapQueue(1, q, page0, 2));
  for (GuestQueue& guest : guests) ASSERT_TRUE(guest.Enable());
  guests[63].Submit({kCfgiSte});
  ASSERT_TRUE(guests[63].AwaitError());
  ASSERT_EQ(errors().size(), 1u);
  EXPECT_THAT(errors()[0].lvcmdq_err_map, ElementsAre(uint64_t{1} << 63, 0));
}

TEST_F(Tegra241Test, FreeingTakesEverythingAndTheNextOwnerStartsClean) {
  ASSERT_EQ(cmdqv_->AllocVintf(1, 0), 1);
  {
    const Mapping page0 = MapPage0(*cmdqv_, 1);
    ASSERT_EQ(cmdqv_->AddSid(1, 1, 1), 0);
    GuestQueue guest = MapQueue(1, 0, page0);
    ASSERT_TRUE(guest.Enable());
    guest.Submit({kSync, kCfgiSte});
    ASSERT_TRUE(guest.AwaitError());
  }
  ASSERT_EQ(cmdqv_->FreeVintf(1), 0);
  EXPECT_THAT(cmdqv_->AllocatedVintfs(), IsEmpty());
  ASSERT_EQ(cmdqv_->AllocVintf(2, 0), 1);
  const VintfSnapshot snapshot = *cmdqv_->Snapshot(1);
  EXPECT_EQ(snapshot.vmid, 0);
  EXPECT_THAT(snapshot.sid_slots, IsEmpty());
  EXPECT_THAT(snapshot.lvcmdq_err_map, ElementsAre(0, 0));
  EXPECT_FALSE(snapshot.lvcmdqs[0].mapped);
  EXPECT_EQ(snapshot.lvcmdqs[0].counters, LvcmdqCounters{});
}

TEST_F(PolledTegra241Test, AllQueuesOfAUnitWorkAtOnce) {
  std::vector<Mapping> pages;
  std::vector<GuestQueue> guests;
  for (int vintf = 1; vintf < 64; ++vintf) {
    ASSERT_EQ(cmdqv_->AllocVintf(vintf, 0), vintf);
    pages.push_back(MapPage0(*cmdqv_, vintf));
    for (int q : {0, 1}) guests.push_back(MapQueue(vintf, q, pages.back()));
  }
  for (GuestQueue& guest : guests) ASSERT_TRUE(guest.Enable());
  for (int round = 0; round < 20; ++round) {
    for (GuestQueue& guest : guests) {
      ASSERT_TRUE(guest.AwaitRoom(9));
      for (int i = 0; i < 8; ++i) guest.Put(kTlbiVa);
      guest.Put(kSync);
      guest.RingDoorbell();
    }
  }
  for (GuestQueue& guest : guests) ASSERT_TRUE(guest.AwaitIdle());
  for (int vintf = 1; vintf < 64; ++vintf) {
    for (int q : {0, 1}) {
      EXPECT_EQ(cmdqv_->Counters(vintf, q)->executed[Opcode::kTlbiNhVa], 160u);
      EXPECT_EQ(cmdqv_->Counters(vintf, q)->executed[Opcode::kCmdSync], 20u);
    }
  }
}

// A guest that does not care: writes commands, good and bad, any PROD, any register.
void Hammer(GuestQueue& guest, const std::atomic<bool>& stop) {
  uint32_t x = 1;
  while (!stop) {
    x = x * 1664525 + 1013904223;
    guest.ring().Write(x >> 8, x % 5 == 0 ? kCfgiSte : x % 3 == 0 ? kSync : kTlbiVa);
    guest.registers().Store(Register::kProd, x >> 4);
    guest.registers().Store(static_cast<Register>(4 * (x >> 16 & 7)), x);
    guest.registers().Store(Register::kConfig, kConfigEnable);
    guest.Acknowledge();
  }
}

TEST_F(PolledTegra241Test, AGuestThatHammersItsQueueDisturbsNoOtherNorItsOwnEnd) {
  ASSERT_EQ(cmdqv_->AllocVintf(1, 0), 1);
  ASSERT_EQ(cmdqv_->AllocVintf(2, 0), 2);
  const Mapping wild_page0 = MapPage0(*cmdqv_, 1);
  const Mapping calm_page0 = MapPage0(*cmdqv_, 2);
  Ring ring(6);
  GuestQueue wild = Guest(wild_page0, 0, ring);
  GuestQueue calm = MapQueue(2, 0, calm_page0);
  ASSERT_TRUE(calm.Enable());
  std::atomic<bool> stop = false;
  std::thread hammer([&] { Hammer(wild, stop); });
  for (int i = 0; i < 100; ++i) {
    ASSERT_EQ(cmdqv_->MapLvcmdq(1, 0, ring.memory(), 6), 0);
    calm.Submit({kTlbiVa, kSync});
    ASSERT_TRUE(calm.AwaitIdle());
    ASSERT_EQ(cmdqv_->RetirePage0(1), -EBUSY);
    ASSERT_EQ(cmdqv_->UnmapLvcmdq(1, 0), 0);
  }
  EXPECT_EQ(cmdqv_->FreeVintf(1), 0);
  stop = true;
  hammer.join();
  EXPECT_EQ(cmdqv_->Counters(2, 0)->executed.total(), 200u);
  for (const VintfError& error : errors()) EXPECT_EQ(error.vintf, 1);
}

}  // namespace
}  // namespace berth::emulator::testing
