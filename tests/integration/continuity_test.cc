// SPDX-License-Identifier: Apache-2.0
//
// A guest that invalidates all the time while agents, controllers or members of the store are
// killed: what it has sent is what the hardware has executed, and no call of its VMM fails.
#include <gmock/gmock.h>

#include <functional>
#include <iostream>
#include <string>

#include "tests/integration/cluster.h"
#include "tests/integration/continuous_guest.h"
#include "tests/integration/controllers.h"
#include "tests/integration/failover_fixture.h"
#include "tests/testing/full_run.h"

namespace berth::testing {
namespace {

using v1::Assignment;

int Kills() { return IsFullRun() ? 100 : 10; }

Host::Options Supervised(const std::string& name) {
  Host::Options options = ExampleHosts({name})[0];
  options.parent = Host::Parent::kSupervise;
  return options;
}

// Kills as often as Kills() says beside a guest on `host` that invalidates without a pause.
void ExpectNothingLost(Cluster& cluster, Host& host, const std::function<void(int)>& kill) {
  const absl::StatusOr<Assignment> created = cluster.Create("vm", OneOf("gpu"));
  ASSERT_TRUE(created.ok()) << created.status();
  ASSERT_TRUE(cluster.AwaitObserved("vm", Assignment::PREPARED));
  ContinuousGuest guest(cluster, host, *created);
  for (int i = 0; i < Kills() && guest.running(); ++i) kill(i);
  std::cout << Kills() << " kills: ";
  guest.EndWithNothingLost();
  ASSERT_TRUE(cluster.AwaitObserved("vm", Assignment::PREPARED));
  cluster.ExpectRecordsAgree(1);
}

TEST(ContinuityTest, NoCommandIsLostAndNoCallFailsWhileAgentsDie) {
  Cluster cluster({Supervised("gh200")});
  Host& host = cluster.host("gh200");
  ExpectNothingLost(cluster, host, [&host](int) {
    const int64_t incarnation = host.Status().incarnation();
    KillStranger(host.supervised_pid());
    WaitFor("the next agent serves", [&] { return host.Status().incarnation() > incarnation; });
  });
}

// The book is in a file: with the controller dies the store.
TEST(ContinuityTest, NoCommandIsLostAndNoCallFailsWhileControllersDie) {
  Cluster cluster(ExampleHosts({"gh200"}));
  ExpectNothingLost(cluster, cluster.host("gh200"), [&cluster](int) {
    cluster.KillController();
    cluster.StartController();
    cluster.AwaitReady("gh200");
  });
}

class ContinuityInEtcdTest : public FailoverTest {
 protected:
  // So long that nobody loses the lead while a member of etcd comes back.
  ContinuityInEtcdTest() : FailoverTest(30) {}
};

TEST_F(ContinuityInEtcdTest, NoCommandIsLostAndNoCallFailsWhileMembersOfTheStoreDie) {
  AddHost("gh200", controllers_.links());
  ExpectNothingLost(cluster_, cluster_.host("gh200"), [this](int i) {
    EtcdServer& member = controllers_.etcd().member(static_cast<size_t>(i) % 3);
    member.Kill();
    member.Start();
  });
}

}  // namespace
}  // namespace berth::testing
