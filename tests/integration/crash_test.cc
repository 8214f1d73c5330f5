// SPDX-License-Identifier: Apache-2.0
//
// Agent and controller die (SIGKILL) at every failpoint that they print, and are started again; a
// VMM, the kernel, the controller or the agent's parent dies while the agent stands at each of its
// failpoints: nothing is lost, nothing is leaked, and the assignment goes on.
#include <gmock/gmock.h>
#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <signal.h>

#include <chrono>

#include "absl/strings/str_cat.h"
#include "berth/v1/assignment_service.grpc.pb.h"
#include "tests/integration/crash_fixture.h"

namespace berth::testing {
namespace {

using v1::Assignment;

const Moments& AgentMoments() {
  using enum During;
  static const Moments moments = {
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
      {"keep.store_fds", {{kAttach}}},
      {"keep.write_record", {{kAttach}}},
      {"keep.begin_call", {{kAttach}}},
      {"keep.end_call", {{kAttach}}},
      {"keep.answer", {{kAttach}}},
      {"keep.drop", {{kLeave}}},
      {"adopt.grant", {}},  // and its like: adoption_crash_test.cc
      {"adopt.settle", {}},
      {"adopt.done", {}},
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
  return moments;
}

// Each connection of an agent is a commit; then there is what is called for, and, of a release, its
// end. A Delete may come before the connection, and then no agent is told of it but by Welcome.
const Moments& ControllerMoments() {
  using enum During;
  static const Moments moments = {
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
  return moments;
}

class CrashTest : public CrashFixture {
 protected:
  explicit CrashTest(Host::Parent parent = Host::Parent::kTest)
      : CrashFixture(parent), supervised_(parent == Host::Parent::kSupervise) {}

  // ---- The agent

  // Brings the agent to `moment` of `point`, where it does `action`, and tells its story to the
  // end; what is to happen there is `strike`.
  void AtAgentsPoint(const std::string& point, Moment moment, const std::string& action,
                     const std::function<void()>& strike);
  void ArmAgent(const std::string& setting) {
    // A parent that is killed leaves its agent behind.
    if (supervised_) {
      EXPECT_EQ(host().agent().Stop(), 0);
    } else {
      host().agent().Kill();
    }
    host().StartAgent({"--failpoint", setting});
  }
  void ReviveAgent() {
    EXPECT_EQ(host().agent().Wait(), -SIGKILL) << "it was to die by itself";
    host().StartAgent();
  }
  // While the agent stands still: `strike`.
  void WhileStopped(const std::function<void()>& strike) {
    WaitFor("the agent stops", [&] { return host().agent().stopped(); });
    strike();
    host().agent().Signal(SIGCONT);
  }

  // ---- The controller

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
    Recovering();
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

 private:
  const bool supervised_;
};

void CrashTest::AtAgentsPoint(const std::string& point, Moment moment, const std::string& action,
                              const std::function<void()>& strike) {
  const std::string setting = absl::StrCat(point, "=", action, "@", moment.hit);
  BeginStory(moment.during);
  if (moment.during == During::kStart) {
    AwaitConnected();  // perhaps to another controller than before
    Create();
    Prepared();
    ArmAgent(setting);
  } else {
    ArmAgent(setting);
    AwaitConnected();
    Create();
    if (moment.during != During::kCreate) Prepared();
  }
  if (moment.during == During::kDelete) {
    EXPECT_TRUE(cluster_.Delete("vm").ok());
  }
  if (moment.during == During::kAttach || moment.during == During::kLeave) StartVmm();
  if (moment.during == During::kLeave) {
    AwaitHolding();
    vmm_->Kill();
  }
  strike();
  // What a VMM has got is its own until it leaves.
  if (moment.during == During::kAttach) vmm_->Kill();
  Recovering();
  if (moment.during == During::kDelete) return Gone();
  Prepared();
  if (moment.during == During::kAttach) ExpectUsable();
  Remove();
}

void CrashTest::ControllerDies(const std::string& setting, During during) {
  BeginStory(during);
  if (during != During::kCreate) {
    AwaitConnected();
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
  ForEach("berth-agent", AgentMoments(), Sample::kEachPart,
          [&](const std::string& point, Moment moment) {
            AtAgentsPoint(point, moment, "crash", [&] { ReviveAgent(); });
          });
}

TEST_F(CrashTest, OfTheControllerAtEachFailpoint) {
  ForEach("berth-controller", ControllerMoments(), Sample::kEachPart,
          [&](const std::string& point, Moment moment) {
            ControllerDies(absl::StrCat(point, "=crash@", moment.hit), moment.during);
          });
}

TEST_F(CrashTest, OfTheVmmWhileTheAgentStandsAtEachFailpoint) {
  ForEach("berth-agent", AgentMoments(), Sample::kEachDuring,
          [&](const std::string& point, Moment moment) {
            if (moment.during != During::kAttach) return;
            AtAgentsPoint(point, moment, "stop", [&] { WhileStopped([&] { vmm_->Kill(); }); });
          });
}

TEST_F(CrashTest, OfTheKernelWhileTheAgentStandsAtEachFailpoint) {
  ForEach("berth-agent", AgentMoments(), Sample::kEachDuring,
          [&](const std::string& point, Moment moment) {
            AtAgentsPoint(point, moment, "stop", [&] {
              WhileStopped([&] { host().KillEmulator(); });
              host().StartEmulator();
            });
          });
}

TEST_F(CrashTest, OfTheControllerWhileTheAgentStandsAtEachFailpoint) {
  ForEach("berth-agent", AgentMoments(), Sample::kEachDuring,
          [&](const std::string& point, Moment moment) {
            AtAgentsPoint(point, moment, "stop", [&] {
              WhileStopped([&] { cluster_.KillController(); });
              cluster_.StartController();
            });
          });
}

class ParentCrashTest : public CrashTest {
 protected:
  ParentCrashTest() : CrashTest(Host::Parent::kSupervise) {}

  static bool IsStopped(pid_t process) {
    return ReadFile(absl::StrCat("/proc/", process, "/status")).find("State:\tT") !=
           std::string::npos;
  }
  // The agent's parent dies while that stands still, and it goes on under another one. The kernel
  // itself sends SIGHUP and SIGCONT to a stopped process whose group loses its last parent
  // (setpgid(2)).
  void LoseParent() {
    pid_t agent = 0;
    WaitFor("the agent stops", [&] {
      agent = host().supervised_pid();
      return agent > 0 && IsStopped(agent);
    });
    const size_t logged = ReadFile(host().log_file()).size();
    host().agent().Kill();
    host().StartAgent();
    WaitFor("the new parent has it", [&] {
      return ReadFile(host().log_file()).find("took up the agent", logged) != std::string::npos;
    });
    ::kill(agent, SIGCONT);
  }
};

TEST_F(ParentCrashTest, WhileTheAgentStandsAtEachFailpoint) {
  ForEach("berth-agent", AgentMoments(), Sample::kEachDuring,
          [&](const std::string& point, Moment moment) {
            AtAgentsPoint(point, moment, "stop", [&] { LoseParent(); });
          });
}

}  // namespace
}  // namespace berth::testing
