// SPDX-License-Identifier: Apache-2.0
#include "lib/base/status.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <memory>
#include <string>

namespace berth {
namespace {

using ::testing::HasSubstr;

TEST(ErrorTest, CarriesCodeReasonMessageAndMetadata) {
  const absl::Status status =
      Error(Reason::kNoCapacity, "no host has 2 free VINTFs", {{"unit", "smmu0"}, {"free", "1"}});
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(status.message(), "no host has 2 free VINTFs");
  EXPECT_EQ(ReasonOf(status), Reason::kNoCapacity);
  EXPECT_EQ(MetadataOf(status), (ErrorMetadata{{"free", "1"}, {"unit", "smmu0"}}));
}

TEST(ErrorTest, MetadataFromAPeerCannotBreakThePayload) {
  const std::string nul("a\0b", 3);
  const absl::Status status = Error(Reason::kInternal, "m", {{nul, nul}, {"", ""}, {"k", "v"}});
  EXPECT_EQ(ReasonOf(status), Reason::kInternal);
  EXPECT_EQ(MetadataOf(status), (ErrorMetadata{{"", ""}, {"ab", "ab"}, {"k", "v"}}));
}

TEST(ErrorTest, AForeignStatusHasNoReason) {
  EXPECT_EQ(ReasonOf(absl::OkStatus()), Reason::kUnspecified);
  EXPECT_EQ(ReasonOf(absl::InternalError("x")), Reason::kUnspecified);
  EXPECT_TRUE(MetadataOf(absl::InternalError("x")).empty());
}

TEST(AnnotateTest, AddsContextAndKeepsTheRest) {
  const absl::Status status =
      Annotate(Error(Reason::kDeviceBusy, "held", {{"device", "gpu0"}}), "prepare");
  EXPECT_EQ(status.message(), "prepare: held");
  EXPECT_EQ(ReasonOf(status), Reason::kDeviceBusy);
  EXPECT_EQ(MetadataOf(status).at("device"), "gpu0");
  EXPECT_TRUE(Annotate(absl::OkStatus(), "prepare").ok());
}

TEST(WithMetadataTest, AddsOrReplacesOneEntry) {
  const absl::Status status =
      WithMetadata(WithMetadata(Error(Reason::kFenced, "old"), "epoch", "1"), "epoch", "2");
  EXPECT_EQ(MetadataOf(status), (ErrorMetadata{{"epoch", "2"}}));
  EXPECT_EQ(status.message(), "old");
  EXPECT_TRUE(WithMetadata(absl::OkStatus(), "a", "b").ok());
}

TEST(ErrnoTest, ErrnosBecomeErrorsAndComeBack) {
  const absl::Status status = ErrnoToStatus(ENOSPC, "VIOMMU_ALLOC");
  EXPECT_EQ(ReasonOf(status), Reason::kOutOfMemory);
  EXPECT_EQ(ErrnoOf(status), ENOSPC);
  EXPECT_EQ(MetadataOf(status), (ErrorMetadata{{"call", "VIOMMU_ALLOC"}, {"errno", "ENOSPC"}}));
  EXPECT_THAT(std::string(status.message()), HasSubstr("VIOMMU_ALLOC: "));
  EXPECT_THAT(std::string(status.message()), HasSubstr("(ENOSPC)"));
}

TEST(ErrnoTest, EveryNumberComesBack) {
  for (int error = 1; error < 200; ++error) {
    EXPECT_EQ(ErrnoOf(ErrnoToStatus(error, "call")), error);
    EXPECT_NE(ReasonOf(ErrnoToStatus(error, "call")), Reason::kUnspecified);
  }
  EXPECT_EQ(ErrnoName(EBUSY), "EBUSY");
  EXPECT_EQ(ErrnoName(1234), "errno 1234");
}

TEST(ErrnoTest, OtherErrorsHaveNone) {
  EXPECT_EQ(ErrnoOf(absl::OkStatus()), 0);
  EXPECT_EQ(ErrnoOf(Error(Reason::kInternal, "x")), 0);
  EXPECT_EQ(ErrnoOf(Error(Reason::kInternal, "x", {{"errno", "Bogus"}})), 0);
}

TEST(ErrnoDeathTest, ZeroIsAProgrammingError) { EXPECT_DEATH((void)ErrnoToStatus(0, "call"), ""); }

absl::Status ReturnIfError(const absl::Status& status, bool* went_on) {
  BERTH_RETURN_IF_ERROR(status);
  *went_on = true;
  return absl::OkStatus();
}

absl::StatusOr<int> Increment(absl::StatusOr<std::unique_ptr<int>> number) {
  BERTH_ASSIGN_OR_RETURN(const std::unique_ptr<int> value, std::move(number));
  return *value + 1;
}

TEST(MacrosTest, ReturnErrorsAndGoOnOtherwise) {
  bool went_on = false;
  EXPECT_EQ(ReasonOf(ReturnIfError(Error(Reason::kFenced, "x"), &went_on)), Reason::kFenced);
  EXPECT_FALSE(went_on);
  EXPECT_TRUE(ReturnIfError(absl::OkStatus(), &went_on).ok());
  EXPECT_TRUE(went_on);

  EXPECT_EQ(*Increment(std::make_unique<int>(41)), 42) << "move-only values pass";
  EXPECT_EQ(ReasonOf(Increment(Error(Reason::kFenced, "x")).status()), Reason::kFenced);
}

}  // namespace
}  // namespace berth
