// SPDX-License-Identifier: Apache-2.0
#include "tests/bench/placement/simulator.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <functional>
#include <map>
#include <queue>
#include <random>
#include <string>
#include <utility>

#include "absl/container/flat_hash_map.h"

namespace berth::placement {
namespace {

constexpr int kSizes[4] = {1, 2, 4, 8};

class Simulation {
 public:
  Simulation(const Shape& shape, const Workload& workload, Policy policy)
      : shape_(shape),
        workload_(workload),
        random_(workload.seed),
        size_(std::begin(workload.weights), std::end(workload.weights)),
        lifetime_(std::log(workload.median_hours), workload.sigma) {
    Fill(shape, engine_);
    for (size_t i = 0; i < requests_.size(); ++i) {
      requests_[i] = Ask("gpu", static_cast<uint32_t>(kSizes[i]));
      requests_[i].policy = policy;
    }
    requests_[2].constraints.push_back({Constraint::Kind::kSameUnit, {}, ""});
    units_free_ = shape.hosts * shape.units;
  }

  Outcome Run() {
    const double end = workload_.warm_up_hours + workload_.hours;
    const double mean_lifetime =
        workload_.median_hours * std::exp(workload_.sigma * workload_.sigma / 2);
    double weight = 0;
    double weighted = 0;
    for (size_t i = 0; i < requests_.size(); ++i) {
      weight += workload_.weights[i];
      weighted += workload_.weights[i] * kSizes[i];
    }
    const double rate = workload_.load * Gpus() / (mean_lifetime * weighted / weight);
    std::exponential_distribution<double> pause(rate);
    for (double next = pause(random_); now_ < end;) {
      const bool leaves = !leaving_.empty() && leaving_.top().first < next;
      AdvanceTo(std::min(end, leaves ? leaving_.top().first : next));
      if (now_ == end) break;
      if (leaves) {
        Leave();
      } else {
        Arrive();
        next += pause(random_);
      }
    }
    return Finish();
  }

 private:
  [[nodiscard]] double Gpus() const { return shape_.hosts * shape_.units * shape_.gpus_per_unit; }
  [[nodiscard]] bool Counts() const { return now_ >= workload_.warm_up_hours; }

  void AdvanceTo(double time) {
    const double from = std::max(now_, workload_.warm_up_hours);
    if (time > from) {
      const double span = time - from;
      const double free = Gpus() - used_;
      utilisation_ += span * used_ / Gpus();
      if (free > 0) {
        fragmentation_ += span * (1 - units_free_ * shape_.gpus_per_unit / free);
        with_free_ += span;
      }
    }
    now_ = time;
  }

  void Arrive() {
    const size_t size = size_(random_);
    const double life = lifetime_(random_);
    const auto start = WallClock::now();
    const absl::StatusOr<Placement> placement = engine_.Place(requests_[size]);
    if (Counts()) {
      outcome_.decisions_us.push_back(MicrosSince(start));
      ++asked_[size];
      if (!placement.ok()) ++refused_[size];
      if (!placement.ok() && Gpus() - used_ >= kSizes[size]) ++for_fragmentation_;
    }
    if (!placement.ok()) return;
    const AssignmentUid uid(std::to_string(++uids_));
    if (!engine_.Reserve(uid, *placement).ok()) std::abort();
    Count(*placement, 1);
    leaving_.emplace(now_ + life, uid);
  }

  void Leave() {
    const AssignmentUid uid = leaving_.top().second;
    leaving_.pop();
    Count(*engine_.FindReservation(uid), -1);
    if (!engine_.Release(uid).ok()) std::abort();
  }

  void Count(const Placement& placement, int by) {
    for (const PlacedDevice& device : placement.devices) {
      int& on_unit = on_unit_[{placement.host.str(), device.unit.str()}];
      if (on_unit == 0) --units_free_;
      on_unit += by;
      if (on_unit == 0) ++units_free_;
      used_ += by;
    }
  }

  Outcome Finish() {
    uint64_t asked = 0;
    for (size_t i = 0; i < requests_.size(); ++i) {
      asked += asked_[i];
      outcome_.refused[i] = asked_[i] == 0 ? 0 : refused_[i] / static_cast<double>(asked_[i]);
    }
    outcome_.requests = asked;
    outcome_.utilisation = utilisation_ / workload_.hours;
    outcome_.fragmentation = with_free_ > 0 ? fragmentation_ / with_free_ : 0;
    outcome_.refused_for_fragmentation =
        asked == 0 ? 0 : for_fragmentation_ / static_cast<double>(asked);
    return std::move(outcome_);
  }

  using Leaving = std::pair<double, AssignmentUid>;
  const Shape shape_;
  const Workload workload_;
  Engine engine_;
  std::array<Request, 4> requests_;
  std::mt19937_64 random_;
  std::discrete_distribution<size_t> size_;
  std::lognormal_distribution<double> lifetime_;
  std::priority_queue<Leaving, std::vector<Leaving>, std::greater<>> leaving_;
  absl::flat_hash_map<std::pair<std::string, std::string>, int> on_unit_;  // GPUs in use
  double now_ = 0;
  int used_ = 0;
  int units_free_ = 0;
  uint64_t uids_ = 0;
  double utilisation_ = 0;  // integrals over time
  double fragmentation_ = 0;
  double with_free_ = 0;
  std::array<uint64_t, 4> asked_{};
  std::array<double, 4> refused_{};
  double for_fragmentation_ = 0;
  Outcome outcome_;
};

}  // namespace

Outcome Simulate(const Shape& shape, const Workload& workload, Policy policy) {
  return Simulation(shape, workload, policy).Run();
}

}  // namespace berth::placement
