// SPDX-License-Identifier: Apache-2.0
#include "lib/emulator/hardware/queue.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <memory>
#include <optional>
#include <vector>

#include "tests/emulator/hardware/fake_sink.h"
#include "tests/emulator/hardware/guest.h"

namespace berth::emulator {
namespace {

using testing::GuestQueue;
using testing::kCfgiSte;
using testing::kSync;
using testing::kTlbiVa;
using testing::Ring;

// A queue of 8 commands and its guest. Time passes only where the guest waits, or at Look().
class QueueTest : public ::testing::Test {
 protected:
  QueueTest() {
    queue_.Start();
    queue_.Attach(LvcmdqRegisters(direct_.data(), 0));
    ring_ = RingMemory{guest_.ring().memory(), 3};
  }

  void Look() {
    if (queue_.WantsEnable()) queue_.Enable(ring_);
    errors_ += queue_.Look(executor_).new_error ? 1 : 0;
  }
  uint32_t Read(Register reg) { return guest_.registers().Load(reg); }
  void Write(Register reg, uint32_t value) { guest_.registers().Store(reg, value); }

  alignas(16) std::array<std::byte, kLvcmdqStride> page0_ = {};
  alignas(16) std::array<std::byte, kLvcmdqStride> direct_ = {};
  alignas(16) std::array<std::byte, kVintfStride> vintf_ = {};
  CmdqvConfig config_;
  CommandExecutor executor_{config_, RegisterView(vintf_.data())};
  Lvcmdq queue_{config_, LvcmdqRegisters(page0_.data(), 0)};
  std::optional<RingMemory> ring_;
  int errors_ = 0;
  GuestQueue guest_{page0_.data(), 0, Ring(3), [this] { Look(); }};
};

TEST_F(QueueTest, ADisabledQueueConsumesNothing) {
  guest_.Submit({kTlbiVa, kSync});
  Look();
  EXPECT_EQ(guest_.cons(), 0u);
  EXPECT_EQ(Read(Register::kStatus), 0u);
}

TEST_F(QueueTest, ABatchIsExecutedAndConsFollowsProd) {
  executor_.SetVmid(9);
  ASSERT_TRUE(guest_.Enable());
  guest_.Submit({kTlbiVa, kTlbiVa, kSync});
  Look();
  EXPECT_EQ(guest_.cons(), 3u);
  EXPECT_EQ(queue_.counters(),
            (LvcmdqCounters{.executed = {{Opcode::kTlbiNhVa, 2}, {Opcode::kCmdSync, 1}},
                            .doorbells = 1}));
  EXPECT_EQ(queue_.Snapshot().last->opcode, Opcode::kCmdSync);
}

TEST_F(QueueTest, SeveralSyncsInOneSightingAreRunThrough) {
  ASSERT_TRUE(guest_.Enable());
  guest_.Submit({kTlbiVa, kSync, kTlbiVa, kSync, kTlbiVa});
  Look();
  EXPECT_EQ(guest_.cons(), 5u) << "also behind the last CMD_SYNC";
  EXPECT_EQ(queue_.counters().executed[Opcode::kCmdSync], 2u);
}

TEST_F(QueueTest, TheRingMayBeExactlyFull) {
  ASSERT_TRUE(guest_.Enable());
  guest_.Submit(std::vector<RawCommand>(8, kTlbiVa));
  EXPECT_EQ(guest_.prod(), 8u) << "same index, other wrap bit";
  Look();
  EXPECT_EQ(guest_.cons(), 8u);
  EXPECT_EQ(queue_.counters().executed[Opcode::kTlbiNhVa], 8u);
  EXPECT_EQ(queue_.counters().full_rings, 1u);
}

TEST_F(QueueTest, BatchesRunAcrossTheEndOfTheRing) {
  ASSERT_TRUE(guest_.Enable());
  for (int i = 0; i < 100; ++i) {
    guest_.Submit({kTlbiVa, kTlbiVa, kTlbiVa, kTlbiVa, kSync});
    ASSERT_TRUE(guest_.AwaitIdle());
  }
  EXPECT_EQ(queue_.counters().executed[Opcode::kTlbiNhVa], 400u);
  EXPECT_EQ(queue_.counters().executed[Opcode::kCmdSync], 100u);
  EXPECT_EQ(guest_.cons(), 500u % 16);
}

TEST_F(QueueTest, ConsAndProdWrittenBeforeEnablingAreWhereItStarts) {
  ASSERT_TRUE(guest_.Enable(13));
  Look();
  EXPECT_EQ(queue_.counters().executed.total(), 0u);
  guest_.Submit({kTlbiVa, kTlbiVa, kTlbiVa, kSync});
  ASSERT_TRUE(guest_.AwaitIdle());
  EXPECT_EQ(guest_.cons(), 1u);
  EXPECT_EQ(queue_.counters().executed.total(), 4u);
}

TEST_F(QueueTest, ADisabledQueueKeepsWhatSoftwareWritesIntoCons) {
  ASSERT_TRUE(guest_.Enable());
  ASSERT_TRUE(guest_.Disable());
  Write(Register::kCons, 5);
  Look();
  EXPECT_EQ(Read(Register::kCons), 5u);
}

TEST_F(QueueTest, ReadOnlyRegistersComeBack) {
  ASSERT_TRUE(guest_.Enable());
  guest_.Submit({kSync});
  Look();
  Write(Register::kCons, 7);
  Write(Register::kStatus, 0xffffffff);
  Write(Register::kGerror, 0xffffffff);
  Look();
  EXPECT_EQ(Read(Register::kCons), 1u);
  EXPECT_EQ(Read(Register::kStatus), kStatusEnabled);
  EXPECT_EQ(Read(Register::kGerror), 0u);
  EXPECT_EQ(queue_.counters().executed.total(), 1u) << "nothing ran again";
}

TEST_F(QueueTest, BitsOfProdAboveTheWrapBitMeanNothing) {
  ASSERT_TRUE(guest_.Enable());
  guest_.Put(kSync);
  Write(Register::kProd, 0xabcd0000 | guest_.prod());
  Look();
  EXPECT_EQ(guest_.cons(), 1u);
  EXPECT_EQ(queue_.counters().executed.total(), 1u);
}

TEST_F(QueueTest, AProdBeyondTheRingIsAnErrorAndExecutesNothing) {
  ASSERT_TRUE(guest_.Enable());
  Write(Register::kProd, 9);  // 9 commands in a ring of 8
  Look();
  EXPECT_EQ(guest_.cons(), 0u);
  EXPECT_EQ(guest_.cons_error(), 1u);
  EXPECT_TRUE(guest_.error_active());
  guest_.Submit({kSync});
  guest_.Acknowledge();
  Look();
  EXPECT_EQ(guest_.cons(), 1u);
  EXPECT_EQ(queue_.counters().executed.total(), 1u);
  EXPECT_EQ(errors_, 1);
}

TEST_F(QueueTest, AProdBeyondTheRingCanBeWaitedOut) {
  config_.prod_overrun = ProdOverrun::kIgnore;
  ASSERT_TRUE(guest_.Enable());
  Write(Register::kProd, 9);
  Look();
  EXPECT_FALSE(guest_.error_active());
  guest_.Submit({kSync});
  Look();
  EXPECT_EQ(guest_.cons(), 1u);
}

TEST_F(QueueTest, AnIllegalCommandStopsTheQueueAtItself) {
  ASSERT_TRUE(guest_.Enable());
  guest_.Submit({kTlbiVa, kSync, kCfgiSte, kTlbiVa, kSync});
  Look();
  EXPECT_EQ(guest_.cons(), 2u);
  EXPECT_EQ(guest_.cons_error(), 1u);
  EXPECT_TRUE(guest_.error_active());
  EXPECT_EQ(queue_.counters().executed.total(), 2u);
  Look();
  Look();
  EXPECT_EQ(errors_, 1) << "an error that nobody acknowledges is not raised again";
}

TEST_F(QueueTest, TheGuestRepairsItsRingAcknowledgesAndItGoesOn) {
  ASSERT_TRUE(guest_.Enable());
  guest_.Submit({kTlbiVa, kCfgiSte, kTlbiVa, kSync});
  ASSERT_TRUE(guest_.AwaitError());
  EXPECT_TRUE(queue_.in_error());
  guest_.ReplaceBadCommandAndAcknowledge();
  ASSERT_TRUE(guest_.AwaitIdle());
  EXPECT_FALSE(queue_.in_error());
  EXPECT_EQ(guest_.cons_error(), 0u);
  EXPECT_EQ(queue_.counters(),
            (LvcmdqCounters{.executed = {{Opcode::kTlbiNhVa, 2}, {Opcode::kCmdSync, 2}},
                            .command_errors = 1,
                            .doorbells = 1}));
}

TEST_F(QueueTest, AnAcknowledgedErrorThatWasNotRepairedIsANewError) {
  ASSERT_TRUE(guest_.Enable());
  guest_.Submit({kCfgiSte, kSync});
  ASSERT_TRUE(guest_.AwaitError());
  guest_.Acknowledge();
  Look();
  EXPECT_TRUE(guest_.error_active());
  EXPECT_EQ(errors_, 2);
  EXPECT_EQ(guest_.cons(), 0u);
}

TEST_F(QueueTest, AGuestThatWroteNonsenseIntoGerrornStillSeesItsError) {
  ASSERT_TRUE(guest_.Enable());
  Write(Register::kGerrorn, 0xffffffff);
  guest_.Submit({kCfgiSte});
  Look();
  EXPECT_TRUE(guest_.error_active());
  EXPECT_TRUE(queue_.in_error());
}

TEST_F(QueueTest, AnErrorOutlivesDisablingUntilAcknowledged) {
  ASSERT_TRUE(guest_.Enable());
  guest_.Submit({kCfgiSte});
  ASSERT_TRUE(guest_.AwaitError());
  ASSERT_TRUE(guest_.Disable());
  EXPECT_TRUE(queue_.in_error());
  guest_.Acknowledge();
  Look();
  EXPECT_FALSE(queue_.in_error());
}

TEST_F(QueueTest, MemoryThatGoesAwayIsAnAbortAndIsReadAgainWhenAcknowledged) {
  auto fd = std::make_shared<UniqueFd>(::memfd_create("ring", MFD_CLOEXEC));
  for (int i = 0; i < 4; ++i) ASSERT_EQ(::write(fd->get(), &kSync, sizeof(kSync)), 16);
  ring_ = RingMemory{QueueMemory::FromFile(fd, 0, 8 * sizeof(RawCommand)), 3};
  ASSERT_TRUE(guest_.Enable());
  Write(Register::kProd, 6);
  Look();
  EXPECT_EQ(guest_.cons(), 4u);
  EXPECT_EQ(guest_.cons_error(), 2u);
  EXPECT_EQ(queue_.counters().fetch_errors, 1u);
  for (int i = 0; i < 4; ++i) ASSERT_EQ(::write(fd->get(), &kSync, sizeof(kSync)), 16);
  guest_.Acknowledge();
  Look();
  EXPECT_EQ(guest_.cons(), 6u);
  EXPECT_EQ(queue_.counters().executed[Opcode::kCmdSync], 6u);
}

TEST_F(QueueTest, ADeviceThatDoesNotAnswerStopsTheQueueAtTheCmdSyncWhichIsTriedAgain) {
  testing::FakeSink sink;
  sink.timeouts = 1;
  config_.sink = &sink;
  ASSERT_TRUE(guest_.Enable());
  guest_.Submit({kTlbiVa, kSync, kTlbiVa, kSync});
  Look();
  EXPECT_EQ(guest_.cons(), 1u);
  EXPECT_EQ(guest_.cons_error(), 3u);
  EXPECT_TRUE(guest_.error_active());
  EXPECT_EQ(errors_, 1);
  guest_.Acknowledge();
  Look();
  EXPECT_EQ(guest_.cons(), 4u);
  EXPECT_EQ(sink.syncs, 3);
  EXPECT_EQ(queue_.counters(),
            (LvcmdqCounters{.executed = {{Opcode::kTlbiNhVa, 2}, {Opcode::kCmdSync, 2}},
                            .atc_timeouts = 1,
                            .doorbells = 1}));
}

TEST_F(QueueTest, EnablingAQueueWithoutValidBaseIsAnInitError) {
  ring_.reset();
  Write(Register::kConfig, kConfigEnable);
  Look();
  Look();
  EXPECT_EQ(Read(Register::kStatus), 0u);
  EXPECT_EQ(Read(Register::kGerror), kGerrorInitError);
  EXPECT_EQ(queue_.counters().init_errors, 1u) << "once for each try";
  EXPECT_EQ(errors_, 0) << "not an error of a command: no bit, no event";
}

TEST_F(QueueTest, TheDriversResetAcknowledgesAndTheQueueStartsAnew) {
  ASSERT_TRUE(guest_.Enable());
  guest_.Submit({kSync, kCfgiSte});
  ASSERT_TRUE(guest_.AwaitError());
  Write(Register::kConfig, 0);
  Look();
  ASSERT_EQ(Read(Register::kStatus), 0u);
  Write(Register::kProd, 0);
  Write(Register::kCons, 0);
  Look();
  EXPECT_EQ(Read(Register::kCons), 0u) << "software's while disabled, error or not";
  guest_.Acknowledge();
  Look();
  EXPECT_FALSE(queue_.in_error());
  EXPECT_FALSE(guest_.error_active());
  ASSERT_TRUE(guest_.Enable());
  guest_.Submit({kSync});
  ASSERT_TRUE(guest_.AwaitIdle());
  EXPECT_EQ(queue_.counters().executed[Opcode::kCmdSync], 2u)
      << "counted over the life of the VINTF";
}

TEST_F(QueueTest, ItsVintfsEndStopsItAndTheNextStartForgetsErrorsAndCounts) {
  ASSERT_TRUE(guest_.Enable());
  guest_.Submit({kSync, kCfgiSte});
  ASSERT_TRUE(guest_.AwaitError());
  queue_.Detach();
  EXPECT_EQ(Read(Register::kStatus), 0u);
  EXPECT_FALSE(queue_.in_error());
  EXPECT_FALSE(queue_.attached());
  queue_.Start();
  EXPECT_FALSE(guest_.error_active());
  EXPECT_EQ(queue_.counters(), LvcmdqCounters{});
}

TEST_F(QueueTest, TheVcmdqsOwnRegistersAreTheSame) {
  const LvcmdqRegisters direct(direct_.data(), 0);
  guest_.Put(kTlbiVa);
  guest_.Put(kSync);
  direct.Store(Register::kConfig, kConfigEnable);
  queue_.FollowDirect();
  Look();
  EXPECT_EQ(direct.Load(Register::kStatus), kStatusEnabled);
  EXPECT_EQ(Read(Register::kConfig), kConfigEnable);
  direct.Store(Register::kProd, guest_.prod());
  Look();
  EXPECT_EQ(direct.Load(Register::kCons), 2u);
  EXPECT_EQ(Read(Register::kCons), 2u);
  EXPECT_EQ(Read(Register::kProd), 2u);
  guest_.Submit({kCfgiSte});  // through the logical page now
  Look();
  queue_.FollowDirect();
  EXPECT_EQ(direct.Load(Register::kProd), 3u);
  EXPECT_EQ(direct.Load(Register::kCons), 2u | 1u << kConsErrorShift);
  EXPECT_EQ(direct.Load(Register::kGerror), kGerrorCmdqError);
  guest_.ring().Write(2, kSync);
  direct.Store(Register::kGerrorn, kGerrorCmdqError);
  Look();
  EXPECT_EQ(Read(Register::kCons), 3u);
  EXPECT_EQ(direct.Load(Register::kCons), 3u);
}

TEST_F(QueueTest, WhatStandsInTheVintfsPageWinsWhenAVcmdqIsMapped) {
  const LvcmdqRegisters direct(direct_.data(), 0);
  queue_.Detach();
  direct.Store(Register::kProd, 77);  // of the owner before
  Write(Register::kProd, 3);
  queue_.Attach(direct);
  EXPECT_EQ(Read(Register::kProd), 3u);
  EXPECT_EQ(direct.Load(Register::kProd), 3u);
}

}  // namespace
}  // namespace berth::emulator
