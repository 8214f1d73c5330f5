// SPDX-License-Identifier: Apache-2.0
#include "tests/store/store_suite.h"

#include <atomic>
#include <set>
#include <thread>

namespace berth {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::Pair;

TEST_P(StoreSuite, ANewStoreIsEmptyAtRevisionZero) {
  Store& store = Open();
  EXPECT_EQ(store.CurrentRevision(), 0);
  EXPECT_THAT(Contents(store), IsEmpty());
  EXPECT_FALSE(store.epoch().uid.empty());
  EXPECT_EQ(store.epoch().restore_count, 0);
}

TEST_P(StoreSuite, ACommitIsThereAfterReopening) {
  Open();
  EXPECT_EQ(MustCommit(PutOne("a", "1")), 1);
  EXPECT_EQ(MustCommit(PutOne("b", std::string("\0\xff", 2))), 2);
  EXPECT_EQ(MustCommit(PutOne("a", "")), 3);
  Store& again = Open();
  EXPECT_EQ(again.CurrentRevision(), 3);
  EXPECT_THAT(Contents(again), ElementsAre(Pair("a", ""), Pair("b", std::string("\0\xff", 2))));
  const auto b = again.Get(Key("b"));
  ASSERT_TRUE(b.ok()) << b.status();
  EXPECT_EQ(b->revision, 2);
  EXPECT_EQ(MustCommit(PutOne("c", "4")), 4);
}

TEST_P(StoreSuite, EveryOpeningHasAHigherTermOfTheSameStore) {
  const StoreEpoch first = Open().epoch();
  const StoreEpoch second = Open().epoch();
  EXPECT_EQ(second.uid, first.uid);
  EXPECT_GT(second.term, first.term);
}

TEST_P(StoreSuite, OnlyOneStoreIsOpenAtATime) {
  Open();
  const auto second = harness_->Open({});
  EXPECT_EQ(ReasonOf(second.status()), Reason::kStoreLocked) << second.status();
  Close();
  EXPECT_TRUE(harness_->Open({}).ok());
}

TEST_P(StoreSuite, DeletingTwiceIsNoErrorAndOneChange) {
  Store& store = Open();
  MustCommit(PutOne("a", "1"));
  MustCommit(DeleteOne("a"));
  EXPECT_EQ(MustCommit(DeleteOne("a")), 3);
  EXPECT_EQ(ReasonOf(store.Get(Key("a")).status()), Reason::kNotFound);
  EXPECT_EQ(Spell(*store.ReadChanges(0, 100)), "1:+a=1 2:-a");
}

TEST_P(StoreSuite, APreconditionThatFailsChangesNothing) {
  Store& store = Open();
  MustCommit(PutOne("a", "1"));

  Transaction create = PutOne("a", "again");
  create.puts.push_back({Key("other"), "x"});
  create.preconditions = {{Key("a"), Precondition::kAbsent}};
  const auto exists = CommitSync(store, create);
  EXPECT_EQ(ReasonOf(exists.status()), Reason::kAlreadyExists);
  EXPECT_EQ(MetadataOf(exists.status())["revision"], "1");

  Transaction update = PutOne("a", "2");
  update.preconditions = {{Key("a"), 7}};
  EXPECT_EQ(ReasonOf(CommitSync(store, update).status()), Reason::kEtagMismatch);
  update.preconditions = {{Key("gone"), 1}};
  const auto gone = CommitSync(store, update);
  EXPECT_EQ(ReasonOf(gone.status()), Reason::kEtagMismatch);
  EXPECT_EQ(MetadataOf(gone.status())["revision"], "0");

  EXPECT_THAT(Contents(store), ElementsAre(Pair("a", "1")));
  EXPECT_EQ(store.CurrentRevision(), 1);
  update.preconditions = {{Key("a"), 1}, {Key("b"), Precondition::kAbsent}};
  EXPECT_EQ(MustCommit(update), 2);
}

TEST_P(StoreSuite, AWriterOfAnotherTermIsFenced) {
  Store& store = Open();
  Transaction late = PutOne("a", "1");
  late.fence_term = store.epoch().term - 1;
  EXPECT_EQ(ReasonOf(CommitSync(store, late).status()), Reason::kFenced);
  late.fence_term = store.epoch().term;
  EXPECT_EQ(MustCommit(late), 1);
}

TEST_P(StoreSuite, ATransactionWithoutChangesProvesItsPreconditions) {
  Store& store = Open();
  MustCommit(PutOne("a", "1"));
  Transaction proof;
  proof.preconditions = {{Key("a"), 1}};
  EXPECT_EQ(MustCommit(proof), 2);
  proof.preconditions = {{Key("a"), 2}};
  EXPECT_EQ(ReasonOf(CommitSync(store, proof).status()), Reason::kEtagMismatch);
}

TEST_P(StoreSuite, MalformedTransactionsAreRefusedAtTheDoor) {
  Store& store = Open();
  const auto reason = [&store](const Transaction& transaction) {
    return ReasonOf(store.Commit(transaction, [](const auto&) { ADD_FAILURE(); }));
  };
  EXPECT_EQ(reason(PutOne("", "x")), Reason::kMissingField);
  EXPECT_EQ(reason(PutOne("a\nb", "x")), Reason::kInvalidField);
  EXPECT_EQ(reason(PutOne(std::string(kMaxIdBytes + 1, 'a'), "x")), Reason::kTooLarge);
  EXPECT_EQ(reason(PutOne("a", std::string(kMaxPayloadBytes + 1, 'x'))), Reason::kTooLarge);
  Transaction shouting;
  shouting.deletes = {{"Thing", "a"}};
  EXPECT_EQ(reason(shouting), Reason::kInvalidField);
  Transaction negative;
  negative.preconditions = {{Key("a"), -1}};
  EXPECT_EQ(reason(negative), Reason::kInvalidField);
  Transaction twice = PutOne("a", "1");
  twice.deletes = {Key("a")};
  EXPECT_EQ(reason(twice), Reason::kInvalidField);
  Transaction many;
  for (size_t i = 0; i <= kMaxTransactionChanges; ++i) {
    many.puts.push_back({Key(std::to_string(i)), ""});
  }
  EXPECT_EQ(reason(many), Reason::kTooLarge);
  Transaction heavy;
  for (int i = 0; i < 3; ++i) {
    heavy.puts.push_back({Key(std::to_string(i)), std::string(kMaxPayloadBytes, 'x')});
  }
  EXPECT_EQ(reason(heavy), Reason::kTooLarge);
  EXPECT_EQ(store.CurrentRevision(), 0);
}

TEST_P(StoreSuite, CallbacksRunInTheOrderOfCommitAndOfRevisions) {
  Store& store = Open();
  std::vector<Revision> seen;
  for (int i = 0; i < 500; ++i) {
    ASSERT_TRUE(
        store
            .Commit(PutOne("k" + std::to_string(i % 7), "v"),
                    [&seen](const absl::StatusOr<Revision>& r) { seen.push_back(r.value_or(-1)); })
            .ok());
  }
  MustCommit({});
  ASSERT_EQ(seen.size(), 500u);
  for (size_t i = 0; i < seen.size(); ++i) EXPECT_EQ(seen[i], static_cast<Revision>(i + 1));
}

TEST_P(StoreSuite, LaterTransactionsOfABatchSeeEarlierOnes) {
  StoreOptions options;
  std::vector<size_t> batches;
  options.on_commit = [&batches](const CommitStats& stats) {
    batches.push_back(stats.transactions);
  };
  Store& store = Open(options);
  absl::Mutex gate;
  std::vector<Reason> reasons;
  {
    // The first callback holds the store's thread until all the others wait.
    absl::MutexLock lock(&gate);
    ASSERT_TRUE(
        store.Commit(PutOne("first", "1"), [&gate](const auto&) { absl::MutexLock wait(&gate); })
            .ok());
    for (int i = 0; i < 3; ++i) {
      Transaction create = PutOne("a", std::to_string(i));
      create.preconditions = {{Key("a"), Precondition::kAbsent}};
      ASSERT_TRUE(store
                      .Commit(create,
                              [&reasons](const absl::StatusOr<Revision>& outcome) {
                                reasons.push_back(ReasonOf(outcome.status()));
                              })
                      .ok());
    }
  }
  Close();
  EXPECT_THAT(reasons,
              ElementsAre(Reason::kUnspecified, Reason::kAlreadyExists, Reason::kAlreadyExists));
  EXPECT_THAT(Contents(Open()), ElementsAre(Pair("a", "0"), Pair("first", "1")));
  EXPECT_LE(batches.size(), 2u);
}

TEST_P(StoreSuite, TheQueueIsBoundedAndClosingCommitsWhatWasAccepted) {
  StoreOptions options;
  options.max_waiting = 4;
  Store& store = Open(options);
  absl::Mutex gate;
  int accepted = 0;
  std::atomic<int> committed = 0;
  {
    absl::MutexLock lock(&gate);
    const auto done = [&](const absl::StatusOr<Revision>& outcome) {
      absl::MutexLock wait(&gate);
      committed += outcome.ok() ? 1 : 0;
    };
    absl::Status status;
    // One batch is stuck in its callbacks, and four more may wait.
    while (status.ok() && accepted < 20) {
      status = store.Commit(PutOne(std::to_string(accepted), "v"), done);
      accepted += status.ok() ? 1 : 0;
    }
    EXPECT_EQ(ReasonOf(status), Reason::kOverloaded);
  }
  Close();
  EXPECT_EQ(committed, accepted);
  EXPECT_EQ(Contents(Open()).size(), static_cast<size_t>(accepted));
}

TEST_P(StoreSuite, ACallbackMayCommitAndRead) {
  Store& store = Open();
  absl::Mutex mu;
  bool done = false;
  ASSERT_TRUE(store
                  .Commit(PutOne("a", "1"),
                          [&](const auto&) {
                            EXPECT_TRUE(store.Get(Key("a")).ok());
                            EXPECT_EQ(store.CurrentRevision(), 1);
                            EXPECT_TRUE(store
                                            .Commit(PutOne("b", "2"),
                                                    [&](const auto&) {
                                                      absl::MutexLock lock(&mu);
                                                      done = true;
                                                    })
                                            .ok());
                          })
                  .ok());
  absl::MutexLock lock(&mu);
  mu.Await(absl::Condition(&done));
  EXPECT_THAT(Contents(store), ElementsAre(Pair("a", "1"), Pair("b", "2")));
}

TEST_P(StoreSuite, SixtyFourThreadsEachGetTheirOwnRevision) {
  Store& store = Open();
  constexpr int kThreads = 64;
  constexpr int kEach = 10;
  absl::Mutex mu;
  std::set<Revision> revisions;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < kEach; ++i) {
        const std::string id = std::to_string(t) + "." + std::to_string(i);
        const auto revision = CommitSync(store, PutOne(id, id));
        ASSERT_TRUE(revision.ok()) << revision.status();
        EXPECT_EQ(store.Get(Key(id))->revision, *revision);
        absl::MutexLock lock(&mu);
        revisions.insert(*revision);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(revisions.size(), static_cast<size_t>(kThreads * kEach));
  EXPECT_EQ(*revisions.rbegin(), kThreads * kEach);
  EXPECT_EQ(Contents(Open()).size(), static_cast<size_t>(kThreads * kEach));
}

TEST_P(StoreSuite, OfThreadsThatCreateTheSameRecordOneWins) {
  Store& store = Open();
  std::atomic<int> winners = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 16; ++t) {
    threads.emplace_back([&, t] {
      Transaction create = PutOne("a", std::to_string(t));
      create.preconditions = {{Key("a"), Precondition::kAbsent}};
      winners += CommitSync(store, create).ok() ? 1 : 0;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(winners, 1);
  EXPECT_EQ(store.CurrentRevision(), 1);
}

TEST_P(StoreSuite, ChangesComeByRevisionAndSurviveReopening) {
  Open();
  Transaction both = PutOne("b", "2");
  both.puts.push_back({Key("a"), "1"});
  MustCommit(both);
  Transaction mixed = PutOne("c", "3");
  mixed.deletes = {Key("a")};
  MustCommit(mixed);
  Store& store = Open();
  const auto all = store.ReadChanges(0, 100);
  ASSERT_TRUE(all.ok()) << all.status();
  EXPECT_EQ(Spell(*all), "1:+b=2,+a=1 2:+c=3,-a");
  EXPECT_EQ(all->up_to, 2);
  EXPECT_EQ(Spell(*store.ReadChanges(1, 100)), "2:+c=3,-a");
  EXPECT_EQ(Spell(*store.ReadChanges(2, 100)), "");
}

TEST_P(StoreSuite, ReadingInSmallStepsNeverSplitsARevision) {
  Store& store = Open();
  for (int i = 0; i < 5; ++i) {
    Transaction pair = PutOne("x", std::to_string(i));
    pair.puts.push_back({Key("y"), std::to_string(i)});
    MustCommit(pair);
  }
  for (const size_t limit : {0, 1, 2, 3, 5, 100}) {
    Revision at = 0;
    std::vector<Revision> seen;
    while (at < store.CurrentRevision()) {
      const auto step = store.ReadChanges(at, limit);
      ASSERT_TRUE(step.ok()) << step.status();
      ASSERT_GT(step->up_to, at);
      EXPECT_LE(step->revisions.size() * 2, std::max<size_t>(limit, 2));
      for (const RevisionChanges& revision : step->revisions) {
        EXPECT_EQ(revision.changes.size(), 2u);
        seen.push_back(revision.revision);
      }
      at = step->up_to;
    }
    EXPECT_THAT(seen, ElementsAre(1, 2, 3, 4, 5)) << "limit " << limit;
  }
}

TEST_P(StoreSuite, UnloggedKindsAreStoredButNotInTheLog) {
  StoreOptions options;
  options.unlogged_kinds = {"request"};
  Store& store = Open(options);
  Transaction create = PutOne("a", "1");
  create.puts.push_back({{"request", "r1"}, "a"});
  MustCommit(create);
  Transaction expire;
  expire.deletes = {{"request", "r1"}};
  MustCommit(expire);
  const auto log = store.ReadChanges(0, 100);
  EXPECT_EQ(Spell(*log), "1:+a=1");
  EXPECT_EQ(log->up_to, 2);
}

TEST_P(StoreSuite, CompactionForgetsChangesButNoRecords) {
  Store& store = Open();
  for (const char* id : {"a", "b", "c", "d"}) MustCommit(PutOne(id, "v"));
  ASSERT_TRUE(store.Compact(2).ok());
  const auto early = store.ReadChanges(1, 100);
  EXPECT_EQ(ReasonOf(early.status()), Reason::kRevisionCompacted);
  EXPECT_EQ(MetadataOf(early.status())["oldest_revision"], "3");
  EXPECT_EQ(Spell(*store.ReadChanges(2, 100)), "3:+c=v 4:+d=v");
  EXPECT_TRUE(store.Compact(1).ok());
  EXPECT_EQ(Contents(store).size(), 4u);

  Store& again = Open();
  EXPECT_EQ(ReasonOf(again.ReadChanges(1, 100).status()), Reason::kRevisionCompacted);
  ASSERT_TRUE(again.Compact(1000).ok());
  EXPECT_EQ(Spell(*again.ReadChanges(4, 100)), "");
  MustCommit(PutOne("e", "v"));
  EXPECT_EQ(Spell(*again.ReadChanges(4, 100)), "5:+e=v");
}

TEST_P(StoreSuite, TheLogIsBounded) {
  StoreOptions options;
  options.max_logged_revisions = 10;
  Store& store = Open(options);
  for (int i = 0; i < 50; ++i) MustCommit(PutOne("a", std::to_string(i)));
  EXPECT_EQ(ReasonOf(store.ReadChanges(30, 100).status()), Reason::kRevisionCompacted);
  const auto kept = store.ReadChanges(40, 100);
  ASSERT_TRUE(kept.ok()) << kept.status();
  EXPECT_EQ(kept->revisions.size(), 10u);
}

TEST_P(StoreSuite, PositionsThatNeverWereAreUnknown) {
  Store& store = Open();
  MustCommit(PutOne("a", "1"));
  EXPECT_EQ(ReasonOf(store.ReadChanges(2, 100).status()), Reason::kRevisionUnknown);
  EXPECT_EQ(ReasonOf(store.ReadChanges(-1, 100).status()), Reason::kRevisionUnknown);
}

TEST_P(StoreSuite, ADamagedRecordIsNamedAndTheRestIsLoaded) {
  Open();
  for (const char* id : {"a", "b", "c"}) MustCommit(PutOne(id, "payload"));
  Close();
  harness_->Damage(Key("b"));
  Store& store = Open();
  std::vector<std::string> good;
  std::vector<std::string> bad;
  const auto loaded = store.Load([&good](const Record& record) { good.push_back(record.key.id); },
                                 [&bad](const RecordKey& key, const absl::Status& why) {
                                   EXPECT_EQ(ReasonOf(why), Reason::kStoreCorrupt);
                                   EXPECT_EQ(MetadataOf(why)["id"], key.id);
                                   bad.push_back(key.id);
                                 });
  EXPECT_EQ(loaded.value_or(-1), 3);
  EXPECT_THAT(good, ElementsAre("a", "c"));
  EXPECT_THAT(bad, ElementsAre("b"));
  EXPECT_EQ(ReasonOf(store.Get(Key("b")).status()), Reason::kStoreCorrupt);
  // It can be replaced.
  MustCommit(PutOne("b", "new"));
  EXPECT_EQ(store.Get(Key("b"))->payload, "new");
}

}  // namespace
}  // namespace berth
