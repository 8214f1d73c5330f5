// SPDX-License-Identifier: Apache-2.0
//
// berth-handoff becomes a VMM that knows nothing of Berth.
#include <gmock/gmock.h>
#include <signal.h>

#include <sstream>

#include "tests/integration/cluster.h"

namespace berth::testing {
namespace {

using v1::Assignment;

constexpr char kSpec[] =
    "attach_mode: HAND_OFF "
    "device_requests { name: 'gpu' class: 'gpu' queues { need: REQUIRED count: 2 } }";

class HandOff : public ::testing::Test {
 protected:
  void SetUp() override {
    const absl::StatusOr<Assignment> created = cluster_.Create("vm", kSpec);
    ASSERT_TRUE(created.ok()) << created.status();
    assignment_ = *created;
    ASSERT_TRUE(cluster_.AwaitObserved("vm", Assignment::PREPARED));
    ExpectNothingHeld();
  }

  // The kernel hears of closed fds a moment later, and agents open contexts now and then to see
  // whether it answers.
  void ExpectNothingHeld() {
    WaitFor("no device is bound and no context open", [&] {
      const auto stats = host().Stats();
      return stats.bound_devices() == 0 && stats.contexts() == 0;
    });
  }
  Host& host() { return cluster_.host("gh200"); }
  std::unique_ptr<Process> StartVmm(const std::string& name, const std::vector<std::string>& more) {
    Process::Options options = {
        .program = ProgramFile("berth-handoff"),
        .args = {"--socket", assignment_.placement().attach_endpoint(), "--assignment",
                 assignment_.uid(), "--token", assignment_.attach_token(), "--", BERTH_FD_VMM,
                 host().emulator_socket(), "{iommufd}", "{device:0}"},
        .out = cluster_.folder() + "/" + name + ".out",
        .err = cluster_.folder() + "/" + name + ".err"};
    options.args.insert(options.args.end(), more.begin(), more.end());
    auto vmm = std::make_unique<Process>(options);
    WaitFor("the VMM has what it wants",
            [&] { return cluster_.OutputOf(name).find('\n') != std::string::npos; });
    return vmm;
  }

