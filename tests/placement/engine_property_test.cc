// SPDX-License-Identifier: Apache-2.0
//
// What holds for every fleet and every request, tried on random ones.
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "lib/base/status.h"
#include "lib/placement/engine.h"
#include "tests/placement/dice.h"
#include "tests/placement/oracle.h"

namespace berth::placement {
namespace {

uint64_t Sum(const Explanation& explanation) {
  uint64_t sum = 0;
  for (const Explanation::Failure& failure : explanation.Failures()) sum += failure.hosts;
  return sum;
}

TEST(EnginePropertyTest, TheEngineFindsAFitExactlyWhenThereIsOne) {
  int fits = 0;
  int cases = 0;
  EXPECT_TRUE(rc::check([&](uint64_t seed) {
    Dice dice(seed);
    for (int round = 0; round < 100; ++round) {
      const HostSnapshot host = dice.Host("h", 7);
      const Request request = dice.Ask();
      const bool oracle = Fits(host, request);
      Engine engine;
      RC_ASSERT(engine.UpsertHost(host).ok());
      const absl::StatusOr<Explanation> answer = engine.Explain(request);
      RC_ASSERT(answer.ok());
      RC_ASSERT(answer->complete);
      RC_ASSERT(answer->placement.has_value() == oracle);
      RC_ASSERT((!oracle || engine.Reserve(AssignmentUid("a"), *answer->placement).ok()));
      RC_ASSERT((oracle || Sum(*answer) == 1U));
      fits += oracle ? 1 : 0;
      ++cases;
    }
  }));
  EXPECT_GE(cases, 10'000);
  EXPECT_GT(fits, cases / 20) << "the dice make hardly any request that fits";
  EXPECT_LT(fits, cases * 19 / 20) << "the dice make hardly any request that does not";
}

// What is unsatisfiable stays so when all devices and VINTFs become free.
TEST(EnginePropertyTest, UnsatisfiableMeansThatNoEmptyHostFits) {
  EXPECT_TRUE(rc::check([&](uint64_t seed) {
    Dice dice(seed);
    const HostSnapshot host = dice.Host("h", 7);
    const Request request = dice.Ask();
    Engine engine;
    RC_ASSERT(engine.UpsertHost(host).ok());
    const absl::StatusOr<Explanation> answer = engine.Explain(request);
    HostSnapshot empty = host;
    empty.taints.clear();
    for (UnitSnapshot& unit : empty.units) {
      unit.vintfs_held = 0;
      unit.taints.clear();
    }
    for (DeviceSnapshot& device : empty.devices) {
      if (device.assignability == Assignability::kHeld) {
        device.assignability = Assignability::kAssignable;
      }
    }
    RC_ASSERT(answer->unsatisfiable == !Fits(empty, request));
  }));
}

TEST(EnginePropertyTest, NoSequenceOfChangesBreaksAnInvariant) {
  EXPECT_TRUE(rc::check([](uint64_t seed) {
    Dice dice(seed);
    Engine engine;
    std::vector<std::string> live;
    int uids = 0;
    for (int step = 0; step < 60; ++step) {
      const std::string host = absl::StrCat("h", dice.Roll(0, 5));
      switch (dice.Roll(0, 9)) {
        case 0:
          // Only hosts without reservations: another inventory may contradict those.
          if (engine.reservations() == 0 || step < 6) {
            RC_ASSERT(engine.UpsertHost(dice.Host(host, 10)).ok());
          }
          break;
        case 1:
          engine.SetHostSchedulable(HostId(host), static_cast<Schedulability>(dice.Roll(0, 2)))
              .IgnoreError();
          break;
        case 2:
        case 3:
          if (!live.empty()) {
            const auto which = static_cast<size_t>(dice.Roll(0, static_cast<int>(live.size()) - 1));
            RC_ASSERT(engine.Release(AssignmentUid(live[which])).ok());
            live.erase(live.begin() + static_cast<std::ptrdiff_t>(which));
          }
          break;
        default: {
          if (step < 6) {
            RC_ASSERT(engine.UpsertHost(dice.Host(absl::StrCat("h", step), 10)).ok());
            break;
          }
          const Request request = dice.Ask();
          const absl::StatusOr<Explanation> answer = engine.Explain(request);
          RC_ASSERT(answer.ok());
          if (!answer->placement.has_value()) {
            RC_ASSERT(Sum(*answer) == engine.hosts());
            break;
          }
          const std::string uid = absl::StrCat("a", uids++);
          RC_ASSERT(engine.Reserve(AssignmentUid(uid), *answer->placement).ok());
          live.push_back(uid);
        }
      }
      const absl::Status check = engine.Check();
      RC_ASSERT((check.message() == "" || ReasonOf(check) == Reason::kStateConflict));
      RC_ASSERT((check.ok() || step < 6));
    }
    for (const std::string& uid : live) RC_ASSERT(engine.Release(AssignmentUid(uid)).ok());
    RC_ASSERT(engine.Check().ok());
  }));
}

}  // namespace
}  // namespace berth::placement
