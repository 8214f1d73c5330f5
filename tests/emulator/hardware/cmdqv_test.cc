// SPDX-License-Identifier: Apache-2.0
//
// The CMDQV as whoever writes its registers sees it: in the order of Linux
// drivers/iommu/arm/arm-smmu-v3/tegra241-cmdqv.c, through memory that is only polled, as a kernel
// in a VM does; nothing here tells the model that something was written.
#include "lib/emulator/hardware/cmdqv.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <memory>
#include <utility>
#include <vector>

#include "lib/emulator/hardware/poller.h"
#include "lib/emulator/kernel/pinned_memory.h"
#include "tests/emulator/hardware/fake_sink.h"
#include "tests/emulator/hardware/guest.h"

namespace berth::emulator::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class RegisterTest : public ::testing::Test {
 protected:
  RegisterTest() {
    config_.polling = CmdqvConfig::Polling::kManual;
    config_.memory = &memory_;
    config_.sink = &sink_;
    config_.on_interrupt = [this] { ++interrupts_; };
    Start();
  }

  // Registers on a new file; this test's mapping of it is another process's as far as the model
  // knows.
  void Start() {
    cmdqv_.reset();
    file_.Reset(::memfd_create("registers", MFD_CLOEXEC));
    ASSERT_EQ(::ftruncate(file_.get(), static_cast<off_t>(RegisterBlock::Size(config_.vintfs))), 0);
    auto block = RegisterBlock::OnFile(file_.get(), 0, config_.vintfs);
    ASSERT_TRUE(block.ok()) << block.status();
    cmdqv_ = std::make_unique<Cmdqv>(config_, *std::move(block));
    mapping_ = *Mapping::Map(file_.get(), 0, RegisterBlock::Size(config_.vintfs),
                             Mapping::Access::kReadWrite);
    registers_ = RegisterView(mapping_.data());
  }

  void PassTime() { cmdqv_->Poll(); }
  [[nodiscard]] bool Await(size_t offset, uint32_t value) {
    for (int i = 0; i < 100; ++i) {
      if (registers_.Load(offset) == value) return true;
      PassTime();
    }
    return false;
  }
  static size_t VintfRegister(int vintf, size_t offset) {
    return config_page::Vintf(vintf) + offset;
  }
  static size_t Page0(int vintf, int lvcmdq, Register reg) {
    return VintfPage0(vintf) + kLvcmdqStride * static_cast<size_t>(lvcmdq) +
           static_cast<size_t>(reg);
  }

  // tegra241_cmdqv_hw_reset().
  void Reset() {
    const uint32_t config = registers_.Load(config_page::kConfig);
    registers_.Store(config_page::kConfig, config & ~kEnable);
    ASSERT_TRUE(Await(config_page::kStatus, 0));
    registers_.Store(config_page::kConfig, config | kEnable);
    ASSERT_TRUE(Await(config_page::kStatus, kEnable));
    const int per_vintf = config_.vcmdqs / config_.vintfs;
    for (int q = 0; q < config_.vcmdqs; ++q) {
      registers_.Store(config_page::CmdqAlloc(q), CmdqAllocValue(q / per_vintf, q % per_vintf));
    }
  }
  // tegra241_vintf_hw_init().
  void EnableVintf(int vintf, uint32_t config) {
    registers_.Store(VintfRegister(vintf, vintf_config::kConfig), config);
    registers_.Store(VintfRegister(vintf, vintf_config::kConfig), config | kEnable);
    ASSERT_TRUE(Await(VintfRegister(vintf, vintf_config::kStatus), kEnable));
  }
  // tegra241_vintf_alloc_lvcmdq() and tegra241_vcmdq_hw_init() up to BASE.
  void MapLvcmdq(int vintf, int lvcmdq, const Ring& ring) {
    const int q = vintf * config_.vcmdqs / config_.vintfs + lvcmdq;
    registers_.Store(config_page::CmdqAlloc(q), CmdqAllocValue(vintf, lvcmdq) | kCmdqAllocated);
    registers_.Store(Page0(vintf, lvcmdq, Register::kConfig), 0);
    ASSERT_TRUE(Await(Page0(vintf, lvcmdq, Register::kStatus), 0));
    registers_.Store(Page0(vintf, lvcmdq, Register::kProd), 0);
    registers_.Store(Page0(vintf, lvcmdq, Register::kCons), 0);
    const uint64_t base = memory_.Add(ring.memory()) | ring.log2size();
    const size_t page1 = VintfPage1(vintf) + kLvcmdqStride * static_cast<size_t>(lvcmdq);
    registers_.Store(page1 + kBaseLow, static_cast<uint32_t>(base));
    registers_.Store(page1 + kBaseHigh, static_cast<uint32_t>(base >> 32));
  }
  GuestQueue Guest(int vintf, int lvcmdq, const Ring& ring) {
    return {mapping_.data() + VintfPage0(vintf), lvcmdq, ring, [this] { PassTime(); }};
  }
  // A VINTF with an enabled queue 0.
  GuestQueue Ready(int vintf, uint32_t config) {
    EnableVintf(vintf, config);
    const Ring ring(6);
    MapLvcmdq(vintf, 0, ring);
    GuestQueue guest = Guest(vintf, 0, ring);
    EXPECT_TRUE(guest.Enable());
    return guest;
  }

