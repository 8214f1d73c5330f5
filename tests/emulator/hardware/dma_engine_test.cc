// SPDX-License-Identifier: Apache-2.0
#include "lib/emulator/hardware/dma_engine.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <vector>

#include "tests/emulator/hardware/dma_driver.h"
#include "tests/emulator/hardware/smmu/guest_memory.h"

namespace berth::emulator::testing {
namespace {

constexpr uint32_t kSid = 0x100;

// Two devices whose time passes only when a driver waits, in front of stage 2.
class DmaEngineTest : public ::testing::Test {
 protected:
  DmaEngineTest() : engine_(Config()) {
    StreamEntry entry;
    entry.config = StreamEntry::Config::kStage2;
    entry.stage2 = memory_.stage2();
    for (uint32_t sid = kSid; sid < kSid + 2; ++sid) {
      smmu_.SetStream(sid, entry);
      EXPECT_EQ(engine_.Open(sid, true), 0);
    }
  }
  DmaEngine::Config Config() {
    DmaEngine::Config config;
    config.smmu = &smmu_;
    config.polling = DmaEngine::Config::Polling::kManual;
    config.on_notice = [this](const DmaNotice& notice) { notices_.push_back(notice); };
    return config;
  }
  DmaDriver Driver(uint32_t sid) {
    auto bar = Mapping::Map(engine_.RegistersFd(sid), 0, kDmaBarSize, Mapping::Access::kReadWrite);
    EXPECT_TRUE(bar.ok());
    return DmaDriver(*std::move(bar), [this] { engine_.Poll(); });
  }

  Smmu smmu_{48};
  GuestMemory memory_;
  std::vector<DmaNotice> notices_;
  DmaEngine engine_;
  const uint64_t from_ = memory_.Allocate(1 << 20);
  const uint64_t to_ = memory_.Allocate(1 << 20);
};

TEST_F(DmaEngineTest, IdleDevicesAreNoWork) {
  DmaDriver driver = Driver(kSid);
  EXPECT_FALSE(engine_.Poll());
  driver.Start(from_, to_, 8);
  EXPECT_TRUE(engine_.Poll());
  EXPECT_FALSE(engine_.Poll());
  EXPECT_EQ(driver.status(), DmaStatus::kOk);
  EXPECT_TRUE(notices_.empty());
}

TEST_F(DmaEngineTest, DevicesTakeTurns) {
  DmaDriver one = Driver(kSid);
  DmaDriver other = Driver(kSid + 1);
  one.Start(from_, to_, 1 << 20);
  other.Start(from_, to_, 4096);
  engine_.Poll();
  EXPECT_EQ(one.status(), DmaStatus::kBusy);
  EXPECT_GT(one.copied(), 0U);
  EXPECT_LT(one.copied(), 1U << 20);
  EXPECT_EQ(other.status(), DmaStatus::kOk);
  EXPECT_TRUE(one.AwaitDone());
  EXPECT_EQ(one.status(), DmaStatus::kOk);
}

TEST_F(DmaEngineTest, ACopyEndsWhereItsDeviceIsNoBusMasterAnyMore) {
  DmaDriver driver = Driver(kSid);
  driver.Start(from_, to_, 1 << 20);
  engine_.Poll();
  engine_.SetBusMaster(kSid, false);
  EXPECT_TRUE(driver.AwaitDone());
  EXPECT_EQ(driver.status(), DmaStatus::kNotBusMaster);
  EXPECT_LT(driver.copied(), 1U << 20);
}

TEST_F(DmaEngineTest, AResetInTheMiddleForgetsTheCopy) {
  DmaDriver driver = Driver(kSid);
  driver.Start(from_, to_, 1 << 20, kDmaControlInterrupt);
  engine_.Poll();
  engine_.Reset(kSid);
  EXPECT_EQ(driver.status(), DmaStatus::kIdle);
  EXPECT_EQ(driver.Reg32(kDmaStart).load(), 0U);
  EXPECT_EQ(driver.Reg64(kDmaLength).load(), 0U);
  memory_.Store(from_ + (1 << 20) - 8, 1);
  EXPECT_FALSE(engine_.Poll());
  EXPECT_EQ(memory_.Load(to_ + (1 << 20) - 8), 0U);
  EXPECT_TRUE(notices_.empty());
}

TEST_F(DmaEngineTest, FaultsAndInterruptsAreTold) {
  DmaDriver driver = Driver(kSid + 1);
  EXPECT_EQ(driver.Copy(from_, to_, 8, kDmaControlInterrupt), DmaStatus::kOk);
  EXPECT_EQ(driver.Copy(0x1000, to_, 8), DmaStatus::kReadFault);
  ASSERT_EQ(notices_.size(), 2U);
  EXPECT_EQ(notices_[0].sid, kSid + 1);
  EXPECT_TRUE(notices_[0].interrupt);
  EXPECT_FALSE(notices_[0].event.has_value());
  EXPECT_FALSE(notices_[1].interrupt);
  EXPECT_TRUE(notices_[1].event.has_value());
}

TEST_F(DmaEngineTest, ReadOnlyRegistersAreThat) {
  DmaDriver driver = Driver(kSid);
  EXPECT_EQ(driver.Copy(from_, to_, 8), DmaStatus::kOk);
  driver.Reg32(kDmaId).store(1);
  driver.Reg32(kDmaStatus).store(1);
  driver.Reg32(kDmaDone).store(7);
  driver.Reg64(kDmaCopied).store(7);
  engine_.Poll();
  EXPECT_EQ(driver.id(), kDmaIdValue);
  EXPECT_EQ(driver.status(), DmaStatus::kOk);
  EXPECT_EQ(driver.done(), 1U);
  EXPECT_EQ(driver.copied(), 8U);
}

TEST_F(DmaEngineTest, WhatWasWrittenBeforeAFaultIsCounted) {
  DmaDriver driver = Driver(kSid);
  const uint64_t end = memory_.base() + memory_.size();
  EXPECT_EQ(driver.Copy(from_, end - 0x1800, 0x3000), DmaStatus::kWriteFault);
  EXPECT_EQ(driver.copied(), 0x1800U);
  EXPECT_EQ(driver.fault(), end);
}

TEST_F(DmaEngineTest, AMappedBarIsNotRetired) {
  {
    DmaDriver driver = Driver(kSid);
    driver.Start(from_, to_, 1 << 20);
    engine_.Poll();
    EXPECT_EQ(engine_.RetireBar(kSid), -EBUSY);
    EXPECT_TRUE(driver.AwaitDone()) << "the copy under way goes on";
    EXPECT_EQ(engine_.RetireBar(kSid), -EBUSY);
    EXPECT_EQ(driver.Copy(from_, to_, 8), DmaStatus::kOk);
  }
  EXPECT_EQ(engine_.RetireBar(kSid), 0);
  EXPECT_FALSE(engine_.Poll());
  EXPECT_EQ(engine_.RetireBar(kSid + 7), 0) << "no such device";
}

TEST_F(DmaEngineTest, AClosedDeviceHasNoRegisters) {
  DmaDriver driver = Driver(kSid);
  engine_.Close(kSid);
  EXPECT_EQ(engine_.RegistersFd(kSid), -ENOENT);
  driver.Start(from_, to_, 8);
  EXPECT_FALSE(engine_.Poll());
  EXPECT_EQ(engine_.Open(kSid, false), 0);
  DmaDriver again = Driver(kSid);
  EXPECT_EQ(again.Copy(from_, to_, 8), DmaStatus::kNotBusMaster);
}

}  // namespace
}  // namespace berth::emulator::testing
