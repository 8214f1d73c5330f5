// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_TESTS_INTEGRATION_CHAOS_HOST_NETWORKS_H_
#define BERTH_TESTS_INTEGRATION_CHAOS_HOST_NETWORKS_H_

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "lib/base/unique_fd.h"

namespace berth::testing {

// A network namespace (network_namespaces(7)) for each host, with one link each to a bridge of this
// process, which has a namespace of its own, too: nothing of it is seen outside, and all of it goes
// with the processes. Of one thread.
class HostNetworks {
 public:
  // Before the process has threads. Null where it may not (no CAP_SYS_ADMIN) or cannot (no ip(8)).
  static std::unique_ptr<HostNetworks> Make(size_t hosts);

  // For Process::Options.
  [[nodiscard]] int network(size_t host) const { return hosts_.at(host).get(); }
  // Where hosts find this process.
  static constexpr char kHere[] = "127.77.0.1";
  // Takes the link of a host down: its packets are lost; or up again.
  void Cut(size_t host) { SetLink(host, false); }
  void Heal(size_t host) { SetLink(host, true); }

 private:
  HostNetworks() = default;
  bool Add(size_t host, int root);
  static void SetLink(size_t host, bool up);

  std::vector<UniqueFd> hosts_;  // namespaces
};

}  // namespace berth::testing

#endif  // BERTH_TESTS_INTEGRATION_CHAOS_HOST_NETWORKS_H_
