// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_TESTS_AGENT_LINK_CONTROLLER_LINK_FIXTURE_H_
#define BERTH_TESTS_AGENT_LINK_CONTROLLER_LINK_FIXTURE_H_

#include <grpcpp/channel.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "agent/link/controller_link.h"
#include "lib/base/status.h"
#include "lib/rpc/channel.h"
#include "tests/agent/link/fake_controller.h"
#include "tests/testing/poll_until.h"

namespace berth {

inline constexpr absl::Duration kPatience = absl::Seconds(60);

// Says Hello, writes down what it is told, and answers with what the test has put there.
class Delegate : public LinkDelegate {
 public:
  agent::v1::Hello MakeHello() override {
    absl::MutexLock lock(&mu_);
    agent::v1::Hello hello;
    hello.set_host_id("left");
    hello.set_incarnation(++hellos_);
    return hello;
  }
  absl::Status OnWelcome(const agent::v1::Welcome& welcome) override {
    absl::MutexLock lock(&mu_);
    told_.push_back("welcome " + welcome.epoch().store_uid());
    return answer_;
  }
  absl::Status OnDelta(const agent::v1::DesiredDelta& delta) override {
    absl::MutexLock lock(&mu_);
    told_.push_back("delta " + delta.forget(0));
    return answer_;
  }

  absl::Status OnAudit(const agent::v1::AuditRequest& request) override {
    absl::MutexLock lock(&mu_);
    told_.push_back("audit " + std::to_string(request.sequence()));
    return answer_;
  }

  void AnswerWith(absl::Status answer) {
    absl::MutexLock lock(&mu_);
    answer_ = std::move(answer);
  }
  // Waits until as much has been told, and returns it.
  std::vector<std::string> AwaitTold(size_t count) {
    absl::MutexLock lock(&mu_);
    const auto enough = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return told_.size() >= count; };
    EXPECT_TRUE(mu_.AwaitWithTimeout(absl::Condition(&enough), kPatience));
    return told_;
  }

 private:
  absl::Mutex mu_;
  int64_t hellos_ ABSL_GUARDED_BY(mu_) = 0;
  absl::Status answer_ ABSL_GUARDED_BY(mu_);
  std::vector<std::string> told_ ABSL_GUARDED_BY(mu_);
};

class ControllerLinkTest : public ::testing::Test {
 protected:
  ControllerLinkTest() {
    // Aborts when locks are taken in an order that could end in a deadlock.
    absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kAbort);
    folder_ = std::filesystem::temp_directory_path() / "berth-link-XXXXXX";
    EXPECT_NE(::mkdtemp(folder_.data()), nullptr);
    options_.addresses = {"unix:" + Socket("a")};
    options_.channel = [this](const std::string& address) {
      NoteAttempt(address);
      return MakeChannel({.address = address,
                          .tls = {},
                          .plaintext = Plaintext::kLocalOnly,
                          .server_name = "",
                          .keepalive = ChannelOptions::Keepalive::kAlways});
    };
    options_.delegate = &delegate_;
    options_.clock = &Clock::Real();
    options_.backoff_min = absl::Milliseconds(1);
    options_.backoff_max = absl::Milliseconds(5);
  }
  ~ControllerLinkTest() override {
    link_.reset();
    controller_.reset();
    std::filesystem::remove_all(folder_);
  }

  [[nodiscard]] std::string Socket(const std::string& name) const { return folder_ + "/" + name; }
  void StartController() { controller_ = std::make_unique<testing::FakeController>(Socket("a")); }
  testing::FakeController& controller() { return *controller_; }
  void StopController() { controller_.reset(); }

  FakeClock& UseFakeClock() {
    options_.clock = &fake_clock_;
    return fake_clock_;
  }
  void StartLink() {
    link_ = std::make_unique<ControllerLink>(options_);
    link_->Start();
  }
  ControllerLink& link() { return *link_; }
  void AwaitConnected() {
    AwaitStatus([](const ControllerLink::Status& status) { return status.connected; });
  }
  // The status has no condition to wait for; the test's own time-out is the limit.
  ControllerLink::Status AwaitStatus(
      const std::function<bool(const ControllerLink::Status&)>& fits) {
    ControllerLink::Status status = link_->status();
    testing::PollUntil([&] { return fits(status = link_->status()); });
    return status;
  }
  std::string AwaitError(const std::string& part) {
    return AwaitStatus([&](const ControllerLink::Status& status) {
             return status.last_error.find(part) != std::string::npos;
           })
        .last_error;
  }
  // Moves the fake clock in small steps until `done`; each step gives the link time to see it.
  // Returns how far.
  absl::Duration AdvanceUntil(absl::Duration step, absl::Duration pause,
                              const std::function<bool()>& done) {
    absl::Duration all;
    const auto advanced = [&] {
      if (done()) return true;
      fake_clock_.Advance(step);
      all += step;
      return false;
    };
    testing::PollUntil(advanced, static_cast<int>(absl::ToInt64Milliseconds(pause)));
    return all;
  }

  struct Attempt {
    std::string address;
    absl::Time time;
  };
  std::vector<Attempt> attempts() {
    absl::MutexLock lock(&mu_);
    return attempts_;
  }
  std::vector<Attempt> AwaitAttempts(size_t count) {
    absl::MutexLock lock(&mu_);
    const auto enough = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
      return attempts_.size() >= count;
    };
    EXPECT_TRUE(mu_.AwaitWithTimeout(absl::Condition(&enough), kPatience));
    return attempts_;
  }
  void NoteAttempt(const std::string& address) {
    absl::MutexLock lock(&mu_);
    attempts_.push_back({address, options_.clock->Now()});
  }

  static agent::v1::GrantStatus Grant(const std::string& uid, int64_t generation) {
    agent::v1::GrantStatus status;
    status.set_assignment_uid(uid);
    status.set_generation(generation);
    return status;
  }
  static agent::v1::Welcome WelcomeEvery(int64_t milliseconds) {
    agent::v1::Welcome welcome = testing::FakeController::DefaultWelcome();
    welcome.mutable_heartbeat_interval()->set_seconds(milliseconds / 1000);
    welcome.mutable_heartbeat_interval()->set_nanos(
        static_cast<int32_t>(milliseconds % 1000 * 1'000'000));
    return welcome;
  }
  static agent::v1::ControllerMessage DeltaForgetting(const std::string& uid) {
    agent::v1::ControllerMessage message;
    message.mutable_delta()->add_forget(uid);
    return message;
  }

  Delegate delegate_;
  ControllerLink::Options options_;

 private:
  std::string folder_;
  FakeClock fake_clock_;
  absl::Mutex mu_;
  std::vector<Attempt> attempts_ ABSL_GUARDED_BY(mu_);
  std::unique_ptr<testing::FakeController> controller_;
  std::unique_ptr<ControllerLink> link_;
};

}  // namespace berth

#endif  // BERTH_TESTS_AGENT_LINK_CONTROLLER_LINK_FIXTURE_H_
