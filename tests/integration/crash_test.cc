// SPDX-License-Identifier: Apache-2.0
//
// Agent and controller die (SIGKILL) at every failpoint that they print, and are started again:
// nothing is lost, nothing is leaked, and the assignment goes on. A short run has one death for
// each part (what stands before the dot) and each thing that is going on.
#include <gmock/gmock.h>
#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <signal.h>

#include <chrono>
#include <map>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "berth/v1/assignment_service.grpc.pb.h"
#include "tests/integration/cluster.h"
#include "tests/testing/full_run.h"

namespace berth::testing {
namespace {

using v1::Assignment;

// What is going on when it dies.
enum class During {
  kStart,   // of the one that dies, beside an assignment that is PREPARED
  kCreate,  // from Create to PREPARED
  kAttach,  // from HELLO to live queues
  kLeave,   // from the death of a VMM to the next PREPARED
  kDelete,  // from Delete to the end of it
};

struct Death {
  During during;
  int hit = 1;  // the number of the hit that kills it
};
using Matrix = std::map<std::string, std::vector<Death>>;

const Matrix& AgentDeaths() {
  using enum During;
  static const Matrix matrix = {
      {"state.save", {{kStart}}},
      {"state.saved", {{kStart}}},
      {"link.hello", {{kStart}}},
      {"link.welcome", {{kStart}}},
      {"link.welcomed", {{kStart}}},
      {"link.delta", {{kCreate}}},
      {"link.report", {{kCreate}}},
      {"bind.open_context", {{kCreate}}},
      {"bind.bind_device", {{kCreate}}},
      {"prepare.alloc_ioas", {{kCreate}}},
      {"prepare.get_hw_info", {{kCreate}}},
      {"prepare.get_hw_info_cmdqv", {{kCreate}}},
      {"prepare.alloc_nesting_parent", {{kCreate}}},
      {"prepare.alloc_viommu", {{kCreate}}},
      {"prepare.alloc_abort_hwpt", {{kCreate}}},
      {"prepare.alloc_bypass_hwpt", {{kCreate}}},
      {"prepare.alloc_veventq", {{kCreate}}},
      {"prepare.attach_abort_hwpt", {{kCreate}}},
      {"prepare.get_iova_ranges", {{kCreate}}},
      {"prepare.watch_events", {{kCreate}}},
      {"prepare.done", {{kCreate}}},
      {"attach.begin", {{kAttach}}},
      {"attach.attached", {{kAttach}}},
      {"attach.give_device", {{kAttach}}},
      {"attach.give_page0", {{kAttach}}},
      {"attach.map_memory", {{kAttach}}},
      {"attach.alloc_nested_hwpt", {{kAttach}}},
      {"attach.alloc_vdevice", {{kAttach}}},
      {"attach.attach_stream", {{kAttach}}},
      {"attach.alloc_queue", {{kAttach}}},
      {"leave.vmm_left", {{kLeave}}},
      {"teardown.reset_guest", {{kLeave}, {kDelete}}},
      {"teardown.reset_devices", {{kLeave}, {kDelete}}},
      {"teardown.detach_devices", {{kLeave}, {kDelete}}},
      {"teardown.destroy_veventqs", {{kLeave}, {kDelete}}},
      {"teardown.destroy_hwpts", {{kLeave}, {kDelete}}},
      {"teardown.destroy_viommu", {{kLeave}, {kDelete}}},
      {"teardown.close_devices", {{kLeave}, {kDelete}}},
      {"teardown.destroy_parents", {{kLeave}, {kDelete}}},
      {"teardown.destroy_ioas", {{kLeave}, {kDelete}}},
      {"teardown.prove_free", {{kLeave}, {kDelete}}},
      {"teardown.done", {{kLeave}, {kDelete}}},
      {"recycle.prepare_anew", {{kLeave}}},
      {"release.gone", {{kDelete}}},
      {"release.forget", {{kDelete}}},
  };
  return matrix;
}

// Each connection of an agent is a commit; then there is what is called for, and, of a release, its
// end. A Delete may come before the connection, and then no agent is told of it but by Welcome.
const Matrix& ControllerDeaths() {
  using enum During;
  static const Matrix matrix = {
      {"commit.write", {{kCreate, 2}}},
      {"commit.sqlite", {{kCreate, 2}}},
      {"commit.written", {{kCreate, 2}, {kDelete, 3}}},
      {"commit.publish", {{kCreate, 2}}},
      {"commit.published", {{kDelete, 3}}},
      {"session.hello", {{kStart}}},
      {"session.welcome", {{kStart}}},
      {"session.report", {{kCreate}}},
      {"session.tell", {{kCreate}}},
      {"session.forget", {{kDelete}}},
  };
  return matrix;
}

class CrashTest : public ::testing::Test {
 protected:
  Host& host() { return cluster_.host("host"); }