  PinnedMemory memory_;
  FakeSink sink_;
  CmdqvConfig config_;
  int interrupts_ = 0;
  UniqueFd file_;
  std::unique_ptr<Cmdqv> cmdqv_;
  Mapping mapping_;
  RegisterView registers_;
};

TEST_F(RegisterTest, ParamTellsItsSizeAndIsReadOnly) {
  EXPECT_EQ(registers_.Load(config_page::kParam), 0x4671u)
      << "16 SIDs, 64 VINTFs, 128 vCMDQs, version 1";
  registers_.Store(config_page::kParam, 0xffffffff);
  registers_.Store(config_page::kStatus, 0xffffffff);
  registers_.Store(config_page::kVintfErrMap, 0xffffffff);
  registers_.Store(config_page::kCmdqErrMap + 12, 0xffffffff);
  PassTime();
  EXPECT_EQ(registers_.Load(config_page::kParam), 0x4671u);
  EXPECT_EQ(registers_.Load(config_page::kStatus), kEnable);
  EXPECT_EQ(registers_.Load(config_page::kVintfErrMap), 0u);
  EXPECT_EQ(registers_.Load(config_page::kCmdqErrMap + 12), 0u);
}

TEST_F(RegisterTest, AKernelsOwnVintfRunsEverythingThatTheKernelSends) {
  Reset();
  GuestQueue kernel = Ready(0, kVintfHypOwn);
  EXPECT_NE(registers_.Load(VintfRegister(0, vintf_config::kConfig)) & kVintfHypOwn, 0u);
  kernel.Submit({kCfgiSte, {0x30, 0}, {0x20, 0}, kTlbiVa, AtcInv(0x77), kSync});
  ASSERT_TRUE(kernel.AwaitIdle());
  EXPECT_FALSE(kernel.error_active());
  ASSERT_EQ(sink_.invalidations.size(), 5u);
  EXPECT_EQ(sink_.invalidations[4].sid, 0x77u);
}

TEST_F(RegisterTest, WhereHypOwnIsWiredToZeroTheKernelReadsThatBack) {
  config_.hyp_own = HypOwn::kWiredToZero;
  Start();
  Reset();
  GuestQueue kernel = Ready(0, kVintfHypOwn);
  EXPECT_EQ(registers_.Load(VintfRegister(0, vintf_config::kConfig)), kEnable);
  kernel.Submit({kCfgiSte});
  ASSERT_TRUE(kernel.AwaitError());
}

TEST_F(RegisterTest, AGuestsCommandsRunUnderItsVmidAndItsSids) {
  Reset();
  registers_.Store(VintfRegister(5, vintf_config::SidReplace(0)), 0x4321);
  registers_.Store(VintfRegister(5, vintf_config::SidMatch(0)),
                   0x100u << kSidMatchShift | kSidMatchEnable);
  GuestQueue guest = Ready(5, 42u << kVintfVmidShift);
  guest.Submit({kTlbiVa, AtcInv(0x100), kSync});
  ASSERT_TRUE(guest.AwaitIdle());
  ASSERT_EQ(sink_.invalidations.size(), 2u);
  EXPECT_EQ(sink_.invalidations[0].vmid, 42);
  EXPECT_EQ(sink_.invalidations[1].sid, 0x4321u);
  EXPECT_EQ(cmdqv_->Snapshot(5)->vmid, 42);
}

