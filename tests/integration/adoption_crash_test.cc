// SPDX-License-Identifier: Apache-2.0
//
// The agent dies at each step of a VMM's attach and detach, and of taking its context up again: the
// VMM gets one answer to each call, none of which is done twice or by half.
#include <gmock/gmock.h>
#include <signal.h>

#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/integration/clean_audit.h"
#include "tests/integration/cluster.h"
#include "tests/integration/failpoint_list.h"
#include "tests/testing/full_run.h"

namespace berth::testing {
namespace {

using v1::Assignment;

class AdoptionCrashTest : public ::testing::Test {
 protected:
  AdoptionCrashTest() : cluster_({Stored()}), host_(cluster_.host("gh200")) {}

  static Host::Options Stored() {
    Host::Options options = ExampleHosts({"gh200"})[0];
    options.parent = Host::Parent::kStore;
    return options;
  }

  void Create() {
    const std::string id = absl::StrCat("vm", ++stories_);
    const absl::StatusOr<Assignment> created =
        cluster_.Create(id, OneOf("gpu") + " tolerations { key: \"berth/link-flapping\" }");
    ASSERT_TRUE(created.ok()) << created.status();
    assignment_ = *created;
    ASSERT_TRUE(cluster_.AwaitObserved(id, Assignment::PREPARED));
  }
  [[nodiscard]] std::string id() const { return absl::StrCat("vm", stories_); }
  [[nodiscard]] std::string vmm() const { return absl::StrCat("holder", stories_); }
  void StartVmm() {
    vmm_ = cluster_.StartVmm(vmm(), assignment_,
                             {"--hold", "--trace", SourceFile("tests/data/traces/boot")});
  }
  [[nodiscard]] bool Holds() {
    return cluster_.OutputOf(vmm()).find("holding") != std::string::npos;
  }
  void StartAgent(const std::string& failpoint = "") {
    if (failpoint.empty()) return host_.StartAgent();
    host_.StartAgent({"--failpoint", failpoint});
  }
  // Those of its failpoints that begin so.
  std::set<std::string> Printed(const std::string& part) {
    return PartOf(PrintedFailpoints(cluster_, "berth-agent"), part);
  }
  // True: the agent has died by itself. False: it was never to come to that.
  bool DiesBefore(const std::function<bool()>& done) {
    WaitFor("the agent has died, or there was nothing to die of",
            [&] { return !host_.agent().running() || !vmm_->running() || done(); });
    return !host_.agent().running();
  }
  // The VMM is where it wants to be, goes, and leaves nothing behind.
  void ExpectEndsWell() {
    EXPECT_TRUE(WaitFor("the VMM holds", [&] { return Holds() || !vmm_->running(); }));
    EXPECT_TRUE(vmm_->running()) << ErrorOfVmm();
    EXPECT_TRUE(cluster_.AwaitObserved(id(), Assignment::ATTACHED));
    cluster_.ExpectRecordsAgree(1);
    ExpectCleanAudit(cluster_);
    EXPECT_EQ(vmm_->Stop(), 0) << ErrorOfVmm();
    ExpectFree();
  }
  void ExpectFree() {
    EXPECT_TRUE(cluster_.AwaitObserved(id(), Assignment::PREPARED));
    cluster_.ExpectRecordsAgree(1);
    EXPECT_THAT(host_.StoredFds(), ::testing::ElementsAre("vmm-listener"));
    EXPECT_TRUE(cluster_.Delete(id()).ok());
    WaitFor("it is gone", [&] { return absl::IsNotFound(cluster_.Get(id()).status()); });
    cluster_.ExpectRecordsAgree(0);
    ExpectCleanAudit(cluster_);
  }
  std::string ErrorOfVmm() {
    return ReadFile(absl::StrCat(cluster_.folder(), "/", vmm(), ".err")) +
           ReadFile(host_.log_file());
  }

