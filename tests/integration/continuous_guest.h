// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_TESTS_INTEGRATION_CONTINUOUS_GUEST_H_
#define BERTH_TESTS_INTEGRATION_CONTINUOUS_GUEST_H_

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "berth/v1/assignment.pb.h"
#include "tests/integration/cluster.h"
#include "tests/integration/process.h"

namespace berth::testing {

// A guest that invalidates without a pause and whose VMM calls its agent all the time; it ends by
// itself, with an error, at the first command that is not executed and the first call that fails.
class ContinuousGuest {
 public:
  // Invalidates when the constructor returns. `cluster` and `host` outlive it; no other VMM on
  // `host` uses vCMDQs meanwhile.
  ContinuousGuest(Cluster& cluster, Host& host, const v1::Assignment& assignment);

  [[nodiscard]] bool running() const { return vmm_->running(); }
  [[nodiscard]] pid_t pid() const { return vmm_->pid(); }
  // Ends it, prints what it measured, and expects that the hardware has executed what it has sent.
  void EndWithNothingLost();

 private:
  Cluster& cluster_;
  Host& host_;
  std::map<std::string, uint64_t> before_;
  std::unique_ptr<Process> vmm_;
};

}  // namespace berth::testing

#endif  // BERTH_TESTS_INTEGRATION_CONTINUOUS_GUEST_H_
