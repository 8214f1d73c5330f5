// SPDX-License-Identifier: Apache-2.0
//
// Several controllers on one book: who stands by sends everybody to the leader, and when the leader
// dies, stops or is cut off, another goes on where it was.
#include <gmock/gmock.h>
#include <poll.h>
#include <signal.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <optional>
#include <random>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "ctl/cli/client.h"
#include "lib/base/status.h"
#include "tests/integration/cluster.h"
#include "tests/integration/controllers.h"
#include "tests/integration/failover_fixture.h"
#include "tests/integration/history.h"
#include "tests/testing/full_run.h"

namespace berth::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using v1::Assignment;

// Those of the unit of a host for whose VINTFs everybody competes.
constexpr int kFewVintfs = 7;

TEST_F(FailoverTest, StandbysSendClientsAndAgentsToTheLeader) {
  AddHost("gh200", {controllers_.link(2)});
  for (const size_t standby : {1, 2}) {
    const Output shown = cluster_.Run(ProgramFile("berthctl"),
                                      {"--server", controllers_.api(standby), "get", "hosts"});
    EXPECT_EQ(shown.code, 0) << shown.err;
    EXPECT_THAT(shown.out, HasSubstr("gh200"));
    EXPECT_EQ(shown.err, "");
  }
}

TEST_F(FailoverTest, AStandbyThatIsToldToStopStopsAndTheLeaderGoesOn) {
  EXPECT_EQ(controllers_.process(1).Stop(), 0);
  EXPECT_EQ(controllers_.AwaitLeader(), 0U);
}

TEST_F(FailoverTest, AControllerWithAnotherClusterKeyDoesNotStandBy) {
  EXPECT_EQ(controllers_.process(1).Stop(), 0);
  controllers_.UseKey(1, cluster_.folder() + "/other.key");
  controllers_.Start(1);
  EXPECT_EQ(controllers_.process(1).Wait(), 1);
  EXPECT_THAT(ReadFile(cluster_.folder() + "/controller1.log"),
              HasSubstr("all controllers of a cluster need the same file"));
}

TEST_F(FailoverTest, WhenTheLeaderIsKilledAnotherGoesOnWhereItWas) {
  AddHost("gh200", controllers_.links());
  v1::CreateAssignmentRequest request = MakeRequest("vm", OneOf("gpu"));
  request.set_request_id("the-request");
  const absl::StatusOr<Assignment> created = cluster_.Create(request);
  ASSERT_TRUE(created.ok()) << created.status();
  ASSERT_TRUE(cluster_.AwaitObserved("vm", Assignment::PREPARED));
  const int64_t term = cluster_.host("gh200").Status().epoch().term();

  controllers_.process(0).Kill();
  FollowLeader(0);
  const absl::StatusOr<Assignment> again = cluster_.Create(request);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->uid(), created->uid());
  EXPECT_EQ(again->attach_token(), created->attach_token());
  cluster_.AwaitReady("gh200");
  ASSERT_TRUE(cluster_.AwaitObserved("vm", Assignment::PREPARED));
  // The controller calls the host READY when it has its Hello, the agent obeys from the Welcome on.
  WaitFor("the agent obeys the next leader",
          [&] { return cluster_.host("gh200").Status().epoch().term() > term; });
  const Output vmm = cluster_.RunVmm(*again, {"--trace", SourceFile("tests/data/traces/boot")});
  EXPECT_EQ(vmm.code, 0) << vmm.err;
  cluster_.ExpectRecordsAgree(1);

  // The one that was killed comes back, and stands by.
  controllers_.Start(0);
  controllers_.AwaitStandingBy(0);
}

// What users do while controllers come and go; what they were told goes into the history.
class Users {
 public:
  Users(std::vector<std::string> addresses, int count, History* history)
      : addresses_(std::move(addresses)), history_(*history) {
    for (int i = 0; i < count; ++i) threads_.emplace_back([this, i] { Run(i); });
  }
  ~Users() { Stop(); }

  void Stop() {
    {
      absl::MutexLock lock(&mu_);
      stopping_ = true;
    }
    for (std::thread& thread : threads_) {
      if (thread.joinable()) thread.join();
    }
  }

 private:
  static constexpr int kHeldByEach = 4;

