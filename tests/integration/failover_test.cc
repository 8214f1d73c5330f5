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
#include <set>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "ctl/cli/client.h"
#include "lib/base/status.h"
#include "tests/integration/cluster.h"
#include "tests/integration/controllers.h"
#include "tests/integration/failover_fixture.h"
#include "tests/testing/full_run.h"

namespace berth::testing {
namespace {

using ::testing::HasSubstr;
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

// What users do while controllers come and go, and what they were told.
class Users {
 public:
  Users(std::vector<std::string> addresses, int count) : addresses_(std::move(addresses)) {
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

  struct Told {
    v1::CreateAssignmentRequest request;
    Assignment answer;
    bool deleted = false;
    // Since it was told until it asked for the end: then its devices are its own.
    absl::Time since;
    absl::Time until = absl::InfiniteFuture();
  };
  // By assignment id. After Stop().
  [[nodiscard]] const std::map<std::string, Told>& told() const { return told_; }
  // Assignments that were created so far.
  size_t created() const {
    absl::MutexLock lock(&mu_);
    return told_.size();
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
        absl::MutexLock lock(&mu_);
        told_[id] = {.request = request, .answer = *created, .since = absl::Now()};
      } else if (ReasonOf(created.status()) != Reason::kNoCapacity &&
                 ReasonOf(created.status()) != Reason::kHostNotReady) {
        ADD_FAILURE() << created.status();
      }
      // Together they want more than there is.
      const bool full = ReasonOf(created.status()) == Reason::kNoCapacity;
      if (held.empty() || (held.size() < kHeldByEach && !full)) continue;
      const std::string old = held.front();
      held.erase(held.begin());
      {
        absl::MutexLock lock(&mu_);
        told_[old].until = absl::Now();
      }
      v1::DeleteAssignmentRequest remove;
      remove.set_name("assignments/" + old);
      remove.set_request_id("delete-" + old);
      const auto deleted = Ask<absl::StatusOr<Assignment>>(
          [&](cli::Client& client) { return client.DeleteAssignment(remove); });
      EXPECT_TRUE(deleted.ok() || absl::IsNotFound(deleted.status())) << deleted.status();
      absl::MutexLock lock(&mu_);
      told_[old].deleted = true;
    }
  }

  const std::vector<std::string> addresses_;
  mutable absl::Mutex mu_;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  std::map<std::string, Told> told_;
  std::vector<std::thread> threads_;
};

// Looks at a host again and again: no device is in two of its grants, no unit has more VINTFs than
// it has, and nobody of an older epoch is obeyed.
class Witness {
 public:
  explicit Witness(Host* host) : host_(*host), thread_([this] { Run(); }) {}
  ~Witness() {
    stopping_ = true;
    thread_.join();
  }
  Witness(const Witness&) = delete;
  Witness& operator=(const Witness&) = delete;

  int looks() const { return looks_; }

 private:
  void Run() {
    agent::v1::Epoch before;
    for (; !stopping_; ++looks_) {
      std::set<std::string> devices;
      int vintfs = 0;
      for (const agent::v1::LocalGrant& grant : host_.Grants()) {
        for (const v1::UnitPlacement& unit : grant.status().units()) {
          ++vintfs;
          for (const auto& device : unit.devices()) {
            EXPECT_TRUE(devices.insert(device.device()).second)
                << device.device() << " is in two grants";
          }
        }
      }
      EXPECT_LE(vintfs, kFewVintfs);
      const agent::v1::Epoch now = host_.Status().epoch();
      EXPECT_TRUE(before.store_uid().empty() || now.store_uid() == before.store_uid());
      EXPECT_GE(now.term(), before.term()) << "a stale epoch was accepted";
      before = now;
      ::poll(nullptr, 0, 20);
    }
  }

