// SPDX-License-Identifier: Apache-2.0
//
// What a VMM may get wrong, or do on purpose, against the real agent: each is refused with a reason
// of its own, changes nothing, and leaves connection and agent alive.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <unistd.h>

#include <utility>

#include "lib/base/reason.h"
#include "tests/agent/grants/memfd.h"
#include "tests/agent/vmm/raw_vmm.h"
#include "tests/integration/cluster.h"

namespace berth::testing {
namespace {

using v1::Assignment;

constexpr uint64_t kRam = 0x40000000;
constexpr uint64_t kRamSize = 1 << 20;
constexpr uint64_t kQueueBytes = 4096;

Cluster* cluster = nullptr;  // of the suite

// One fleet for all tests of this file: none of them may harm it.
class BadInput : public ::testing::Test {
 protected:
  static void SetUpTestSuite() { cluster = new Cluster(std::vector<std::string>{"gh200"}); }
  static void TearDownTestSuite() {
    delete cluster;
    cluster = nullptr;
  }

  void SetUp() override {
    assignment_ = Make("vm", OneOf("gpu"));
    vmm_ = std::make_unique<RawVmm>(path());
    ASSERT_EQ(vmm_->Hello(assignment_.uid(), assignment_.attach_token()).reason(),
              BERTH_VMM_REASON_NONE);
    ram_ = Memfd(kRamSize);
    ASSERT_EQ(vmm_->Map(ram_.get(), kRam, kRamSize).reason(), BERTH_VMM_REASON_NONE);
    before_ = SettledRecords();
  }
  void TearDown() override {
    EXPECT_EQ(vmm_->Detach().reason(), BERTH_VMM_REASON_NONE);
    vmm_.reset();
    for (const std::string& id : made_) {
      EXPECT_TRUE(cluster->Delete(id).ok());
      cluster->AwaitGone(id);
    }
    cluster->ExpectRecordsAgree(0);
  }

  Assignment Make(const std::string& id, const std::string& spec) {
    absl::StatusOr<Assignment> made = cluster->Create(id, spec);
    EXPECT_TRUE(made.ok()) << made.status();
    if (!made.ok()) return {};
    made_.push_back(id);
    cluster->AwaitObserved(id, Assignment::PREPARED);
    return *std::move(made);
  }
  static std::string path() { return cluster->host("gh200").vmm_socket(); }

  // All that stands on the host, of the grant's objects and of the emulated kernel's.
  std::string Records() {
    Host& host = cluster->host("gh200");
    std::string text;
    for (const auto& object : host.Objects(assignment_.uid())) text += object.ShortDebugString();
    for (agent::v1::LocalGrant& grant : host.Grants()) text += grant.ShortDebugString();
    internal::v1::EmulatorStats stats = host.Stats();
    // These move while the agent asks whether the kernel still answers.
    stats.clear_calls();
    stats.clear_contexts();
    return text + stats.ShortDebugString();
  }
  // The same when the last call is over; what a grant shows may come a moment after its answer.
  std::string SettledRecords() {
    const auto unit = vmm_->Ask<berth_vmm_unit_reply>(BERTH_VMM_GET_UNIT, berth_vmm_get_unit{});
    EXPECT_EQ(unit.reason(), BERTH_VMM_REASON_NONE);
    return Records();
  }
  // Notes an answer: a refusal with a text, that no mistake of another kind got.
  template <typename T>
  void ExpectRefused(const std::string& mistake, const Answer<T>& answer, uint32_t reason) {
    EXPECT_FALSE(answer.closed) << mistake;
    EXPECT_EQ(answer.reason(), reason)
        << mistake << ": " << ReasonName(static_cast<Reason>(answer.reason())) << ": "
        << answer.reply().message;
    EXPECT_NE(answer.reply().message[0], '\0') << mistake;
    EXPECT_TRUE(answer.fds.empty()) << mistake;
    EXPECT_TRUE(seen_.emplace(answer.reason(), mistake).second)
        << mistake << " and " << seen_[answer.reason()] << " have the same reason";
    ExpectUnharmed(mistake);
  }
  void ExpectUnharmed(const std::string& mistake) {
    EXPECT_EQ(SettledRecords(), before_) << mistake;
  }