  bool stopping() const {
    absl::MutexLock lock(&mu_);
    return stopping_;
  }

  // Repeats `call` until somebody has answered it. With a patience of two seconds for each: one of
  // the controllers may be stopped.
  template <typename Result>
  Result Ask(const std::function<Result(cli::Client&)>& call) {
    for (size_t turn = 0;; ++turn) {
      auto client = cli::Client::Make({.addresses = {addresses_[turn % addresses_.size()]},
                                       .deadline = absl::Now() + absl::Seconds(2),
                                       .first_backoff = absl::Milliseconds(50),
                                       .clock = &Clock::Real()});
      EXPECT_TRUE(client.ok()) << client.status();
      Result result = call(**client);
      if (absl::IsUnavailable(result.status()) || absl::IsDeadlineExceeded(result.status()))
        continue;
      return result;
    }
  }

  void Run(int user) {
    std::vector<std::string> held;
    for (int i = 0; !stopping(); ++i) {
      const std::string id = absl::StrCat("vm-", user, "-", i);
      v1::CreateAssignmentRequest request = MakeRequest(id, OneOf("nic"));
      request.set_request_id("create-" + id);
      const auto created = Ask<absl::StatusOr<Assignment>>(
          [&](cli::Client& client) { return client.CreateAssignment(request); });
      if (created.ok()) {
        held.push_back(id);
        history_.Created(request, *created);
      } else if (ReasonOf(created.status()) != Reason::kNoCapacity &&
                 ReasonOf(created.status()) != Reason::kHostNotReady) {
        ADD_FAILURE() << created.status();
      }
      // Together they want more than there is.
      const bool full = ReasonOf(created.status()) == Reason::kNoCapacity;
      if (held.empty() || (held.size() < kHeldByEach && !full)) continue;
      const std::string old = held.front();
      held.erase(held.begin());
      history_.DeleteAsked(old);
      v1::DeleteAssignmentRequest remove;
      remove.set_name("assignments/" + old);
      remove.set_request_id("delete-" + old);
      const auto deleted = Ask<absl::StatusOr<Assignment>>(
          [&](cli::Client& client) { return client.DeleteAssignment(remove); });
      EXPECT_TRUE(deleted.ok() || absl::IsNotFound(deleted.status())) << deleted.status();
      history_.Deleted(old);
    }
  }

  const std::vector<std::string> addresses_;
  History& history_;
  mutable absl::Mutex mu_;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  std::vector<std::thread> threads_;
};

// Looks at a host again and again.
class Witness {
 public:
  Witness(std::string name, Host* host, History* history)
      : name_(std::move(name)), host_(*host), history_(*history), thread_([this] { Run(); }) {}
  ~Witness() {
    stopping_ = true;
    thread_.join();
  }
  Witness(const Witness&) = delete;
  Witness& operator=(const Witness&) = delete;

 private:
  void Run() {
    while (!stopping_) {
      history_.Saw(name_, host_.Grants(), host_.Status().epoch());
      ::poll(nullptr, 0, 20);
    }
  }

  const std::string name_;
  Host& host_;
  History& history_;
  std::atomic<bool> stopping_ = false;
  std::thread thread_;
};

class FailoverHistoryTest : public FailoverTest {
 protected:
  // A host whose VINTFs run out before its devices do.
  void AddFew() {
    const std::string file = cluster_.folder() + "/few.yaml";
    WriteFile(file,
              absl::StrCat("units:\n  - {id: smmu3.0x20000000, vintfs: ", kFewVintfs + 1, "}\n",
                           "devices:\n  - {count: 16, first_address: \"0001:01:00.0\", vendor: ",
                           "\"15b3\", device: \"101e\", class_code: \"020000\", first_serial: ",
                           "\"b8cef60a00\", unit: smmu3.0x20000000, numa_node: 0}\n"));
    cluster_.AddHosts({{.id = "few", .host_file = file}}, controllers_.links());
    cluster_.AwaitReady("few");
  }

  // What happens to a leader; how it ends where it does, and stands by after it.
  enum class Blow { kKill, kPause, kCut, kStop };

