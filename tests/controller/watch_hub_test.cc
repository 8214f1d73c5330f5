// SPDX-License-Identifier: Apache-2.0
//
// What watchers take out of the hub: everything, in order, in few messages.
#include "ctl/controller/watch/watch_hub.h"

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "berth/v1/assignment_service.pb.h"
#include "berth/v1/host_service.pb.h"
#include "lib/base/status.h"

namespace berth {
namespace {

using Subscription = std::shared_ptr<WatchHub::Subscription>;

WatchChange Put(const std::string& id, size_t bytes = 0) {
  auto assignment = std::make_shared<v1::Assignment>();
  assignment->set_name(absl::StrCat("assignments/", id));
  if (bytes > 0) assignment->set_uid(std::string(bytes, 'x'));
  return {.kind = WatchKind::kAssignments,
          .name = assignment->name(),
          .deleted = false,
          .resource = assignment};
}

WatchChange Host(const std::string& id) {
  auto host = std::make_shared<v1::Host>();
  host->set_name(absl::StrCat("hosts/", id));
  host->add_devices();
  return {.kind = WatchKind::kHosts, .name = host->name(), .deleted = false, .resource = host};
}

class WatchHubTest : public ::testing::Test {
 protected:
  Subscription Subscribe(
      WatchView view = WatchView::kAssignments, const std::string& name = "",
      std::function<void()> wake = [] {}) {
    auto subscription = hub_.Subscribe(view, name, std::move(wake));
    EXPECT_TRUE(subscription.ok()) << subscription.status();
    return *subscription;
  }
  Reason WhySubscribeFails() {
    return ReasonOf(hub_.Subscribe(WatchView::kAssignments, "", [] {}).status());
  }
  void Publish(std::vector<WatchChange> changes) {
    auto batch = std::make_shared<WatchBatch>();
    batch->position.store_uid = "s";
    batch->position.revision = ++revision_;
    batch->changes = std::move(changes);
    hub_.Publish(std::move(batch));
  }
  // Names and revision of the next message: "a b @2". Empty: there is none.
  std::string Next(const Subscription& subscription) {
    const absl::StatusOr<WatchMessage> message = hub_.Take(subscription);
    if (!message.ok()) return std::string(ReasonName(ReasonOf(message.status())));
    if (*message == nullptr) return "";
    v1::WatchAssignmentsResponse response;
    EXPECT_TRUE(response.ParseFromString(**message));
    std::string text;
    for (const v1::AssignmentEvent& event : response.events()) {
      const std::string& name = event.assignment().name();
      absl::StrAppend(&text, event.type() == v1::AssignmentEvent::DELETE ? "-" : "",
                      name.substr(name.find('/') + 1), " ");
    }
    const auto position = WatchPosition::FromToken(response.watch_token());
    EXPECT_TRUE(position.ok()) << position.status();
    return absl::StrCat(text, "@", position->revision);
  }

