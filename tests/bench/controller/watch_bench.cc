// SPDX-License-Identifier: Apache-2.0
#include "tests/bench/controller/watch_bench.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>

#include <atomic>
#include <chrono>
#include <iostream>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "tests/bench/controller/callers.h"
#include "tests/bench/report.h"

namespace berth::bench {
namespace {

constexpr int kWatchersPerChannel = 125;
constexpr int kBatch = 20;
constexpr absl::Duration kPatience = absl::Seconds(60);

// When each change was asked for. Filled before the watchers can hear of it.
class Calls {
 public:
  void Add(const std::string& name) {
    absl::MutexLock lock(&mu_);
    times_[name] = absl::Now();
  }
  absl::Time Of(const std::string& name) const {
    absl::ReaderMutexLock lock(&mu_);
    const auto found = times_.find(name);
    return found == times_.end() ? absl::InfiniteFuture() : found->second;
  }

 private:
  mutable absl::Mutex mu_;
  std::map<std::string, absl::Time> times_ ABSL_GUARDED_BY(mu_);
};

// One who watches. Only some note how late each change comes: that costs more than the message.
class Watcher : public grpc::ClientReadReactor<v1::WatchAssignmentsResponse> {
 public:
  Watcher(const std::shared_ptr<Stub>& stub, const Calls* calls, bool notes)
      : stub_(stub), calls_(notes ? calls : nullptr) {
    stub_->async()->WatchAssignments(&context_, &request_, this);
    StartRead(&response_);
    StartCall();
  }
  void Cancel() {
    context_.TryCancel();
    done_.WaitForNotification();
  }

  [[nodiscard]] int64_t events() const { return events_; }
  [[nodiscard]] int64_t messages() const { return messages_; }
  [[nodiscard]] bool ended() const { return done_.HasBeenNotified(); }
  // After Cancel().
  [[nodiscard]] const std::vector<double>& latencies_us() const { return latencies_us_; }

 private:
  void OnReadDone(bool ok) override {
    if (!ok) return;
    if (calls_ != nullptr) {
      const absl::Time now = absl::Now();
      for (const v1::AssignmentEvent& event : response_.events()) {
        const absl::Time called = calls_->Of(event.assignment().name());
        if (called < now) latencies_us_.push_back(absl::ToDoubleMicroseconds(now - called));
      }
    }
    events_ += response_.events_size();
    ++messages_;
    StartRead(&response_);
  }
  void OnDone(const grpc::Status&) override { done_.Notify(); }

  const std::shared_ptr<Stub> stub_;
  const Calls* const calls_;  // null: takes no notes
  grpc::ClientContext context_;
  const v1::WatchAssignmentsRequest request_;
  v1::WatchAssignmentsResponse response_;
  std::atomic<int64_t> events_{0};
  std::atomic<int64_t> messages_{0};
  std::vector<double> latencies_us_;
  absl::Notification done_;
};

// They wait for a host that never comes: a change each, and nothing after it.
v1::BatchCreateAssignmentsRequest Queued(int batch, Calls* calls) {
  v1::BatchCreateAssignmentsRequest request;
  request.set_mode(v1::BatchCreateAssignmentsRequest::INDEPENDENT);
  for (int i = 0; i < kBatch; ++i) {
    v1::CreateAssignmentRequest& one = *request.add_requests();
    one = MakeCreate("watched", batch * kBatch + i);
    one.mutable_assignment()->mutable_spec()->set_when_unavailable(v1::AssignmentSpec::QUEUE);
    calls->Add(absl::StrCat("assignments/", one.assignment_id()));
  }
  return request;
}

absl::Status MakeChanges(const WatchBenchOptions& options, Calls* calls) {
  const std::shared_ptr<Stub> stub = Connect(options.api, 1).front();
  const int batches = options.seconds * options.changes_per_second / kBatch;
  const absl::Time start = absl::Now();
  for (int i = 0; i < batches; ++i) {
    const absl::Time due =
        start + absl::Seconds(static_cast<double>(i) * kBatch / options.changes_per_second);
    absl::SleepFor(due - absl::Now());
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(60));
    v1::BatchCreateAssignmentsResponse response;
    const grpc::Status status = stub->BatchCreateAssignments(&context, Queued(i, calls), &response);
    if (!status.ok()) {
      return absl::Status(static_cast<absl::StatusCode>(status.error_code()),
                          status.error_message());
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status BenchWatch(const WatchBenchOptions& options) {
  std::cerr << "watch_fanout: " << options.watchers << " watchers\n";
  Calls calls;
  std::vector<std::unique_ptr<Watcher>> watchers;
  std::shared_ptr<Stub> stub;
  for (int i = 0; i < options.watchers; ++i) {
    if (i % kWatchersPerChannel == 0) stub = Connect(options.api, 1).front();
    watchers.push_back(std::make_unique<Watcher>(stub, &calls, i % 50 == 0));
  }
  // The first message of each is the present, also when that is nothing.
  const auto all = [&](const auto& holds) {
    const absl::Time end = absl::Now() + kPatience;
    for (const auto& watcher : watchers) {
      while (!holds(*watcher) && !watcher->ended() && absl::Now() < end) {
        absl::SleepFor(absl::Milliseconds(1));
      }
    }
  };
  all([](const Watcher& watcher) { return watcher.messages() > 0; });
  const absl::Time start = absl::Now();
  const absl::Status made = MakeChanges(options, &calls);
  const absl::Time changed = absl::Now();
  const int64_t changes = int64_t{options.seconds} * options.changes_per_second;
  all([&](const Watcher& watcher) { return watcher.events() >= changes; });
  const absl::Time end = absl::Now();
  int64_t events = 0;
  int ended = 0;
  std::vector<double> latencies;
  for (const auto& watcher : watchers) {
    ended += watcher->ended() ? 1 : 0;
    watcher->Cancel();
    events += watcher->events();
    latencies.insert(latencies.end(), watcher->latencies_us().begin(),
                     watcher->latencies_us().end());
  }
  if (!made.ok()) return made;
  if (latencies.empty()) return absl::InternalError("no watcher has heard of any change");
  const double rate = static_cast<double>(events) / absl::ToDoubleSeconds(end - start);
  PrintRate("watch_fanout", rate, QuantilesOf(std::move(latencies)),
            {{"watchers", absl::StrCat(options.watchers)},
             {"changes", absl::StrCat(changes)},
             {"changes_per_second",
              JsonNumber(static_cast<double>(changes) / absl::ToDoubleSeconds(changed - start))},
             {"watches_ended", absl::StrCat(ended)}});
  return absl::OkStatus();
}

}  // namespace berth::bench
