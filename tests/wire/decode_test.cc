// SPDX-License-Identifier: Apache-2.0
#include "lib/wire/decode.h"

#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

#include "lib/base/status.h"

namespace berth::wire {
namespace {

using Bytes = std::vector<std::byte>;

template <typename T>
Bytes ToBytes(const T& message, size_t extra = 0) {
  Bytes bytes(sizeof(message) + extra);
  std::memcpy(bytes.data(), &message, sizeof(message));
  const auto size = static_cast<uint32_t>(bytes.size());
  std::memcpy(bytes.data(), &size, sizeof(size));
  return bytes;
}

template <typename T>
T Make(uint16_t type, uint16_t fds = 0) {
  T message = {};
  message.header.type = type;
  message.header.fd_count = fds;
  message.header.session_id = 7;
  message.header.call_id = type == BERTH_VMM_HELLO ? 0 : 1;
  return message;
}

berth_vmm_hello MakeHello() {
  auto hello = Make<berth_vmm_hello>(BERTH_VMM_HELLO);
  hello.version_min = hello.version_max = 1;
  std::strcpy(hello.assignment_uid, "uid");
  std::strcpy(hello.token, "token");
  return hello;
}

berth_vmm_map_memory MakeMapMemory() {
  auto call = Make<berth_vmm_map_memory>(BERTH_VMM_MAP_MEMORY, 1);
  call.flags = BERTH_VMM_MEMORY_READ;
  return call;
}

berth_vmm_set_stream MakeSetStream(uint32_t mode) {
  auto call = Make<berth_vmm_set_stream>(BERTH_VMM_SET_STREAM);
  call.mode = mode;
  return call;
}

Bytes InvalidateBytes(uint32_t count, size_t sent, size_t extra = 0) {
  auto call = Make<berth_vmm_invalidate>(BERTH_VMM_INVALIDATE);
  call.count = count;
  Bytes bytes = ToBytes(call, sent * sizeof(Command) + extra);
  for (size_t i = 0; i < sent; ++i) {
    const Command command = {0x11, i};
    std::memcpy(bytes.data() + sizeof(call) + i * sizeof(command), &command, sizeof(command));
  }
  return bytes;
}

struct GoodCase {
  std::string name;
  Bytes bytes;
  size_t fds;
};

class GoodMessageTest : public ::testing::TestWithParam<GoodCase> {};

TEST_P(GoodMessageTest, IsDecodedAndMayHaveATailOfZeros) {
  const auto call = Decode(GetParam().bytes, GetParam().fds);
  ASSERT_TRUE(call.ok()) << call.status();
  EXPECT_EQ(call->bytes, GetParam().bytes);
  EXPECT_EQ(call->header.session_id, 7u);

  Bytes longer = GetParam().bytes;
  longer.resize(longer.size() + 24);
  const auto size = static_cast<uint32_t>(longer.size());
  std::memcpy(longer.data(), &size, sizeof(size));
  EXPECT_TRUE(Decode(longer, GetParam().fds).ok());

  longer.back() = std::byte{1};
  EXPECT_EQ(ReasonOf(Decode(longer, GetParam().fds).status()), Reason::kUnknownTail);
}

TEST_P(GoodMessageTest, IsRefusedWithAnotherNumberOfFds) {
  const size_t takes = GetParam().fds;
  EXPECT_EQ(ReasonOf(Decode(GetParam().bytes, takes + 1).status()), Reason::kTooManyFds);
  if (takes > 0) {
    EXPECT_EQ(ReasonOf(Decode(GetParam().bytes, takes - 1).status()), Reason::kTooFewFds);
  }
  Bytes claims_more = GetParam().bytes;
  claims_more[6] = std::byte{2};  // header.fd_count
  EXPECT_EQ(ReasonOf(Decode(claims_more, takes).status()), Reason::kFdCount);
}

TEST_P(GoodMessageTest, IsRefusedWhenCutAnywhere) {
  for (size_t size = 0; size < GetParam().bytes.size(); ++size) {
    Bytes cut(GetParam().bytes.begin(), GetParam().bytes.begin() + static_cast<ptrdiff_t>(size));
    const bool has_header = size >= sizeof(berth_vmm_header);
    EXPECT_EQ(ReasonOf(Decode(cut, GetParam().fds).status()),
              has_header ? Reason::kBadMessage : Reason::kMessageTooShort)
        << size;
    // The same with a header that owns up to the cut.
    if (!has_header) continue;
    const auto honest = static_cast<uint32_t>(size);
    std::memcpy(cut.data(), &honest, sizeof(honest));
    EXPECT_EQ(ReasonOf(Decode(cut, GetParam().fds).status()), Reason::kMessageTooShort) << size;
  }
}

INSTANTIATE_TEST_SUITE_P(
    All, GoodMessageTest,
    ::testing::Values(
        GoodCase{"Hello", ToBytes(MakeHello()), 0},
        GoodCase{"GetUnit", ToBytes(Make<berth_vmm_get_unit>(BERTH_VMM_GET_UNIT)), 0},
        GoodCase{"GetDevice", ToBytes(Make<berth_vmm_get_device>(BERTH_VMM_GET_DEVICE)), 0},
        GoodCase{"GetPage0", ToBytes(Make<berth_vmm_get_page0>(BERTH_VMM_GET_PAGE0)), 0},
        GoodCase{"GetIovaRanges",
                 ToBytes(Make<berth_vmm_get_iova_ranges>(BERTH_VMM_GET_IOVA_RANGES)), 0},
        GoodCase{"MapMemory", ToBytes(MakeMapMemory()), 1},
        GoodCase{"UnmapMemory", ToBytes(Make<berth_vmm_unmap_memory>(BERTH_VMM_UNMAP_MEMORY)), 0},
        GoodCase{"SetStream", ToBytes(MakeSetStream(BERTH_VMM_STREAM_BYPASS)), 0},
        GoodCase{"AllocQueue", ToBytes(Make<berth_vmm_alloc_queue>(BERTH_VMM_ALLOC_QUEUE)), 0},
        GoodCase{"FreeQueue", ToBytes(Make<berth_vmm_free_queue>(BERTH_VMM_FREE_QUEUE)), 0},
        GoodCase{"Invalidate", InvalidateBytes(3, 3), 0},
        GoodCase{"ResetGuest", ToBytes(Make<berth_vmm_reset_guest>(BERTH_VMM_RESET_GUEST)), 0},
        GoodCase{"Detach", ToBytes(Make<berth_vmm_detach>(BERTH_VMM_DETACH)), 0},
        GoodCase{"HandOff", ToBytes(Make<berth_vmm_hand_off>(BERTH_VMM_HAND_OFF)), 0}),
    [](const auto& test) { return test.param.name; });

TEST(DecodeTest, AConfirmationMayNameAnotherProcess) {
  const auto confirm = [](uint16_t fd_count) {
    return ToBytes(Make<berth_vmm_confirm_hand_off>(BERTH_VMM_CONFIRM_HAND_OFF, fd_count));
  };
  EXPECT_TRUE(Decode(confirm(0), 0).ok());
  EXPECT_TRUE(Decode(confirm(1), 1).ok());
  EXPECT_EQ(ReasonOf(Decode(confirm(0), 1).status()), Reason::kFdCount);
  EXPECT_EQ(ReasonOf(Decode(confirm(1), 0).status()), Reason::kFdCount);
  EXPECT_EQ(ReasonOf(Decode(confirm(2), 2).status()), Reason::kTooManyFds);
}

TEST(DecodeTest, HelloMayAskForAHandOff) {
  auto hello = MakeHello();
  hello.flags = BERTH_VMM_HELLO_HAND_OFF;
  EXPECT_TRUE(Decode(ToBytes(hello), 0).ok());
}

TEST(DecodeTest, HandsOutTheCommandsOfAnInvalidate) {
  const auto call = Decode(InvalidateBytes(2, 2), 0);
  ASSERT_TRUE(call.ok()) << call.status();
  const auto& body = std::get<Invalidate>(call->body);
  EXPECT_EQ(body.commands, (std::vector<Command>{{0x11, 0}, {0x11, 1}}));
}

struct BadCase {
  std::string name;
  Bytes bytes;
  Reason reason;
};

template <typename T, typename Change>
Bytes Changed(T message, Change change) {
  change(&message);
  return ToBytes(message);
}

class BadMessageTest : public ::testing::TestWithParam<BadCase> {};

TEST_P(BadMessageTest, IsRefusedWithItsReason) {
  const size_t fds = PeekHeader(GetParam().bytes).type == BERTH_VMM_MAP_MEMORY ? 1 : 0;
  EXPECT_EQ(ReasonOf(Decode(GetParam().bytes, fds).status()), GetParam().reason);
}

INSTANTIATE_TEST_SUITE_P(
    All, BadMessageTest,
    ::testing::Values(
        BadCase{"Empty", {}, Reason::kMessageTooShort},
        BadCase{"TooLong", Bytes(BERTH_VMM_MAX_MESSAGE + 1), Reason::kMessageTooLong},
        BadCase{"TypeZero", ToBytes(Make<berth_vmm_detach>(0)), Reason::kUnknownMessage},
        BadCase{"TypeEvent", ToBytes(Make<berth_vmm_detach>(BERTH_VMM_EVENT)),
                Reason::kUnknownMessage},
        BadCase{"CallIdInHello", Changed(MakeHello(), [](auto* m) { m->header.call_id = 1; }),
                Reason::kBadMessage},
        BadCase{"NoCallId",
                Changed(Make<berth_vmm_detach>(BERTH_VMM_DETACH),
                        [](auto* m) { m->header.call_id = 0; }),
                Reason::kBadMessage},
        BadCase{"UidWithoutNul",
                Changed(MakeHello(), [](auto* m) { std::memset(m->assignment_uid, 'x', 64); }),
                Reason::kBadMessage},
        BadCase{"BytesBehindNul", Changed(MakeHello(), [](auto* m) { m->token[127] = 'x'; }),
                Reason::kBadMessage},
        BadCase{"HelloReserved", Changed(MakeHello(), [](auto* m) { m->reserved = 1; }),
                Reason::kBadMessage},
        BadCase{"HelloFlags", Changed(MakeHello(), [](auto* m) { m->flags = 2; }),
                Reason::kInvalidField},
        BadCase{"VersionsReversed", Changed(MakeHello(), [](auto* m) { m->version_min = 2; }),
                Reason::kInvalidField},
        BadCase{
            "Reserved",
            Changed(Make<berth_vmm_get_unit>(BERTH_VMM_GET_UNIT), [](auto* m) { m->reserved = 1; }),
            Reason::kBadMessage},
        BadCase{"NoMemoryFlags", Changed(MakeMapMemory(), [](auto* m) { m->flags = 0; }),
                Reason::kInvalidField},
        BadCase{"UnknownMemoryFlags", Changed(MakeMapMemory(), [](auto* m) { m->flags = 5; }),
                Reason::kInvalidField},
        BadCase{"StreamModeZero", ToBytes(MakeSetStream(0)), Reason::kInvalidField},
        BadCase{"StreamModeFour", ToBytes(MakeSetStream(4)), Reason::kInvalidField},
        BadCase{"SteInBypass",
                Changed(MakeSetStream(BERTH_VMM_STREAM_BYPASS), [](auto* m) { m->ste[1] = 1; }),
                Reason::kInvalidField},
        BadCase{"NoCommands", InvalidateBytes(0, 0), Reason::kInvalidField},
        BadCase{"TooManyCommands", InvalidateBytes(BERTH_VMM_MAX_COMMANDS + 1, 1),
                Reason::kTooLarge},
        BadCase{"CommandsMissing", InvalidateBytes(3, 2), Reason::kMessageTooShort}),
    [](const auto& test) { return test.param.name; });

TEST(PeekHeaderTest, TakesWhatThereIs) {
  const Bytes bytes = ToBytes(MakeHello());
  EXPECT_EQ(PeekHeader(std::span(bytes).first(6)).type, BERTH_VMM_HELLO);
  EXPECT_EQ(PeekHeader(std::span(bytes).first(6)).session_id, 0u);
  EXPECT_EQ(PeekHeader({}).size, 0u);
}

}  // namespace
}  // namespace berth::wire
