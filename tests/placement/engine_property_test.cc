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

// Hosts that are alike are looked at once, or each by itself: the answer is the same, and so are
// the counts of what they fail at.
class Twins {
 public:
  explicit Twins(uint64_t seed) : dice_(seed) {}

  void Run() {
    for (int i = 0; i < 8; ++i) {
      // Several of a kind, and some that come again as another.
      const HostSnapshot model = dice_.Host(absl::StrCat("h", dice_.Roll(0, 20)), 6);
      const int copies = dice_.Roll(1, 4);
      for (int copy = 0; copy < copies; ++copy) {
        HostSnapshot host = model;
        if (copy > 0) host.id = HostId(absl::StrCat("h", dice_.Roll(0, 20)));
        if (dice_.OneIn(3)) host.labels["size"] = absl::StrCat(dice_.Roll(0, 3));
        RC_ASSERT(singly_.UpsertHost(host).ok() == at_once_.UpsertHost(host).ok());
      }
    }
    for (int step = 0; step < 20; ++step) Step(step);
    RC_ASSERT(at_once_.Check().ok());
  }

 private:
  void Step(int step) {
    const HostId host(absl::StrCat("h", dice_.Roll(0, 20)));
    if (dice_.OneIn(6)) {
      const auto state = static_cast<Schedulability>(dice_.Roll(0, 2));
      RC_ASSERT(singly_.SetHostSchedulable(host, state).ok() ==
                at_once_.SetHostSchedulable(host, state).ok());
    }
    if (dice_.OneIn(8) && singly_.reservations() == 0) {
      RC_ASSERT(singly_.RemoveHost(host).ok() == at_once_.RemoveHost(host).ok());
    }
    Request request = dice_.Ask();
    if (dice_.OneIn(3)) request.anti_affinity.push_back(dice_.Apart());
    if (dice_.OneIn(3)) request.host_selector.push_back(Selector());
    ExcludedHosts excluded;
    if (dice_.OneIn(3)) excluded.insert(host);
    const absl::StatusOr<Explanation> one = singly_.Explain(request, excluded);
    const absl::StatusOr<Explanation> all = at_once_.Explain(request, excluded);
    RC_ASSERT((one.ok() && all.ok()));
    RC_ASSERT(one->placement.has_value() == all->placement.has_value());
    RC_ASSERT((!one->placement.has_value() || *one->placement == *all->placement));
    RC_ASSERT(one->failed == all->failed);
    RC_ASSERT(one->nearest.empty() == all->nearest.empty());
    RC_ASSERT((one->nearest.empty() || one->nearest_lacks == all->nearest_lacks));
    RC_ASSERT(one->unsatisfiable == all->unsatisfiable);
    RC_ASSERT(one->complete == all->complete);
    if (!one->placement.has_value()) return;
    const AssignmentUid uid(absl::StrCat("a", step));
    RC_ASSERT(singly_.Reserve(uid, *one->placement).ok());
    RC_ASSERT(at_once_.Reserve(uid, *all->placement).ok());
  }

  Requirement Selector() {
    const auto op = static_cast<Operator>(dice_.Roll(0, 5));
    const std::string key = dice_.OneIn(2) ? "rack" : "size";
    if (op == Operator::kExists || op == Operator::kDoesNotExist) return {key, op, {}};
    if (op == Operator::kGt || op == Operator::kLt) return {key, op, {"1"}};
    return {key, op, {key == "rack" ? "r0" : "2", "nowhere"}};
  }

  static EngineOptions Looking(uint64_t single_hosts) {
    EngineOptions options;
    options.single_hosts = single_hosts;
    return options;
  }

  Dice dice_;
  Engine singly_{Looking(1'000)};
  Engine at_once_{Looking(0)};
};

TEST(EnginePropertyTest, HostsThatAreAlikeCanBeLookedAtOnce) {
  EXPECT_TRUE(rc::check([](uint64_t seed) {
    for (uint64_t round = 0; round < 5; ++round) Twins(seed * 5 + round).Run();
  }));
}

}  // namespace
}  // namespace berth::placement
