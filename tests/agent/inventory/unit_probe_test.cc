// SPDX-License-Identifier: Apache-2.0
#include "agent/inventory/unit_probe.h"

#include "lib/base/status.h"
#include "tests/agent/grants/failing_kernel.h"
#include "tests/emulator/emulator_fixture.h"

namespace berth {
namespace {

// SmallHost(), with a plain SMMUv3 for its second unit: vfio0 is behind the first, vfio10 behind
// the second.
class UnitProbeTest : public emulator::EmulatorTest {
 protected:
  void SetUp() override {
    StartServer([](emulator::Server::Options& options) {
      options.host.units[1].profile = emulator::UnitProfile::kArmSmmuv3;
    });
  }
  void ExpectNothingHeld() {
    // Before it serves a call the emulator sees to the closes that came before.
    EXPECT_FALSE(client().OpenDevice("none").ok());
    const emulator::Snapshot snapshot = server().kernel().TakeSnapshot();
    EXPECT_EQ(snapshot.contexts, 0);
    EXPECT_EQ(snapshot.open_cdevs, 0);
    EXPECT_EQ(UsedVintfs(), 0U);
  }
};

TEST_F(UnitProbeTest, ACmdqvTellsItsShape) {
  const auto facts = ProbeUnit(&client(), "vfio0", VintfCount::kAssume);
  ASSERT_TRUE(facts.ok()) << facts.status();
  EXPECT_EQ(facts->profile, v1::Unit::TEGRA241_CMDQV);
  EXPECT_EQ(facts->vcmdqs_per_vintf, 2);
  EXPECT_EQ(facts->sids_per_vintf, 16);
  EXPECT_EQ(facts->max_queue_log2, 17);
  EXPECT_EQ(facts->cmdqv_version, 1);
  EXPECT_EQ(facts->observed_vintfs, std::nullopt) << "nobody asked to count";
  ExpectNothingHeld();
}

TEST_F(UnitProbeTest, APlainSmmuHasNoQueues) {
  const auto facts = ProbeUnit(&client(), "vfio10", VintfCount::kObserve);
  ASSERT_TRUE(facts.ok()) << facts.status();
  EXPECT_EQ(facts->profile, v1::Unit::ARM_SMMUV3);
  EXPECT_EQ(facts->vcmdqs_per_vintf, 0);
  EXPECT_EQ(facts->sids_per_vintf, 65535) << "whatever the guest's stream table holds";
  EXPECT_EQ(facts->observed_vintfs, std::nullopt) << "there is nothing to count";
}

// A kernel whose IOMMUs say that they are of this type.
class OtherIommu : public testing::FailingKernel {
 public:
  OtherIommu(KernelApi* base, uint32_t type) : FailingKernel(base), type_(type) {}
  int Ioctl(int fd, unsigned long request, void* arg) override {  // NOLINT(google-runtime-int)
    if (request != uapi::kIommuGetHwInfo) return FailingKernel::Ioctl(fd, request, arg);
    auto* info = static_cast<uapi::IommuHwInfo*>(arg);
    // Linux drivers/iommu/iommufd/device.c, iommufd_get_hw_info(): only its own type, or any.
    const bool any = (info->flags & uapi::kHwInfoInputType) == 0;
    if (!any && info->data_type != type_) return -EOPNOTSUPP;
    info->data_type = type_;
    return 0;
  }

 private:
  const uint32_t type_;
};

TEST_F(UnitProbeTest, TheProfileOfOtherIommusIsWhatTheySayOfThemselves) {
  const std::pair<uint32_t, v1::Unit::Profile> kinds[] = {
      {uapi::kHwInfoVtd, v1::Unit::VTD},
      {uapi::kHwInfoAmd, v1::Unit::AMD_IOMMU},
      {uapi::kHwInfoDefault, v1::Unit::VTD},
  };
  for (const auto& [type, profile] : kinds) {
    OtherIommu kernel(&client(), type);
    // The emulator would give it a vIOMMU.
    const auto facts = ProbeUnit(&kernel, "vfio0", VintfCount::kObserve);
    ASSERT_TRUE(facts.ok()) << facts.status();
    EXPECT_EQ(facts->profile, profile);
    EXPECT_EQ(facts->vcmdqs_per_vintf, 0);
    ExpectNothingHeld();
  }
}

TEST_F(UnitProbeTest, ChecksWithOneVintf) {
  EXPECT_TRUE(CheckVintf(&client(), "vfio0").ok());
  ExpectNothingHeld();
  const emulator::Guest guest = MakeGuest("vfio0");
  EXPECT_EQ(ReasonOf(CheckVintf(&client(), "vfio0")), Reason::kDeviceBusy);
  testing::FailingKernel failing(&client());
  failing.FailRequest(uapi::kIommuViommuAlloc, ETIMEDOUT);
  EXPECT_EQ(ReasonOf(CheckVintf(&failing, "vfio1")), Reason::kHardwareTimeout);
  failing.FailRequest(uapi::kIommuViommuAlloc, ENOSPC);
  EXPECT_EQ(ReasonOf(CheckVintf(&failing, "vfio1")), Reason::kVintfExhausted);
}

TEST_F(UnitProbeTest, CountsFreeVintfsAndGivesThemBack) {
  const auto all = ProbeUnit(&client(), "vfio0", VintfCount::kObserve);
  ASSERT_TRUE(all.ok()) << all.status();
  EXPECT_EQ(all->observed_vintfs, 3) << "four, less the host's own";
  ExpectNothingHeld();
  const emulator::Guest guest = MakeGuest("vfio1");
  const auto fewer = ProbeUnit(&client(), "vfio0", VintfCount::kObserve);
  ASSERT_TRUE(fewer.ok()) << fewer.status();
  EXPECT_EQ(fewer->observed_vintfs, 2) << "another process has one";
  EXPECT_EQ(UsedVintfs(), 1U);
}

TEST_F(UnitProbeTest, SaysWhyItCouldNotAsk) {
  const emulator::Guest guest = MakeGuest("vfio0");
  EXPECT_EQ(ReasonOf(ProbeUnit(&client(), "vfio0", VintfCount::kAssume).status()),
            Reason::kDeviceBusy);
  EXPECT_EQ(ReasonOf(ProbeUnit(&client(), "vfio99", VintfCount::kAssume).status()),
            Reason::kNotFound);
  StopServer();
  EXPECT_EQ(ReasonOf(ProbeUnit(&client(), "vfio0", VintfCount::kAssume).status()),
            Reason::kKernelGone);
}

TEST_F(UnitProbeTest, WhateverCallFailsNothingIsLeft) {
  testing::FailingKernel failing(&client());
  // Only what it does when it has the answer, to clean up, may fail unseen.
  int refused = 0;
  for (int call = 0;; ++call) {
    failing.FailCall(call, ENOMEM);
    const auto facts = ProbeUnit(&failing, "vfio0", VintfCount::kObserve);
    if (!failing.failed()) break;
    if (!facts.ok()) ++refused;
    failing.FailCall(-1, 0);
    ExpectNothingHeld();
  }
  EXPECT_EQ(refused, 14)
      << "context, cdev, BIND, 2 GET_HW_INFO, IOAS, HWPT, 4 VIOMMU_ALLOC, 3 DESTROY";
}

}  // namespace
}  // namespace berth
