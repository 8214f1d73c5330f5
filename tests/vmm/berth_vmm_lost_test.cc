// SPDX-License-Identifier: Apache-2.0
//
// libberth-vmm when the agent answers garbage, or its answer is lost.
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
#include "lib/vmm/berth_vmm.h"
#include "tests/vmm/berth_vmm_fixture.h"
#include "tests/vmm/scripted_agent.h"

namespace berth {
namespace {

// Answers that break the protocol, one after another on connections of their own: after garbage the
// library trusts the connection no more.
TEST_F(BerthVmmTest, RefusesGarbageAndRepeatsTheCallOnANewConnection) {
  const auto reply_with = [](const std::function<void(berth_vmm_empty_reply*)>& spoil, size_t size,
                             int fds = 0) {
    return [=](AgentConnection& agent) {
      agent.Welcome();
      const Received call = agent.Receive();
      EXPECT_EQ(call.header().call_id, 1u);
      berth_vmm_empty_reply reply = {};
      reply.reply.header = {.size = sizeof(reply),
                            .type = BERTH_VMM_RESET_GUEST,
                            .fd_count = 0,
                            .session_id = AgentConnection::kSession,
                            .call_id = 1};
      spoil(&reply);
      std::vector<std::byte> bytes(std::max(size, sizeof(reply)));
      std::memcpy(bytes.data(), &reply, sizeof(reply));
      bytes.resize(size);
      agent.SendBytes(bytes, std::vector<int>(static_cast<size_t>(fds), 0));
    };
  };
  const size_t size = sizeof(berth_vmm_empty_reply);
  const auto nothing = [](auto*) {};
  Play({reply_with(nothing, 10), reply_with(nothing, size - 1), reply_with(nothing, size + 8),
        reply_with(nothing, size, 1), reply_with(nothing, size, 3),
        reply_with([](auto* r) { r->reply.header.type = BERTH_VMM_DETACH; }, size),
        reply_with([](auto* r) { r->reply.header.call_id = 2; }, size),
        reply_with([](auto* r) { r->reply.header.session_id = 1; }, size),
        reply_with([](auto* r) { r->reply.header.fd_count = 1; }, size, 1),
        reply_with([](auto* r) { r->reply.reason = 1u << 31; }, size),
        reply_with(nothing, BERTH_VMM_MAX_MESSAGE + 10), reply_with(nothing, size)});
  ASSERT_EQ(Connect(), 0);
  for (int i = 0; i < 11; ++i) EXPECT_EQ(berth_vmm_reset_guest(vmm_), kBadMessage) << i;
  EXPECT_EQ(berth_vmm_reset_guest(vmm_), 0) << Message();
  ExpectOnlyTheSessionsFds();
}

TEST_F(BerthVmmTest, RefusesANonZeroTailAndAcceptsAZeroOne) {
  const auto with_tail = [](std::byte last) {
    return [=](AgentConnection& agent) {
      agent.Welcome();
      struct {
        berth_vmm_empty_reply known;
        std::byte tail[8];
      } reply = {};
      reply.tail[7] = last;
      agent.Reply(agent.Receive(), reply);
    };
  };
  Play({with_tail(std::byte{1}), with_tail(std::byte{0})});
  ASSERT_EQ(Connect(), 0);
  EXPECT_EQ(berth_vmm_reset_guest(vmm_), -BERTH_VMM_REASON_UNKNOWN_TAIL);
  EXPECT_EQ(berth_vmm_reset_guest(vmm_), 0);
}

TEST_F(BerthVmmTest, RepeatsACallWhoseAnswerWasLostByteForByteWithItsFd) {
  Received first;
  Play({[&](AgentConnection& agent) {
          agent.Welcome();
          first = agent.Receive();
        },
        [&](AgentConnection& agent) {
          EXPECT_EQ(agent.Welcome(1).header().session_id, AgentConnection::kSession);
          const Received again = agent.Receive();
          EXPECT_EQ(again.bytes, first.bytes);
          EXPECT_EQ(again.fds.size(), 1u);
          AnswerEmpty(agent, again);
          const Received next = agent.Receive();
          EXPECT_EQ(next.header().call_id, 2u);
          AnswerEmpty(agent, next);
        }});
  ASSERT_EQ(Connect(), 0);
  const UniqueFd memfd(::memfd_create("memory", MFD_CLOEXEC));
  EXPECT_EQ(berth_vmm_map_memory(vmm_, memfd.get(), 0, 0, 4096, 3), 0) << Message();
  EXPECT_EQ(berth_vmm_reset_guest(vmm_), 0) << Message();
}

TEST_F(BerthVmmTest, AfterATimeoutTheSameCallIsTheSameRequest) {
  Play({[&](AgentConnection& agent) {
          agent.Welcome();
          agent.Receive();
          EXPECT_TRUE(agent.Receive().bytes.empty());  // the library gives the connection up
        },
        [&](AgentConnection& agent) {
          agent.Welcome(1);
          const Received again = agent.Receive();
          EXPECT_EQ(again.header().call_id, 1u);
          agent.ReplyError(again, BERTH_VMM_REASON_QUEUE_ORDER, 0, "as the first time");
        }});
  ASSERT_EQ(Connect(), 0);
  berth_vmm_set_timeout(vmm_, 0);
  EXPECT_EQ(berth_vmm_free_queue(vmm_, 0, 0), -BERTH_VMM_REASON_DEADLINE_EXCEEDED);
  berth_vmm_set_timeout(vmm_, BERTH_VMM_DEFAULT_TIMEOUT_MS);
  EXPECT_EQ(berth_vmm_free_queue(vmm_, 0, 0), -BERTH_VMM_REASON_QUEUE_ORDER);
  EXPECT_EQ(Message(), "as the first time");
}

TEST_F(BerthVmmTest, AnotherCallFinishesTheLostOneFirst) {
  Play({[&](AgentConnection& agent) {
          agent.Welcome();
          agent.Receive();
          EXPECT_TRUE(agent.Receive().bytes.empty());
        },
        [&](AgentConnection& agent) {
          agent.Welcome();
          const Received lost = agent.Receive();
          EXPECT_EQ(lost.header().type, BERTH_VMM_FREE_QUEUE);
          EXPECT_EQ(lost.header().call_id, 1u);
          AnswerEmpty(agent, lost);
          const Received next = agent.Receive();
          EXPECT_EQ(next.header().type, BERTH_VMM_RESET_GUEST);
          EXPECT_EQ(next.header().call_id, 2u);
          AnswerEmpty(agent, next);
        }});
  ASSERT_EQ(Connect(), 0);
  berth_vmm_set_timeout(vmm_, 0);
  EXPECT_EQ(berth_vmm_free_queue(vmm_, 0, 0), -BERTH_VMM_REASON_DEADLINE_EXCEEDED);
  berth_vmm_set_timeout(vmm_, BERTH_VMM_DEFAULT_TIMEOUT_MS);
  EXPECT_EQ(berth_vmm_reset_guest(vmm_), 0) << Message();
}

TEST_F(BerthVmmTest, WaitsForAnAgentThatFindsItsFeet) {
  Play({[](AgentConnection& agent) {
          agent.Welcome();
          agent.Receive();
        },
        [](AgentConnection& agent) {
          agent.ReplyError(agent.Receive(), BERTH_VMM_REASON_NOT_READY, 0, "not yet");
        },
        [](AgentConnection& agent) {
          agent.Welcome();
          AnswerEmpty(agent, agent.Receive());
        }});
  ASSERT_EQ(Connect(), 0);
  EXPECT_EQ(berth_vmm_reset_guest(vmm_), 0) << Message();
}

TEST_F(BerthVmmTest, SaysThatTheSessionIsOverAndTakesThatForADetachThatWorked) {
  const Script lose = [](AgentConnection& agent) {
    agent.Welcome();
    agent.Receive();
  };
  const Script forget = [](AgentConnection& agent) {
    agent.ReplyError(agent.Receive(), BERTH_VMM_REASON_SESSION_UNKNOWN, 0, "over");
  };
  Play({lose, forget, forget});
  ASSERT_EQ(Connect(), 0);
  EXPECT_EQ(berth_vmm_reset_guest(vmm_), -BERTH_VMM_REASON_SESSION_UNKNOWN);
  EXPECT_EQ(berth_vmm_reset_guest(vmm_), -BERTH_VMM_REASON_SESSION_UNKNOWN);
}

TEST_F(BerthVmmTest, ADetachWhoseAnswerWasLostHasWorked) {
  Play({[](AgentConnection& agent) {
          agent.Welcome();
          agent.Receive();
        },
        [](AgentConnection& agent) {
          agent.ReplyError(agent.Receive(), BERTH_VMM_REASON_SESSION_UNKNOWN, 0, "over");
        }});
  ASSERT_EQ(Connect(), 0);
  EXPECT_EQ(berth_vmm_detach(vmm_), 0) << Message();
}

TEST_F(BerthVmmTest, RefusesAnotherAssignmentUnderItsSession) {
  Play({[](AgentConnection& agent) {
          agent.Welcome();
          agent.Receive();
        },
        [](AgentConnection& agent) { agent.Welcome(1000); }});
  ASSERT_EQ(Connect(), 0);
  EXPECT_EQ(berth_vmm_reset_guest(vmm_), kBadMessage);
}

}  // namespace
}  // namespace berth
