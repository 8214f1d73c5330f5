// SPDX-License-Identifier: Apache-2.0
//
// Devices and command queues at once: what a CMD_SYNC promises.
#include <atomic>
#include <thread>
#include <vector>

#include "tests/emulator/hardware/smmu/smmu_fixture.h"

namespace berth::emulator::testing {
namespace {

class ConcurrencyTest : public SmmuTest {
 protected:
  static constexpr int kDevices = 2;

  void AttachAll(const Context& context) {
    WriteContext(&memory_, cd_, context);
    for (int i = 0; i < kDevices; ++i) Attach(kSid + i, kVmid, cd_);
  }
  // Runs `dma` of each device over and over while `guest` runs.
  template <typename Dma, typename Guest>
  void RunTogether(Dma dma, Guest guest) {
    std::atomic<bool> stop = false;
    std::atomic<int> running = 0;
    std::vector<std::thread> threads;
    for (int i = 0; i < kDevices; ++i) {
      threads.emplace_back([&, i] {
        dma(i);
        ++running;
        while (!stop) dma(i);
      });
    }
    while (running < kDevices) ::sched_yield();
    guest();
    stop = true;
    for (std::thread& thread : threads) thread.join();
  }
  void InvalidateAndSync(Translating translating) {
    Command command = {.opcode = Opcode::kTlbiNhVa, .leaf = true, .vmid = kVmid, .asid = kAsid};
    command.address = kVa;
    command.pages = 1;
    smmu_.Invalidate(command);
    if (translating == Translating::kByAts) {
      // Linux' order: what an ATC forgets it must not find in the TLB again.
      for (uint32_t i = 0; i < kDevices; ++i) {
        smmu_.Invalidate({.opcode = Opcode::kAtcInv, .sid = kSid + i});
      }
    }
    EXPECT_EQ(smmu_.Sync(), ConsError::kNone);
  }
};

class FreshnessTest : public ConcurrencyTest, public ::testing::WithParamInterface<Translating> {};

// A read that begins after the CMD_SYNC never sees an older page, however walks, answers to ATS and
// invalidations overtake one another.
TEST_P(FreshnessTest, NothingOlderIsReadAfterASync) {
  constexpr uint64_t kRounds = 60;
  Tables tables(&memory_);
  uint64_t page[2] = {memory_.AllocatePage(0), memory_.AllocatePage(0)};
  tables.Map(kVa, page[0]);
  AttachAll({.asid = kAsid, .low = &tables});
  std::atomic<uint64_t> synced = 0;
  std::atomic<uint64_t> violations = 0;
  RunTogether(
      [&](int device) {
        const uint64_t least = synced;
        const auto value = ReadDword(kVa, kSid + device, GetParam());
        if (!value || *value < least) ++violations;
      },
      [&] {
        for (uint64_t round = 1; round <= kRounds; ++round) {
          memory_.Store(page[round % 2], round);
          tables.Map(kVa, page[round % 2]);
          InvalidateAndSync(GetParam());
          synced = round;
        }
      });
  EXPECT_EQ(violations, 0U);
}

// A write that began before it has ended when the CMD_SYNC is done: the old page is the guest's to
// use again.
TEST_P(FreshnessTest, NothingIsWrittenToTheOldPageAfterASync) {
  constexpr int kRounds = 60;
  Tables tables(&memory_);
  const uint64_t page[2] = {memory_.Allocate(), memory_.Allocate()};
  tables.Map(kVa, page[0]);
  AttachAll({.asid = kAsid, .low = &tables});
  int violations = 0;
  RunTogether([&](int device) { WriteDword(kVa, 1, kSid + device, GetParam()); },
              [&] {
                for (int round = 1; round <= kRounds; ++round) {
                  const uint64_t fresh = page[round % 2];
                  const uint64_t old = page[(round + 1) % 2];
                  if (round > 1 && memory_.Load(fresh) != 0) ++violations;
                  tables.Map(kVa, fresh);
                  InvalidateAndSync(GetParam());
                  memory_.Store(old, 0);
                }
              });
  EXPECT_EQ(violations, 0);
}

INSTANTIATE_TEST_SUITE_P(Smmu, FreshnessTest,
                         ::testing::Values(Translating::kBySmmu, Translating::kByAts),
                         [](const auto& param) {
                           return param.param == Translating::kByAts ? "Ats" : "NoAts";
                         });

// The same of the second stage: memory that was unmapped is not touched any more.
TEST_F(ConcurrencyTest, UnmappedMemoryIsLeftAlone) {
  constexpr int kRounds = 15;
  GuestMemory other(4096, 0x80000000);
  Tables tables(&memory_);
  tables.Map(kVa, other.base());
  AttachAll({.asid = kAsid, .low = &tables});
  int violations = 0;
  RunTogether(
      [&](int device) {
        WriteDword(kVa, 1, kSid + device,
                   device % 2 == 0 ? Translating::kBySmmu : Translating::kByAts);
      },
      [&] {
        for (int round = 0; round < kRounds; ++round) {
          memory_.stage2()->Map(0x80000000, 0x80000fff, other.memory(), 0, {true, true});
          while (other.Load(0x80000000) == 0) ::sched_yield();
          memory_.stage2()->Unmap(0x80000000);
          smmu_.OnStage2Change(*memory_.stage2(), kVmid);
          other.Store(0x80000000, 0);
          for (int i = 0; i < 10; ++i) ::sched_yield();
          if (other.Load(0x80000000) != 0) ++violations;
        }
      });
  EXPECT_EQ(violations, 0);
}

// More transactions than have room at once.
TEST(InFlight, TransactionsWaitForRoomAndDrainForThoseBefore) {
  constexpr int kThreads = 10;
  InFlight in_flight;
  std::atomic<int> inside = 0;
  std::atomic<int> most = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&] {
      for (int k = 0; k < 100; ++k) {
        const InFlight::Transaction transaction(&in_flight);
        const int now = ++inside;
        int seen = most;
        while (seen < now && !most.compare_exchange_weak(seen, now)) {
        }
        ::sched_yield();
        --inside;
      }
    });
  }
  for (int i = 0; i < 100; ++i) in_flight.Drain();
  for (std::thread& thread : threads) thread.join();
  EXPECT_LE(most, 8);
  in_flight.Drain();
}

TEST(InFlight, DrainWaitsForATransaction) {
  InFlight in_flight;
  std::atomic<bool> drained = false;
  std::thread waiting;
  {
    const InFlight::Transaction transaction(&in_flight);
    waiting = std::thread([&] {
      in_flight.Drain();
      drained = true;
    });
    for (int i = 0; i < 100; ++i) ::sched_yield();
    EXPECT_FALSE(drained);
  }
  waiting.join();
  EXPECT_TRUE(drained);
}

}  // namespace
}  // namespace berth::emulator::testing
