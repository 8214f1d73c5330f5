// SPDX-License-Identifier: Apache-2.0
//
// VMMs with an iommufd of their own, and the VINTFs that they do not give back.
#include <fcntl.h>
#include <gmock/gmock.h>

#include <functional>
#include <memory>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/synchronization/notification.h"
#include "agent/grants/grant.h"
#include "agent/grants/vintf_use.h"
#include "lib/base/status.h"
#include "tests/agent/grants/grants_fixture.h"
#include "tests/testing/lost_vintf.h"

namespace berth::testing {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::Field;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr char kUnit[] = "smmu0";

TEST(VintfUseTest, CountsTheOthers) {
  VintfUse use;
  const AssignmentUid a("a");
  const AssignmentUid b("b");
  const UnitId unit(kUnit);
  const auto others = [&](const AssignmentUid& uid, const UnitId& of) {
    VintfUse::Others found;
    use.Count(uid, of, [&](const VintfUse::Others& counted) { found = counted; });
    return std::make_pair(found.grants, found.all_have);
  };
  EXPECT_EQ(others(a, unit), std::make_pair(0, true));
  use.Take(a, unit, VintfUse::Share::kMayHave);
  EXPECT_EQ(others(a, unit), std::make_pair(0, true)) << "it is no other";
  EXPECT_EQ(others(b, unit), std::make_pair(1, false));
  EXPECT_EQ(others(b, UnitId("smmu1")), std::make_pair(0, true));
  use.Take(a, unit, VintfUse::Share::kHas);
  EXPECT_EQ(others(b, unit), std::make_pair(1, true));
  use.Return(a);
  EXPECT_EQ(others(b, unit), std::make_pair(0, true));
}

class GrantVintfs : public GrantsFixture {
 protected:
  agent::v1::DesiredGrant HandOffOf(const std::string& uid, const std::string& device) {
    agent::v1::DesiredGrant wanted = Desired(uid, {device});
    wanted.set_attach_mode(v1::AssignmentSpec::HAND_OFF);
    return wanted;
  }
  void Prepare(const agent::v1::DesiredGrant& wanted) {
    ASSERT_TRUE(manager().Upsert(wanted).ok());
    Await(wanted.assignment_uid(), State::PREPARED);
  }

