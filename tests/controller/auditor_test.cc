// SPDX-License-Identifier: Apache-2.0
//
// Whose turn it is, in fleets that are larger than agents are cheap.
#include "ctl/controller/audit/auditor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "lib/base/clock.h"
#include "lib/store/memory_store.h"

namespace berth {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

// Remembers what it was asked.
class Session : public HostSession {
 public:
  bool Welcome(agent::v1::Welcome) override { return true; }
  void Upsert(agent::v1::DesiredGrant) override {}
  void Forget(const std::string&) override {}
  bool Audit(agent::v1::AuditRequest request) override {
    requests.push_back(std::move(request));
    return connected;
  }
  void Close(const absl::Status& status) override { closed = status; }

  std::vector<agent::v1::AuditRequest> requests;
  bool connected = true;
  std::optional<absl::Status> closed;
};

class AuditorTest : public ::testing::Test {
 protected:
  AuditorTest() {
    options_.interval = absl::Minutes(1);
    options_.max_in_flight = 2;
    options_.metrics = &metrics_;
  }

  void AddHosts(int count) {
    absl::MutexLock lock(&fleet_.mu);
    for (int i = 0; i < count; ++i) {
      const std::string id = absl::StrCat("h", i);
      sessions_.push_back(std::make_shared<Session>());
      fleet_.hosts[id].session = sessions_.back();
      fleet_.hosts[id].state = v1::Host::READY;
    }
  }
  void SetState(int host, v1::Host::State state) {
    absl::MutexLock lock(&fleet_.mu);
    fleet_.hosts[absl::StrCat("h", host)].state = state;
  }
  Auditor& auditor() {
    if (auditor_ == nullptr) auditor_ = std::make_unique<Auditor>(&fleet_, options_);
    return *auditor_;
  }
  void Pass(absl::Duration time) {
    auditor();
    clock_.Advance(time);
    auditor().Tick();
  }
  // How often each host has been asked.
  std::vector<size_t> Asked() const {
    std::vector<size_t> asked;
    for (const auto& session : sessions_) asked.push_back(session->requests.size());
    return asked;
  }
  void Answer(int host, const std::string& held_device = "") {
    agent::v1::AuditReport report;
    report.set_sequence(sessions_[host]->requests.back().sequence());
    if (!held_device.empty()) report.add_held_devices()->set_device(held_device);
    auditor().Report(absl::StrCat("h", host), sessions_[host].get(), report);
  }
  std::string Metric(const std::string& series) const {
    const std::string text = metrics_.Text();
    const size_t at = text.find("\n" + series + " ") + 1;
    return text.substr(at, text.find('\n', at) - at);
  }

  FakeClock clock_{absl::FromUnixSeconds(1'700'000'000)};
  const std::unique_ptr<Store> store_ = *OpenMemoryStore(std::make_shared<MemoryMedium>());
  WatchHub hub_{{.watchers = 1, .buffered_changes = 1}};
  Fleet fleet_{{.store = store_.get(),
                .clock = &clock_,
                .hub = &hub_,
                .on_store_failed = {},
                .on_broken_record = {}}};
  Metrics metrics_;
  Auditor::Options options_;
  std::vector<std::shared_ptr<Session>> sessions_;

 private:
  std::unique_ptr<Auditor> auditor_;
};

TEST_F(AuditorTest, HostsAreSpreadOverTheInterval) {
  AddHosts(4);
  Pass(absl::Seconds(14));
  EXPECT_THAT(Asked(), ElementsAre(0, 0, 0, 0));
  Pass(absl::Seconds(1));
  EXPECT_THAT(Asked(), ElementsAre(1, 0, 0, 0));
  Answer(0);
  Pass(absl::Seconds(15));
  EXPECT_THAT(Asked(), ElementsAre(1, 1, 0, 0));
}

TEST_F(AuditorTest, SoManyAreAskedAtOnceAndAnswersMakeRoom) {
  AddHosts(5);
  Pass(absl::Hours(1));
  EXPECT_THAT(Asked(), ElementsAre(1, 1, 0, 0, 0));
  Answer(1);
  EXPECT_THAT(Asked(), ElementsAre(1, 1, 1, 0, 0));
  Answer(0);
  Answer(2);
  EXPECT_THAT(Asked(), ElementsAre(1, 1, 1, 1, 1)) << "once each, however long the pause was";
  Answer(3);
  Answer(4);
  EXPECT_THAT(Asked(), ElementsAre(1, 1, 1, 1, 1));
}

TEST_F(AuditorTest, WhoDoesNotAnswerMakesRoomInTheEnd) {
  AddHosts(3);
  Pass(absl::Minutes(1));
  EXPECT_THAT(Asked(), ElementsAre(1, 1, 0));
  Pass(options_.answer_timeout);
  EXPECT_THAT(Asked(), ElementsAre(1, 1, 1));
  EXPECT_EQ(Metric("berth_audit_hosts_total{outcome=\"unanswered\"}"),
            "berth_audit_hosts_total{outcome=\"unanswered\"} 2");
}

TEST_F(AuditorTest, OnlyThoseThatAreReadyAreAsked) {
  AddHosts(3);
  SetState(0, v1::Host::SUSPECT);
  SetState(1, v1::Host::BROKEN);
  Pass(absl::Minutes(1));
  EXPECT_THAT(Asked(), ElementsAre(0, 0, 1));
}

TEST_F(AuditorTest, AHostWhoseStreamHasEndedIsNotWaitedFor) {
  AddHosts(3);
  sessions_[0]->connected = false;
  sessions_[1]->connected = false;
  Pass(absl::Minutes(1));
  Pass(absl::ZeroDuration());
  EXPECT_THAT(Asked(), ElementsAre(1, 1, 1));
}

TEST_F(AuditorTest, DriftOfAHostThatIsForgottenIsForgottenToo) {
  options_.max_in_flight = 10;
  AddHosts(1);
  for (int i = 0; i < 2; ++i) {
    Pass(absl::Minutes(1));
    Answer(0, "gpu0");
  }
  EXPECT_EQ(Metric("berth_audit_drift"), "berth_audit_drift 1");
  EXPECT_FALSE(sessions_[0]->closed.has_value()) << "a fresh exchange would not help";
  AddHosts(2);
  {
    absl::MutexLock lock(&fleet_.mu);
    fleet_.hosts.erase("h0");
  }
  // A round over those that are left.
  Pass(absl::Minutes(1));
  Pass(absl::Minutes(1));
  EXPECT_EQ(Metric("berth_audit_drift"), "berth_audit_drift 0");
}

TEST_F(AuditorTest, NobodyIsAskedInAnEmptyFleetOrAfterTheEnd) {
  Pass(absl::Hours(1));
  AddHosts(1);
  auditor().Close();
  Pass(absl::Hours(1));
  EXPECT_THAT(sessions_[0]->requests, IsEmpty());
}

}  // namespace
}  // namespace berth
