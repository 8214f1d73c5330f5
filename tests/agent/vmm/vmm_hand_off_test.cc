// SPDX-License-Identifier: Apache-2.0
//
// VMMs that make their own ioctls, on fds that the agent hands off.
#include <gmock/gmock.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <optional>
#include <vector>

#include "lib/iommufd/context.h"
#include "lib/iommufd/device.h"
#include "lib/iommufd/hwpt.h"
#include "lib/iommufd/ioas.h"
#include "tests/agent/vmm/vmm_fixture.h"

namespace berth::testing {
namespace {

using ::testing::ElementsAre;

agent::v1::DesiredGrant HandOffOf(const std::vector<std::string>& devices) {
  agent::v1::DesiredGrant grant = Desired("a", devices);
  grant.set_attach_mode(v1::AssignmentSpec::HAND_OFF);
  return grant;
}

UniqueFd PidfdOf(pid_t pid) {
  return UniqueFd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
}

// What a stock VMM makes of the fds that it got: a context of its own, with its devices.
class StockVmm {
 public:
  StockVmm(KernelApi* kernel, std::vector<UniqueFd> fds)
      : context_(Context::Adopt(kernel, std::move(fds.at(0)))) {
    for (size_t i = 1; i < fds.size(); ++i) cdevs_.push_back(std::move(fds[i]));
  }

  uint64_t RlimitMode() {
    auto option = Sized<uapi::IommuOption>();
    option.option_id = uapi::kOptionRlimitMode;
    option.op = uapi::kOptionOpGet;
    EXPECT_TRUE(context_.Call(uapi::kIommuOption, &option).ok());
    return option.val64;
  }
  absl::Status BindAll() {
    for (UniqueFd& cdev : cdevs_) {
      absl::StatusOr<Device> device = Device::Bind(context_, std::move(cdev), "handed off");
      if (!device.ok()) return device.status();
      devices_.push_back(*std::move(device));
    }
    absl::StatusOr<Ioas> ioas = Ioas::Create(context_);
    if (!ioas.ok()) return ioas.status();
    ioas_.emplace(*std::move(ioas));
    for (Device& device : devices_) {
      if (const auto attached = device.Attach(*ioas_); !attached.ok()) return attached.status();
    }
    return absl::OkStatus();
  }

