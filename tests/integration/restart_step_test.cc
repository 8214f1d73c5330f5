// SPDX-License-Identifier: Apache-2.0
//
// Controller and agent come and go inside every step that the agent takes in the kernel: each ioctl
// of prepare, recycle and release is held once, while somebody is restarted or killed.
#include <gmock/gmock.h>
#include <signal.h>

#include <iterator>
#include <set>

#include "absl/strings/str_cat.h"
#include "lib/config/duration.h"
#include "lib/iommufd/uapi/ops.h"
#include "tests/integration/cluster.h"

namespace berth::testing {
namespace {

using internal::v1::Fault;
using v1::Assignment;

// The n-th call of an ioctl within a phase.
struct Step {
  std::string request;
  uint64_t nth = 0;

  bool operator==(const Step&) const = default;
};
void PrintTo(const Step& step, std::ostream* out) { *out << step.request << " #" << step.nth; }

class RestartStepTest : public ::testing::Test {
 protected:
  Host& host() { return cluster_.host("host"); }

  // A phase begins with `begin` and is over when `over` holds.
  struct Phase {
    std::function<void()> begin;
    std::function<bool()> over;
  };

  // Every call of every ioctl that the phase makes when nothing disturbs it.
  std::vector<Step> StepsOf(const Phase& phase) {
    host().ClearFaults();
    // So short that it only counts.
    for (const uapi::Op& op : uapi::kIommuOps) Delay(op.name, absl::Nanoseconds(1), 0, 0);
    for (const uapi::Op& op : uapi::kVfioOps) Delay(op.name, absl::Nanoseconds(1), 0, 0);
    phase.begin();
    EXPECT_TRUE(WaitFor("the undisturbed phase is over", phase.over));
    std::vector<Step> steps;
    for (const Fault& fault : host().Faults()) {
      for (uint64_t nth = 0; nth < fault.met(); ++nth) {
        steps.push_back({fault.ioctl().request(), nth});
      }
    }
    host().ClearFaults();
    return steps;
  }

  // Who comes and goes.
  enum class Who { kAgent, kController, kAgentCrash, kControllerCrash, kBoth };

  // While the call is held. An agent that ends in order waits for it; one that is killed leaves it
  // to the kernel, which ends it when it likes.
  void ComeAndGo(Who who) {
    const auto let_go = [&] { host().ClearFaults(); };
    switch (who) {
      case Who::kAgent:
        return host().RestartAgent(let_go);
      case Who::kController:
        cluster_.RestartController();
        return let_go();
      case Who::kAgentCrash:
        host().agent().Kill();
        host().StartAgent();
        return let_go();
      case Who::kControllerCrash:
        cluster_.KillController();
        cluster_.StartController();
        return let_go();
      case Who::kBoth:
        cluster_.RestartController();
        host().agent().Kill();
        let_go();
        return host().StartAgent();
    }
  }

  // Runs the phase, and holds it inside `step` meanwhile. Returns whether the step was met at all.
  bool Disturb(const Phase& phase, const Step& step, Who who) {
    Delay(step.request, absl::Minutes(1), step.nth, 1);
    phase.begin();
    bool held = false;
    EXPECT_TRUE(WaitFor("the step is held", [&] {
      held = host().Faults().at(0).struck() == 1;
      return held || phase.over();
    }));
    ComeAndGo(who);
    cluster_.AwaitReady("host");
    EXPECT_TRUE(WaitFor("the disturbed phase is over", phase.over));
    return held;
  }

  // Every step of the phase; `prepare` leads to its beginning, `check` looks at its end, `known`
  // are some of its ioctls.
  void DisturbEachStep(const Phase& phase, const std::function<void()>& prepare,
                       const std::function<void()>& check, const std::vector<std::string>& known) {
    prepare();
    const std::vector<Step> steps = StepsOf(phase);
    check();
    std::set<std::string> requests;
    for (const Step& step : steps) requests.insert(step.request);
    EXPECT_THAT(requests, ::testing::IsSupersetOf(known));
    constexpr Who kCrashes[] = {Who::kAgentCrash, Who::kControllerCrash, Who::kBoth};
    size_t held = 0;
    for (size_t i = 0; i < steps.size(); ++i) {
      for (const Who who : {Who::kAgent, Who::kController, kCrashes[i % std::size(kCrashes)]}) {
        SCOPED_TRACE(::testing::PrintToString(steps[i]));
        prepare();
        if (Disturb(phase, steps[i], who)) ++held;
        check();
        if (HasFailure()) return;
      }
    }
    // A retry now and then makes the calls come in another number.
    EXPECT_GE(held, steps.size() * 2);
  }

