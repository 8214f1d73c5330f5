// SPDX-License-Identifier: Apache-2.0
#include "lib/rpc/message_order.h"

#include <gtest/gtest.h>

#include "lib/base/status.h"

namespace berth {
namespace {

TEST(MessageOrderTest, EachFollowsTheOneBefore) {
  MessageOrder sender;
  MessageOrder receiver;
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(receiver.Check(sender.Next()).ok());
}

TEST(MessageOrderTest, LostRepeatedAndReorderedOnesAreRefused) {
  for (const int64_t wrong : {int64_t{0}, int64_t{1}, int64_t{2}, int64_t{4}, int64_t{-3}}) {
    MessageOrder receiver;
    EXPECT_TRUE(receiver.Check(1).ok());
    EXPECT_TRUE(receiver.Check(2).ok());
    EXPECT_EQ(ReasonOf(receiver.Check(wrong)), Reason::kBadMessage) << wrong;
  }
  MessageOrder receiver;
  EXPECT_EQ(ReasonOf(receiver.Check(2)), Reason::kBadMessage) << "the first is lost";
}

TEST(MessageOrderTest, WhoDoesNotNumberMayGoOn) {
  MessageOrder receiver;
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(receiver.Check(0).ok());
}

}  // namespace
}  // namespace berth