  // A VMM attaches, does with its fds what `use` does, and leaves.
  void RunVmm(const std::string& uid, const std::function<void(std::vector<UniqueFd>)>& use) {
    uint64_t session = 0;
    OnExecutor(uid, [&](Grant& grant) {
      const absl::StatusOr<uint64_t> begun =
          grant.Attach({.token = kToken, .vmm = {.pid = 77}, .mode = v1::AssignmentSpec::HAND_OFF},
                       UniqueFd(), {}, [](uint64_t, const absl::Status&) {});
      ASSERT_TRUE(begun.ok()) << begun.status();
      session = *begun;
      absl::StatusOr<std::vector<UniqueFd>> fds = grant.HandOut(session);
      ASSERT_TRUE(fds.ok()) << fds.status();
      use(*std::move(fds));
      grant.VmmLeft(session);
    });
    Await(uid, State::ATTACHED);
    Await(uid, State::PREPARED);
  }
  void OnExecutor(const std::string& uid, const std::function<void(Grant&)>& call) {
    const std::shared_ptr<Grant> grant = manager().Find(AssignmentUid(uid));
    ASSERT_NE(grant, nullptr);
    absl::Notification done;
    grant->Tell([&](Grant& self) {
      call(self);
      done.Notify();
    });
    done.WaitForNotification();
  }
  void Lose(std::vector<UniqueFd> fds) {
    ASSERT_EQ(fds.size(), 2U);
    const absl::Status lost = LoseVintf(&host_.kernel(), std::move(fds[0]), std::move(fds[1]));
    ASSERT_TRUE(lost.ok()) << lost;
  }
};

TEST_F(GrantVintfs, WhatAVmmGivesBackIsNotMissed) {
  Prepare(HandOffOf("a", "gpu0"));
  Prepare(Desired("b", {"gpu1"}));
  RunVmm("a", [](const std::vector<UniqueFd>&) {});
  EXPECT_THAT(VintfCounts(), IsEmpty());
  EXPECT_THAT(UnitFaults(), IsEmpty());
}

TEST_F(GrantVintfs, AnImmortalContextIsMissedAndNotHandedOutAgain) {
  Prepare(HandOffOf("a", "gpu0"));
  Prepare(Desired("b", {"gpu1"}));
  RunVmm("a", [this](std::vector<UniqueFd> fds) { Lose(std::move(fds)); });
  ASSERT_EQ(VintfCounts().size(), 1U);
  EXPECT_THAT(VintfCounts()[0],
              AllOf(Field(&GrantManager::VintfCount::missing, 1),
                    Field(&GrantManager::VintfCount::usable, 2),
                    Field(&GrantManager::VintfCount::lost_by,
                          AllOf(HasSubstr("assignment a"), HasSubstr("process 77")))));
  // Once: the next VMM of the grant behaves.
  RunVmm("a", [](const std::vector<UniqueFd>&) {});
  EXPECT_EQ(VintfCounts().size(), 1U);
  RunVmm("a", [this](std::vector<UniqueFd> fds) { Lose(std::move(fds)); });
  ASSERT_EQ(VintfCounts().size(), 2U);
  EXPECT_EQ(VintfCounts()[1].usable, 1);
  // The one that is left is b's, and b is not disturbed.
  EXPECT_EQ(host_.Snapshot().units[0].allocated.size(), 3U);
  EXPECT_THAT(UnitFaults(), IsEmpty());
}

// A third process keeps the iommufd for a while, and nothing else.
TEST_F(GrantVintfs, WhatComesBackLaterIsCountedAgain) {
  Prepare(HandOffOf("a", "gpu0"));
  Prepare(Desired("b", {"gpu1"}));
  UniqueFd kept;
  RunVmm("a", [&](std::vector<UniqueFd> fds) {
    const Context context = Context::Adopt(&host_.kernel(), std::move(fds[0]));
    absl::StatusOr<Device> device = Device::Bind(context, std::move(fds[1]), "handed off");
    ASSERT_TRUE(device.ok()) << device.status();
    auto ioas = Ioas::Create(context);
    auto parent = Hwpt::CreateNestingParent(*device, *ioas);
    auto viommu = Viommu::Create(*device, *parent, Viommu::Type::kTegra241Cmdqv);
    ASSERT_TRUE(viommu.ok()) << viommu.status();
    kept.Reset(::fcntl(context.fd(), F_DUPFD_CLOEXEC, 0));
    std::ignore = viommu->Forget();
    std::ignore = parent->Forget();
    std::ignore = ioas->Forget();
  });
  ASSERT_EQ(VintfCounts().size(), 1U);
  EXPECT_EQ(VintfCounts()[0].missing, 1);
  kept.Reset();
  RunVmm("a", [](const std::vector<UniqueFd>&) {});
  ASSERT_EQ(VintfCounts().size(), 2U);
  EXPECT_EQ(VintfCounts()[1].missing, -1);
  EXPECT_EQ(VintfCounts()[1].usable, 3);
}

// Not every number of VINTFs that the inventory has is one that was counted.
TEST_F(GrantVintfs, FewerThanAssumedAreNobodysLoss) {
  host_.AssumeVintfs(5);
  Prepare(HandOffOf("a", "gpu0"));
  ASSERT_EQ(VintfCounts().size(), 1U);
  EXPECT_EQ(VintfCounts()[0].usable, 3);
  EXPECT_EQ(VintfCounts()[0].missing, 2);
  EXPECT_EQ(VintfCounts()[0].lost_by, "");
}

}  // namespace
}  // namespace berth::testing