  Revision revision_ = 0;
  WatchHub hub_{{.watchers = 3, .buffered_changes = 4}};
};

TEST_F(WatchHubTest, WhatHasGatheredIsOneMessage) {
  const auto early = Subscribe();
  Publish({Put("a")});
  const auto late = Subscribe();
  EXPECT_EQ(Next(early), "a @1");
  EXPECT_EQ(Next(early), "");
  WatchChange gone = Put("a");
  gone.deleted = true;
  Publish({Put("b"), Put("c")});
  Publish({gone});
  EXPECT_EQ(Next(early), "b c -a @3");
  EXPECT_EQ(Next(late), "b c -a @3");
  EXPECT_EQ(Next(late), "");
}

TEST_F(WatchHubTest, ThoseWhoFollowTheNewsShareItsBytes) {
  const auto one = Subscribe();
  const auto other = Subscribe();
  Publish({Put("a")});
  Publish({Put("b")});
  const auto first = hub_.Take(one);
  const auto second = hub_.Take(other);
  ASSERT_TRUE(first.ok()) << first.status();
  ASSERT_TRUE(second.ok()) << second.status();
  ASSERT_NE(*first, nullptr);
  EXPECT_EQ(first->get(), second->get());
}

TEST_F(WatchHubTest, MessagesHaveAModerateSizeAndNothingIsLeftOut) {
  const auto watcher = Subscribe();
  for (const char* id : {"a", "b", "c", "d"}) Publish({Put(id, 100'000)});
  EXPECT_EQ(Next(watcher), "a b @2");
  EXPECT_EQ(Next(watcher), "c d @4");
  Publish({Put("large", 1'000'000)});
  EXPECT_EQ(Next(watcher), "large @5");
}

TEST_F(WatchHubTest, EachSeesWhatItAskedFor) {
  const auto one = Subscribe(WatchView::kAssignments, "assignments/b");
  const auto basic = Subscribe(WatchView::kBasicHosts);
  const auto full = Subscribe(WatchView::kFullHosts);
  Publish({Put("a"), Host("h")});
  EXPECT_EQ(Next(one), "");
  Publish({Put("b"), Put("c")});
  EXPECT_EQ(Next(one), "b @2");
  v1::WatchHostsResponse response;
  ASSERT_TRUE(response.ParseFromString(**hub_.Take(basic)));
  ASSERT_EQ(response.events_size(), 1);
  EXPECT_EQ(response.events(0).host().devices_size(), 0);
  ASSERT_TRUE(response.ParseFromString(**hub_.Take(full)));
  EXPECT_EQ(response.events(0).host().devices_size(), 1);
}

TEST_F(WatchHubTest, ABookmarkIsToldAlsoWhereNothingIsWanted) {
  const auto watcher = Subscribe(WatchView::kAssignments, "assignments/b");
  Publish({Put("a")});
  Publish({});
  EXPECT_EQ(Next(watcher), "@2");
}

TEST_F(WatchHubTest, OneThatIsTooFarBehindIsCutOffAndTheOthersGoOn) {
  const auto slow = Subscribe();
  const auto quick = Subscribe();
  Publish({Put("a"), Put("b")});
  EXPECT_EQ(Next(quick), "a b @1");
  Publish({Put("c"), Put("d")});
  Publish({Put("e")});
  EXPECT_EQ(Next(slow), "WATCH_OVERFLOW");
  EXPECT_EQ(Next(quick), "c d e @3");
  EXPECT_EQ(Next(slow), "WATCH_OVERFLOW") << "there is no way back";
}

TEST_F(WatchHubTest, WakesWhoeverHasFoundNothing) {
  absl::Notification woken;
  const auto watcher = Subscribe(WatchView::kAssignments, "", [&] { woken.Notify(); });
  EXPECT_EQ(Next(watcher), "");
  Publish({Put("a")});
  woken.WaitForNotification();
  EXPECT_EQ(Next(watcher), "a @1");
  hub_.Unsubscribe(watcher);
}

TEST_F(WatchHubTest, ClosingComesAfterWhatWasPublishedAndWakesWhoWaits) {
  absl::Notification woken;
  const auto behind = Subscribe();
  const auto waits = Subscribe(WatchView::kBasicHosts, "", [&] { woken.Notify(); });
  EXPECT_EQ(Next(waits), "");
  hub_.Close(Error(Reason::kShuttingDown, "test"));
  EXPECT_TRUE(woken.HasBeenNotified());
  EXPECT_EQ(Next(waits), "SHUTTING_DOWN");
  Publish({Put("a")});
  EXPECT_EQ(Next(behind), "a @1");
  EXPECT_EQ(Next(behind), "SHUTTING_DOWN");
  EXPECT_EQ(WhySubscribeFails(), Reason::kShuttingDown);
}

TEST_F(WatchHubTest, ThereIsALimitOfWatchers) {
  const auto a = Subscribe();
  const auto b = Subscribe();
  const auto c = Subscribe();
  EXPECT_EQ(WhySubscribeFails(), Reason::kOverloaded);
  hub_.Unsubscribe(b);
  EXPECT_EQ(hub_.watchers(), 2);
  Subscribe();
}

}  // namespace
}  // namespace berth
