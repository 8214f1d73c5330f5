// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_TESTS_INTEGRATION_CONTROLLERS_H_
#define BERTH_TESTS_INTEGRATION_CONTROLLERS_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "tests/integration/process.h"
#include "tests/testing/etcd_server.h"
#include "tests/testing/tcp_proxy.h"

namespace berth::testing {

// Controllers that share a book in an etcd of three members. Each reaches etcd, and is reached by
// agents, over networks of its own, which can be cut; its addresses survive a restart.
class Controllers {
 public:
  // What agents reach at link(): the controller, or door(), where the test has somebody between.
  enum class Agents { kReachController, kReachDoor };

  // Starts the first and waits until it leads, then the others, which stand by.
  // Agents find them at ports of `host`, an IPv4 address.
  Controllers(std::string folder, size_t count, int lease_seconds = 2,
              Agents agents = Agents::kReachController, const std::string& host = "127.0.0.1");

  [[nodiscard]] size_t size() const { return controllers_.size(); }
  Process& process(size_t index) { return *controllers_.at(index).process; }
  // After it has ended. With more arguments than its configuration.
  void Start(size_t index, const std::vector<std::string>& args = {});
  // From its next start on.
  void UseKey(size_t index, const std::string& cluster_key_file);
  void CutFromEtcd(size_t index);
  void HealToEtcd(size_t index);
  void CutFromAgents(size_t index) { controllers_.at(index).agents->Cut(); }
  void HealToAgents(size_t index) { controllers_.at(index).agents->Heal(); }

  [[nodiscard]] std::string api(size_t index) const;
  [[nodiscard]] std::string link(size_t index) const;
  [[nodiscard]] std::string door(size_t index) const;
  // Where the controller itself serves agents.
  [[nodiscard]] std::string listener(size_t index) const;
  [[nodiscard]] std::vector<std::string> apis() const;
  [[nodiscard]] std::vector<std::string> links() const;

  EtcdCluster& etcd() { return etcd_; }
  // Waits until one serves who is not `except` (an index), and returns which.
  size_t AwaitLeader(size_t except = kNobody);
  // Waits until it answers that it stands by.
  void AwaitStandingBy(size_t index);
  // What it says now.
  [[nodiscard]] bool Leads(size_t index) const;
  [[nodiscard]] bool StandsBy(size_t index) const;

  static constexpr size_t kNobody = SIZE_MAX;

 private:
  struct Controller {
    std::string config;
    std::string log;
    std::vector<std::unique_ptr<TcpProxy>> networks;  // to each member
    std::unique_ptr<TcpProxy> agents;
    std::unique_ptr<Process> process;
  };

  // What its API says to a call; UNAVAILABLE also when nobody listens.
  [[nodiscard]] absl::Status Ask(size_t index) const;

  const std::string folder_;
  const int lease_seconds_;
  EtcdCluster etcd_;
  std::vector<Controller> controllers_;
};

}  // namespace berth::testing

#endif  // BERTH_TESTS_INTEGRATION_CONTROLLERS_H_