  Host& host_;
  std::atomic<bool> stopping_ = false;
  std::atomic<int> looks_ = 0;
  std::thread thread_;
};

// Looks at what the fleet is and at what everybody was told, for promises that were broken.
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
  size_t Strike(Blow blow, size_t leader, Users& users) {
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
    const size_t created = users.created();
    WaitFor("users create again", [&] { return users.created() > created + 5; });
    NoteEpoch();
    if (blow == Blow::kPause) process.Signal(SIGCONT);
    const int code = process.Wait();
    EXPECT_EQ(code, blow == Blow::kKill ? -SIGKILL : blow == Blow::kStop ? 0 : 1);
    controllers_.HealToEtcd(leader);
    controllers_.Start(leader);
    controllers_.AwaitStandingBy(leader);
    return next;
  }

  // The agent never goes back to an older epoch.
  void NoteEpoch() {
    const int64_t term = cluster_.host("few").Status().epoch().term();
    EXPECT_GE(term, term_);
    term_ = term;
  }

  // Of what users were told: nobody had a device while somebody else had it.
  static void CheckDevices(const std::map<std::string, Users::Told>& told) {
    std::map<std::string, std::vector<const Users::Told*>> by_device;
    for (const auto& [id, user] : told) {
      for (const v1::UnitPlacement& unit : user.answer.placement().units()) {
        for (const auto& device : unit.devices()) by_device[device.device()].push_back(&user);
      }
    }
    for (auto& [device, users] : by_device) {
      std::sort(users.begin(), users.end(),
                [](const auto* a, const auto* b) { return a->since < b->since; });
      for (size_t i = 1; i < users.size(); ++i) {
        EXPECT_LE(users[i - 1]->until, users[i]->since)
            << device << " was given to " << users[i]->answer.name() << " while "
            << users[i - 1]->answer.name() << " had it";
      }
    }
  }

  void CheckHistory(const std::map<std::string, Users::Told>& told) {
    CheckDevices(told);
    int kept = 0;
    std::set<std::string> devices;
    for (const auto& [id, user] : told) {
      if (user.deleted) {
        EXPECT_TRUE(cluster_.AwaitGone(id));
        continue;
      }
      ++kept;
      const absl::StatusOr<Assignment> now = cluster_.Get(id);
      ASSERT_TRUE(now.ok()) << id << " was lost: " << now.status();
      EXPECT_EQ(now->uid(), user.answer.uid());
      // The same request has the same answer, whoever gives it.
      const absl::StatusOr<Assignment> again = cluster_.Create(user.request);
      ASSERT_TRUE(again.ok()) << again.status();
      EXPECT_EQ(again->uid(), user.answer.uid());
      EXPECT_EQ(again->attach_token(), user.answer.attach_token());
      ASSERT_FALSE(now->placement().units().empty());
      for (const v1::UnitPlacement& unit : now->placement().units()) {
        for (const auto& device : unit.devices()) {
          EXPECT_TRUE(devices.insert(device.device()).second)
              << device.device() << " is granted twice";
        }
      }
    }
    // No grant and no VINTF is left that nobody was told of; one VINTF and device each.
    cluster_.ExpectRecordsAgree(kept);
    EXPECT_EQ(devices.size(), static_cast<size_t>(kept));
  }

  int64_t term_ = 0;
};

TEST_F(FailoverHistoryTest, NothingIsLostOrGrantedTwiceWhateverHappensToLeaders) {
  AddFew();
  const auto seed = static_cast<uint32_t>(::testing::UnitTest::GetInstance()->random_seed());
  SCOPED_TRACE(absl::StrCat("--gtest_random_seed=", seed));
  std::mt19937 random(seed);
  size_t leader = controllers_.AwaitLeader();
  const Witness witness(&cluster_.host("few"));
  Users users(controllers_.apis(), 3);
  std::vector<Blow> blows = {Blow::kKill, Blow::kCut, Blow::kStop};
  std::shuffle(blows.begin(), blows.end(), random);
  if (!IsFullRun()) blows.resize(1);
  blows.push_back(Blow::kPause);
  std::shuffle(blows.begin(), blows.end(), random);
  for (const Blow blow : blows) {
    SCOPED_TRACE(static_cast<int>(blow));
    leader = Strike(blow, leader, users);
  }
  users.Stop();
  cluster_.AwaitReady("few");
  NoteEpoch();
  EXPECT_GT(witness.looks(), 10);
  CheckHistory(users.told());
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
