// SPDX-License-Identifier: Apache-2.0
#include "lib/emulator/hardware/executor.h"

#include <gtest/gtest.h>

#include <array>
#include <cstddef>

#include "tests/emulator/hardware/fake_sink.h"
#include "tests/emulator/hardware/guest.h"

namespace berth::emulator {
namespace {

using testing::AtcInv;
using testing::kCfgiSte;
using testing::kSync;
using testing::kTlbiAsid;
using testing::kTlbiVa;

class ExecutorTest : public ::testing::Test {
 protected:
  ConsError Execute(const RawCommand& raw) { return executor_.Execute(raw, &counters_, &command_); }

  CmdqvConfig config_;
  // As the driver writes it.
  void SetSid(int slot, uint32_t vsid, uint32_t psid) {
    vintf_.Store(vintf_config::SidReplace(slot), psid);
    vintf_.Store(vintf_config::SidMatch(slot), vsid << kSidMatchShift | kSidMatchEnable);
  }

  alignas(4) std::array<std::byte, kVintfStride> registers_ = {};
  const RegisterView vintf_{registers_.data()};
  CommandExecutor executor_{config_, vintf_};
  LvcmdqCounters counters_;
  Command command_;
  testing::FakeSink sink_;
};

TEST_F(ExecutorTest, TheVintfsVmidReplacesTheGuests) {
  executor_.SetVmid(42);
  ASSERT_EQ(Execute(kTlbiVa), ConsError::kNone);
  EXPECT_EQ(command_.vmid, 42);
  ASSERT_EQ(Execute({kTlbiAsid.dword0 | uint64_t{7} << 32, 0}), ConsError::kNone);
  EXPECT_EQ(command_.vmid, 42);
  EXPECT_EQ(command_.asid, 6);
}

TEST_F(ExecutorTest, AMatchedVsidBecomesThePsid) {
  SetSid(0, 0x100, 0x4321);
  ASSERT_EQ(Execute(AtcInv(0x100)), ConsError::kNone);
  EXPECT_EQ(command_.sid, 0x4321u);
}

TEST_F(ExecutorTest, AnUnmatchedVsidIsRefusedAsConfigured) {
  EXPECT_EQ(Execute(AtcInv(0x100)), ConsError::kIllegal);
  config_.unmatched_vsid = Refusal::kIllegalAccess;
  EXPECT_EQ(Execute(AtcInv(0x100)), ConsError::kIllegalAccess);
}

TEST_F(ExecutorTest, WhatIsExecutedReachesTheCachesUnderPhysicalNames) {
  config_.sink = &sink_;
  executor_.SetVmid(42);
  SetSid(0, 0x100, 0x4321);
  for (const RawCommand& raw : {kTlbiVa, kTlbiAsid, AtcInv(0x100), kSync}) {
    ASSERT_EQ(Execute(raw), ConsError::kNone);
  }
  ASSERT_EQ(sink_.invalidations.size(), 3u);
  EXPECT_EQ(sink_.invalidations[0].opcode, Opcode::kTlbiNhVa);
  EXPECT_EQ(sink_.invalidations[0].vmid, 42);
  EXPECT_EQ(sink_.invalidations[1].vmid, 42);
  EXPECT_EQ(sink_.invalidations[2].sid, 0x4321u);
  EXPECT_EQ(sink_.syncs, 1);
}

TEST_F(ExecutorTest, AnAtcInvThatIsNotAnsweredReachesNoCache) {
  config_.sink = &sink_;
  config_.goes_wrong = [](HardwareFault fault, uint32_t sid) {
    return fault == HardwareFault::kAtcTimeout && sid == 0x4321;
  };
  SetSid(0, 0x100, 0x4321);
  SetSid(1, 0x200, 0x8765);
  ASSERT_EQ(Execute(AtcInv(0x100)), ConsError::kNone);
  EXPECT_TRUE(sink_.invalidations.empty());
  ASSERT_EQ(Execute(AtcInv(0x200)), ConsError::kNone);
  EXPECT_EQ(sink_.invalidations.size(), 1u);
  EXPECT_EQ(counters_.unanswered, 1u);
  EXPECT_EQ(counters_.executed[Opcode::kAtcInv], 2u);
}

TEST_F(ExecutorTest, WhatIsRefusedReachesNoCache) {
  config_.sink = &sink_;
  EXPECT_NE(Execute(AtcInv(0x100)), ConsError::kNone);
  EXPECT_NE(Execute(kCfgiSte), ConsError::kNone);
  EXPECT_TRUE(sink_.invalidations.empty());
}

TEST_F(ExecutorTest, AForbiddenOpcodeIsRefusedAsConfigured) {
  EXPECT_EQ(Execute(kCfgiSte), ConsError::kIllegal);
  config_.forbidden_opcode = Refusal::kIllegalAccess;
  EXPECT_EQ(Execute(kCfgiSte), ConsError::kIllegalAccess);
  EXPECT_EQ(Execute({kSync.dword0 | 1 << 12, 0}), ConsError::kIllegal) << "bad, not forbidden";
  EXPECT_EQ(Execute({0x7f, 0}), ConsError::kIllegal) << "no opcode at all";
}

TEST_F(ExecutorTest, AQueueOfTheHypervisorTakesEveryCommandAsItIsWritten) {
  config_.sink = &sink_;
  executor_.SetVmid(42);
  executor_.SetHypOwn(true);
  OpcodeCounts expected;
  for (const uint64_t opcode : {0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x10, 0x11, 0x12, 0x13, 0x20,
                                0x21, 0x22, 0x23, 0x28, 0x2a, 0x30, 0x40, 0x41, 0x44, 0x45, 0x46}) {
    const auto name = static_cast<Opcode>(opcode);
    for (uint64_t n = 0; n < opcode; ++n) {
      EXPECT_EQ(Execute({opcode, 0}), ConsError::kNone) << ToString(name);
    }
    expected[name] = opcode;
    EXPECT_NE(ToString(name), "UNKNOWN") << opcode;
  }
  EXPECT_EQ(sink_.invalidations.size(), expected.total() - 0x46);
  EXPECT_EQ(counters_, (LvcmdqCounters{.executed = expected})) << "each under its own name";
  ASSERT_EQ(Execute({uint64_t{7} << 32 | 0x10, 0}), ConsError::kNone);
  EXPECT_EQ(command_.vmid, 7);
  ASSERT_EQ(Execute(AtcInv(0x777)), ConsError::kNone);
  EXPECT_EQ(command_.sid, 0x777u);
}

TEST_F(ExecutorTest, OnlyWhatIsExecutedCounts) {
  SetSid(0, 0x100, 1);
  for (const RawCommand& raw : {kTlbiVa, kTlbiVa, kTlbiVa, kTlbiAsid, AtcInv(0x100), AtcInv(0x100),
                                AtcInv(0x200), kCfgiSte, kSync}) {
    Execute(raw);
  }
  EXPECT_EQ(counters_, (LvcmdqCounters{.executed = {{Opcode::kTlbiNhAsid, 1},
                                                    {Opcode::kTlbiNhVa, 3},
                                                    {Opcode::kAtcInv, 2},
                                                    {Opcode::kCmdSync, 1}}}));
  EXPECT_EQ(counters_.executed.total(), 7u);
}

TEST_F(ExecutorTest, SidsAreLookedUpInTheRegistersAsTheyStand) {
  SetSid(15, 0xfffff, 0xabcde);
  ASSERT_EQ(Execute(AtcInv(0xfffff)), ConsError::kNone);
  EXPECT_EQ(command_.sid, 0xabcdeu);
  EXPECT_EQ(Execute(AtcInv(0x1fffff)), ConsError::kIllegal) << "21 bits";
  ASSERT_EQ(executor_.SidSlots().size(), 1u);
  EXPECT_EQ(executor_.SidSlots()[0].slot, 15);
  vintf_.Store(vintf_config::SidMatch(15), 0xfffff << kSidMatchShift);
  EXPECT_EQ(Execute(AtcInv(0xfffff)), ConsError::kIllegal) << "not enabled";
  config_.sid_slots = 8;
  SetSid(15, 0xfffff, 0xabcde);
  EXPECT_EQ(Execute(AtcInv(0xfffff)), ConsError::kIllegal) << "there is no such slot";
}

}  // namespace
}  // namespace berth::emulator
