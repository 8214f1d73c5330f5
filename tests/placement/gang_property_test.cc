// SPDX-License-Identifier: Apache-2.0
//
// Gangs and anti-affinity on random small fleets: the engine finds a way exactly when there is one.
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "lib/placement/engine.h"
#include "tests/placement/dice.h"
#include "tests/placement/gang_oracle.h"

namespace berth::placement {
namespace {

// What takes a device of `host` and stands there under `term`; it is free before.
Placement Stand(const HostSnapshot& host, const DeviceSnapshot& device, const AntiAffinity& term) {
  Placement placement;
  placement.host = host.id;
  placement.units.push_back({device.unit, {.vcmdqs = 0, .sid_slots = 1}});
  placement.devices.push_back({device.id, device.unit, "r"});
  placement.anti_affinity.push_back(term);
  return placement;
}

class Case {
 public:
  explicit Case(uint64_t seed) : dice_(seed) {
    const int hosts = dice_.Roll(2, 3);
    for (int i = 0; i < hosts; ++i) {
      fleet_.push_back(dice_.Host(absl::StrCat("h", i), 5));
      RC_ASSERT(engine_.UpsertHost(fleet_.back()).ok());
      if (dice_.OneIn(3)) Occupy(fleet_.size() - 1);
    }
  }

  // Compares the two. Returns whether the gang fits.
  bool Run() {
    const GangRequest gang = dice_.AskGang();
    const bool oracle = GangOracle(fleet_, gang, standing_).Fits();
    const absl::StatusOr<std::vector<Placement>> answer = engine_.PlaceGang(gang);
    RC_ASSERT(engine_.Check().ok());
    RC_ASSERT(answer.ok() == oracle);
    if (answer.ok()) {
      for (size_t i = 0; i < answer->size(); ++i) {
        RC_ASSERT(engine_.Reserve(AssignmentUid(absl::StrCat("m", i)), (*answer)[i]).ok());
      }
      RC_ASSERT(engine_.Check().ok());
    }
    return oracle;
  }

 private:
  void Occupy(size_t index) {
    HostSnapshot& host = fleet_[index];
    DeviceSnapshot& device = host.devices[0];
    const AntiAffinity term = dice_.Apart();
    if (!engine_.Reserve(AssignmentUid(absl::StrCat("s", index)), Stand(host, device, term)).ok()) {
      return;  // it is not free, or not so far from the others
    }
    standing_.push_back({index, {term}});
    device.assignability = Assignability::kHeld;
    for (UnitSnapshot& unit : host.units) {
      if (unit.id == device.unit && CountsVintfs(unit.capacity.profile)) ++unit.vintfs_held;
    }
  }

  Dice dice_;
  Engine engine_;
  std::vector<HostSnapshot> fleet_;
  std::vector<GangOracle::Standing> standing_;
};

TEST(GangPropertyTest, TheEngineFindsAWayExactlyWhenThereIsOne) {
  int fits = 0;
  int cases = 0;
  EXPECT_TRUE(rc::check([&](uint64_t seed) {
    for (uint64_t round = 0; round < 100; ++round) {
      fits += Case(seed * 100 + round).Run() ? 1 : 0;
      ++cases;
    }
  }));
  EXPECT_GE(cases, 10'000);
  EXPECT_GT(fits, cases / 20) << "the dice make hardly any gang that fits";
  EXPECT_LT(fits, cases * 19 / 20) << "the dice make hardly any gang that does not";
}

// A host that contradicts itself takes nothing, and changes nothing for the others.
TEST(GangPropertyTest, ABadHostIsLeftOutAndNoOtherIs) {
  EXPECT_TRUE(rc::check([](uint64_t seed) {
    Dice dice(seed);
    Engine engine;
    Engine without;
    for (int i = 0; i < 3; ++i) {
      const HostSnapshot host = dice.Host(absl::StrCat("h", i), 6);
      RC_ASSERT(engine.UpsertHost(host).ok());
      RC_ASSERT(without.UpsertHost(host).ok());
    }
    HostSnapshot bad = dice.Host("bad", 6);
    dice.Spoil(bad);
    RC_ASSERT(!engine.UpsertHost(bad).ok());
    const absl::StatusOr<Engine::HostStatus> status = engine.Describe(HostId("bad"));
    RC_ASSERT((status.ok() && !status->defect.empty()));
    const Request request = dice.Ask();
    const absl::StatusOr<Placement> answer = engine.Place(request);
    const absl::StatusOr<Placement> expected = without.Place(request);
    RC_ASSERT(answer.ok() == expected.ok());
    if (answer.ok()) RC_ASSERT(*answer == *expected);
    RC_ASSERT(engine.Check().ok());
  }));
}

}  // namespace
}  // namespace berth::placement
