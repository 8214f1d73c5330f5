// SPDX-License-Identifier: Apache-2.0
#include "tests/bench/controller/watch_bench.h"

#include <google/protobuf/io/coded_stream.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/support/proto_buffer_reader.h>
#include <unistd.h>

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
#include "lib/base/status.h"
#include "tests/bench/controller/callers.h"
#include "tests/bench/controller/process_cpu.h"
#include "tests/bench/report.h"

namespace berth::bench {
namespace {

constexpr int kWatchersPerChannel = 125;
// One of so many reads what it is told.
constexpr int kReadersEvery = 50;
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

// How many events a message has, without a look at what is in them.
int64_t CountEvents(grpc::ByteBuffer* message) {
  grpc::ProtoBufferReader bytes(message);
  google::protobuf::io::CodedInputStream in(&bytes);
  int64_t events = 0;
  constexpr uint32_t kEvents = v1::WatchAssignmentsResponse::kEventsFieldNumber << 3 | 2;
  for (uint32_t tag = in.ReadTag(); tag != 0; tag = in.ReadTag()) {
    uint32_t length = 0;
    if (!in.ReadVarint32(&length) || !in.Skip(static_cast<int>(length))) break;
    if (tag == kEvents) ++events;
  }
  return events;
}

using GenericStub = grpc::TemplatedGenericStub<v1::WatchAssignmentsRequest, grpc::ByteBuffer>;

// One who watches. Watchers are elsewhere, and here they share the cores with what they watch: they
// count events; only some read them, and note how late each is.
class Watcher : public grpc::ClientBidiReactor<v1::WatchAssignmentsRequest, grpc::ByteBuffer> {
 public:
  Watcher(const std::shared_ptr<GenericStub>& stub, const Calls* calls, bool reads)
      : stub_(stub), calls_(reads ? calls : nullptr) {
    stub_->PrepareBidiStreamingCall(&context_, "/berth.v1.AssignmentService/WatchAssignments", {},
                                    this);
    StartWriteLast(&request_, grpc::WriteOptions());
    StartRead(&message_);
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
    events_ += calls_ == nullptr ? CountEvents(&message_) : ReadEvents();
    ++messages_;
    StartRead(&message_);
  }
  void OnDone(const grpc::Status&) override { done_.Notify(); }

  int64_t ReadEvents() {
    v1::WatchAssignmentsResponse response;
    if (!grpc::SerializationTraits<v1::WatchAssignmentsResponse>::Deserialize(&message_, &response)
             .ok()) {
      return 0;
    }
    const absl::Time now = absl::Now();
    for (const v1::AssignmentEvent& event : response.events()) {
      const absl::Time called = calls_->Of(event.assignment().name());
      if (called < now) latencies_us_.push_back(absl::ToDoubleMicroseconds(now - called));
    }
    return response.events_size();
  }

  const std::shared_ptr<GenericStub> stub_;
  const Calls* const calls_;  // null: only counts
  grpc::ClientContext context_;
  const v1::WatchAssignmentsRequest request_;
  grpc::ByteBuffer message_;
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

// What the controller and this program have used of CPUs, in seconds.
struct Cpu {
  double controller = 0;
  double watchers = 0;
};
struct Usage {
  Cpu before;
  Cpu after;
};

absl::StatusOr<Cpu> CpuOf(const WatchBenchOptions& options) {
  Cpu cpu;
  BERTH_ASSIGN_OR_RETURN(cpu.controller, CpuSeconds(options.controller_pid));
  BERTH_ASSIGN_OR_RETURN(cpu.watchers, CpuSeconds(::getpid()));
  return cpu;
}

// What all watchers together have heard.
struct Heard {
  int64_t events = 0;
  int64_t messages = 0;
  int ended = 0;
  std::vector<double> latencies_us;

  // Ends it.
  void Add(Watcher& watcher) {
    ended += watcher.ended() ? 1 : 0;
    watcher.Cancel();
    events += watcher.events();
    messages += watcher.messages();
    latencies_us.insert(latencies_us.end(), watcher.latencies_us().begin(),
                        watcher.latencies_us().end());
  }
};

struct Times {
  absl::Duration all;
  absl::Duration changing;
};

void Print(const WatchBenchOptions& options, const Heard& heard, const Usage& usage,
           const Times& times) {
  const auto events = static_cast<double>(heard.events);
  const double changes = static_cast<double>(options.seconds) * options.changes_per_second;
  const auto per_event = [&](double seconds) { return JsonNumber(1e6 * seconds / events); };
  PrintRate(
      "watch_fanout", events / absl::ToDoubleSeconds(times.all), QuantilesOf(heard.latencies_us),
      {{"watchers", absl::StrCat(options.watchers)},
       {"watchers_that_read", absl::StrCat((options.watchers - 1) / kReadersEvery + 1)},
       {"changes", JsonNumber(changes)},
       {"changes_per_second", JsonNumber(changes / absl::ToDoubleSeconds(times.changing))},
       {"changes_per_message", JsonNumber(events / static_cast<double>(heard.messages))},
       {"controller_cpu_us_per_delivery",
        per_event(usage.after.controller - usage.before.controller)},
       {"watchers_cpu_us_per_delivery", per_event(usage.after.watchers - usage.before.watchers)},
       {"watchers_ended", absl::StrCat(heard.ended)}});
}

}  // namespace

absl::Status BenchWatch(const WatchBenchOptions& options) {
  std::cerr << "watch_fanout: " << options.watchers << " watchers\n";
  Calls calls;
  std::vector<std::unique_ptr<Watcher>> watchers;
  std::shared_ptr<GenericStub> stub;
  for (int i = 0; i < options.watchers; ++i) {
    if (i % kWatchersPerChannel == 0) {
      grpc::ChannelArguments arguments;
      arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);  // a connection of its own
      stub = std::make_shared<GenericStub>(
          grpc::CreateCustomChannel(options.api, grpc::InsecureChannelCredentials(), arguments));
    }
    watchers.push_back(std::make_unique<Watcher>(stub, &calls, i % kReadersEvery == 0));
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
  Usage usage;
  BERTH_ASSIGN_OR_RETURN(usage.before, CpuOf(options));
  const absl::Time start = absl::Now();
  absl::Status made = MakeChanges(options, &calls);
  const absl::Time changed = absl::Now();
  const int64_t changes = int64_t{options.seconds} * options.changes_per_second;
  all([&](const Watcher& watcher) { return watcher.events() >= changes; });
  const absl::Time end = absl::Now();
  BERTH_ASSIGN_OR_RETURN(usage.after, CpuOf(options));
  Heard heard;
  for (const auto& watcher : watchers) heard.Add(*watcher);
  if (!made.ok()) return made;
  if (heard.latencies_us.empty()) return absl::InternalError("no watcher has heard of any change");
  Print(options, heard, usage, {.all = end - start, .changing = changed - start});
  return absl::OkStatus();
}

}  // namespace berth::bench
