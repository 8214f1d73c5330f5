// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_TESTS_INTEGRATION_CLEAN_AUDIT_H_
#define BERTH_TESTS_INTEGRATION_CLEAN_AUDIT_H_

#include "tests/integration/cluster.h"

namespace berth::testing {

// Waits until an audit of the whole fleet finds nothing: controller, agents, their journals, fd
// stores and kernels say the same of every grant.
void ExpectCleanAudit(Cluster& cluster);

}  // namespace berth::testing

#endif  // BERTH_TESTS_INTEGRATION_CLEAN_AUDIT_H_