  Assignment assignment_;
  std::vector<std::string> made_;
  std::unique_ptr<RawVmm> vmm_;
  UniqueFd ram_;
  std::string before_;
  std::map<uint32_t, std::string> seen_;
};

TEST_F(BadInput, WhoMayNotAttach) {
  const Assignment theirs =
      Make("theirs", OneOf("gpu") + " attach_uid: " + std::to_string(::getuid() + 1));
  before_ = SettledRecords();
  RawVmm stranger(path());
  const auto hello = [&](const Assignment& assignment, const std::string& token) {
    return stranger.Hello(assignment.uid(), token);
  };
  Assignment unknown = assignment_;
  unknown.set_uid("00000000-0000-4000-8000-000000000000");
  ExpectRefused("wrong token", hello(theirs, assignment_.attach_token()),
                BERTH_VMM_REASON_WRONG_TOKEN);
  ExpectRefused("wrong uid", hello(theirs, theirs.attach_token()), BERTH_VMM_REASON_WRONG_USER);
  ExpectRefused("unknown assignment", hello(unknown, assignment_.attach_token()),
                BERTH_VMM_REASON_UNKNOWN_ASSIGNMENT);
  ExpectRefused("second attach", hello(assignment_, assignment_.attach_token()),
                BERTH_VMM_REASON_ALREADY_ATTACHED);
  // The same connection still serves one who may.
  const Assignment ours = Make("ours", OneOf("gpu"));
  EXPECT_EQ(hello(ours, ours.attach_token()).reason(), BERTH_VMM_REASON_NONE);
  EXPECT_EQ(stranger.Detach().reason(), BERTH_VMM_REASON_NONE);
}

TEST_F(BadInput, WhatIsNoMessage) {
  ExpectRefused("too large", vmm_->Send({.size = BERTH_VMM_MAX_MESSAGE + 1}),
                BERTH_VMM_REASON_MESSAGE_TOO_LONG);
  ExpectRefused("too small", vmm_->Send({.size = sizeof(berth_vmm_get_unit) - 1}),
                BERTH_VMM_REASON_MESSAGE_TOO_SHORT);
  EXPECT_EQ(vmm_->Send({.size = 3}).reason(), BERTH_VMM_REASON_MESSAGE_TOO_SHORT);
  ExpectUnharmed("smaller than a header");

  ExpectRefused("unknown non-zero tail",
                vmm_->Send({.size = sizeof(berth_vmm_get_unit) + 8, .tail = 1}),
                BERTH_VMM_REASON_UNKNOWN_TAIL);
  const int fd = ram_.get();
  ExpectRefused("too many fds", vmm_->Send({.fds = {fd, fd, fd, fd}, .fd_count = 4}),
                BERTH_VMM_REASON_TOO_MANY_FDS);
  ExpectRefused("an fd is missing", vmm_->Map(-1, 2 * kRam, kRamSize),
                BERTH_VMM_REASON_TOO_FEW_FDS);
  --vmm_->call_id;
  ExpectRefused("fds that are named do not come", vmm_->Send({.fd_count = 1}),
                BERTH_VMM_REASON_FD_COUNT);
}

TEST_F(BadInput, WhatIsNoMemoryOrQueue) {
  const UniqueFd shrinkable = Memfd(kRamSize, 0);
  ExpectRefused("a memfd that can shrink", vmm_->Map(shrinkable.get(), 2 * kRam, kRamSize),
                BERTH_VMM_REASON_MEMORY_NOT_SEALED);
  ExpectRefused("overlapping memory", vmm_->Map(ram_.get(), kRam + kRamSize / 2, kRamSize),
                BERTH_VMM_REASON_MEMORY_OVERLAP);
  ExpectRefused("queue index out of order", vmm_->AllocQueue(1, kRam, kQueueBytes),
                BERTH_VMM_REASON_QUEUE_ORDER);
  ExpectRefused("a queue that is no power of two", vmm_->AllocQueue(0, kRam, kQueueBytes - 16),
                BERTH_VMM_REASON_QUEUE_SIZE);

  // After all this the right call is served, and only once.
  ASSERT_EQ(vmm_->AllocQueue(0, kRam, kQueueBytes).reason(), BERTH_VMM_REASON_NONE);
  --vmm_->call_id;
  EXPECT_EQ(vmm_->AllocQueue(0, kRam, kQueueBytes).reason(), BERTH_VMM_REASON_NONE);
  const uint64_t allocated = vmm_->call_id;
  EXPECT_NE(SettledRecords(), before_);
  EXPECT_EQ(cluster->host("gh200").Grants().at(0).queues(), 1);
  before_ = Records();
  const uint64_t next = std::exchange(vmm_->call_id, allocated - 1);
  const auto replayed = vmm_->AllocQueue(0, kRam, 2 * kQueueBytes);
  vmm_->call_id = next;
  ExpectRefused("replayed call id with another payload", replayed, BERTH_VMM_REASON_CALL_REPLAYED);
}

TEST_F(BadInput, AFloodOfNonsenseHurtsNobodyElse) {
  const Assignment other = Make("other", OneOf("nic"));
  const std::unique_ptr<Process> vmm =
      cluster->StartVmm("other", other, {"--trace", SourceFile("tests/data/traces/boot")});
  RawVmm flood(path());
  for (size_t size = 1; size < 2000; ++size) {
    const auto answer = flood.Exchange<berth_vmm_empty_reply>(
        std::vector<std::byte>(size, static_cast<std::byte>(size)), {});
    ASSERT_FALSE(answer.closed) << size;
    ASSERT_NE(answer.reason(), BERTH_VMM_REASON_NONE) << size;
  }
  EXPECT_EQ(vmm->Wait(), 0);
  EXPECT_EQ(flood.Hello("nobody", "").reason(), BERTH_VMM_REASON_UNKNOWN_ASSIGNMENT);
  const auto unit = vmm_->Ask<berth_vmm_unit_reply>(BERTH_VMM_GET_UNIT, berth_vmm_get_unit{});
  EXPECT_EQ(unit.reason(), BERTH_VMM_REASON_NONE);
}

}  // namespace
}  // namespace berth::testing
