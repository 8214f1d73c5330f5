// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_TESTS_INTEGRATION_CRASH_FIXTURE_H_
#define BERTH_TESTS_INTEGRATION_CRASH_FIXTURE_H_

#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "tests/integration/cluster.h"

namespace berth::testing {

// What is going on when somebody dies.
enum class During {
  kStart,   // of the one that dies, beside an assignment that is PREPARED
  kCreate,  // from Create to PREPARED
  kAttach,  // from HELLO to live queues
  kLeave,   // from the death of a VMM to the next PREPARED
  kDelete,  // from Delete to the end of it
};

struct Moment {
  During during;
  int hit = 1;  // the number of the hit that counts
};
// Of each failpoint of a program.
using Moments = std::map<std::string, std::vector<Moment>>;

// Of what a run that is not full has one moment.
enum class Sample {
  kEachPart,    // what stands before the dot, in each During
  kEachDuring,  // the first failpoint of it
};

// One host with one device, an assignment "vm" on it, and what is seen of it.
class CrashFixture : public ::testing::Test {
 protected:
  explicit CrashFixture(Host::Parent parent);
  ~CrashFixture() override;
  // Says how long it took until the audit was clean again, each time, and fails where that was too
  // long.
  void TearDown() override;

  Host& host() { return cluster_.host("host"); }

  // Runs `strike` for each moment, or a sample, after making sure that the rows are what the
  // program prints.
  void ForEach(const std::string& program, const Moments& moments, Sample sample,
               const std::function<void(const std::string& point, Moment moment)>& strike);

  // ---- The story of one assignment, from Create to its end

  void BeginStory(During during);
  void Create();
  // By the word of all, and nothing is left of what was before.
  void Prepared();
  void Gone();
  void Remove();
  void StartVmm();
  void AwaitHolding();
  // By another VMM, as soon as the last one's end has been seen.
  void ExpectUsable();
  // The same each time until the next story, so that it may be repeated.
  [[nodiscard]] v1::CreateAssignmentRequest request() const;
  void AwaitConnected();

  // From now on it is to get well.
  void Recovering();

  const OneDeviceHost one_;
  Cluster cluster_;
  v1::Assignment assignment_;
  std::unique_ptr<Process> vmm_;

 private:
  // The assignment as the controller shows it: "PLACED PREPARED".
  void Look(const absl::StatusOr<v1::Assignment>& now);
  void Recovered();

  int stories_ = 0;
  int vmms_ = 0;
  During during_ = During::kCreate;
  std::set<std::string> seen_;
  absl::Time since_ = absl::InfinitePast();
  std::vector<absl::Duration> recoveries_;
};

}  // namespace berth::testing

#endif  // BERTH_TESTS_INTEGRATION_CRASH_FIXTURE_H_
