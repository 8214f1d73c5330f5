// SPDX-License-Identifier: Apache-2.0
#include "ctl/controller/book/link_health.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lib/base/status.h"

namespace berth {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class LinkHealthTest : public ::testing::Test {
 protected:
  // Sessions that end one second apart. Returns what the last one changed.
  bool End(size_t sessions) {
    bool news = false;
    for (size_t i = 0; i < sessions; ++i) {
      now_ += absl::Seconds(1);
      news = link_.NoteEnd(now_, absl::OkStatus());
    }
    return news;
  }

  absl::Time now_ = absl::FromUnixSeconds(1000);
  LinkHealth link_;
};

TEST_F(LinkHealthTest, AFewSessionsThatEndAreNothing) {
  EXPECT_FALSE(End(LinkHealth::kFlaps - 1));
  EXPECT_FALSE(link_.condition().has_value());
  now_ += LinkHealth::kWindow;
  EXPECT_FALSE(End(LinkHealth::kFlaps - 1)) << "those of before are too long ago";
  EXPECT_FALSE(link_.taint().has_value());
}

TEST_F(LinkHealthTest, ALinkThatFlapsTaintsUntilItIsStable) {
  EXPECT_TRUE(End(LinkHealth::kFlaps));
  ASSERT_TRUE(link_.condition().has_value());
  EXPECT_EQ(link_.condition()->type(), "LinkHealthy");
  EXPECT_FALSE(link_.condition()->status());
  EXPECT_EQ(link_.condition()->reason(), "UNAVAILABLE");
  EXPECT_THAT(link_.condition()->message(), HasSubstr("5 sessions of its agent ended within 4s"));
  EXPECT_EQ(link_.condition()->last_transition_time().seconds(), 1005);
  ASSERT_TRUE(link_.taint().has_value());
  EXPECT_EQ(link_.taint()->key(), "berth/link-flapping");
  EXPECT_EQ(link_.taint()->effect(), v1::Taint::NO_NEW);

  now_ += LinkHealth::kStable - absl::Seconds(1);
  EXPECT_FALSE(link_.Review(now_, true));
  EXPECT_FALSE(End(1)) << "it is known already";
  now_ += LinkHealth::kStable - absl::Seconds(1);
  EXPECT_FALSE(link_.Review(now_, true)) << "counted from the last one";
  now_ += absl::Seconds(1);
  EXPECT_FALSE(link_.Review(now_, false)) << "no session stands";
  EXPECT_TRUE(link_.Review(now_, true));
  EXPECT_FALSE(link_.condition().has_value());
  EXPECT_FALSE(link_.taint().has_value());
}

TEST_F(LinkHealthTest, ARefusedHelloIsAConditionAndNoTaint) {
  const absl::Status skew = Error(Reason::kVersionSkew, "version 9");
  EXPECT_TRUE(link_.NoteRefused(now_, skew));
  EXPECT_FALSE(link_.NoteRefused(now_ + absl::Seconds(5), skew)) << "it dials again and again";
  EXPECT_EQ(link_.condition()->reason(), "VERSION_SKEW");
  EXPECT_THAT(link_.condition()->message(), AllOf(HasSubstr("refused"), HasSubstr("version 9")));
  EXPECT_EQ(link_.condition()->last_transition_time().seconds(), 1000);
  EXPECT_FALSE(link_.taint().has_value());
  EXPECT_TRUE(link_.NoteRefused(now_, Error(Reason::kBadInventory, "two of a name")));
  EXPECT_EQ(link_.condition()->reason(), "BAD_INVENTORY");
  EXPECT_TRUE(link_.NoteWelcome());
  EXPECT_FALSE(link_.condition().has_value());
  EXPECT_FALSE(link_.NoteWelcome());
}

TEST_F(LinkHealthTest, ATwinThatIsRefusedIsForgottenWhenItStaysAway) {
  link_.NoteRefused(now_, Error(Reason::kFenced, "incarnation 4 is over"));
  EXPECT_FALSE(link_.Review(now_ + LinkHealth::kStable - absl::Seconds(1), true));
  EXPECT_TRUE(link_.Review(now_ + LinkHealth::kStable, true));
  EXPECT_FALSE(link_.condition().has_value());
}

}  // namespace
}  // namespace berth
