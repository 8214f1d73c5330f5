// SPDX-License-Identifier: Apache-2.0
//
// What goes wrong under a VMM is shown by berthctl, for as long as it is so.
#include <gmock/gmock.h>

#include <atomic>
#include <string>
#include <thread>

#include "lib/base/mapping.h"
#include "lib/iommufd/mapped_region.h"
#include "lib/iommufd/uapi/smmuv3.h"
#include "tests/agent/grants/memfd.h"
#include "tests/agent/vmm/raw_vmm.h"
#include "tests/integration/cluster.h"

namespace berth::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using v1::Assignment;

constexpr uint64_t kRam = 0x40000000;
constexpr uint64_t kQueueBytes = 4096;

class HealthTest : public ::testing::Test {
 protected:
  void Attach() {
    const absl::StatusOr<Assignment> created = cluster_.Create("vm", OneOf("gpu"));
    ASSERT_TRUE(created.ok()) << created.status();
    ASSERT_TRUE(cluster_.AwaitObserved("vm", Assignment::PREPARED));
    const auto hello = vmm_.Hello(created->uid(), created->attach_token());
    ASSERT_EQ(hello.reason(), BERTH_VMM_REASON_NONE);
    const UniqueFd ram = Memfd(1 << 20);
    ASSERT_EQ(vmm_.Map(ram.get(), kRam, 1 << 20).reason(), BERTH_VMM_REASON_NONE);
    ASSERT_EQ(vmm_.AllocQueue(0, kRam, kQueueBytes).reason(), BERTH_VMM_REASON_NONE);
    auto ring = Mapping::Map(ram.get(), 0, kQueueBytes, Mapping::Access::kReadWrite);
    ASSERT_TRUE(ring.ok()) << ring.status();
    ring_ = *std::move(ring);
    const auto region = vmm_.Page0(0);
    ASSERT_EQ(region.fds.size(), 1U);
    auto page0 = Mapping::Map(region.fds[0].get(), region.body.offset, region.body.length,
                              Mapping::Access::kReadWrite);
    ASSERT_TRUE(page0.ok()) << page0.status();
    page0_ = *std::move(page0);
  }
  // The guest gives its queue a command that there is not.
  void BreakQueue() {
    Register(uapi::kVcmdqConfig) = uapi::kVcmdqConfigEnable;
    WaitFor("the queue is enabled",
            [this] { return (Register(uapi::kVcmdqStatus) & uapi::kVcmdqStatusEnableOk) != 0; });
    reinterpret_cast<uint64_t*>(ring_.data())[0] = uapi::kCmd0Opcode.Put(0x7f);
    Register(uapi::kVcmdqProd) = 1;
  }
  void Leave() {
    page0_ = Mapping();
    ring_ = Mapping();
    ASSERT_EQ(vmm_.Detach().reason(), BERTH_VMM_REASON_NONE);
  }
  std::atomic_ref<uint32_t> Register(size_t offset) {
    return std::atomic_ref<uint32_t>(*reinterpret_cast<uint32_t*>(page0_.data() + offset));
  }
  std::string Describe() { return cluster_.Berthctl({"describe", "host", "gh200"}).out; }
  std::string AwaitShown(const std::string& part) {
    std::string shown;
    WaitFor("berthctl shows " + part, [&] {
      shown = Describe();
      return shown.find(part) != std::string::npos;
    });
    return shown;
  }
  void AwaitNotShown(const std::string& part) {
    WaitFor("berthctl no longer shows " + part,
            [&] { return Describe().find(part) == std::string::npos; });
  }

  Cluster cluster_{{"gh200"}};
  RawVmm vmm_{cluster_.host("gh200").vmm_socket()};
  Mapping ring_;
  Mapping page0_;
};

TEST_F(HealthTest, AQueueThatAGuestBreaksIsShownOnItsUnitUntilTheVmmLeaves) {
  EXPECT_THAT(Describe(), Not(HasSubstr("QueuesHealthy")));
  Attach();
  BreakQueue();
  const std::string shown = AwaitShown(":QueuesHealthy");
  EXPECT_THAT(shown, HasSubstr("grant " + cluster_.Get("vm")->uid() + ": 1 errors"));
  const v1::Host host = cluster_.GetHost("gh200");
  EXPECT_EQ(host.state(), v1::Host::READY) << "it is the guest's own business";
  for (const v1::Unit& unit : host.units()) EXPECT_EQ(unit.taints_size(), 0);
  Leave();
  AwaitNotShown(":QueuesHealthy");
}

TEST_F(HealthTest, EventsThatWereLostAreShownOnTheDeviceUntilTheVmmLeaves) {
  Attach();
  internal::v1::Fault lost;
  lost.mutable_lost_event();
  lost.set_count(1);
  cluster_.host("gh200").AddFault(lost);
  BreakQueue();
  const std::string shown = AwaitShown(":EventsKept");
  EXPECT_THAT(shown, HasSubstr("1 events lost"));
  EXPECT_THAT(shown, Not(HasSubstr(":QueuesHealthy"))) << "its record is the one that was lost";
  Leave();
  AwaitNotShown(":EventsKept");
}

TEST_F(HealthTest, AUnitThatDoesNotAnswerSaysSoAndSoDoesItsHost) {
  internal::v1::Fault stuck;
  stuck.mutable_ioctl()->set_request("VIOMMU_ALLOC");
  stuck.mutable_ioctl()->set_error("ETIMEDOUT");
  cluster_.host("gh200").AddFault(stuck);
  ASSERT_TRUE(cluster_.Create("vm", OneOf("gpu")).ok());
  const std::string shown = AwaitShown(":Responding");
  EXPECT_THAT(shown, HasSubstr("berth/hardware-timeout"));
  EXPECT_THAT(shown, HasSubstr("UnitsHealthy"));
  EXPECT_EQ(cluster_.GetHost("gh200").state(), v1::Host::READY) << "its other units serve";
}

}  // namespace
}  // namespace berth::testing
