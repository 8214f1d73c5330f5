// SPDX-License-Identifier: Apache-2.0
//
// What holds for every fleet and every request, tried on random ones.
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "lib/base/status.h"
#include "lib/placement/engine.h"
#include "tests/placement/oracle.h"

namespace berth::placement {
namespace {

// Small ranges, so that scarcity and ties are common.
class Dice {
 public:
  explicit Dice(uint64_t seed) : random_(seed) {}

  int Roll(int low, int high) { return std::uniform_int_distribution<int>(low, high)(random_); }
  bool OneIn(int n) { return Roll(1, n) == 1; }

  HostSnapshot Host(const std::string& id, int max_devices) {
    HostSnapshot host;
    host.id = HostId(id);
    const int units = Roll(1, 4);
    for (int i = 0; i < units; ++i) {
      UnitSnapshot unit;
      unit.id = UnitId(absl::StrCat("u", i));
      unit.capacity =
          DefaultCapacity(OneIn(4) ? UnitProfile::kArmSmmuV3 : UnitProfile::kTegra241Cmdqv);
      unit.capacity.vintfs = OneIn(8) ? 0 : static_cast<uint32_t>(Roll(1, 3));
      unit.capacity.sids_per_vintf = static_cast<uint32_t>(Roll(1, 4));
      unit.vintfs_held = OneIn(10) ? unit.capacity.vintfs : 0;
      host.units.push_back(unit);
    }
    const int devices = Roll(2, max_devices);
    for (int i = 0; i < devices; ++i) host.devices.push_back(Device(host, i));
    if (OneIn(8)) host.taints.push_back({"t", "", TaintEffect::kNoNew});
    host.labels["rack"] = absl::StrCat("r", Roll(0, 1));
    return host;
  }

  DeviceSnapshot Device(const HostSnapshot& host, int index) {
    DeviceSnapshot device;
    device.id = DeviceId(absl::StrCat("d", index));
    device.device_class = Class();
    device.unit =
        host.units[static_cast<size_t>(Roll(0, static_cast<int>(host.units.size()) - 1))].id;
    device.numa_node = Roll(-1, 1);
    device.iommu_group = index;
    if (OneIn(2)) device.attributes["mem"] = int64_t{Roll(1, 2)};
    if (OneIn(3)) device.attributes["link"] = absl::StrCat("l", Roll(0, 1));
    if (OneIn(3) && index > 0) {  // joins the group of the device before it
      const DeviceSnapshot& last = host.devices.back();
      device.iommu_group = last.iommu_group;
      device.unit = last.unit;
    }
    if (OneIn(10)) device.assignability = Assignability::kHeld;
    if (OneIn(10)) device.assignability = Assignability::kNotAssignable;
    return device;
  }

  std::string Class() { return OneIn(3) ? "nic" : "gpu"; }

  Request Ask() {
    Request request;
    const int items = OneIn(4) ? 3 : Roll(1, 2);
    for (int i = 0; i < items; ++i) {
      DeviceSpec spec;
      spec.device_class = Class();
      spec.count = static_cast<uint32_t>(OneIn(2) ? 1 : Roll(2, 3));
      if (OneIn(6)) spec.requirements.push_back({"mem", Operator::kGt, {"1"}});
      if (OneIn(6)) spec.requirements.push_back({"link", Operator::kNotIn, {"l0"}});
      if (OneIn(5)) spec.queues = {QueueNeed::kRequired, static_cast<uint32_t>(Roll(0, 2))};
      request.devices.push_back({absl::StrCat("r", i), {spec}});
    }
    const int constraints = Roll(0, 2);
    for (int i = 0; i < constraints; ++i) {
      Constraint constraint;
      constraint.kind = static_cast<Constraint::Kind>(Roll(0, 3));
      if (constraint.kind == Constraint::Kind::kSameAttribute) constraint.attribute = "mem";
      if (OneIn(2)) constraint.requests.push_back(absl::StrCat("r", Roll(0, items - 1)));
      if (OneIn(2)) constraint.requests.push_back(absl::StrCat("r", Roll(0, items - 1)));
      request.constraints.push_back(constraint);
    }
    if (OneIn(8)) request.host_selector.push_back({"rack", Operator::kIn, {"r0"}});
    if (OneIn(2)) request.tolerations.push_back({});
    request.policy = OneIn(2) ? Policy::kSpread : Policy::kPack;
    request.seed = static_cast<uint64_t>(Roll(0, 3));
    return request;
  }

 private:
  std::mt19937_64 random_;
};

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
      const bool oracle = Oracle(host, request).Fits();
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
    for (UnitSnapshot& unit : empty.units) unit.vintfs_held = 0;
    for (DeviceSnapshot& device : empty.devices) {
      if (device.assignability == Assignability::kHeld) {
        device.assignability = Assignability::kAssignable;
      }
    }
    RC_ASSERT(answer->unsatisfiable == !Oracle(empty, request).Fits());
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
