// SPDX-License-Identifier: Apache-2.0
#include "lib/store/etcd/leadership.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

#include "absl/synchronization/notification.h"
#include "lib/base/status.h"
#include "tests/testing/etcd_server.h"
#include "tests/testing/poll_until.h"

namespace berth {
namespace {

using ::berth::testing::EtcdServer;
using ::berth::testing::GetFromEtcd;
using ::berth::testing::PollUntil;
using ::berth::testing::PutInEtcd;

class LeadershipTest : public ::testing::Test {
 protected:
  absl::StatusOr<std::unique_ptr<Leadership>> Acquire(
      const std::string& holder, absl::Duration wait = absl::ZeroDuration(),
      std::function<void(const absl::Status&)> on_lost = nullptr) {
    Leadership::Options options = OptionsOf(holder);
    options.wait = wait;
    options.on_lost = std::move(on_lost);
    return Leadership::Acquire(client_, options);
  }
  Leadership::Options OptionsOf(const std::string& holder) {
    Leadership::Options options = {.key = "/leader", .ttl = kTtl, .clock = &clock_};
    options.holder.set_description(holder);
    options.holder.set_api_address(holder + ".example:7440");
    return options;
  }
  // Whether a Txn with this fence is committed.
  bool Holds(const etcdserverpb::Compare& fence) {
    etcdserverpb::TxnRequest txn;
    *txn.add_compare() = fence;
    txn.add_success()->mutable_request_put()->set_key("/work");
    const auto response = client_->RepeatTxn(txn);
    EXPECT_TRUE(response.ok()) << response.status();
    return response.ok() && response->succeeded();
  }

  // Longer than any test is held up: nothing ends by real time.
  static constexpr absl::Duration kTtl = absl::Minutes(10);
  EtcdServer server_;
  FakeClock clock_;
  const std::shared_ptr<EtcdClient> client_ = server_.Client();
};

TEST_F(LeadershipTest, OneLeadsAndTheOtherIsToldWho) {
  auto first = Acquire("first");
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_TRUE(Holds((*first)->fence()));
  EXPECT_EQ(GetFromEtcd(*client_, "/leader").value(),
            R"({"description":"first","apiAddress":"first.example:7440"})");
  const absl::Status second = Acquire("second").status();
  EXPECT_EQ(ReasonOf(second), Reason::kStoreLocked) << second;
  EXPECT_EQ(MetadataOf(second)["holder"], "first");
}

TEST_F(LeadershipTest, WhoResignsLeavesThePlaceToTheNext) {
  auto first = Acquire("first");
  ASSERT_TRUE(first.ok()) << first.status();
  const etcdserverpb::Compare old_fence = (*first)->fence();
  first->reset();
  EXPECT_FALSE(Holds(old_fence));
  auto second = Acquire("second");
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_TRUE(Holds((*second)->fence()));
  EXPECT_FALSE(Holds(old_fence)) << "a fence that has fallen never stands again";
}

TEST_F(LeadershipTest, OneWaitsForTheOtherToGo) {
  auto first = Acquire("first");
  ASSERT_TRUE(first.ok()) << first.status();
  std::unique_ptr<Leadership> next;
  std::thread waiting([&] {
    auto second = Acquire("second", absl::Hours(1));
    ASSERT_TRUE(second.ok()) << second.status();
    next = *std::move(second);
  });
  first->reset();
  waiting.join();
  ASSERT_NE(next, nullptr);
  EXPECT_TRUE(Holds(next->fence()));
}

TEST_F(LeadershipTest, OneThatWaitsIsToldWhoLeadsAndMayStop) {
  auto first = Acquire("first");
  ASSERT_TRUE(first.ok()) << first.status();
  Leadership::Options options = OptionsOf("second");
  options.wait = absl::InfiniteDuration();
  std::vector<std::string> seen;
  options.keep_waiting = [&](const internal::v1::EtcdLeader& leader) {
    seen.push_back(leader.api_address());
    return seen.size() < 3;
  };
  EXPECT_EQ(ReasonOf(Leadership::Acquire(client_, options).status()), Reason::kStoreLocked);
  EXPECT_EQ(seen, std::vector<std::string>(3, "first.example:7440"));

  // While it waits the place becomes free.
  options.keep_waiting = [&](const internal::v1::EtcdLeader&) {
    first->reset();
    return true;
  };
  const auto second = Leadership::Acquire(client_, options);
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_TRUE(Holds((*second)->fence()));
}

TEST_F(LeadershipTest, AValueOfSomebodyElseIsShownAsItIs) {
  PutInEtcd(*client_, "/leader", "a stranger\n");
  const absl::Status refused = Acquire("first").status();
  EXPECT_EQ(MetadataOf(refused)["holder"], "a stranger\\n");
}

TEST_F(LeadershipTest, OfManyThatWantToOneLeads) {
  std::atomic<int> leaders = 0;
  std::atomic<int> refused = 0;
  std::vector<std::unique_ptr<Leadership>> results(8);
  std::vector<std::thread> threads;
  for (size_t i = 0; i < results.size(); ++i) {
    threads.emplace_back([&, i] {
      auto leadership = Acquire(std::to_string(i));
      ++(leadership.ok() ? leaders : refused);
      if (leadership.ok()) results[i] = *std::move(leadership);
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(leaders, 1);
  EXPECT_EQ(refused, 7);
}

TEST_F(LeadershipTest, TheLeaseIsRenewedWhileItsHolderLives) {
  auto leadership = Acquire("first");
  ASSERT_TRUE(leadership.ok()) << leadership.status();
  for (int i = 0; i < 5; ++i) {
    clock_.Advance(kTtl / 2);
    PollUntil([&] { return (*leadership)->valid_until() == clock_.Now() + kTtl; });
  }
  EXPECT_TRUE(Holds((*leadership)->fence()));
}

TEST_F(LeadershipTest, AHolderWhoseLeaseHasEndedIsTold) {
  absl::Notification told;
  absl::Status why;
  auto leadership = Acquire("first", absl::ZeroDuration(), [&](const absl::Status& status) {
    why = status;
    told.Notify();
  });
  ASSERT_TRUE(leadership.ok()) << leadership.status();
  ASSERT_TRUE(client_->RevokeLease((*leadership)->lease()).ok());
  EXPECT_FALSE(Holds((*leadership)->fence())) << "etcd knows before the holder does";
  clock_.Advance(kTtl / 2);
  told.WaitForNotification();
  EXPECT_EQ(ReasonOf(why), Reason::kFenced) << why;
}

TEST_F(LeadershipTest, AHolderThatCannotReachEtcdGivesUpWhenItsTimeIsOver) {
  std::atomic<int> told = 0;
  auto leadership = Acquire("first", absl::ZeroDuration(), [&](const absl::Status& status) {
    EXPECT_EQ(ReasonOf(status), Reason::kFenced) << status;
    ++told;
  });
  ASSERT_TRUE(leadership.ok()) << leadership.status();
  server_.Kill();
  clock_.Advance(kTtl / 2);
  EXPECT_EQ(told, 0) << "its lease lives";
  clock_.Advance(kTtl);
  PollUntil([&] { return told == 1; });
}

}  // namespace
}  // namespace berth