TEST_F(RegisterTest, AnErrorGoesIntoEveryMapAndItsAcknowledgementOutOfThem) {
  Reset();
  GuestQueue guest = Ready(40, 0);
  const Ring ring(6);
  MapLvcmdq(40, 1, ring);
  GuestQueue other = Guest(40, 1, ring);
  ASSERT_TRUE(other.Enable());
  other.Submit({kCfgiSte});
  ASSERT_TRUE(other.AwaitError());
  const size_t lvcmdq_map = VintfRegister(40, vintf_config::kLvcmdqErrMap);
  EXPECT_EQ(registers_.Load(lvcmdq_map), 0b10u);
  EXPECT_EQ(registers_.Load(config_page::kVintfErrMap + 4), 1u << 8);
  EXPECT_EQ(registers_.Load(config_page::kCmdqErrMap + 8), 1u << 17) << "vCMDQ 81";
  EXPECT_EQ(interrupts_, 1);
  PassTime();
  EXPECT_EQ(interrupts_, 1) << "an edge";
  guest.Submit({kCfgiSte});
  ASSERT_TRUE(guest.AwaitError());
  EXPECT_EQ(interrupts_, 2) << "a bit that is set hides no new error";
  EXPECT_EQ(registers_.Load(lvcmdq_map), 0b11u);
  guest.ReplaceBadCommandAndAcknowledge();
  other.ReplaceBadCommandAndAcknowledge();
  ASSERT_TRUE(guest.AwaitIdle());
  ASSERT_TRUE(other.AwaitIdle());
  EXPECT_EQ(registers_.Load(lvcmdq_map), 0u);
  EXPECT_EQ(registers_.Load(config_page::kVintfErrMap + 4), 0u);
  EXPECT_EQ(registers_.Load(config_page::kCmdqErrMap + 8), 0u);
  EXPECT_EQ(interrupts_, 2);
}

TEST_F(RegisterTest, AMaskedVintfInterruptsNobody) {
  Reset();
  registers_.Store(config_page::kVintfIntMask + 4, 1u << 8);
  GuestQueue masked = Ready(40, 0);
  GuestQueue guest = Ready(41, 0);
  masked.Submit({kCfgiSte});
  ASSERT_TRUE(masked.AwaitError());
  PassTime();
  EXPECT_EQ(interrupts_, 0);
  EXPECT_EQ(registers_.Load(config_page::kVintfErrMap + 4), 1u << 8);
  guest.Submit({kCfgiSte});
  ASSERT_TRUE(guest.AwaitError());
  EXPECT_EQ(interrupts_, 1);
}

TEST_F(RegisterTest, AnUnansweredAtcInvalidationIsRetriedWithItsCmdSync) {
  Reset();
  GuestQueue guest = Ready(1, 0);
  sink_.timeouts = 1;
  guest.Submit({kTlbiVa, kSync});
  ASSERT_TRUE(guest.AwaitError());
  EXPECT_EQ(guest.cons(), 1u);
  EXPECT_EQ(guest.cons_error(), 3u);
  EXPECT_EQ(interrupts_, 1);
  guest.Acknowledge();
  ASSERT_TRUE(guest.AwaitIdle());
}

TEST_F(RegisterTest, AQueueInMemoryThatIsNotThereAborts) {
  Reset();
  EnableVintf(1, 0);
  const Ring ring(6);
  MapLvcmdq(1, 0, ring);
  registers_.Store(VintfPage1(1) + kBaseHigh, 0xffff);
  GuestQueue guest = Guest(1, 0, ring);
  ASSERT_TRUE(guest.Enable());
  guest.Submit({kSync});
  ASSERT_TRUE(guest.AwaitError());
  EXPECT_EQ(guest.cons_error(), 2u);
}

TEST_F(RegisterTest, AQueueWithoutMappingOrBaseDoesNotStart) {
  Reset();
  EnableVintf(1, 0);
  const auto expect_init_error = [&] {
    registers_.Store(Page0(1, 0, Register::kConfig), kConfigEnable);
    ASSERT_TRUE(Await(Page0(1, 0, Register::kGerror), kGerrorInitError));
    EXPECT_EQ(registers_.Load(Page0(1, 0, Register::kStatus)), 0u);
    registers_.Store(Page0(1, 0, Register::kConfig), 0);
    PassTime();
  };
  expect_init_error();
  registers_.Store(Page0(1, 0, Register::kGerrorn), kGerrorInitError);
  const Ring ring(6);
  MapLvcmdq(1, 0, ring);
  registers_.Store(VintfPage1(1) + kBaseLow, 20);
  registers_.Store(Page0(1, 0, Register::kConfig), kConfigEnable);
  ASSERT_TRUE(Await(Page0(1, 0, Register::kGerror), 0)) << "toggled once more";
  EXPECT_EQ(registers_.Load(Page0(1, 0, Register::kStatus)), 0u);
}

TEST_F(RegisterTest, ADisabledVintfStopsItsQueuesAndForgetsItsErrors) {
  Reset();
  GuestQueue guest = Ready(1, 0);
  guest.Submit({kCfgiSte});
  ASSERT_TRUE(guest.AwaitError());
  registers_.Store(VintfRegister(1, vintf_config::kConfig), 0);
  ASSERT_TRUE(Await(VintfRegister(1, vintf_config::kStatus), 0));
  EXPECT_EQ(guest.registers().Load(Register::kStatus), 0u);
  EXPECT_EQ(registers_.Load(VintfRegister(1, vintf_config::kLvcmdqErrMap)), 0u);
  EXPECT_EQ(registers_.Load(config_page::kVintfErrMap), 0u);
  EXPECT_EQ(registers_.Load(config_page::kCmdqErrMap), 0u);
  EXPECT_THAT(cmdqv_->EnabledVintfs(), IsEmpty());
  EXPECT_FALSE(cmdqv_->Snapshot(1).has_value());
}