  Cluster cluster_;
  Host& host_;
  Assignment assignment_;
  std::unique_ptr<Process> vmm_;
  int stories_ = 0;
};

// What an attach does not meet.
constexpr char kKeepDrop[] = "keep.drop";

// Each failpoint of an attach, at each of its hits, until a VMM attaches without meeting it.
TEST_F(AdoptionCrashTest, WhileAVmmAttaches) {
  int deaths = 0;
  std::set<std::string> points = Printed("attach.");
  points.merge(Printed("keep."));
  ASSERT_EQ(points.erase(kKeepDrop), 1);
  for (const std::string& point : points) {
    bool met = true;
    for (int hit = 1; met; hit = IsFullRun() ? hit + 1 : hit * 3) {
      SCOPED_TRACE(absl::StrCat(point, "@", hit));
      Create();
      host_.agent().Kill();
      StartAgent(absl::StrCat(point, "=crash@", hit));
      ASSERT_TRUE(cluster_.AwaitObserved(id(), Assignment::PREPARED));
      WaitFor("the agent serves", [&] { return host_.Status().connected(); });
      WaitFor("it is PREPARED there", [&] {
        const auto grants = host_.Grants();
        return grants.size() == 1 && grants[0].status().observed() == Assignment::PREPARED;
      });
      StartVmm();
      met = DiesBefore([&] { return Holds(); });
      if (met) ++deaths;
      EXPECT_TRUE(met || hit > 1) << "no attach comes to it";
      // Where it was not met it may be when the VMM goes.
      host_.agent().Kill();
      StartAgent();
      ExpectEndsWell();
      if (HasFailure()) return;
    }
  }
  std::cout << "the agent died " << deaths << " times" << std::endl;
}

TEST_F(AdoptionCrashTest, WhileAVmmLeaves) {
  for (const char* point : {"keep.begin_call", "keep.end_call", "keep.answer", "leave.vmm_left",
                            kKeepDrop, "teardown.reset_guest", "teardown.destroy_viommu",
                            "teardown.prove_free", "recycle.prepare_anew"}) {
    for (const bool killed : {false, true}) {
      SCOPED_TRACE(absl::StrCat(point, killed ? ", killed" : ", by itself"));
      Create();
      StartVmm();
      WaitFor("the VMM holds", [&] { return Holds(); });
      host_.agent().Kill();
      StartAgent(absl::StrCat(point, "=crash"));
      WaitFor("the agent serves", [&] { return host_.Status().connected(); });
      killed ? vmm_->Kill() : vmm_->Signal(SIGTERM);
      const bool of_a_call = absl::string_view(point) == "keep.begin_call" ||
                             absl::string_view(point) == "keep.end_call" ||
                             absl::string_view(point) == "keep.answer";
      if (!(killed && of_a_call)) {
        WaitFor("the agent dies", [&] { return !host_.agent().running(); });
      }
      host_.agent().Kill();
      StartAgent();
      const int code = killed ? 0 : vmm_->Wait();
      EXPECT_EQ(code, 0) << ErrorOfVmm();
      ExpectFree();
      if (HasFailure()) return;
    }
  }
}

// The next agent dies as well, while it takes up what the first has left.
TEST_F(AdoptionCrashTest, WhileItIsTakenUp) {
  for (const char* first : {"keep.end_call=crash@1", "keep.end_call=crash@3", "keep.answer=crash@2",
                            "attach.attach_stream=crash@1"}) {
    for (const std::string& point : Printed(kOfAdoption)) {
      const bool unsettled = absl::string_view(first).substr(0, 11) != "keep.answer";
      if (point == "adopt.settle" && !unsettled) continue;
      SCOPED_TRACE(absl::StrCat(first, ", then ", point));
      Create();
      host_.agent().Kill();
      StartAgent(first);
      WaitFor("it is PREPARED there", [&] {
        const auto grants = host_.Grants();
        return grants.size() == 1 && grants[0].status().observed() == Assignment::PREPARED;
      });
      StartVmm();
      EXPECT_TRUE(DiesBefore([&] { return Holds(); }));
      StartAgent(absl::StrCat(point, "=crash"));
      WaitFor("the next agent dies", [&] { return !host_.agent().running(); });
      StartAgent();
      ExpectEndsWell();
      if (HasFailure()) return;
    }
  }
}

// What the journal does not take: before a call nothing is done; after it the answer stands, and
// the next agent knows that it knows nothing.
TEST_F(AdoptionCrashTest, WhenTheJournalIsFull) {
  Create();
  host_.agent().Kill();
  StartAgent("keep.begin_call=error:ENOSPC@2");
  WaitFor("the agent serves", [&] { return host_.Status().connected(); });
  ASSERT_TRUE(cluster_.AwaitObserved(id(), Assignment::PREPARED));
  StartVmm();
  EXPECT_NE(vmm_->Wait(), 0) << "the VMM hears of it";
  ASSERT_TRUE(cluster_.AwaitObserved(id(), Assignment::PREPARED));
  host_.agent().Kill();
  StartAgent("keep.end_call=error:ENOSPC@2");
  WaitFor("the agent serves", [&] { return host_.Status().connected(); });
  WaitFor("it is PREPARED there", [&] {
    const auto grants = host_.Grants();
    return grants.size() == 1 && grants[0].status().observed() == Assignment::PREPARED;
  });
  vmm_ = cluster_.StartVmm("second", assignment_,
                           {"--hold", "--trace", SourceFile("tests/data/traces/boot")});
  WaitFor("the VMM holds",
          [&] { return cluster_.OutputOf("second").find("holding") != std::string::npos; });
  host_.agent().Kill();
  StartAgent();
  ASSERT_TRUE(cluster_.AwaitObserved(id(), Assignment::DEGRADED));
  EXPECT_TRUE(vmm_->running());
  vmm_->Kill();
  ExpectFree();
}

}  // namespace
}  // namespace berth::testing
