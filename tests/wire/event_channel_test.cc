// SPDX-License-Identifier: Apache-2.0
#include "lib/wire/event_channel.h"

#include <gtest/gtest.h>
#include <sys/socket.h>

namespace berth::wire {
namespace {

berth_vmm_event Receive(int socket) {
  berth_vmm_event event = {};
  EXPECT_EQ(::recv(socket, &event, sizeof(event), MSG_DONTWAIT),
            static_cast<ssize_t>(sizeof(event)));
  return event;
}

TEST(EventChannelTest, NumbersItsEvents) {
  auto pair = EventChannel::Create();
  ASSERT_TRUE(pair.ok()) << pair.status();
  for (uint32_t i = 1; i <= 2; ++i) {
    berth_vmm_event event = {};
    event.unit = i;
    EXPECT_EQ(pair->agent.Send(7, event), EventChannel::Result::kSent);
    event = Receive(pair->vmm.get());
    EXPECT_EQ(event.header.size, sizeof(event));
    EXPECT_EQ(event.header.type, BERTH_VMM_EVENT);
    EXPECT_EQ(event.header.session_id, 7u);
    EXPECT_EQ(event.header.call_id, i);
    EXPECT_EQ(event.unit, i);
  }
}

TEST(EventChannelTest, SaysWhenTheVmmDoesNotReadAndGoesOnWhenItDoes) {
  auto pair = EventChannel::Create();
  ASSERT_TRUE(pair.ok()) << pair.status();
  uint64_t sent = 0;
  while (pair->agent.Send(7, {}) == EventChannel::Result::kSent) ++sent;
  EXPECT_EQ(pair->agent.Send(7, {}), EventChannel::Result::kFull);
  for (uint64_t i = 1; i <= sent; ++i) EXPECT_EQ(Receive(pair->vmm.get()).header.call_id, i);
  EXPECT_EQ(pair->agent.Send(7, {}), EventChannel::Result::kSent);
  EXPECT_EQ(Receive(pair->vmm.get()).header.call_id, sent + 1);
}

TEST(EventChannelTest, SaysWhenTheVmmIsGone) {
  auto pair = EventChannel::Create();
  ASSERT_TRUE(pair.ok()) << pair.status();
  pair->vmm.Reset();
  EXPECT_EQ(pair->agent.Send(7, {}), EventChannel::Result::kClosed);
}

}  // namespace
}  // namespace berth::wire
