// SPDX-License-Identifier: Apache-2.0
#include "tests/store/medium_suite.h"

#include "absl/strings/str_cat.h"

namespace berth {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using IfExists = StoreMedium::IfExists;

GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(MediumSuite);

std::string Spell(const StoreSnapshot& snapshot) {
  std::string text = absl::StrCat(snapshot.revision, ":");
  for (const Record& record : snapshot.records) {
    absl::StrAppend(&text, " ", record.key.id, "@", record.revision, "=", record.payload);
  }
  return text;
}

StoreSnapshot Sample() {
  return {.epoch = {.uid = "11111111-2222-4333-8444-555555555555", .restore_count = 3, .term = 9},
          .revision = 40,
          .records = {{Key("a"), 12, "x"}, {Key("b"), 40, std::string("\0y", 2)}}};
}

TEST_P(MediumSuite, ReadsWhatAStoreHasCommittedAlsoWhileItIsOpen) {
  const std::unique_ptr<Store> store = Open();
  ASSERT_TRUE(CommitSync(*store, PutOne("b", "1")).ok());
  ASSERT_TRUE(CommitSync(*store, PutOne("a", "2")).ok());
  ASSERT_TRUE(CommitSync(*store, PutOne("c", "3")).ok());
  ASSERT_TRUE(CommitSync(*store, DeleteOne("c")).ok());
  const StoreSnapshot snapshot = MustRead();
  EXPECT_EQ(Spell(snapshot), "4: a@2=2 b@1=1");
  EXPECT_EQ(snapshot.epoch, store->epoch());
}

TEST_P(MediumSuite, AStoreThatIsMadeHasAllOfTheSnapshotAndGoesOnFromThere) {
  const absl::Status written = medium().Write(Sample(), IfExists::kRefuse);
  ASSERT_TRUE(written.ok()) << written;
  EXPECT_EQ(Spell(MustRead()), Spell(Sample()));
  const std::unique_ptr<Store> store = Open();
  ASSERT_NE(store, nullptr);
  EXPECT_EQ(store->epoch().uid, Sample().epoch.uid);
  EXPECT_EQ(store->epoch().restore_count, 3);
  EXPECT_EQ(store->epoch().term, 10) << "its first writer's";
  EXPECT_EQ(store->CurrentRevision(), 40);
  EXPECT_EQ(store->Get(Key("a"))->revision, 12);
  EXPECT_EQ(Contents(*store),
            (std::map<std::string, std::string>{{"a", "x"}, {"b", std::string("\0y", 2)}}));
  // Nobody can read on from a revision of before.
  EXPECT_EQ(ReasonOf(store->ReadChanges(39, 10).status()), Reason::kRevisionCompacted);
  EXPECT_EQ(CommitSync(*store, PutOne("c", "z")).value(), 41);
  EXPECT_EQ(Spell(*store->ReadChanges(40, 10)), "41:+c=z");
}

TEST_P(MediumSuite, ManyRecordsArriveAll) {
  StoreSnapshot many = Sample();
  many.records.clear();
  for (int i = 0; i < 1000; ++i) {
    many.records.push_back({Key(absl::StrCat("k", 1000 + i)), i % 40 + 1, std::string(5000, 'x')});
  }
  ASSERT_TRUE(medium().Write(many, IfExists::kRefuse).ok());
  EXPECT_EQ(Spell(MustRead()), Spell(many));
}

TEST_P(MediumSuite, WhatIsThereIsReplacedOnlyWhenToldSo) {
  {
    const std::unique_ptr<Store> store = Open();
    ASSERT_TRUE(CommitSync(*store, PutOne("old", "1")).ok());
  }
  EXPECT_EQ(ReasonOf(medium().Write(Sample(), IfExists::kRefuse)), Reason::kAlreadyExists);
  EXPECT_EQ(Spell(MustRead()), "1: old@1=1");
  const absl::Status written = medium().Write(Sample(), IfExists::kReplace);
  ASSERT_TRUE(written.ok()) << written;
  EXPECT_EQ(Spell(MustRead()), Spell(Sample()));
  EXPECT_EQ(Open()->CurrentRevision(), 40);
}

TEST_P(MediumSuite, AStoreThatIsOpenIsLeftAlone) {
  const std::unique_ptr<Store> store = Open();
  EXPECT_EQ(ReasonOf(medium().Write(Sample(), IfExists::kReplace)), Reason::kStoreLocked);
  EXPECT_EQ(ReasonOf(medium().Hold().status()), Reason::kStoreLocked);
  EXPECT_TRUE(CommitSync(*store, PutOne("a", "1")).ok());
}

TEST_P(MediumSuite, AStoreThatIsHeldCannotBeOpened) {
  Open().reset();
  {
    const auto held = medium().Hold();
    ASSERT_TRUE(held.ok()) << held.status();
    EXPECT_EQ(ReasonOf(harness_->Open({}).status()), Reason::kStoreLocked);
  }
  EXPECT_NE(Open(), nullptr);
}

TEST_P(MediumSuite, ARecordThatCannotBeReadIsNamed) {
  {
    const std::unique_ptr<Store> store = Open();
    ASSERT_TRUE(CommitSync(*store, PutOne("a", "1")).ok());
    ASSERT_TRUE(CommitSync(*store, PutOne("b", "2")).ok());
  }
  harness_->Damage(Key("a"));
  std::vector<std::string> broken;
  const auto snapshot = medium().Read([&](const RecordKey& key, const absl::Status& why) {
    broken.push_back(key.id);
    EXPECT_EQ(ReasonOf(why), Reason::kStoreCorrupt);
  });
  ASSERT_TRUE(snapshot.ok()) << snapshot.status();
  EXPECT_THAT(broken, ElementsAre("a"));
  EXPECT_EQ(Spell(*snapshot), "2: b@2=2");
}

TEST_P(MediumSuite, HasAName) { EXPECT_THAT(medium().Name(), ::testing::Not(IsEmpty())); }

}  // namespace
}  // namespace berth