  // Runs `die` for each row, after making sure that the rows are what the program prints.
  void ForEach(const std::string& program, const Matrix& matrix,
               const std::function<void(const std::string& setting, During during)>& die) {
    const Output printed = cluster_.Run(ProgramFile(program), {"failpoints"});
    ASSERT_EQ(printed.code, 0) << printed.err;
    std::set<std::string> points;
    const std::vector<std::string> lines = absl::StrSplit(printed.out, '\n', absl::SkipEmpty());
    for (const std::string& line : lines) {
      points.insert(line.substr(0, line.find(' ')));
    }
    std::set<std::string> rows;
    for (const auto& [point, deaths] : matrix) rows.insert(point);
    ASSERT_EQ(points, rows) << "each failpoint has a row here, and each row a failpoint";
    std::set<std::pair<std::string, During>> shown;
    for (const auto& [point, deaths] : matrix) {
      for (const Death& death : deaths) {
        const std::string part = point.substr(0, point.find('.'));
        if (!shown.emplace(part, death.during).second && !IsFullRun()) continue;
        const std::string setting = absl::StrCat(point, "=crash@", death.hit);
        SCOPED_TRACE(absl::StrCat(setting, " during ", static_cast<int>(death.during)));
        die(setting, death.during);
        if (HasFailure()) return;
      }
    }
  }

  // ---- The story

  void Create() {
    const absl::StatusOr<Assignment> created = cluster_.Create(request());
    ASSERT_TRUE(created.ok()) << created.status();
    assignment_ = *created;
  }
  // By the word of all, and nothing is left of what was before.
  void Prepared() {
    WaitFor("the assignment is PREPARED", [&] {
      const absl::StatusOr<Assignment> now = cluster_.Get("vm");
      if (!now.ok() || now->observed() != Assignment::PREPARED) return false;
      const std::vector<agent::v1::LocalGrant> grants = host().Grants();
      return grants.size() == 1 && grants[0].status().observed() == Assignment::PREPARED;
    });
    cluster_.ExpectRecordsAgree(1);
    EXPECT_EQ(cluster_.Get("vm")->uid(), assignment_.uid());
  }
  void Gone() {
    EXPECT_TRUE(cluster_.AwaitGone("vm"));
    cluster_.ExpectRecordsAgree(0);
  }
  void Remove() {
    ASSERT_TRUE(cluster_.Delete("vm").ok());
    Gone();
  }
  std::unique_ptr<Process> StartVmm() {
    return cluster_.StartVmm(absl::StrCat("holder", ++vmms_), assignment_,
                             {"--hold", "--trace", SourceFile("tests/data/traces/map_unmap_ats")});
  }
  void AwaitHolding() {
    const std::string name = absl::StrCat("holder", vmms_);
    if (WaitFor("the VMM's queues are live",
                [&] { return cluster_.OutputOf(name).find("holding") != std::string::npos; })) {
      return;
    }
    ADD_FAILURE() << ReadFile(absl::StrCat(cluster_.folder(), "/", name, ".err"));
  }
  // The same each time until the next assignment, so that it may be repeated.
  v1::CreateAssignmentRequest request() const {
    v1::CreateAssignmentRequest request = MakeRequest("vm", OneOf("gpu"));
    request.set_request_id(
        absl::StrCat("b1c6f7f5-6f0c-4f6b-9d8c-2f2f0f3", absl::Dec(stories_, absl::kZeroPad5)));
    return request;
  }