 private:
  Context context_;
  std::vector<UniqueFd> cdevs_;
  std::vector<Device> devices_;
  std::optional<Ioas> ioas_;
};

// Processes are made before grants: a fork would hold what the emulator of this process has open.
class HandOffTest : public VmmFixture {
 protected:
  static void SayHello(RawVmm& vmm) {
    vmm.hello_flags = BERTH_VMM_HELLO_HAND_OFF;
    const auto hello = vmm.Hello("a", kToken);
    ASSERT_EQ(hello.reason(), BERTH_VMM_REASON_NONE) << hello.reply().message;
  }
  // A VMM with everything it needs, and bound to it.
  std::optional<StockVmm> Take(RawVmm& vmm) {
    SayHello(vmm);
    auto handed = vmm.HandOff();
    EXPECT_EQ(handed.reason(), BERTH_VMM_REASON_NONE) << handed.reply().message;
    std::optional<StockVmm> stock(std::in_place, &host_.kernel(), std::move(handed.fds));
    const absl::Status bound = stock->BindAll();
    EXPECT_TRUE(bound.ok()) << bound;
    return stock;
  }
  int ShownPid() { return manager().LocalGrants().at(0).vmm_pid(); }
};

TEST_F(HandOffTest, GivesAFreshContextAndUnboundDevicesAndKeepsNothing) {
  agent::v1::DesiredGrant wanted = HandOffOf({"gpu0", "gpu1"});
  AddUnit("smmu1", 0, {"nic0"}, &wanted);
  PrepareGrant(wanted);
  ExpectNothingLeft();  // nothing is built before anybody comes
  RawVmm vmm(path());
  vmm.hello_flags = BERTH_VMM_HELLO_HAND_OFF;
  const auto hello = vmm.Hello("a", kToken);
  ASSERT_EQ(hello.reason(), BERTH_VMM_REASON_NONE) << hello.reply().message;
  EXPECT_EQ(hello.body.attach_mode, static_cast<uint32_t>(v1::AssignmentSpec::HAND_OFF));
  EXPECT_EQ(hello.body.unit_count, 2U);
  EXPECT_EQ(hello.body.device_count, 3U);
  Await("a", State::ATTACHED);

  auto handed = vmm.HandOff();
  ASSERT_EQ(handed.reason(), BERTH_VMM_REASON_NONE) << handed.reply().message;
  ASSERT_EQ(handed.fds.size(), 4U);
  ASSERT_EQ(handed.body.device_count, 3U);
  EXPECT_STREQ(handed.body.devices[0].id, "gpu0");
  EXPECT_STREQ(handed.body.devices[0].address, "0000:01:00.0");
  EXPECT_STREQ(handed.body.devices[0].unit, "smmu0");
  EXPECT_EQ(handed.body.devices[0].vendor_id, 0x10deU);
  EXPECT_STREQ(handed.body.devices[2].id, "nic0");
  EXPECT_STREQ(handed.body.devices[2].unit, "smmu1");

  std::optional<StockVmm> stock(std::in_place, &host_.kernel(), std::move(handed.fds));
  EXPECT_EQ(stock->RlimitMode(), 1U);
  const absl::Status bound = stock->BindAll();
  ASSERT_TRUE(bound.ok()) << bound;
  EXPECT_EQ(host_.Snapshot().bound_devices, 3);
  EXPECT_EQ(vmm.ConfirmHandOff().reason(), BERTH_VMM_REASON_NONE);
  // Whatever is left now is the VMM's own.
  stock.reset();
  ExpectNothingLeft();
  EXPECT_THAT(States("a"), ElementsAre(State::PREPARING, State::PREPARED, State::ATTACHED));
}

TEST_F(HandOffTest, GivesTheSameAgainUntilItIsConfirmed) {
  PrepareGrant(HandOffOf({"gpu0"}));
  RawVmm vmm(path());
  SayHello(vmm);
  EXPECT_EQ(vmm.ConfirmHandOff().reason(), BERTH_VMM_REASON_STATE_CONFLICT);
  for (int i = 0; i < 3; ++i) {
    if (i == 1) --vmm.call_id;  // the answer of the first was lost
    EXPECT_EQ(vmm.HandOff().fds.size(), 2U) << i;
    EXPECT_EQ(host_.Snapshot().contexts, 1) << i;
  }
  ASSERT_EQ(vmm.ConfirmHandOff().reason(), BERTH_VMM_REASON_NONE);
  ExpectNothingLeft();
  --vmm.call_id;
  EXPECT_EQ(vmm.ConfirmHandOff().reason(), BERTH_VMM_REASON_NONE);
  EXPECT_EQ(vmm.ConfirmHandOff().reason(), BERTH_VMM_REASON_STATE_CONFLICT);
  EXPECT_EQ(vmm.HandOff().reason(), BERTH_VMM_REASON_STATE_CONFLICT);
}

TEST_F(HandOffTest, IsTakenBackWhenTheVmmIsKilled) {
  StartServer();
  VmmProcess process(path());
  PrepareGrant(HandOffOf({"gpu0", "gpu1"}));
  RawVmm vmm(process.TakeConnection());
  std::optional<StockVmm> stock = Take(vmm);
  ASSERT_EQ(vmm.ConfirmHandOff().reason(), BERTH_VMM_REASON_NONE);
  EXPECT_EQ(ShownPid(), process.pid());
  // A connection is not what it needs.
  vmm.Disconnect();
  EXPECT_EQ(host_.Snapshot().bound_devices, 2);
  stock.reset();
  process.Kill();
  Await("a", State::RECYCLING);
  Await("a", State::PREPARED);
  ExpectNothingLeft();
  RawVmm next(path());
  Take(next);
  EXPECT_THAT(States("a"),
              ElementsAre(State::PREPARING, State::PREPARED, State::ATTACHED, State::RECYCLING,
                          State::PREPARING, State::PREPARED, State::ATTACHED));
}

TEST_F(HandOffTest, StaysRecyclingWhileAThirdProcessHoldsTheFds) {
  StartServer();
  VmmProcess process(path());
  PrepareGrant(HandOffOf({"gpu0"}));
  RawVmm vmm(process.TakeConnection());
  std::optional<StockVmm> held_elsewhere = Take(vmm);
  ASSERT_EQ(vmm.ConfirmHandOff().reason(), BERTH_VMM_REASON_NONE);
  process.Kill();
  const agent::v1::GrantStatus pinned = AwaitCondition("a", "Pinned");
  EXPECT_EQ(pinned.observed(), State::RECYCLING);
  EXPECT_EQ(pinned.conditions(0).reason(), "DEVICE_BUSY");
  RawVmm other(path());
  other.hello_flags = BERTH_VMM_HELLO_HAND_OFF;
  EXPECT_EQ(other.Hello("a", kToken).reason(), BERTH_VMM_REASON_NOT_READY);
  held_elsewhere.reset();
  EXPECT_EQ(Await("a", State::PREPARED).conditions_size(), 0);
}

TEST_F(HandOffTest, LastsAsLongAsTheProcessThatItWasConfirmedFor) {
  StartServer();
  VmmProcess launcher(path());
  VmmProcess qemu(path());
  PrepareGrant(HandOffOf({"gpu0"}));
  qemu.TakeConnection().Reset();
  RawVmm vmm(launcher.TakeConnection());
  std::optional<StockVmm> stock = Take(vmm);
  const UniqueFd no_pidfd = Memfd(1);
  EXPECT_EQ(vmm.ConfirmHandOff(no_pidfd.get()).reason(), BERTH_VMM_REASON_INVALID_FIELD);
  EXPECT_EQ(ShownPid(), launcher.pid());
  ASSERT_EQ(vmm.ConfirmHandOff(PidfdOf(qemu.pid()).get()).reason(), BERTH_VMM_REASON_NONE);
  launcher.Kill();
  vmm.Disconnect();
  RawVmm other(path());
  other.hello_flags = BERTH_VMM_HELLO_HAND_OFF;
  EXPECT_EQ(other.Hello("a", kToken).reason(), BERTH_VMM_REASON_ALREADY_ATTACHED);
  EXPECT_EQ(ShownPid(), qemu.pid());
  stock.reset();
  qemu.Kill();
  Await("a", State::RECYCLING);
  Await("a", State::PREPARED);
  ExpectNothingLeft();
}

TEST_F(HandOffTest, IsOverAtOnceWhenConfirmedForAProcessThatHasEnded) {
  StartServer();
  VmmProcess ended(path());
  const UniqueFd pidfd = PidfdOf(ended.pid());
  ended.Kill();
  PrepareGrant(HandOffOf({"gpu0"}));
  RawVmm vmm(path());
  std::optional<StockVmm> stock = Take(vmm);
  ASSERT_EQ(vmm.ConfirmHandOff(pidfd.get()).reason(), BERTH_VMM_REASON_NONE);
  // Only what the kernel says counts then.
  EXPECT_EQ(AwaitCondition("a", "Pinned").observed(), State::RECYCLING);
  stock.reset();
  Await("a", State::PREPARED);
}

TEST_F(HandOffTest, IsRefusedToAVmmThatWantsABrokerAndTheOtherWayRound) {
  PrepareGrant(HandOffOf({"gpu0"}));
  agent::v1::DesiredGrant brokered = Desired("b", {"gpu1"});
  PrepareGrant(brokered);
  RawVmm vmm(path());
  EXPECT_EQ(vmm.Hello("a", kToken).reason(), BERTH_VMM_REASON_STATE_CONFLICT);
  EXPECT_EQ(vmm.Hello("a", "another token").reason(), BERTH_VMM_REASON_WRONG_TOKEN);
  vmm.hello_flags = BERTH_VMM_HELLO_HAND_OFF;
  EXPECT_EQ(vmm.Hello("b", kToken).reason(), BERTH_VMM_REASON_STATE_CONFLICT);

  SayHello(vmm);
  const UniqueFd ram = Memfd(kRamSize);
  EXPECT_EQ(vmm.Map(ram.get(), kRam, kRamSize).reason(), BERTH_VMM_REASON_UNKNOWN_MESSAGE);
  EXPECT_EQ(vmm.Page0(0).reason(), BERTH_VMM_REASON_UNKNOWN_MESSAGE);
  EXPECT_EQ(vmm.Ask<berth_vmm_empty_reply>(BERTH_VMM_GET_DEVICE, berth_vmm_get_device{}).reason(),
            BERTH_VMM_REASON_UNKNOWN_MESSAGE);
  RawVmm of_b(path());
  ASSERT_EQ(of_b.Hello("b", kToken).reason(), BERTH_VMM_REASON_NONE);
  EXPECT_EQ(of_b.HandOff().reason(), BERTH_VMM_REASON_UNKNOWN_MESSAGE);
  EXPECT_EQ(of_b.ConfirmHandOff().reason(), BERTH_VMM_REASON_UNKNOWN_MESSAGE);
}

TEST_F(HandOffTest, IsTakenBackWhenTheConnectionIsLostBeforeItIsConfirmed) {
  PrepareGrant(HandOffOf({"gpu0"}));
  {
    RawVmm vmm(path());
    SayHello(vmm);
    EXPECT_EQ(vmm.HandOff().fds.size(), 2U);
  }
  Await("a", State::RECYCLING);
  Await("a", State::PREPARED);
  ExpectNothingLeft();
}

TEST_F(HandOffTest, EndsWithDetach) {
  PrepareGrant(HandOffOf({"gpu0"}));
  RawVmm vmm(path());
  Take(vmm);
  ASSERT_EQ(vmm.ConfirmHandOff().reason(), BERTH_VMM_REASON_NONE);
  ASSERT_EQ(vmm.Detach().reason(), BERTH_VMM_REASON_NONE);
  Await("a", State::PREPARED);
  EXPECT_EQ(vmm.HandOff().reason(), BERTH_VMM_REASON_NO_SESSION);
}

TEST_F(HandOffTest, IsReleasedOnlyWhenTheVmmEnds) {
  StartServer();
  VmmProcess process(path());
  PrepareGrant(HandOffOf({"gpu0"}));
  RawVmm vmm(process.TakeConnection());
  std::optional<StockVmm> stock = Take(vmm);
  ASSERT_EQ(vmm.ConfirmHandOff().reason(), BERTH_VMM_REASON_NONE);
  agent::v1::DesiredGrant releasing = HandOffOf({"gpu0"});
  releasing.set_intent(State::RELEASING);
  ASSERT_TRUE(manager().Upsert(releasing).ok());
  EXPECT_EQ(host_.Snapshot().bound_devices, 1);
  stock.reset();
  process.Kill();
  Await("a", State::GONE);
  EXPECT_THAT(States("a"), ElementsAre(State::PREPARING, State::PREPARED, State::ATTACHED,
                                       State::SCRUBBING, State::GONE));
  ExpectNothingLeft();
}

TEST_F(HandOffTest, IsNotGivenOutAgainBeforeItsDevicesAreReset) {
  PrepareGrant(HandOffOf({"gpu0"}));
  RawVmm vmm(path());
  Take(vmm);
  failing_.FailRequest(uapi::kVfioDeviceReset, EIO);
  ASSERT_EQ(vmm.Detach().reason(), BERTH_VMM_REASON_NONE);
  EXPECT_EQ(AwaitCondition("a", "Pinned").observed(), State::RECYCLING);
  failing_.FailRequest(uapi::kVfioDeviceReset, 0);
  Await("a", State::PREPARED);
}

TEST_F(HandOffTest, WaitsForAVmmOfAnAgentBefore) {
  absl::StatusOr<Context> context = Context::Open(&host_.kernel());
  ASSERT_TRUE(context.ok());
  absl::StatusOr<Device> device = Device::Open(*context, "vfio0");
  ASSERT_TRUE(device.ok());
  std::optional<Device> before(*std::move(device));
  limits().busy_patience = absl::ZeroDuration();
  ASSERT_TRUE(manager().Apply({HandOffOf({"gpu0"})}).ok());
  EXPECT_EQ(AwaitCondition("a", "Pinned").conditions(0).reason(), "DEVICE_BUSY");
  before.reset();
  Await("a", State::PREPARED);
}

TEST_F(HandOffTest, NeedsThePrivilegeToSetRlimitMode) {
  host_.SetPrivileged(false);
  ASSERT_TRUE(manager().Upsert(HandOffOf({"gpu0"})).ok());
  const agent::v1::GrantStatus gone = Await("a", State::GONE);
  EXPECT_EQ(gone.failure().reason(), "AGENT_PRIVILEGE");
  EXPECT_EQ(gone.failure().metadata().at("step"), "set_rlimit_mode");
  EXPECT_THAT(gone.failure().message(), ::testing::HasSubstr("CAP_SYS_RESOURCE"));
  ExpectNothingLeft();
}

TEST_F(HandOffTest, UndoesEverythingWhicheverCallFails) {
  agent::v1::DesiredGrant wanted = HandOffOf({"gpu0", "gpu1"});
  PrepareGrant(wanted);
  RawVmm vmm(path());
  SayHello(vmm);
  // A context, its option, two cdevs.
  for (int step = 0; step < 4; ++step) {
    failing_.FailCall(step, ENOMEM);
    EXPECT_EQ(vmm.HandOff().reason(), BERTH_VMM_REASON_OUT_OF_MEMORY) << step;
    ExpectNothingLeft();
  }
  EXPECT_EQ(vmm.HandOff().fds.size(), 3U);
  ASSERT_EQ(vmm.Detach().reason(), BERTH_VMM_REASON_NONE);
  wanted.set_intent(State::RELEASING);
  ASSERT_TRUE(manager().Upsert(wanted).ok());
  Await("a", State::GONE);

  limits().busy_patience = absl::ZeroDuration();
  wanted.set_intent(State::PLACED);
  int steps = 0;
  for (;; ++steps) {
    wanted.set_generation(wanted.generation() + 1);
    failing_.FailCall(steps, ENOMEM);
    ASSERT_TRUE(manager().Upsert(wanted).ok());
    const agent::v1::GrantStatus end = Await("a", [](const agent::v1::GrantStatus& status) {
      return status.observed() == State::PREPARED || status.observed() == State::GONE;
    });
    ExpectNothingLeft();
    // VINTFs that could not be counted fail nothing.
    if (end.observed() == State::PREPARED) break;
    EXPECT_FALSE(end.failure().metadata().at("step").empty());
  }
  // A context and its option; a scratch context, two cdevs opened, bound and reset.
  EXPECT_EQ(steps, 9);
}

TEST_F(HandOffTest, LeavesTheVmmAloneWhenTheAgentStops) {
  PrepareGrant(HandOffOf({"gpu0"}));
  RawVmm vmm(path());
  std::optional<StockVmm> stock = Take(vmm);
  ASSERT_EQ(vmm.ConfirmHandOff().reason(), BERTH_VMM_REASON_NONE);
  manager().Stop();
  EXPECT_EQ(stock->RlimitMode(), 1U);
  EXPECT_EQ(host_.Snapshot().bound_devices, 1);
}

TEST_F(HandOffTest, IsRefusedQueuesThatTheUnitHasNot) {
  agent::v1::DesiredGrant wanted = HandOffOf({"gpu0"});
  wanted.mutable_units(0)->set_vcmdqs(3);  // more than there are
  ASSERT_TRUE(manager().Upsert(wanted).ok());
  EXPECT_EQ(Await("a", State::GONE).failure().reason(), "KERNEL_FEATURE_MISSING");
}

}  // namespace
}  // namespace berth::testing
