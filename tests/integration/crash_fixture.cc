// SPDX-License-Identifier: Apache-2.0
#include "tests/integration/crash_fixture.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <iostream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "tests/integration/clean_audit.h"
#include "tests/integration/failpoint_list.h"
#include "tests/testing/full_run.h"

namespace berth::testing {

using v1::Assignment;

namespace {

// Short: on a busy machine a VMM and its hardware wait for the processor at each of its doorbells.
constexpr char kTrace[] = "tests/data/traces/boot";

// After any crash the records agree within this, without a human.
[[maybe_unused]] constexpr absl::Duration kRecoveryLimit = absl::Seconds(5);

// What the controller may show of the assignment until it is well again: on the way there, by the
// table of states (lib/base/lifecycle.h), and what was true last. A controller that has just begun
// has heard of no observed state.
std::set<std::string> StatesOf(During during) {
  switch (during) {
    case During::kStart:
    case During::kCreate:
      return {"PLACED OBSERVED_UNSPECIFIED", "PLACED PREPARING", "PLACED PREPARED"};
    case During::kAttach:
    case During::kLeave:
      return {"PLACED OBSERVED_UNSPECIFIED",
              "PLACED PREPARING",
              "PLACED PREPARED",
              "PLACED ATTACHED",
              "PLACED RECYCLING",
              "PLACED ORPHANED",
              "PLACED SCRUBBING",
              "PLACED GONE"};
    case During::kDelete:
      return {"RELEASING OBSERVED_UNSPECIFIED", "RELEASING PREPARED", "RELEASING SCRUBBING",
              "RELEASING PREPARING", "RELEASING GONE"};
  }
  return {};
}

Host::Options Under(Host::Parent parent, Host::Options options) {
  options.parent = parent;
  return options;
}

}  // namespace

CrashFixture::CrashFixture(Host::Parent parent) : cluster_({Under(parent, one_.options())}) {}

CrashFixture::~CrashFixture() = default;

void CrashFixture::TearDown() {
  if (recoveries_.empty()) return;
  std::sort(recoveries_.begin(), recoveries_.end());
  const auto ms = [&](size_t i) { return absl::ToInt64Milliseconds(recoveries_.at(i)); };
  const size_t count = recoveries_.size();
  std::cout << count << " recoveries, until the audit is clean: p50 " << ms(count / 2)
            << " ms, p99 " << ms(count * 99 / 100) << " ms, at most " << ms(count - 1) << " ms"
            << std::endl;
}

void CrashFixture::ForEach(
    const std::string& program, const Moments& moments, Sample sample,
    const std::function<void(const std::string& point, Moment moment)>& strike) {
  const std::set<std::string> points = PrintedFailpoints(cluster_, program);
  std::set<std::string> rows;
  for (const auto& [point, row] : moments) rows.insert(point);
  ASSERT_EQ(points, rows) << "each failpoint has a row here, and each row a failpoint";
  for (const auto& [point, row] : moments) {
    ASSERT_EQ(row.empty(), point.starts_with(kOfAdoption))
        << point << " has moments here, or is walked by adoption_crash_test.cc, and not both";
  }
  std::set<std::pair<std::string, During>> shown;
  for (const auto& [point, row] : moments) {
    for (const Moment& moment : row) {
      const std::string part = sample == Sample::kEachPart ? point.substr(0, point.find('.')) : "";
      if (!shown.emplace(part, moment.during).second && !IsFullRun()) continue;
      SCOPED_TRACE(
          absl::StrCat(point, "@", moment.hit, " during ", static_cast<int>(moment.during)));
      strike(point, moment);
      if (HasFailure()) return;
    }
  }
}

void CrashFixture::BeginStory(During during) {
  ++stories_;
  during_ = during;
}

void CrashFixture::Create() {
  const absl::StatusOr<Assignment> created = cluster_.Create(request());
  ASSERT_TRUE(created.ok()) << created.status();
  assignment_ = *created;
}

void CrashFixture::Prepared() {
  WaitFor("the assignment is PREPARED", [&] {
    const absl::StatusOr<Assignment> now = cluster_.Get("vm");
    Look(now);
    if (!now.ok() || now->observed() != Assignment::PREPARED) return false;
    const std::vector<agent::v1::LocalGrant> grants = host().Grants();
    return grants.size() == 1 && grants[0].status().observed() == Assignment::PREPARED;
  });
  cluster_.ExpectRecordsAgree(1);
  ExpectCleanAudit(cluster_);
  Recovered();
  const absl::StatusOr<Assignment> now = cluster_.Get("vm");
  ASSERT_TRUE(now.ok()) << now.status();
  EXPECT_EQ(now->uid(), assignment_.uid());
  EXPECT_EQ(now->generation(), assignment_.generation());
  EXPECT_FALSE(now->has_failure()) << now->failure().ShortDebugString();
}

void CrashFixture::Gone() {
  WaitFor("the assignment is gone", [&] {
    const absl::StatusOr<Assignment> now = cluster_.Get("vm");
    Look(now);
    return absl::IsNotFound(now.status());
  });
  cluster_.ExpectRecordsAgree(0);
  ExpectCleanAudit(cluster_);
  Recovered();
}

void CrashFixture::Remove() {
  ASSERT_TRUE(cluster_.Delete("vm").ok());
  Gone();
}

void CrashFixture::StartVmm() {
  vmm_ = cluster_.StartVmm(absl::StrCat("holder", ++vmms_), assignment_,
                           {"--hold", "--trace", SourceFile(kTrace)});
}

void CrashFixture::AwaitHolding() {
  const std::string name = absl::StrCat("holder", vmms_);
  if (WaitFor("the VMM's queues are live",
              [&] { return cluster_.OutputOf(name).find("holding") != std::string::npos; })) {
    return;
  }
  ADD_FAILURE() << ReadFile(absl::StrCat(cluster_.folder(), "/", name, ".err"));
}

void CrashFixture::ExpectUsable() {
  Output vmm;
  const bool used = WaitFor("another VMM has used it", [&] {
    vmm = cluster_.RunVmm(assignment_, {"--trace", SourceFile(kTrace)});
    return vmm.code == 0;
  });
  EXPECT_TRUE(used) << vmm.err;
  Prepared();
}

v1::CreateAssignmentRequest CrashFixture::request() const {
  v1::CreateAssignmentRequest request = MakeRequest("vm", OneOf("gpu"));
  // One agent is killed here more often than any link may be lost.
  request.mutable_assignment()->mutable_spec()->add_tolerations()->set_key("berth/link-flapping");
  request.set_request_id(
      absl::StrCat("b1c6f7f5-6f0c-4f6b-9d8c-2f2f0f3", absl::Dec(stories_, absl::kZeroPad5)));
  return request;
}

void CrashFixture::AwaitConnected() {
  WaitFor("the agent is connected", [&] { return host().Status().connected(); });
  cluster_.AwaitReady("host");
}

void CrashFixture::Recovering() {
  seen_.clear();
  since_ = absl::Now();
}

void CrashFixture::Look(const absl::StatusOr<Assignment>& now) {
  if (!now.ok()) return;
  seen_.insert(absl::StrCat(Assignment::Intent_Name(now->intent()), " ",
                            Assignment::Observed_Name(now->observed())));
}

void CrashFixture::Recovered() {
  if (since_ == absl::InfinitePast()) return;
  recoveries_.push_back(absl::Now() - since_);
  since_ = absl::InfinitePast();
  EXPECT_THAT(StatesOf(during_), ::testing::IsSupersetOf(seen_));
}

}  // namespace berth::testing