  // ---- Who dies

  void AwaitConnected() {
    WaitFor("the agent is connected", [&] { return host().Status().connected(); });
    cluster_.AwaitReady("host");
  }
  void ArmAgent(const std::string& setting) {
    host().agent().Kill();
    host().StartAgent({"--failpoint", setting});
  }
  void ReviveAgent() {
    EXPECT_EQ(host().agent().Wait(), -SIGKILL) << "it was to die by itself";
    host().StartAgent();
  }
  void AgentDies(const std::string& setting, During during);
  void ArmController(const std::string& setting) {
    cluster_.KillController();
    cluster_.StartController({"--failpoint", setting});
  }
  // `meanwhile` again and again, until it has died.
  void ReviveController(const std::function<void()>& meanwhile) {
    WaitFor("the controller dies", [&] {
      meanwhile();
      return !cluster_.controller().running();
    });
    EXPECT_EQ(cluster_.controller().Wait(), -SIGKILL) << "it was to die by itself";
    cluster_.StartController();
    AwaitConnected();
  }
  void ControllerDies(const std::string& setting, During during);

  // A call that does not wait for a controller that is dead.
  template <typename Request>
  void Attempt(grpc::Status (v1::AssignmentService::StubInterface::*method)(grpc::ClientContext*,
                                                                            const Request&,
                                                                            Assignment*),
               const Request& request) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
    Assignment ignored;
    const std::unique_ptr<v1::AssignmentService::StubInterface> stub =
        v1::AssignmentService::NewStub(cluster_.api());
    (stub.get()->*method)(&context, request, &ignored);
  }

  const OneDeviceHost one_;
  Cluster cluster_{std::vector<Host::Options>{one_.options()}};
  Assignment assignment_;
  int stories_ = 0;
  int vmms_ = 0;
};

void CrashTest::AgentDies(const std::string& setting, During during) {
  ++stories_;
  if (during == During::kStart) {
    Create();
    Prepared();
    ArmAgent(setting);
    ReviveAgent();
    Prepared();
    return Remove();
  }
  ArmAgent(setting);
  AwaitConnected();
  Create();
  if (during == During::kCreate) {
    ReviveAgent();
    Prepared();
    return Remove();
  }
  Prepared();
  if (during == During::kDelete) {
    ASSERT_TRUE(cluster_.Delete("vm").ok());
    ReviveAgent();
    return Gone();
  }
  const std::unique_ptr<Process> vmm = StartVmm();
  if (during == During::kLeave) {
    AwaitHolding();
    vmm->Kill();
    ReviveAgent();
  } else {
    ReviveAgent();
    // What it has got is its own until it leaves.
    vmm->Kill();
  }
  Prepared();
  Remove();
}

void CrashTest::ControllerDies(const std::string& setting, During during) {
  ++stories_;
  if (during != During::kCreate) {
    Create();
    Prepared();
  }
  ArmController(setting);
  switch (during) {
    case During::kStart:
      ReviveController([] {});
      break;
    case During::kCreate:
      ReviveController(
          [&] { Attempt(&v1::AssignmentService::StubInterface::CreateAssignment, request()); });
      Create();
      break;
    default:
      v1::DeleteAssignmentRequest request;
      request.set_name("assignments/vm");
      ReviveController(
          [&] { Attempt(&v1::AssignmentService::StubInterface::DeleteAssignment, request); });
      // It may have ended before, in the book or for everybody.
      cluster_.Delete("vm").status().IgnoreError();
      return Gone();
  }
  Prepared();
  Remove();
}

TEST_F(CrashTest, OfTheAgentAtEachFailpoint) {
  ForEach("berth-agent", AgentDeaths(),
          [&](const std::string& setting, During during) { AgentDies(setting, during); });
}

TEST_F(CrashTest, OfTheControllerAtEachFailpoint) {
  ForEach("berth-controller", ControllerDeaths(),
          [&](const std::string& setting, During during) { ControllerDies(setting, during); });
}

}  // namespace
}  // namespace berth::testing
