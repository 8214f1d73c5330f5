// SPDX-License-Identifier: Apache-2.0
//
// What this folder tells ThreadSanitizer must not make it blind: programs with a race are told so.
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <thread>

#include "tests/rpc/test_service.h"

namespace berth {
namespace {

// Two threads come here, and none goes on before both have. Orders nothing: ThreadSanitizer counts
// only on what is stronger than relaxed.
class Meeting {
 public:
  void Arrive() {
    arrived_.fetch_add(1, std::memory_order_relaxed);
    while (arrived_.load(std::memory_order_relaxed) < 2) std::this_thread::yield();
  }

 private:
  std::atomic<int> arrived_ = 0;
};

class Service : public v1::HostService::CallbackService {
 public:
  explicit Service(std::function<void()> work) : work_(std::move(work)) {}
  grpc::ServerUnaryReactor* GetHost(grpc::CallbackServerContext* context,
                                    const v1::GetHostRequest* request,
                                    v1::Host* response) override {
    response->set_name(request->name());
    work_();
    // Before an answer leaves: whoever hears of it might order the rest.
    meeting_.Arrive();
    auto* reactor = context->DefaultReactor();
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }

 private:
  const std::function<void()> work_;
  Meeting meeting_;
};

// Serves two calls at once, each of which does `work`.
void ServeTwoCalls(std::function<void()> work) {
  Service service(std::move(work));
  const auto server = MustStart({.address = "127.0.0.1:0"}, service);
  const auto call = [&] {
    EXPECT_TRUE(CallGetHost(MustDial({.address = server->address()})).ok());
  };
  std::thread other(call);
  call();
  other.join();
}

void ServeAndExit(std::function<void()> work) {
  ServeTwoCalls(std::move(work));
  std::exit(0);  // ThreadSanitizer makes it 66 after a report
}

class SeesRacesTest : public testing::Test {
 protected:
  SeesRacesTest() {
    // A program of its own, whose report comes here and not to the reports of this run.
    GTEST_FLAG_SET(death_test_style, "threadsafe");
    ::setenv("TSAN_OPTIONS", "log_path=stderr", 1);
  }
};

TEST_F(SeesRacesTest, BetweenHandlers) {
  int calls = 0;
  EXPECT_EXIT(ServeAndExit([&] { ++calls; }), testing::ExitedWithCode(66),
              "data race.*#0 [^\n]*BetweenHandlers_Test::TestBody");
}

TEST_F(SeesRacesTest, OfCopiesBetweenHandlers) {
  const std::string text(100, 'x');
  std::string last(100, ' ');
  EXPECT_EXIT(ServeAndExit([&] { std::memcpy(last.data(), text.data(), text.size()); }),
              testing::ExitedWithCode(66), "data race.*#0 memcpy ");
}

TEST_F(SeesRacesTest, AndNoneWhereAMutexIs) {
  absl::Mutex mu;
  int calls = 0;
  ServeTwoCalls([&] {
    absl::MutexLock lock(&mu);
    ++calls;
  });
  EXPECT_EQ(calls, 2);
}

}  // namespace
}  // namespace berth
