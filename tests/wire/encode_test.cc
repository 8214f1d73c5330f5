// SPDX-License-Identifier: Apache-2.0
#include "lib/wire/encode.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "lib/base/status.h"

namespace berth::wire {
namespace {

constexpr berth_vmm_header kCall = {
    .size = 32, .type = BERTH_VMM_GET_UNIT, .fd_count = 0, .session_id = 7, .call_id = 3};

template <typename T>
T Parse(const Message& message) {
  T out = {};
  EXPECT_EQ(message.bytes.size(), sizeof(out));
  std::memcpy(&out, message.bytes.data(), sizeof(out));
  return out;
}

TEST(EncodeReplyTest, AddressesTheReplyToItsCall) {
  berth_vmm_unit_reply reply = {};
  reply.vcmdqs = 2;
  const auto sent = Parse<berth_vmm_unit_reply>(EncodeReply(kCall, reply));
  EXPECT_EQ(sent.reply.header.size, sizeof(sent));
  EXPECT_EQ(sent.reply.header.type, BERTH_VMM_GET_UNIT);
  EXPECT_EQ(sent.reply.header.call_id, 3u);
  EXPECT_EQ(sent.reply.header.session_id, 7u);
  EXPECT_EQ(sent.reply.reason, 0u);
  EXPECT_EQ(sent.vcmdqs, 2u);
}

TEST(EncodeReplyTest, KeepsTheSessionThatHelloHasMade) {
  berth_vmm_hello_reply reply = {};
  reply.reply.header.session_id = 99;
  const auto sent = Parse<berth_vmm_hello_reply>(EncodeReply({}, reply));
  EXPECT_EQ(sent.reply.header.session_id, 99u);
}

TEST(EncodeErrorTest, CarriesReasonErrnoAndMessage) {
  const absl::Status status = ErrnoToStatus(ENOSPC, "VIOMMU_ALLOC");
  const auto sent = Parse<berth_vmm_reply>(EncodeError(kCall, status));
  EXPECT_EQ(sent.reason, static_cast<uint32_t>(ReasonOf(status)));
  EXPECT_EQ(sent.error_number, static_cast<uint32_t>(ENOSPC));
  EXPECT_NE(std::string(sent.message).find("VIOMMU_ALLOC"), std::string::npos);
}

TEST(EncodeErrorTest, CallsAnErrorWithoutAReasonInternal) {
  const auto sent = Parse<berth_vmm_reply>(EncodeError(kCall, absl::UnknownError("?")));
  EXPECT_EQ(sent.reason, BERTH_VMM_REASON_INTERNAL);
}

TEST(CopyTextTest, CutsBetweenCharacters) {
  char out[5] = {'x', 'x', 'x', 'x', 'x'};
  CopyText("abcdef", out);
  EXPECT_STREQ(out, "abcd");
  CopyText("abc\xc3\xa4", out);  // the last character has two bytes, and there is room for one
  EXPECT_STREQ(out, "abc");
  EXPECT_EQ(out[4], '\0');
  CopyText("", out);
  EXPECT_EQ(std::string(out, sizeof(out)), std::string(5, '\0'));
}

}  // namespace
}  // namespace berth::wire
