// SPDX-License-Identifier: Apache-2.0
//
// An agent by script: it speaks AgentLink over a real channel and does on its host what the test
// says.
#ifndef BERTH_TESTS_CONTROLLER_FAKE_AGENT_H_
#define BERTH_TESTS_CONTROLLER_FAKE_AGENT_H_

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>

#include "absl/status/status.h"
#include "berth/agent/v1/agent_link.pb.h"

namespace berth::controller_test {

struct InventoryShape {
  int units = 1;
  int devices_per_unit = 2;
  int vintfs = 4;
  std::string device_class = "gpu";
};
// Units "unit0", "unit1"...; devices "<class><number>", each in an IOMMU group of its own.
agent::v1::Inventory MakeInventory(const InventoryShape& shape = {});

// A status as an agent reports it of the grant that is desired.
agent::v1::GrantStatus StatusOf(const agent::v1::DesiredGrant& desired,
                                v1::Assignment::Observed observed);

class FakeAgent {
 public:
  // What it does with what is desired of it.
  enum class Manner {
    kObliging,  // PLACED: PREPARING, PREPARED. RELEASING: GONE.
    kFailing,   // PLACED: GONE with a failure. RELEASING: GONE.
    kSilent,    // The test reports.
  };
  struct Options {
    std::string host_id = "h1";
    std::string host_uid = "uid-of-h1";
    int64_t incarnation = 1;
    Manner manner = Manner::kObliging;
    agent::v1::Inventory inventory = MakeInventory();
    std::vector<agent::v1::GrantStatus> grants = {};
    // Last touches.
    std::function<void(agent::v1::Hello*)> edit_hello = nullptr;
    // Audits are answered with what it was told and has reported, after last touches.
    bool answers_audits = true;
    std::function<void(agent::v1::AuditReport*)> edit_audit = nullptr;
  };

  // Dials `address` and says Hello.
  FakeAgent(const std::string& address, Options options);
  // Cuts the stream.
  ~FakeAgent();
  FakeAgent(const FakeAgent&) = delete;
  FakeAgent& operator=(const FakeAgent&) = delete;

  // All waits are bounded by half a minute and then fail the test.

  // Waits for the answer to Hello. OK: `welcome` is there; else why the stream ended.
  absl::Status AwaitWelcome();
  agent::v1::Welcome welcome() const;
  // Waits until so much is desired of a grant, and returns it.
  agent::v1::DesiredGrant AwaitDesired(const std::string& assignment, v1::Assignment::Intent intent,
                                       int64_t generation = 0);
  agent::v1::DesiredGrant AwaitTokenHash(const std::string& assignment, const std::string& hash);
  void AwaitForgotten(const std::string& assignment_uid);
  bool HasHeardOf(const std::string& assignment) const;
  // Waits for the end of the stream.
  absl::Status AwaitEnd();

  void Report(const agent::v1::GrantStatus& status);
  void SendInventory(const agent::v1::Inventory& inventory);
  // Sends a sign of life and waits for the answer.
  void Heartbeat();
  // How many answers to heartbeats have come.
  int answers() const;
  void Send(const agent::v1::AgentMessage& message);
  // Waits until it has been asked so often, and has answered unless it answers no audits. Returns
  // the last request.
  agent::v1::AuditRequest AwaitAudits(int count);
  // Waits for that request, or a later one: those that wait to be sent are sent as the last one.
  void AwaitAuditSequence(int64_t sequence);
  int audits() const;
  // Cuts the stream, as a host that loses its network.
  void Disconnect();

 private:
  class Impl;
  const std::unique_ptr<Impl> impl_;
};

}  // namespace berth::controller_test

#endif  // BERTH_TESTS_CONTROLLER_FAKE_AGENT_H_
