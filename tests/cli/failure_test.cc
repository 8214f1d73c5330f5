// SPDX-License-Identifier: Apache-2.0
#include "ctl/cli/failure.h"

#include <gtest/gtest.h>

#include <map>

#include "lib/base/reason.h"
#include "lib/base/status.h"

namespace berth::cli {
namespace {

// The table of README.md.
int Documented(absl::StatusCode code) {
  static const std::map<absl::StatusCode, int> kTable = {
      {absl::StatusCode::kOk, 0},
      {absl::StatusCode::kInvalidArgument, 2},
      {absl::StatusCode::kNotFound, 4},
      {absl::StatusCode::kAlreadyExists, 5},
      {absl::StatusCode::kFailedPrecondition, 5},
      {absl::StatusCode::kAborted, 5},
      {absl::StatusCode::kOutOfRange, 5},
      {absl::StatusCode::kUnavailable, 6},
      {absl::StatusCode::kDeadlineExceeded, 6},
      {absl::StatusCode::kPermissionDenied, 7},
      {absl::StatusCode::kUnauthenticated, 7},
      {absl::StatusCode::kResourceExhausted, 8},
      // Named, so that a new code of a reason is a decision and not an accident.
      {absl::StatusCode::kInternal, 1},
      {absl::StatusCode::kUnimplemented, 1},
      {absl::StatusCode::kDataLoss, 1},
      {absl::StatusCode::kCancelled, 1}};
  const auto found = kTable.find(code);
  return found == kTable.end() ? -1 : found->second;
}

TEST(FailureTest, EveryReasonHasItsExitCode) {
#define BERTH_EXPECT_EXIT(number, enumerator, name, canonical, meaning) \
  EXPECT_EQ(ExitCodeOf(Error(Reason::enumerator, "x").code()),          \
            Documented(absl::StatusCode::canonical))                    \
      << #name;
  BERTH_REASONS(BERTH_EXPECT_EXIT)
#undef BERTH_EXPECT_EXIT
}

TEST(FailureTest, TheTextHasTheReason) {
  EXPECT_EQ(FailureText(Error(Reason::kStateConflict, "it runs")),
            "Error: it runs (STATE_CONFLICT)\n");
  EXPECT_EQ(FailureText(UsageError("which host?")), "Error: which host?\n");
}

TEST(FailureTest, HintsSayWhatToTry) {
  EXPECT_EQ(FailureText(Error(Reason::kRequestIdReused, "used")),
            "Error: used (REQUEST_ID_REUSED)\nHint: give another --request-id, or none\n");
}

TEST(FailureTest, TheTextIsSafeForTerminals) {
  EXPECT_EQ(FailureText(absl::InternalError("a\x1b[31mb")), "Error: a?[31mb\n");
}

}  // namespace
}  // namespace berth::cli