  // Returns the next leader. Users have been answered since.
  size_t Strike(Blow blow, size_t leader) {
    Process& process = controllers_.process(leader);
    switch (blow) {
      case Blow::kKill:
        process.Signal(SIGKILL);
        break;
      case Blow::kPause:
        process.Signal(SIGSTOP);
        break;
      case Blow::kCut:
        controllers_.CutFromEtcd(leader);
        break;
      case Blow::kStop:
        process.Signal(SIGTERM);
        break;
    }
    const size_t next = FollowLeader(leader);
    const size_t created = history_.created();
    WaitFor("users create again", [&] { return history_.created() > created + 5; });
    if (blow == Blow::kPause) process.Signal(SIGCONT);
    const int code = process.Wait();
    EXPECT_EQ(code, blow == Blow::kKill ? -SIGKILL : blow == Blow::kStop ? 0 : 1);
    controllers_.HealToEtcd(leader);
    controllers_.Start(leader);
    controllers_.AwaitStandingBy(leader);
    return next;
  }

  // Once all has come to rest: what the book has, what it answers to what was asked before, and
  // that no grant and no VINTF is left that nobody was told of.
  void Rest() {
    std::map<std::string, std::optional<Assignment>> book;
    for (const std::string& id : history_.Gone()) {
      EXPECT_TRUE(cluster_.AwaitGone(id));
      book[id] = std::nullopt;
    }
    const auto kept = history_.Kept();
    for (const auto& [id, told] : kept) {
      const absl::StatusOr<Assignment> now = cluster_.Get(id);
      ASSERT_TRUE(now.ok() || absl::IsNotFound(now.status())) << now.status();
      if (now.ok()) {
        book[id] = *now;
      } else {
        book[id] = std::nullopt;
      }
      // The same request has the same answer, whoever gives it.
      const absl::StatusOr<Assignment> again = cluster_.Create(told.request);
      ASSERT_TRUE(again.ok()) << again.status();
      history_.Created(told.request, *again);
    }
    history_.Found(book);
    cluster_.ExpectRecordsAgree(static_cast<int>(kept.size()));
  }

  History history_{History::Hold::kUntilDeleted};
};

TEST_F(FailoverHistoryTest, NothingIsLostOrGrantedTwiceWhateverHappensToLeaders) {
  AddFew();
  const auto seed = static_cast<uint32_t>(::testing::UnitTest::GetInstance()->random_seed());
  SCOPED_TRACE(absl::StrCat("--gtest_random_seed=", seed));
  std::mt19937 random(seed);
  size_t leader = controllers_.AwaitLeader();
  history_.HasVintfs("few", "smmu3.0x20000000", kFewVintfs);
  const Witness witness("few", &cluster_.host("few"), &history_);
  Users users(controllers_.apis(), 3, &history_);
  std::vector<Blow> blows = {Blow::kKill, Blow::kCut, Blow::kStop};
  std::shuffle(blows.begin(), blows.end(), random);
  if (!IsFullRun()) blows.resize(1);
  blows.push_back(Blow::kPause);
  std::shuffle(blows.begin(), blows.end(), random);
  for (const Blow blow : blows) {
    SCOPED_TRACE(static_cast<int>(blow));
    leader = Strike(blow, leader);
  }
  users.Stop();
  cluster_.AwaitReady("few");
  Rest();
  EXPECT_GT(history_.looks(), 10U);
  EXPECT_THAT(history_.Violations(), IsEmpty());
}

// etcd elects a leader of its own meanwhile, which a lease of two seconds may not outlast.
class EtcdMemberTest : public FailoverTest {
 protected:
  EtcdMemberTest() : FailoverTest(600) {}
};

TEST_F(EtcdMemberTest, TheControllerOutlivesTheLossOfEachOfThem) {
  AddHost("gh200", controllers_.links());
  for (size_t i = 0; i < controllers_.etcd().size(); ++i) {
    controllers_.etcd().member(i).Kill();
    const std::string id = absl::StrCat("vm", i);
    absl::StatusOr<Assignment> created;
    WaitFor("a commit", [&] {
      FollowLeader();
      v1::CreateAssignmentRequest request = MakeRequest(id, OneOf("gpu"));
      request.set_request_id(id);
      return (created = cluster_.Create(request)).ok();
    });
    ASSERT_TRUE(cluster_.AwaitObserved(id, Assignment::PREPARED));
    controllers_.etcd().member(i).Start();
  }
}

}  // namespace
}  // namespace berth::testing
