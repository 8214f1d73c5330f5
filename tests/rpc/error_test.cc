// SPDX-License-Identifier: Apache-2.0
#include "lib/rpc/error.h"

#include <gmock/gmock.h>
#include <grpcpp/support/status.h>
#include <gtest/gtest.h>

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "lib/base/status.h"

namespace berth {
namespace {

using testing::Pair;

constexpr Reason kAllReasons[] = {
#define BERTH_TEST_REASON(number, enumerator, name, code, meaning) Reason::enumerator,
    BERTH_REASONS(BERTH_TEST_REASON)
#undef BERTH_TEST_REASON
};

google::rpc::ErrorInfo InfoOf(const grpc::Status& status) {
  google::rpc::Status details;
  google::rpc::ErrorInfo info;
  EXPECT_TRUE(details.ParseFromString(status.error_details()));
  EXPECT_EQ(details.code(), status.error_code());
  EXPECT_EQ(details.message(), status.error_message());
  EXPECT_GE(details.details_size(), 1);
  EXPECT_TRUE(details.details(0).UnpackTo(&info));
  return info;
}

TEST(ErrorMapping, OkIsOkBothWays) {
  EXPECT_TRUE(ToGrpcStatus(absl::OkStatus()).ok());
  EXPECT_TRUE(FromGrpcStatus(grpc::Status::OK).ok());
  EXPECT_FALSE(RetryDelayOf(grpc::Status::OK).has_value());
}

TEST(ErrorMapping, EveryReasonSurvivesTheRoundTripWithCodeMessageAndMetadata) {
  for (const Reason reason : kAllReasons) {
    const absl::Status before = Error(reason, "what is wrong", {{"device", "0000:3b:00.0"}});
    const grpc::Status wire = ToGrpcStatus(before);
    EXPECT_EQ(static_cast<int>(wire.error_code()), static_cast<int>(before.code()));
    EXPECT_EQ(InfoOf(wire).reason(), ReasonName(reason));
    EXPECT_EQ(InfoOf(wire).domain(), "berth.dev");
    const absl::Status after = FromGrpcStatus(wire);
    EXPECT_EQ(ReasonOf(after), reason);
    EXPECT_EQ(after.code(), before.code());
    EXPECT_EQ(after.message(), "what is wrong");
    EXPECT_THAT(MetadataOf(after), testing::ElementsAre(Pair("device", "0000:3b:00.0")));
  }
}

TEST(ErrorMapping, EveryCodeWithoutAReasonKeepsItsCodeAndGetsAReason) {
  for (int code = 1; code <= 16; ++code) {
    const absl::Status bare(static_cast<absl::StatusCode>(code), "bare");
    const grpc::Status wire = ToGrpcStatus(bare);
    EXPECT_EQ(static_cast<int>(wire.error_code()), code);
    EXPECT_EQ(InfoOf(wire).reason(), ReasonName(ReasonOfCode(bare.code())));
    EXPECT_NE(ReasonOf(FromGrpcStatus(wire)), Reason::kUnspecified);
  }
}

TEST(ErrorMapping, EveryCodeOfAPeerThatIsNotBerthGetsAReason) {
  for (int code = 1; code <= 16; ++code) {
    const absl::Status seen = FromGrpcStatus({static_cast<grpc::StatusCode>(code), "by gRPC"});
    EXPECT_NE(ReasonOf(seen), Reason::kUnspecified) << code;
    EXPECT_EQ(seen.message(), "by gRPC");
  }
  EXPECT_EQ(ReasonOf(FromGrpcStatus({grpc::StatusCode::UNAVAILABLE, ""})), Reason::kUnavailable);
  EXPECT_EQ(ReasonOf(FromGrpcStatus({grpc::StatusCode::UNKNOWN, ""})), Reason::kInternal);
}

TEST(ErrorMapping, ErrorsThatPassByThemselvesSayWhenToRetry) {
  for (const Reason reason : kAllReasons) {
    const bool passes =
        reason == Reason::kOverloaded || ReasonCode(reason) == absl::StatusCode::kUnavailable;
    const auto delay = RetryDelayOf(ToGrpcStatus(Error(reason, "x")));
    EXPECT_EQ(delay.has_value(), passes) << ReasonName(reason);
    EXPECT_GT(delay.value_or(absl::Seconds(1)), absl::ZeroDuration());
  }
}

TEST(ErrorMapping, ABadFieldIsNamedForGenericClients) {
  const grpc::Status wire = ToGrpcStatus(
      Error(Reason::kInvalidField, "must be positive", {{"field", "devices[0].count"}}));
  google::rpc::Status details;
  ASSERT_TRUE(details.ParseFromString(wire.error_details()));
  ASSERT_EQ(details.details_size(), 2);
  google::rpc::BadRequest bad;
  ASSERT_TRUE(details.details(1).UnpackTo(&bad));
  EXPECT_EQ(bad.field_violations(0).field(), "devices[0].count");
  EXPECT_EQ(bad.field_violations(0).description(), "must be positive");
}

TEST(ErrorMapping, WhatAPeerChoseCannotBreakTheTrailer) {
  ErrorMetadata metadata = {{"bytes", "\xff\xfe"}};
  for (int i = 0; i < 100; ++i) metadata["k" + std::to_string(i)] = std::string(1000, 'v');
  const grpc::Status wire =
      ToGrpcStatus(Error(Reason::kBadMessage, std::string(100'000, 'm') + "\xc0", metadata));
  EXPECT_LE(wire.error_message().size(), 1024u);
  EXPECT_LE(wire.error_details().size(), 5000u);
  const absl::Status after = FromGrpcStatus(wire);
  EXPECT_EQ(ReasonOf(after), Reason::kBadMessage);
  EXPECT_EQ(MetadataOf(after)["truncated"], "true");
  EXPECT_EQ(MetadataOf(after)["bytes"], "??");
}

TEST(ErrorMapping, AReasonOfANewerPeerKeepsItsName) {
  google::rpc::ErrorInfo info;
  info.set_reason("INVENTED_LATER");
  info.set_domain("berth.dev");
  google::rpc::Status details;
  details.add_details()->PackFrom(info);
  const absl::Status seen =
      FromGrpcStatus({grpc::StatusCode::FAILED_PRECONDITION, "m", details.SerializeAsString()});
  EXPECT_EQ(ReasonOf(seen), Reason::kStateConflict);
  EXPECT_EQ(MetadataOf(seen)["reason"], "INVENTED_LATER");
}

TEST(ErrorMapping, DetailsOfOthersAndGarbageAreIgnored) {
  google::rpc::ErrorInfo info;
  info.set_reason("NO_CAPACITY");
  info.set_domain("example.com");
  google::rpc::Status details;
  details.add_details()->PackFrom(info);
  for (const std::string& bytes : {details.SerializeAsString(), std::string("\xff\xff garbage")}) {
    const absl::Status seen = FromGrpcStatus({grpc::StatusCode::NOT_FOUND, "m", bytes});
    EXPECT_EQ(ReasonOf(seen), Reason::kNotFound);
  }
}

}  // namespace
}  // namespace berth
