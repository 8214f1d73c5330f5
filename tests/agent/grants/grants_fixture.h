// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_TESTS_AGENT_GRANTS_GRANTS_FIXTURE_H_
#define BERTH_TESTS_AGENT_GRANTS_GRANTS_FIXTURE_H_

#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "agent/grants/grant_manager.h"
#include "tests/agent/grants/emulated_host.h"
#include "tests/agent/grants/failing_kernel.h"

namespace berth::testing {

// A manager of grants over an emulated host, and all that it reported.
class GrantsFixture : public ::testing::Test {
 protected:
  using State = v1::Assignment;

  // Long enough for a loaded machine; a test that passes never waits so long.
  static constexpr absl::Duration kPatience = absl::Seconds(60);

  GrantsFixture() : failing_(&host_.kernel()), pool_(2) {
    limits_.retry_min = absl::Milliseconds(1);
    limits_.retry_max = absl::Milliseconds(5);
    limits_.regions_per_grant = 4;
    limits_.memory_per_grant = 64 << 20;
    limits_.resume_grace = absl::Milliseconds(1);
  }
  ~GrantsFixture() override { manager_.reset(); }

  // Before the first use of manager().
  GrantLimits& limits() { return limits_; }
  FakeClock& UseFakeClock() {
    clock_ = &fake_clock_;
    return fake_clock_;
  }

  GrantManager& manager() {
    if (manager_ == nullptr) {
      GrantManager::Options options;
      options.kernel = &failing_;
      options.devices = &host_.lookup();
      options.pool = &pool_;
      options.clock = clock_;
      options.limits = limits_;
      options.on_status = [this](const agent::v1::GrantStatus& status) {
        absl::MutexLock lock(&mu_);
        reported_[status.assignment_uid()].push_back(status);
      };
      options.on_fenced = [this] { ++fenced_; };
      options.on_unit_fault = [this](const AssignmentUid& by, const UnitId& unit,
                                     const absl::Status& fault) {
        absl::MutexLock lock(&mu_);
        unit_faults_.push_back(by.str() + ": " + unit.str() + " " +
                               std::string(ReasonName(ReasonOf(fault))));
      };
      options.on_events = [this](const AssignmentUid& by, const std::vector<EventNews>& news) {
        absl::MutexLock lock(&mu_);
        if (news.empty()) event_news_[by.str()].clear();
        for (const EventNews& one : news) event_news_[by.str()].push_back(one);
      };
      options.on_vintfs = [this](const UnitId&, const GrantManager::VintfCount& count) {
        // As the inventory does.
        if (count.missing < 0 || !count.lost_by.empty()) host_.LoseVintfs(count.missing);
        absl::MutexLock lock(&mu_);
        vintf_counts_.push_back(count);
      };
      manager_ = std::make_unique<GrantManager>(std::move(options));
    }
    return *manager_;
  }

  // Waits until a report about `uid` that nobody has waited for yet fits, and returns it.
  agent::v1::GrantStatus Await(const std::string& uid,
                               std::function<bool(const agent::v1::GrantStatus&)> fits) {
    absl::MutexLock lock(&mu_);
    size_t& seen = seen_[uid];
    const auto found = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
      const std::vector<agent::v1::GrantStatus>& all = reported_[uid];
      for (; seen < all.size(); ++seen) {
        if (fits(all[seen])) return true;
      }
      return false;
    };
    if (!mu_.AwaitWithTimeout(absl::Condition(&found), kPatience)) {
      ADD_FAILURE() << "the report never came; all so far:\n" << History(uid);
      return {};
    }
    return reported_[uid][seen++];
  }
  agent::v1::GrantStatus Await(const std::string& uid, State::Observed observed) {
    return Await(uid, [observed](const agent::v1::GrantStatus& status) {
      return status.observed() == observed;
    });
  }
  agent::v1::GrantStatus AwaitCondition(const std::string& uid, const std::string& type) {
    return Await(uid, [type](const agent::v1::GrantStatus& status) {
      return status.conditions_size() > 0 && status.conditions(0).type() == type;
    });
  }

  // The states reported so far, without repetitions.
  std::vector<State::Observed> States(const std::string& uid) {
    absl::MutexLock lock(&mu_);
    std::vector<State::Observed> states;
    for (const agent::v1::GrantStatus& status : reported_[uid]) {
      if (states.empty() || states.back() != status.observed()) states.push_back(status.observed());
    }
    return states;
  }

  // "uid: unit REASON" of each that was told.
  std::vector<std::string> UnitFaults() {
    absl::MutexLock lock(&mu_);
    return unit_faults_;
  }

  // What was told of the VINTFs of "smmu0".
  std::vector<GrantManager::VintfCount> VintfCounts() {
    absl::MutexLock lock(&mu_);
    return vintf_counts_;
  }

  // Waits until what was told of the events of `uid`, and is not over, fits.
  std::vector<EventNews> AwaitEventNews(const std::string& uid,
                                        std::function<bool(const std::vector<EventNews>&)> fits) {
    absl::MutexLock lock(&mu_);
    const auto found = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return fits(event_news_[uid]); };
    EXPECT_TRUE(mu_.AwaitWithTimeout(absl::Condition(&found), kPatience));
    return event_news_[uid];
  }

  // Commands of which it was told that they were refused.
  [[nodiscard]] int fenced() const { return fenced_; }

  void ExpectNothingLeft() { EXPECT_EQ(host_.Leftovers(), ""); }

  EmulatedHost host_;
  FailingKernel failing_;

 private:
  std::string History(const std::string& uid) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    std::string text;
    for (const agent::v1::GrantStatus& status : reported_[uid])
      text += status.ShortDebugString() + "\n";
    return text;
  }

  ThreadPool pool_;
  GrantLimits limits_;
  FakeClock fake_clock_;
  Clock* clock_ = &Clock::Real();
  absl::Mutex mu_;
  std::map<std::string, std::vector<agent::v1::GrantStatus>> reported_ ABSL_GUARDED_BY(mu_);
  std::map<std::string, size_t> seen_ ABSL_GUARDED_BY(mu_);
  std::vector<std::string> unit_faults_ ABSL_GUARDED_BY(mu_);
  std::vector<GrantManager::VintfCount> vintf_counts_ ABSL_GUARDED_BY(mu_);
  std::map<std::string, std::vector<EventNews>> event_news_ ABSL_GUARDED_BY(mu_);
  std::atomic<int> fenced_ = 0;
  std::unique_ptr<GrantManager> manager_;
};

}  // namespace berth::testing

#endif  // BERTH_TESTS_AGENT_GRANTS_GRANTS_FIXTURE_H_