TEST_F(RegisterTest, ADisabledCmdqvStopsAllVintfs) {
  Reset();
  GuestQueue guest = Ready(1, 0);
  EnableVintf(7, 0);
  EXPECT_THAT(cmdqv_->EnabledVintfs(), ElementsAre(1, 7));
  registers_.Store(config_page::kConfig, 0);
  ASSERT_TRUE(Await(config_page::kStatus, 0));
  ASSERT_TRUE(Await(VintfRegister(7, vintf_config::kStatus), 0));
  ASSERT_TRUE(Await(VintfRegister(1, vintf_config::kStatus), 0));
  EXPECT_EQ(guest.registers().Load(Register::kStatus), 0u);
}

TEST_F(RegisterTest, AVcmdqThatIsTakenAwayStops) {
  Reset();
  GuestQueue guest = Ready(1, 0);
  registers_.Store(config_page::CmdqAlloc(2), CmdqAllocValue(1, 0));
  ASSERT_TRUE(Await(Page0(1, 0, Register::kStatus), 0));
  guest.Submit({kSync});
  for (int i = 0; i < 50; ++i) PassTime();
  EXPECT_EQ(guest.cons(), 0u);
}

TEST_F(RegisterTest, AnyVcmdqCanBeAnyLvcmdqOfAnyVintf) {
  Reset();
  EnableVintf(3, 0);
  const Ring ring(6);
  // vCMDQ 100 as LVCMDQ 9 of VINTF 3, set up through the vCMDQ's own pages.
  registers_.Store(config_page::CmdqAlloc(100), CmdqAllocValue(3, 9) | kCmdqAllocated);
  for (int i = 0; i < 20; ++i) PassTime();
  const uint64_t base = memory_.Add(ring.memory()) | ring.log2size();
  registers_.Store(kVcmdqPage1 + 100 * kLvcmdqStride + kBaseLow, static_cast<uint32_t>(base));
  registers_.Store(kVcmdqPage1 + 100 * kLvcmdqStride + kBaseHigh,
                   static_cast<uint32_t>(base >> 32));
  GuestQueue direct(mapping_.data() + kVcmdqPage0, 100, ring, [this] { PassTime(); });
  ASSERT_TRUE(direct.Enable());
  EXPECT_EQ(registers_.Load(Page0(3, 9, Register::kStatus)), kStatusEnabled);
  direct.Submit({kTlbiVa, kSync});
  ASSERT_TRUE(direct.AwaitIdle());
  EXPECT_EQ(registers_.Load(Page0(3, 9, Register::kCons)), 2u);
  direct.Submit({kCfgiSte});
  ASSERT_TRUE(direct.AwaitError());
  PassTime();
  EXPECT_EQ(registers_.Load(config_page::kCmdqErrMap + 12), 1u << 4);
  EXPECT_EQ(registers_.Load(VintfRegister(3, vintf_config::kLvcmdqErrMap)), 1u << 9);
}

TEST_F(RegisterTest, AllOfItWorksWithThreadsThatOnlyPoll) {
  Poller poller({.threads = 2});
  config_.polling = CmdqvConfig::Polling::kThread;
  config_.poller = &poller;
  config_.sink = nullptr;
  config_.on_interrupt = {};
  Start();
  const auto await = [&](size_t offset, uint32_t value) {
    while (registers_.Load(offset) != value) ::sched_yield();
  };
  registers_.Store(VintfRegister(1, vintf_config::kConfig), kEnable);
  await(VintfRegister(1, vintf_config::kStatus), kEnable);
  const Ring ring(6);
  registers_.Store(config_page::CmdqAlloc(2), CmdqAllocValue(1, 0) | kCmdqAllocated);
  const uint64_t base = memory_.Add(ring.memory()) | ring.log2size();
  registers_.Store(VintfPage1(1) + kBaseLow, static_cast<uint32_t>(base));
  registers_.Store(VintfPage1(1) + kBaseHigh, static_cast<uint32_t>(base >> 32));
  GuestQueue guest(mapping_.data() + VintfPage0(1), 0, ring);
  ASSERT_TRUE(guest.Enable());
  for (int i = 0; i < 100; ++i) {
    guest.Submit({kTlbiVa, kSync});
    ASSERT_TRUE(guest.AwaitIdle());
  }
  EXPECT_EQ(cmdqv_->Counters(1, 0)->executed.total(), 200u);
  cmdqv_.reset();
}

}  // namespace
}  // namespace berth::emulator::testing
