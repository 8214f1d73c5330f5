// SPDX-License-Identifier: Apache-2.0
#include "lib/vmm/berth_vmm.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include <cerrno>
#include <climits>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>

#include "lib/base/reason.h"
#include "tests/vmm/berth_vmm_fixture.h"
#include "tests/vmm/scripted_agent.h"

namespace berth {
namespace {

TEST_F(BerthVmmTest, SaysHelloWithWhatItWasGiven) {
  Play({[](AgentConnection& agent) {
    const auto hello = agent.Welcome().As<berth_vmm_hello>();
    EXPECT_STREQ(hello.assignment_uid, "uid");
    EXPECT_STREQ(hello.token, "token");
    EXPECT_EQ(hello.version_max, BERTH_VMM_VERSION);
    EXPECT_EQ(hello.header.session_id, 0u);
    EXPECT_EQ(hello.header.call_id, 0u);
  }});
  ASSERT_EQ(Connect(), 0) << Message();
  berth_vmm_info info;
  ASSERT_EQ(berth_vmm_get_info(vmm_, &info, sizeof(info)), 0);
  EXPECT_EQ(info.session_id, AgentConnection::kSession);
  EXPECT_EQ(info.unit_count, 1u);
  EXPECT_EQ(info.memory_limit, 1u << 30);
}

TEST_F(BerthVmmTest, ReportsARefusalInFull) {
  Play({[](AgentConnection& agent) {
    agent.ReplyError(agent.Receive(), BERTH_VMM_REASON_WRONG_TOKEN, EACCES, "no such key");
  }});
  EXPECT_EQ(Connect(), -BERTH_VMM_REASON_WRONG_TOKEN);
  EXPECT_EQ(berth_vmm_last_reason(vmm_), static_cast<uint32_t>(BERTH_VMM_REASON_WRONG_TOKEN));
  EXPECT_EQ(berth_vmm_last_errno(vmm_), EACCES);
  EXPECT_EQ(Message(), "no such key");
  EXPECT_EQ(berth_vmm_reset_guest(vmm_), -BERTH_VMM_REASON_STATE_CONFLICT);
}

TEST_F(BerthVmmTest, DoesNotWaitForAnAgentThatIsNotThere) {
  EXPECT_EQ(Connect(), kUnavailable);
  EXPECT_EQ(berth_vmm_last_errno(vmm_), ENOENT);
  EXPECT_EQ(berth_vmm_connect(vmm_, std::string(200, 'x').c_str(), "u", "t"),
            -BERTH_VMM_REASON_INVALID_FIELD);
}

TEST_F(BerthVmmTest, UnderstandsThatItWasTurnedAway) {
  Play({[](AgentConnection& agent) {
    berth_vmm_reply reply = {};
    reply.header.size = sizeof(reply);
    reply.reason = BERTH_VMM_REASON_OVERLOADED;
    agent.Receive();
    std::vector<std::byte> bytes(sizeof(reply));
    std::memcpy(bytes.data(), &reply, sizeof(reply));
    agent.SendBytes(bytes);
  }});
  EXPECT_EQ(Connect(), -BERTH_VMM_REASON_OVERLOADED);
}

TEST_F(BerthVmmTest, SendsEachCallWithItsArgumentsAndCounts) {
  Play({[](AgentConnection& agent) {
    agent.Welcome();
    Received call = agent.Receive();
    const auto map = call.As<struct berth_vmm_map_memory>();
    EXPECT_EQ(map.header.call_id, 1u);
    EXPECT_EQ(map.header.fd_count, 1);
    EXPECT_EQ(call.fds.size(), 1u);
    EXPECT_EQ(map.iova, 0x40000000u);
    EXPECT_EQ(map.offset, 0x1000u);
    EXPECT_EQ(map.length, 0x2000u);
    EXPECT_EQ(map.flags, 3u);
    AnswerEmpty(agent, call);
    call = agent.Receive();
    const auto stream = call.As<struct berth_vmm_set_stream>();
    EXPECT_EQ(stream.header.call_id, 2u);
    EXPECT_EQ(stream.vsid, 8u);
    EXPECT_EQ(stream.ste[1], 22u);
    AnswerEmpty(agent, call);
    call = agent.Receive();
    EXPECT_EQ(call.As<struct berth_vmm_set_stream>().ste[0], 0u);
    AnswerEmpty(agent, call);
    call = agent.Receive();
    const auto queue = call.As<struct berth_vmm_alloc_queue>();
    EXPECT_EQ(queue.index, 1u);
    EXPECT_EQ(queue.length, 4096u);
    AnswerEmpty(agent, call);
    for (const uint16_t type :
         {BERTH_VMM_FREE_QUEUE, BERTH_VMM_UNMAP_MEMORY, BERTH_VMM_RESET_GUEST, BERTH_VMM_DETACH}) {
      call = agent.Receive();
      EXPECT_EQ(call.header().type, type);
      EXPECT_EQ(call.header().session_id, AgentConnection::kSession);
      AnswerEmpty(agent, call);
    }
  }});
  ASSERT_EQ(Connect(), 0);
  const UniqueFd memfd(::memfd_create("memory", MFD_CLOEXEC));
  const uint64_t ste[2] = {11, 22};
  EXPECT_EQ(berth_vmm_map_memory(vmm_, memfd.get(), 0x1000, 0x40000000, 0x2000, 3), 0);
  EXPECT_EQ(berth_vmm_set_stream(vmm_, 0, 8, BERTH_VMM_STREAM_TRANSLATE, ste), 0);
  EXPECT_EQ(berth_vmm_set_stream(vmm_, 0, 8, BERTH_VMM_STREAM_BYPASS, ste), 0);
  EXPECT_EQ(berth_vmm_alloc_queue(vmm_, 0, 1, 0x40000000, 4096), 0);
  EXPECT_EQ(berth_vmm_free_queue(vmm_, 0, 1), 0);
  EXPECT_EQ(berth_vmm_unmap_memory(vmm_, 0x40000000, 0x2000), 0);
  EXPECT_EQ(berth_vmm_reset_guest(vmm_), 0);
  EXPECT_EQ(berth_vmm_detach(vmm_), 0);
  EXPECT_EQ(berth_vmm_detach(vmm_), -BERTH_VMM_REASON_STATE_CONFLICT);
}

TEST_F(BerthVmmTest, FillsStructsOfOlderAndNewerCallers) {
  Play({[](AgentConnection& agent) {
    agent.Welcome();
    for (int i = 0; i < 2; ++i) {
      berth_vmm_unit_reply reply = {};
      std::memset(reply.id, 'x', sizeof(reply.id));  // no NUL: the library adds it
      reply.vcmdqs = 2;
      agent.Reply(agent.Receive(), reply);
    }
  }});
  ASSERT_EQ(Connect(), 0);
  struct {
    berth_vmm_unit_reply known;
    uint64_t future = 99;
  } newer;
  EXPECT_EQ(berth_vmm_get_unit(vmm_, 0, &newer.known, sizeof(newer)), 0);
  EXPECT_EQ(newer.known.vcmdqs, 2u);
  EXPECT_EQ(std::string(newer.known.id), std::string(63, 'x'));
  EXPECT_EQ(newer.future, 0u);
  berth_vmm_unit_reply older = {};
  older.vcmdqs = 99;
  EXPECT_EQ(berth_vmm_get_unit(vmm_, 0, &older, offsetof(berth_vmm_unit_reply, vcmdqs)), 0);
  EXPECT_EQ(older.vcmdqs, 99u);
}

TEST_F(BerthVmmTest, MapsPage0ExactlyAsToldAndNeedsNoFdAfterwards) {
  const UniqueFd memfd(::memfd_create("page0", MFD_CLOEXEC));
  ASSERT_EQ(::ftruncate(memfd.get(), 0x20000), 0);
  const int fd = memfd.get();
  Play({[fd](AgentConnection& agent) {
    agent.Welcome();
    berth_vmm_page0_reply reply = {};
    reply.kind = BERTH_VMM_REGION_MEMFD;
    reply.offset = 0x10000;
    reply.length = 0x10000;
    agent.Reply(agent.Receive(), reply, {fd});
  }});
  ASSERT_EQ(Connect(), 0);
  void* page0 = nullptr;
  size_t length = 0;
  ASSERT_EQ(berth_vmm_map_page0(vmm_, 0, &page0, &length), 0) << Message();
  EXPECT_EQ(length, 0x10000u);
  ++fds_at_start_;  // memfd
  ExpectOnlyTheSessionsFds();
  std::memset(page0, 0x5a, 1);
  char byte = 0;
  ASSERT_EQ(::pread(memfd.get(), &byte, 1, 0x10000), 1);
  EXPECT_EQ(byte, 0x5a);
  EXPECT_EQ(berth_vmm_map_page0(vmm_, 0, &page0, &length), -BERTH_VMM_REASON_STATE_CONFLICT);
  EXPECT_EQ(berth_vmm_unmap_page0(vmm_, 0), 0);
  EXPECT_EQ(berth_vmm_unmap_page0(vmm_, 0), -BERTH_VMM_REASON_STATE_CONFLICT);
}

TEST_F(BerthVmmTest, RefusesAPage0ThatWouldFault) {
  const UniqueFd memfd(::memfd_create("page0", MFD_CLOEXEC));
  ASSERT_EQ(::ftruncate(memfd.get(), 0x1000), 0);
  const int fd = memfd.get();
  Play({[fd](AgentConnection& agent) {
    agent.Welcome();
    for (const auto& [kind, offset, length] :
         {std::tuple(2, 0, 0x10000), std::tuple(2, 0x1000, 0x1000), std::tuple(2, 0, 0),
          std::tuple(2, 0, 0x800), std::tuple(3, 0, 0x1000), std::tuple(1, 0, 0x40000000)}) {
      berth_vmm_page0_reply reply = {};
      reply.kind = static_cast<uint32_t>(kind);
      reply.offset = static_cast<uint64_t>(offset);
      reply.length = static_cast<uint64_t>(length);
      agent.Reply(agent.Receive(), reply, {fd});
    }
  }});
  ASSERT_EQ(Connect(), 0);
  for (int i = 0; i < 6; ++i) {
    void* page0 = nullptr;
    size_t length = 0;
    EXPECT_EQ(berth_vmm_map_page0(vmm_, 0, &page0, &length), kBadMessage) << i;
  }
  ++fds_at_start_;  // memfd
  ExpectOnlyTheSessionsFds();
}

TEST_F(BerthVmmTest, TellsHowManyCommandsWereHandled) {
  Play({[](AgentConnection& agent) {
    agent.Welcome();
    const Received call = agent.Receive();
    EXPECT_EQ(call.bytes.size(), sizeof(struct berth_vmm_invalidate) + 3 * 16);
    berth_vmm_invalidate_reply reply = {};
    reply.reply.reason = BERTH_VMM_REASON_BAD_COMMAND;
    reply.handled = 2;
    agent.Reply(call, reply);
    reply.reply.reason = 0;
    reply.handled = 4;
    agent.Reply(agent.Receive(), reply);
  }});
  ASSERT_EQ(Connect(), 0);
  const uint64_t commands[3][2] = {{0x11, 0}, {0x11, 0}, {0xff, 0}};
  uint32_t handled = 0;
  EXPECT_EQ(berth_vmm_invalidate(vmm_, 0, commands, 3, &handled), -BERTH_VMM_REASON_BAD_COMMAND);
  EXPECT_EQ(handled, 2u);
  EXPECT_EQ(berth_vmm_invalidate(vmm_, 0, commands, 3, &handled), kBadMessage);
  EXPECT_EQ(berth_vmm_invalidate(vmm_, 0, commands, 0, &handled), -BERTH_VMM_REASON_INVALID_FIELD);
  EXPECT_EQ(berth_vmm_invalidate(vmm_, 0, commands, BERTH_VMM_MAX_COMMANDS + 1, &handled),
            -BERTH_VMM_REASON_TOO_LARGE);
}

TEST_F(BerthVmmTest, BoundsTheIovaRanges) {
  Play({[](AgentConnection& agent) {
    agent.Welcome();
    berth_vmm_iova_ranges_reply reply = {};
    reply.range_count = 2;
    reply.ranges[1].last = 5;
    agent.Reply(agent.Receive(), reply);
    agent.Reply(agent.Receive(), reply);
    reply.range_count = BERTH_VMM_MAX_RANGES + 1;
    agent.Reply(agent.Receive(), reply);
  }});
  ASSERT_EQ(Connect(), 0);
  berth_vmm_range ranges[2] = {};
  uint32_t count = 2;
  EXPECT_EQ(berth_vmm_get_iova_ranges(vmm_, ranges, &count), 0);
  EXPECT_EQ(ranges[1].last, 5u);
  count = 1;
  EXPECT_EQ(berth_vmm_get_iova_ranges(vmm_, ranges, &count), -BERTH_VMM_REASON_TOO_LARGE);
  EXPECT_EQ(count, 2u);
  EXPECT_EQ(berth_vmm_get_iova_ranges(vmm_, ranges, &count), kBadMessage);
}

berth_vmm_event MakeEvent() {
  berth_vmm_event event = {};
  event.header = {.size = sizeof(event),
                  .type = BERTH_VMM_EVENT,
                  .fd_count = 0,
                  .session_id = AgentConnection::kSession,
                  .call_id = 1};
  event.source = BERTH_VMM_EVENT_CMDQV;
  event.data[0] = 1;
  return event;
}

void SendEvent(AgentConnection& agent, const berth_vmm_event& event) {
  EXPECT_EQ(::send(agent.events(), &event, sizeof(event), 0), static_cast<ssize_t>(sizeof(event)));
}

TEST_F(BerthVmmTest, ReadsEventsAndNoticesTheirEndOnce) {
  Play({[](AgentConnection& agent) {
          agent.Welcome();
          SendEvent(agent, MakeEvent());
          berth_vmm_event bad = MakeEvent();
          bad.unit = 1;
          SendEvent(agent, bad);
          AnswerEmpty(agent, agent.Receive());
          agent.CloseEvents();
          AnswerEmpty(agent, agent.Receive());
          EXPECT_TRUE(agent.Receive().bytes.empty());
        },
        [](AgentConnection& agent) {
          agent.Welcome(2);
          SendEvent(agent, MakeEvent());
          AnswerEmpty(agent, agent.Receive());
        }});
  ASSERT_EQ(Connect(), 0);
  pollfd poll_fd = {.fd = berth_vmm_event_fd(vmm_), .events = POLLIN, .revents = 0};
  EXPECT_EQ(::poll(&poll_fd, 1, -1), 1);
  ASSERT_EQ(berth_vmm_reset_guest(vmm_), 0);  // both events are there by now
  berth_vmm_event event = {};
  EXPECT_EQ(berth_vmm_read_event(vmm_, &event, sizeof(event)), 1);
  EXPECT_EQ(event.data[0], 1u);
  EXPECT_EQ(berth_vmm_read_event(vmm_, &event, sizeof(event)), kBadMessage);
  ASSERT_EQ(berth_vmm_reset_guest(vmm_), 0);  // and by now the events are closed
  EXPECT_EQ(berth_vmm_read_event(vmm_, &event, sizeof(event)), kUnavailable);
  EXPECT_EQ(berth_vmm_read_event(vmm_, &event, sizeof(event)), 0);
  ASSERT_EQ(berth_vmm_reconnect(vmm_), 0) << Message();
  EXPECT_EQ(berth_vmm_event_fd(vmm_), poll_fd.fd);
  EXPECT_EQ(::poll(&poll_fd, 1, -1), 1);
  EXPECT_EQ(berth_vmm_read_event(vmm_, &event, sizeof(event)), 1);
  EXPECT_EQ(berth_vmm_reset_guest(vmm_), 0);
}

TEST_F(BerthVmmTest, LeavesNoFdBehind) {
  Play({[](AgentConnection& agent) {
    agent.Welcome();
    berth_vmm_device_reply reply = {};
    agent.Reply(agent.Receive(), reply, {0});
    reply.unit = 9;  // there is none: refused, and the fd closed
    agent.Reply(agent.Receive(), reply, {0});
  }});
  ASSERT_EQ(Connect(), 0);
  berth_vmm_device_reply device;
  int cdev = -1;
  ASSERT_EQ(berth_vmm_get_device(vmm_, 0, &device, sizeof(device), &cdev), 0);
  EXPECT_NE(::fcntl(cdev, F_GETFD) & FD_CLOEXEC, 0);
  ::close(cdev);
  EXPECT_EQ(berth_vmm_get_device(vmm_, 0, &device, sizeof(device), &cdev), kBadMessage);
  ExpectOnlyTheSessionsFds();
  berth_vmm_close(vmm_);
  vmm_ = nullptr;
  EXPECT_EQ(OpenFds(), fds_at_start_ - 1);  // its epoll was open at the start
}

TEST(ReasonNameTest, KnowsEveryReasonOfBerth) {
#define BERTH_CHECK_NAME(number, enumerator, name, code, meaning) \
  EXPECT_STREQ(berth_vmm_reason_name(number), #name);             \
  EXPECT_STREQ(berth_vmm_reason_name(-(number)), #name);
  BERTH_REASONS(BERTH_CHECK_NAME)
#undef BERTH_CHECK_NAME
  for (const int number : {49, 10000, INT_MAX, INT_MIN}) {
    EXPECT_STREQ(berth_vmm_reason_name(number), "UNKNOWN");
  }
}

}  // namespace
}  // namespace berth
