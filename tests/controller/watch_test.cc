// SPDX-License-Identifier: Apache-2.0
//
// Watches: in order, without gaps, resumable, bounded.
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "lib/store/memory_store.h"
#include "lib/store/sqlite.h"
#include "tests/controller/controller_fixture.h"

namespace berth::controller_test {
namespace {

using v1::Assignment;
using v1::AssignmentEvent;

class WatchTest : public ControllerTest {
 protected:
  WatchTest() : ControllerTest(Kind::kSqlite) {}

  std::unique_ptr<AssignmentWatch> WatchFrom(const std::string& token,
                                             const std::string& name = "") {
    v1::WatchAssignmentsRequest request;
    request.set_watch_token(token);
    request.set_name(name);
    return client().Watch(request);
  }
  static std::string Text(const v1::WatchAssignmentsResponse& message) {
    std::string text;
    for (const AssignmentEvent& event : message.events()) {
      const Assignment& a = event.assignment();
      absl::StrAppend(&text, event.type() == AssignmentEvent::DELETE ? "-" : "+",
                      a.name().substr(a.name().find('/') + 1), " ");
    }
    return text;
  }
  // What comes next, so many changes of it, in however many messages.
  static std::string Changes(AssignmentWatch& watch, int count) {
    std::string text;
    while (count > 0) {
      const auto message = watch.Next();
      if (!message.ok()) return text + message.status().ToString();
      absl::StrAppend(&text, Text(*message));
      count -= message->events_size();
    }
    return text;
  }
  // For a class that no host has.
  static v1::CreateAssignmentRequest Waiting(const std::string& id) {
    auto request = CreateOf(id, 1, "rarity");
    request.mutable_assignment()->mutable_spec()->set_when_unavailable(v1::AssignmentSpec::QUEUE);
    return request;
  }
};

TEST_F(WatchTest, BeginsWithWhatIsThereAndGoesOnWithWhatChanges) {
  const auto agent = AddHost({.manner = FakeAgent::Manner::kSilent});
  ASSERT_THAT(client().Create(Waiting("a")), IsOk());
  ASSERT_THAT(client().Create(Waiting("b")), IsOk());
  const auto watch = WatchFrom("");
  const auto first = watch->Next();
  ASSERT_THAT(first, IsOk());
  EXPECT_EQ(Text(*first), "+a +b ");
  ASSERT_THAT(client().Create(Waiting("c")), IsOk());
  v1::BatchCreateAssignmentsRequest batch;
  *batch.add_requests() = CreateOf("e");
  *batch.add_requests() = CreateOf("d");
  ASSERT_THAT(client().Call<v1::BatchCreateAssignmentsResponse>(
                  "AssignmentService/BatchCreateAssignments", batch),
              IsOk());
  ASSERT_THAT(client().Delete("assignments/a"), IsOk());
  EXPECT_EQ(Changes(*watch, 4), "+c +e +d -a ");
}

TEST_F(WatchTest, OfOneNameSaysNothingOfOthers) {
  const auto watch = WatchFrom("", "assignments/b");
  EXPECT_EQ(Text(*watch->Next()), "") << "a bookmark: nothing is there";
  ASSERT_THAT(client().Create(Waiting("a")), IsOk());
  ASSERT_THAT(client().Create(Waiting("b")), IsOk());
  EXPECT_EQ(Text(*watch->Next()), "+b ");
}

TEST_F(WatchTest, ResumesWithoutAGapAlsoAfterARestart) {
  ASSERT_THAT(client().Create(Waiting("a")), IsOk());
  const auto message = WatchFrom("")->Next();
  ASSERT_THAT(message, IsOk());
  ASSERT_THAT(client().Create(Waiting("b")), IsOk());
  ASSERT_THAT(client().Delete("assignments/a"), IsOk());

  const auto resumed = WatchFrom(message->watch_token());
  EXPECT_EQ(Text(*resumed->Next()), "+b ");
  EXPECT_EQ(Text(*resumed->Next()), "-a ");
  EXPECT_EQ(Text(*resumed->Next()), "") << "up to date";
  Restart();
  ASSERT_THAT(client().Create(Waiting("c")), IsOk());
  const auto later = WatchFrom(message->watch_token());
  EXPECT_EQ(Text(*later->Next()), "+b ");
  EXPECT_EQ(Text(*later->Next()), "-a ");
  EXPECT_EQ(Text(*later->Next()), "+c ");
}

TEST_F(WatchTest, ShowsWhatHostsReportThoughItIsNotStored) {
  const auto agent = AddHost({.manner = FakeAgent::Manner::kSilent});
  ASSERT_THAT(client().Create(CreateOf("vm")), IsOk());
  const auto desired = agent->AwaitDesired("assignments/vm", Assignment::PLACED);
  const auto watch = WatchFrom("");
  const auto before = watch->Next();
  ASSERT_THAT(before, IsOk());
  agent->Report(StatusOf(desired, Assignment::PREPARED));
  const auto event = watch->Next();
  ASSERT_THAT(event, IsOk());
  EXPECT_EQ(event->events(0).assignment().observed(), Assignment::PREPARED);
  EXPECT_EQ(event->events(0).assignment().etag(), before->events(0).assignment().etag());
  EXPECT_NE(event->watch_token(), before->watch_token());

  const auto missed = WatchFrom(before->watch_token())->Next();
  ASSERT_THAT(missed, IsOk());
  ASSERT_EQ(missed->events_size(), 1) << "a resumed watch is told of it too";
  EXPECT_EQ(missed->events(0).assignment().observed(), Assignment::PREPARED);
  EXPECT_EQ(Text(*WatchFrom(event->watch_token())->Next()), "");
}

TEST_F(WatchTest, WhatIsResumedIsShownAsItIsNow) {
  const auto agent = AddHost();
  ASSERT_THAT(client().Create(CreateOf("vm")), IsOk());
  client().AwaitObserved("assignments/vm", Assignment::PREPARED);
  const auto token = WatchFrom("")->Next()->watch_token();
  v1::RotateTokenRequest rotate;
  rotate.set_name("assignments/vm");
  ASSERT_THAT(client().Call<Assignment>("AssignmentService/RotateToken", rotate), IsOk());
  const auto event = WatchFrom(token)->Next();
  ASSERT_THAT(event, IsOk());
  EXPECT_EQ(event->events(0).assignment().token_version(), 2);
  EXPECT_EQ(event->events(0).assignment().observed(), Assignment::PREPARED);
}

TEST_F(WatchTest, AfterARestartTheForgottenReportsAreTakenBack) {
  auto agent = AddHost();
  ASSERT_THAT(client().Create(CreateOf("vm")), IsOk());
  client().AwaitObserved("assignments/vm", Assignment::PREPARED);
  const auto token = WatchFrom("")->Next()->watch_token();
  const auto host_token = client().WatchHosts({})->Next()->watch_token();
  agent.reset();
  Restart();
  const auto event = WatchFrom(token)->Next();
  ASSERT_THAT(event, IsOk());
  ASSERT_EQ(event->events_size(), 1);
  EXPECT_EQ(event->events(0).assignment().observed(), Assignment::OBSERVED_UNSPECIFIED);
  v1::WatchHostsRequest hosts;
  hosts.set_watch_token(host_token);
  const auto lost = client().WatchHosts(hosts)->Next();
  ASSERT_THAT(lost, IsOk());
  ASSERT_EQ(lost->events_size(), 1);
  EXPECT_EQ(lost->events(0).host().state(), v1::Host::LOST);
}

TEST_F(WatchTest, ForeignAndDamagedTokensAreRefused) {
  const auto token = WatchFrom("")->Next()->watch_token();
  EXPECT_THAT(WatchFrom("nonsense")->Next(), FailsWith(Reason::kRevisionUnknown));
  EXPECT_THAT(WatchFrom("other" + token)->Next(), FailsWith(Reason::kRevisionUnknown));
  Stop();
  config.mutable_store()->mutable_sqlite()->set_path(folder + "/other.db");
  Start();
  EXPECT_THAT(WatchFrom(token)->Next(), FailsWith(Reason::kRevisionUnknown));
}

TEST_F(WatchTest, ATokenThatIsTooOldIsSaidToBe) {
  StoreOptions options;
  options.max_logged_revisions = 4;
  open_store = [options] { return OpenMemoryStore(std::make_shared<MemoryMedium>(), options); };
  Restart();
  const auto token = WatchFrom("")->Next()->watch_token();
  for (int i = 0; i < 20; ++i) {
    ASSERT_THAT(client().Create(Waiting(absl::StrCat("a", i))), IsOk());
  }
  EXPECT_THAT(WatchFrom(token)->Next(), FailsWith(Reason::kRevisionCompacted));
}

TEST_F(WatchTest, AChangeThatCannotBeReadAnyMoreIsNotPassedOver) {
  const auto token = WatchFrom("")->Next()->watch_token();
  ASSERT_THAT(client().Create(Waiting("b")), IsOk());
  ASSERT_THAT(client().Delete("assignments/b"), IsOk());
  Stop();
  {
    auto book = SqliteDatabase::Open(folder + "/book.db", SqliteDatabase::Mode::kReadWrite);
    ASSERT_THAT(book, IsOk());
    ASSERT_THAT(book->Execute("UPDATE changes SET payload = x'ffff' WHERE payload IS NOT NULL"),
                IsOk());
  }
  Start();
  EXPECT_THAT(WatchFrom(token)->Next(), FailsWith(Reason::kRevisionCompacted));
  EXPECT_THAT(WatchFrom("")->Next(), IsOk());
}

TEST_F(WatchTest, AWatcherThatDoesNotReadIsCutOff) {
  config.mutable_limits()->set_watch_buffer(4);
  Restart();
  // On a connection of its own: what others read must not widen its window.
  Client slow(daemon->api_address());
  const auto stuck = slow.Watch({}, AssignmentWatch::Reading::kWhenTold);
  slow.AwaitGone("assignments/none");  // the first watch has begun: they begin in turn
  auto request = Waiting("");
  (*request.mutable_assignment()->mutable_annotations())["note"] = std::string(60'000, 'x');
  constexpr int kCount = 60;  // far more than the transport buffers
  for (int i = 0; i < kCount; ++i) ASSERT_THAT(client().Create(request), IsOk());
  stuck->StartReading();
  int seen = 0;
  absl::StatusOr<v1::WatchAssignmentsResponse> message = stuck->Next();
  for (; message.ok(); message = stuck->Next()) seen += message->events_size();
  EXPECT_THAT(message, FailsWith(Reason::kWatchOverflow));
  EXPECT_LT(seen, kCount);
  EXPECT_THAT(client().Watch({})->Next(), IsOk());
}

TEST_F(WatchTest, ThereIsALimitOfWatchers) {
  config.mutable_limits()->set_watchers(2);
  Restart();
  const auto a = WatchFrom("");
  const auto b = WatchFrom("");
  ASSERT_THAT(a->Next(), IsOk());
  ASSERT_THAT(b->Next(), IsOk());
  EXPECT_THAT(WatchFrom("")->Next(), FailsWith(Reason::kOverloaded));
}

TEST_F(WatchTest, BookmarksSayThatNothingWasMissed) {
  const auto watch = WatchFrom("", "assignments/other");
  const auto first = watch->Next();
  ASSERT_THAT(first, IsOk());
  ASSERT_THAT(client().Create(Waiting("a")), IsOk());
  clock.Advance(absl::Seconds(10));
  const auto bookmark = watch->Next();
  ASSERT_THAT(bookmark, IsOk());
  EXPECT_EQ(bookmark->events_size(), 0);
  EXPECT_NE(bookmark->watch_token(), first->watch_token());
  EXPECT_EQ(Text(*WatchFrom(bookmark->watch_token())->Next()), "") << "'a' was before it";
}

TEST_F(WatchTest, ADrainIsShownOnTheAssignmentsToo) {
  const auto agent = AddHost();
  ASSERT_THAT(client().Create(CreateOf("vm")), IsOk());
  client().AwaitObserved("assignments/vm", Assignment::PREPARED);
  const auto watch = WatchFrom("");
  const auto before = watch->Next();
  ASSERT_THAT(before, IsOk());
  v1::DrainHostRequest drain;
  drain.set_name("hosts/h1");
  ASSERT_THAT(client().Call<v1::Host>("HostService/DrainHost", drain), IsOk());
  const auto event = watch->Next();
  ASSERT_THAT(event, IsOk());
  ASSERT_EQ(event->events_size(), 1);
  EXPECT_TRUE(event->events(0).assignment().eviction_requested());
  const auto resumed = WatchFrom(before->watch_token())->Next();
  ASSERT_THAT(resumed, IsOk());
  ASSERT_EQ(resumed->events_size(), 1);
  EXPECT_TRUE(resumed->events(0).assignment().eviction_requested());
}

TEST_F(WatchTest, OfHostsLeavesTheDevicesOutUnlessAsked) {
  const auto agent = AddHost();
  v1::WatchHostsRequest request;
  const auto basic = client().WatchHosts(request)->Next();
  ASSERT_THAT(basic, IsOk());
  EXPECT_EQ(basic->events(0).host().devices_size(), 0);
  request.set_view(v1::FULL);
  const auto full = client().WatchHosts(request)->Next();
  ASSERT_THAT(full, IsOk());
  EXPECT_EQ(full->events(0).host().devices_size(), 2);
}

}  // namespace
}  // namespace berth::controller_test
