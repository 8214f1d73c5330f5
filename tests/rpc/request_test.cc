// SPDX-License-Identifier: Apache-2.0
#include "lib/rpc/request.h"

#include <gtest/gtest.h>

#include "lib/base/ids.h"
#include "lib/base/status.h"
#include "tests/rpc/test_service.h"

namespace berth {
namespace {

TEST(RequestId, UuidsAndShortPrintableTextAreTaken) {
  for (const std::string& id : {std::string(), NewUuid(), std::string("retry of job 7"),
                                std::string(kMaxRequestIdBytes, 'x')}) {
    EXPECT_TRUE(ValidateRequestId(id).ok()) << id;
  }
}

TEST(RequestId, OtherTextIsRefused) {
  EXPECT_EQ(ReasonOf(ValidateRequestId(std::string(kMaxRequestIdBytes + 1, 'x'))),
            Reason::kTooLarge);
  for (const std::string& id : {std::string("a\nb"), std::string("\0", 1), std::string("ü")}) {
    const absl::Status refused = ValidateRequestId(id);
    EXPECT_EQ(ReasonOf(refused), Reason::kInvalidField);
    EXPECT_EQ(MetadataOf(refused)["field"], "request_id");
  }
}

TEST(PageSizes, AreDefaultedClippedAndNeverNegative) {
  EXPECT_EQ(*PageSize(0), kDefaultPageSize);
  EXPECT_EQ(*PageSize(7), 7);
  EXPECT_EQ(*PageSize(1'000'000), kMaxPageSize);
  EXPECT_EQ(ReasonOf(PageSize(-1).status()), Reason::kInvalidField);
}

TEST(PageTokens, LeadBackToThePosition) {
  for (const std::string& position : {std::string("assignments/a"), std::string("\0\xff", 2)}) {
    const std::string token = EncodePageToken("list", position);
    EXPECT_EQ(token.find(position), std::string::npos);
    EXPECT_EQ(*DecodePageToken("list", token), position);
  }
  EXPECT_EQ(EncodePageToken("list", ""), "");
  EXPECT_EQ(*DecodePageToken("list", ""), "");
}

TEST(PageTokens, AreGoodForTheirOwnQueryOnly) {
  const std::string token = EncodePageToken("hosts|zone=a", "hosts/h7");
  EXPECT_EQ(ReasonOf(DecodePageToken("hosts|zone=b", token).status()), Reason::kInvalidPageToken);
}

TEST(PageTokens, DamageIsFound) {
  const std::string token = EncodePageToken("list", "assignments/some-name");
  for (size_t i = 0; i < token.size(); ++i) {
    std::string damaged = token;
    damaged[i] = damaged[i] == 'A' ? 'B' : 'A';
    const auto decoded = DecodePageToken("list", damaged);
    // The last digit of base64 has bits that carry nothing.
    EXPECT_EQ(decoded.value_or("assignments/some-name"), "assignments/some-name");
  }
  for (const std::string& bad : {std::string("!"), std::string("AAAA"), token.substr(0, 9),
                                 token + "AAAA", std::string(5000, 'A')}) {
    EXPECT_EQ(ReasonOf(DecodePageToken("list", bad).status()), Reason::kInvalidPageToken) << bad;
  }
}

TEST(Deadlines, ComeFromTheCallerOrAreDefaulted) {
  TestService service;
  const auto server = MustStart({.address = "127.0.0.1:0"}, service);
  const auto stub = v1::HostService::NewStub(MustDial({.address = server->address()}));
  v1::GetHostRequest request;
  v1::Host host;
  {
    grpc::ClientContext context;
    SetDeadline(context, absl::Seconds(500));
    ASSERT_TRUE(stub->GetHost(&context, request, &host).ok());
    EXPECT_GT(service.remaining(), absl::Seconds(400));
    EXPECT_LE(service.remaining(), absl::Seconds(501));
  }
  grpc::ClientContext context;
  ASSERT_TRUE(stub->GetHost(&context, request, &host).ok());
  EXPECT_GT(service.remaining(), kDefaultDeadline / 2);
  EXPECT_LE(service.remaining(), kDefaultDeadline + absl::Seconds(1));
}

}  // namespace
}  // namespace berth
