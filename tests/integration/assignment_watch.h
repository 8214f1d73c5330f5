// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_TESTS_INTEGRATION_ASSIGNMENT_WATCH_H_
#define BERTH_TESTS_INTEGRATION_ASSIGNMENT_WATCH_H_

#include <memory>
#include <string>
#include <vector>

#include "berth/v1/assignment.pb.h"
#include "tests/integration/cluster.h"

namespace berth::testing {

// Every state that a watch shows of one assignment, from its construction on.
class AssignmentWatch {
 public:
  AssignmentWatch(const Cluster& cluster, const std::string& id);
  ~AssignmentWatch();
  AssignmentWatch(const AssignmentWatch&) = delete;
  AssignmentWatch& operator=(const AssignmentWatch&) = delete;

  // Without repetitions, e.g. {PREPARED, ATTACHED, RECYCLING}.
  [[nodiscard]] std::vector<v1::Assignment::Observed> observed() const;
  // Its end has been shown.
  [[nodiscard]] bool deleted() const;

 private:
  class Reader;
  std::unique_ptr<Reader> reader_;
};

}  // namespace berth::testing

#endif  // BERTH_TESTS_INTEGRATION_ASSIGNMENT_WATCH_H_
