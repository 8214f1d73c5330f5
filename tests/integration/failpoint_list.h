// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_TESTS_INTEGRATION_FAILPOINT_LIST_H_
#define BERTH_TESTS_INTEGRATION_FAILPOINT_LIST_H_

#include <set>
#include <string>

#include "tests/integration/cluster.h"

namespace berth::testing {

// The names that `program` ("berth-agent") prints. Empty, and a failure of the test: it printed
// none.
std::set<std::string> PrintedFailpoints(Cluster& cluster, const std::string& program);

// Those of `points` that begin with `part` ("adopt.").
std::set<std::string> PartOf(const std::set<std::string>& points, const std::string& part);

// What is met only where a VMM of the agent before is taken up. adoption_crash_test.cc walks all
// that is printed of it, and crash_test.cc nothing.
inline constexpr char kOfAdoption[] = "adopt.";

}  // namespace berth::testing

#endif  // BERTH_TESTS_INTEGRATION_FAILPOINT_LIST_H_
