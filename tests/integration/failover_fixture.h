// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_TESTS_INTEGRATION_FAILOVER_FIXTURE_H_
#define BERTH_TESTS_INTEGRATION_FAILOVER_FIXTURE_H_

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/integration/cluster.h"
#include "tests/integration/controllers.h"

namespace berth::testing {

// A fleet without hosts, as yet, and three controllers on one book.
class FailoverTest : public ::testing::Test {
 protected:
  // The shortest that there is.
  FailoverTest() : FailoverTest(2) {}

  void AddHost(const std::string& name, const std::vector<std::string>& links) {
    cluster_.AddHosts(ExampleHosts({name}), links);
    cluster_.AwaitReady(name);
  }
  // Calls of the test go there from now on.
  size_t FollowLeader(size_t except = Controllers::kNobody) {
    const size_t leader = controllers_.AwaitLeader(except);
    cluster_.UseApi(controllers_.api(leader));
    return leader;
  }

  explicit FailoverTest(int lease_seconds) : controllers_(cluster_.folder(), 3, lease_seconds) {
    cluster_.UseApi(controllers_.api(0));
  }

  Cluster cluster_;
  Controllers controllers_;
};

}  // namespace berth::testing

#endif  // BERTH_TESTS_INTEGRATION_FAILOVER_FIXTURE_H_