  Cluster cluster_{std::vector<std::string>{"gh200"}};
  Assignment assignment_;
};

TEST_F(HandOff, AVmmThatIsKilledLeavesNothingAndTheNextGetsEverything) {
  const std::unique_ptr<Process> vmm = StartVmm("first", {});
  ASSERT_TRUE(cluster_.AwaitObserved("vm", Assignment::ATTACHED));
  EXPECT_EQ(host().Grants().at(0).vmm_pid(), vmm->pid()) << "what it has become";
  EXPECT_EQ(host().Stats().bound_devices(), 1U);
  cluster_.ExpectRecordsAgree(1);  // VINTF, device and context are the VMM's own

  vmm->Kill();
  ASSERT_TRUE(cluster_.AwaitObserved("vm", Assignment::PREPARED));
  ExpectNothingHeld();
  const std::unique_ptr<Process> next = StartVmm("next", {});
  ASSERT_TRUE(cluster_.AwaitObserved("vm", Assignment::ATTACHED));
  ASSERT_TRUE(cluster_.Delete("vm").ok());
  EXPECT_EQ(cluster_.Get("vm")->observed(), Assignment::ATTACHED) << "it runs on";
  next->Kill();
  EXPECT_TRUE(cluster_.AwaitGone("vm"));
  cluster_.ExpectRecordsAgree(0);
}

// A VMM is killed, and a third process has what it was given by fork: all of it, or one of the four
// things by which the kernel keeps a context.
class Keeper : public HandOff, public ::testing::WithParamInterface<std::string> {
 protected:
  // Kills a VMM; the process that keeps what the parameter says.
  pid_t LeaveKeeper() {
    const std::unique_ptr<Process> vmm = StartVmm("vmm", {"keeps-" + GetParam()});
    EXPECT_TRUE(cluster_.AwaitObserved("vm", Assignment::ATTACHED));
    std::istringstream words(cluster_.OutputOf("vmm"));
    std::string holding;
    pid_t keeper = 0;
    EXPECT_TRUE(words >> holding >> keeper);
    vmm->Kill();
    return keeper;
  }
  v1::Unit Unit() {
    const v1::Host shown = cluster_.GetHost("gh200");
    for (const v1::Unit& unit : shown.units()) {
      if (unit.id() == assignment_.placement().units(0).unit()) return unit;
    }
    return {};
  }
};

using DeviceKeeper = Keeper;
TEST_P(DeviceKeeper, KeepsTheGrantRecycling) {
  const pid_t keeper = LeaveKeeper();
  ASSERT_TRUE(cluster_.AwaitObserved("vm", Assignment::RECYCLING));
  WaitFor("the reason shows", [&] {
    const absl::StatusOr<Assignment> shown = cluster_.Get("vm");
    return shown.ok() && shown->conditions_size() > 0 &&
           shown->conditions(0).reason() == "DEVICE_BUSY";
  });
  EXPECT_EQ(host().Stats().bound_devices(), 1U);
  KillStranger(keeper);
  ASSERT_TRUE(cluster_.AwaitObserved("vm", Assignment::PREPARED));
  ExpectNothingHeld();
  EXPECT_EQ(Unit().lost_vintfs(), 0);
}
INSTANTIATE_TEST_SUITE_P(HandOff, DeviceKeeper, ::testing::Values("all", "cdev"),
                         [](const auto& param) { return param.param; });

// The device is free, and only the VINTF is not.
using ContextKeeper = Keeper;
TEST_P(ContextKeeper, KeepsAVintfUntilItEnds) {
  const int before = Unit().vintfs();
  const pid_t keeper = LeaveKeeper();
  ASSERT_TRUE(cluster_.AwaitObserved("vm", Assignment::PREPARED));
  WaitFor("the VINTF is missed", [&] { return Unit().lost_vintfs() == 1; });
  EXPECT_EQ(Unit().vintfs(), before - 1);
  const internal::v1::EmulatorStats stats = host().Stats();
  EXPECT_EQ(stats.bound_devices(), 0U);
  EXPECT_EQ(stats.contexts() + stats.pinned_contexts() > 0, true);

  KillStranger(keeper);
  // The next VMM gets a fresh context, and after it the VINTF is found again.
  const std::unique_ptr<Process> next = StartVmm("next", {});
  ASSERT_TRUE(cluster_.AwaitObserved("vm", Assignment::ATTACHED));
  next->Kill();
  ASSERT_TRUE(cluster_.AwaitObserved("vm", Assignment::PREPARED));
  WaitFor("the VINTF is back", [&] { return Unit().lost_vintfs() == 0; });
  EXPECT_EQ(Unit().vintfs(), before);
  ExpectNothingHeld();
}
INSTANTIATE_TEST_SUITE_P(HandOff, ContextKeeper, ::testing::Values("iommufd", "veventq", "page0"),
                         [](const auto& param) { return param.param; });

// Linux lets whoever has the raw iommufd do that, and gives nobody a way to undo it.
TEST_F(HandOff, AVintfOfAnImmortalContextIsReportedAndNeverGranted) {
  const auto unit = [this]() -> v1::Unit {
    const v1::Host shown = cluster_.GetHost("gh200");
    for (const v1::Unit& one : shown.units()) {
      if (one.id() == assignment_.placement().units(0).unit()) return one;
    }
    return {};
  };
  const int before = unit().vintfs();
  const std::unique_ptr<Process> vmm = StartVmm("vmm", {"immortal"});
  ASSERT_TRUE(cluster_.AwaitObserved("vm", Assignment::ATTACHED));
  vmm->Kill();
  ASSERT_TRUE(cluster_.AwaitObserved("vm", Assignment::PREPARED)) << "its devices are free";
  WaitFor("the controller knows that a VINTF is lost", [&] { return unit().lost_vintfs() == 1; });
  EXPECT_EQ(unit().vintfs(), before - 1);
  ASSERT_EQ(unit().conditions_size(), 1);
  EXPECT_EQ(unit().conditions(0).type(), "VintfsReturned");
  EXPECT_THAT(unit().conditions(0).message(),
              ::testing::AllOf(::testing::HasSubstr(assignment_.uid()),
                               ::testing::HasSubstr(std::to_string(vmm->pid()))));
  EXPECT_THAT(cluster_.Berthctl({"describe", "host", "gh200"}).out,
              ::testing::HasSubstr("VINTF_LOST"));

  // The next agent knows it of the journal.
  host().RestartAgent();
  cluster_.AwaitReady("gh200");
  EXPECT_EQ(unit().lost_vintfs(), 1);
  EXPECT_EQ(unit().vintfs(), before - 1);

  // And nobody gets it; what there is serves.
  WaitFor("the next agent has prepared it, too", [&] {
    const auto grants = host().Grants();
    return !grants.empty() && grants[0].status().observed() == Assignment::PREPARED;
  });
  const std::unique_ptr<Process> next = StartVmm("next", {});
  ASSERT_TRUE(cluster_.AwaitObserved("vm", Assignment::ATTACHED));
  next->Kill();
  ASSERT_TRUE(cluster_.AwaitObserved("vm", Assignment::PREPARED));
  EXPECT_EQ(unit().lost_vintfs(), 1);
}

TEST_F(HandOff, AnAgentThatRestartsWaitsForTheVmm) {
  const std::unique_ptr<Process> vmm = StartVmm("vmm", {});
  host().RestartAgent();
  WaitFor("the new agent knows who has the device", [&] {
    const auto grants = host().Grants();
    return !grants.empty() && grants[0].status().observed() == Assignment::ATTACHED &&
           grants[0].vmm_pid() == vmm->pid();
  });
  EXPECT_TRUE(vmm->running());
  vmm->Kill();
  ASSERT_TRUE(cluster_.AwaitObserved("vm", Assignment::PREPARED));
}

}  // namespace
}  // namespace berth::testing