  void Create() {
    const absl::StatusOr<Assignment> created =
        cluster_.Create("vm", OneOf("gpu") + " tolerations { key: \"berth/link-flapping\" }");
    ASSERT_TRUE(created.ok()) << created.status();
    assignment_ = *created;
  }
  bool Is(Assignment::Observed observed) {
    const absl::StatusOr<Assignment> now = cluster_.Get("vm");
    return now.ok() && now->observed() == observed;
  }
  void Prepared() {
    ASSERT_TRUE(cluster_.AwaitObserved("vm", Assignment::PREPARED));
    cluster_.ExpectRecordsAgree(1);
    const absl::StatusOr<Assignment> now = cluster_.Get("vm");
    EXPECT_EQ(now->uid(), assignment_.uid());
    EXPECT_EQ(now->generation(), assignment_.generation());
    EXPECT_EQ(now->placement().DebugString(), assignment_.placement().DebugString());
  }
  void ExpectUsable() {
    const Output vmm =
        cluster_.RunVmm(assignment_, {"--trace", SourceFile("tests/data/traces/boot")});
    EXPECT_EQ(vmm.code, 0) << vmm.err;
    Prepared();
  }
  void Released() {
    EXPECT_TRUE(cluster_.AwaitGone("vm"));
    cluster_.ExpectRecordsAgree(0);
  }

  // The calls of `request` take their time: `count` of them, after the first `skip`.
  void Delay(std::string_view request, absl::Duration delay, uint64_t skip, uint64_t count) {
    Fault fault;
    fault.mutable_ioctl()->set_request(std::string(request));
    *fault.mutable_ioctl()->mutable_delay() = ToProtoDuration(delay);
    fault.set_skip(skip);
    fault.set_count(count);
    host().AddFault(fault);
  }

  const OneDeviceHost one_;
  Cluster cluster_{std::vector<Host::Options>{one_.options()}};
  Assignment assignment_;
};

TEST_F(RestartStepTest, InsidePrepare) {
  const Phase prepare = {.begin = [&] { Create(); },
                         .over = [&] { return Is(Assignment::PREPARED); }};
  DisturbEachStep(
      prepare, [] {},
      [&] {
        Prepared();
        ExpectUsable();
        ASSERT_TRUE(cluster_.Delete("vm").ok());
        Released();
      },
      {"VFIO_DEVICE_BIND_IOMMUFD", "IOAS_ALLOC", "GET_HW_INFO", "HWPT_ALLOC", "VIOMMU_ALLOC",
       "VEVENTQ_ALLOC", "VFIO_DEVICE_ATTACH_IOMMUFD_PT"});
}

TEST_F(RestartStepTest, InsideRecycle) {
  Create();
  std::unique_ptr<Process> vmm;
  int run = 0;
  const Phase recycle = {
      .begin = [&] { vmm->Kill(); },
      .over = [&] { return Is(Assignment::PREPARED); },
  };
  DisturbEachStep(
      recycle,
      [&] {
        Prepared();
        const std::string name = absl::StrCat("holder", ++run);
        vmm = cluster_.StartVmm(name, assignment_,
                                {"--hold", "--trace", SourceFile("tests/data/traces/boot")});
        WaitFor("the VMM is attached", [&] {
          return cluster_.OutputOf(name).find("holding") != std::string::npos &&
                 Is(Assignment::ATTACHED);
        });
      },
      [&] { Prepared(); },
      {"VFIO_DEVICE_RESET", "DESTROY", "VFIO_DEVICE_BIND_IOMMUFD", "VIOMMU_ALLOC"});
  ExpectUsable();
}

TEST_F(RestartStepTest, InsideRelease) {
  const Phase release = {.begin = [&] { ASSERT_TRUE(cluster_.Delete("vm").ok()); },
                         .over = [&] { return absl::IsNotFound(cluster_.Get("vm").status()); }};
  DisturbEachStep(
      release,
      [&] {
        Create();
        Prepared();
      },
      [&] { Released(); }, {"VFIO_DEVICE_DETACH_IOMMUFD_PT", "DESTROY"});
}

}  // namespace
}  // namespace berth::testing
