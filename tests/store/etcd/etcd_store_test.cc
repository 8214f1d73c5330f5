// SPDX-License-Identifier: Apache-2.0
#include "lib/store/etcd/etcd_store.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <fstream>
#include <set>
#include <thread>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "lib/store/etcd/etcd_medium.h"
#include "lib/store/etcd/layout.h"
#include "tests/store/medium_suite.h"
#include "tests/store/store_suite.h"
#include "tests/testing/etcd_server.h"
#include "tests/testing/poll_until.h"

namespace berth {
namespace {

using ::berth::testing::EtcdServer;
using ::berth::testing::GetFromEtcd;
using ::berth::testing::PollUntil;
using ::berth::testing::PutInEtcd;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// One server for the whole program, ended with it; each test has a prefix of its own.
EtcdServer& Server() {
  static EtcdServer server;
  return server;
}

std::string FreshPrefix() {
  static int number = 0;
  return "/berth-test/" + std::to_string(++number);
}

EtcdStoreOptions OptionsFor(const EtcdServer& server, const std::string& prefix) {
  EtcdStoreOptions options;
  options.etcd = server.ClientOptions();
  options.prefix = prefix;
  options.holder.set_description("the first");
  // Longer than any test is held up.
  options.lease_ttl = absl::Minutes(10);
  options.clock = &Clock::Real();
  return options;
}

class EtcdHarness : public StoreHarness {
 public:
  absl::StatusOr<std::unique_ptr<Store>> Open(const StoreOptions& options) override {
    EtcdStoreOptions all = OptionsFor(Server(), prefix_);
    static_cast<StoreOptions&>(all) = options;
    return OpenEtcdStore(all);
  }
  void Damage(const RecordKey& key) override {
    const std::shared_ptr<EtcdClient> client = Server().Client();
    const std::string at = EtcdLayout(prefix_).KeyOf(key);
    std::string value = GetFromEtcd(*client, at).value();
    ASSERT_FALSE(value.empty());
    value.back() = static_cast<char>(value.back() ^ 1);
    PutInEtcd(*client, at, value);
  }
  StoreMedium& medium() override { return *medium_; }

 private:
  const std::string prefix_ = FreshPrefix();
  const std::unique_ptr<StoreMedium> medium_ = EtcdMedium(OptionsFor(Server(), prefix_));
};

const auto kHarness = ::testing::Values(
    std::make_pair("etcd", HarnessMaker([] { return std::make_unique<EtcdHarness>(); })));
INSTANTIATE_TEST_SUITE_P(Etcd, StoreSuite, kHarness);
INSTANTIATE_TEST_SUITE_P(Etcd, MediumSuite, kHarness);

class EtcdStoreTest : public ::testing::Test {
 protected:
  static std::unique_ptr<Store> MustOpen(const EtcdStoreOptions& options) {
    absl::StatusOr<std::unique_ptr<Store>> store = OpenEtcdStore(options);
    EXPECT_TRUE(store.ok()) << store.status();
    return store.ok() ? *std::move(store) : nullptr;
  }
  // Ends the lease of whoever leads, as etcd does with that of a leader that is paused for longer.
  void EndLease() {
    const std::shared_ptr<EtcdClient> client = Server().Client();
    const int64_t lease = GetFromEtcd(*client, layout_.LeaderKey()).lease();
    ASSERT_TRUE(client->RevokeLease(lease).ok());
  }

  const EtcdStoreOptions options_ = OptionsFor(Server(), FreshPrefix());
  const EtcdLayout layout_{options_.prefix};
};

TEST_F(EtcdStoreTest, TwoPrefixesAreTwoStores) {
  const auto one = MustOpen(options_);
  const auto other = MustOpen(OptionsFor(Server(), options_.prefix + "2"));
  ASSERT_TRUE(one != nullptr && other != nullptr);
  EXPECT_NE(one->epoch().uid, other->epoch().uid);
  ASSERT_TRUE(CommitSync(*one, PutOne("a", "1")).ok());
  EXPECT_TRUE(Contents(*other).empty());
}

TEST_F(EtcdStoreTest, TheSecondIsToldWhoHoldsTheStore) {
  const auto first = MustOpen(options_);
  EtcdStoreOptions second = options_;
  second.holder.set_description("the second");
  const absl::Status refused = OpenEtcdStore(second).status();
  EXPECT_EQ(ReasonOf(refused), Reason::kStoreLocked) << refused;
  EXPECT_EQ(MetadataOf(refused)["holder"], "the first");
  EXPECT_THAT(std::string(refused.message()), HasSubstr("the first"));
}

TEST_F(EtcdStoreTest, OneThatWaitsOpensWhenTheOtherCloses) {
  auto first = MustOpen(options_);
  EtcdStoreOptions patient = options_;
  patient.acquire_timeout = absl::Minutes(10);
  std::unique_ptr<Store> second;
  std::thread waiting([&] { second = MustOpen(patient); });
  const int64_t term = first->epoch().term;
  first.reset();
  waiting.join();
  ASSERT_NE(second, nullptr);
  EXPECT_EQ(second->epoch().term, term + 1);
}

TEST_F(EtcdStoreTest, ALeaderThatWakesUpAfterItsTimeCommitsNothing) {
  const auto paused = MustOpen(options_);
  ASSERT_TRUE(CommitSync(*paused, PutOne("a", "1")).ok());
  EndLease();

  EtcdStoreOptions next = options_;
  next.holder.set_description("the next");
  const auto leader = MustOpen(next);
  ASSERT_NE(leader, nullptr);
  const absl::Status late = CommitSync(*paused, PutOne("a", "late")).status();
  EXPECT_EQ(ReasonOf(late), Reason::kFenced) << late;
  EXPECT_EQ(MetadataOf(late)["holder"], "the next");
  EXPECT_EQ(MetadataOf(late)["term"], std::to_string(leader->epoch().term));
  EXPECT_EQ(ReasonOf(CommitSync(*paused, {}).status()), Reason::kFenced) << "and never again";
  EXPECT_EQ(ReasonOf(paused->Compact(1)), Reason::kFenced);
  EXPECT_THAT(Contents(*leader), ElementsAre(::testing::Pair("a", "1")));
  EXPECT_EQ(*CommitSync(*leader, PutOne("a", "2")), 2);
}

TEST_F(EtcdStoreTest, ALeaderWithoutALeaseCommitsNothingEvenWhenNobodyElseLeads) {
  const auto store = MustOpen(options_);
  EndLease();
  EXPECT_EQ(ReasonOf(CommitSync(*store, PutOne("a", "1")).status()), Reason::kFenced);
  EXPECT_TRUE(Contents(*store).empty());
}

TEST_F(EtcdStoreTest, WhatDoesNotFitIntoARequestIsRefusedAtTheDoor) {
  EtcdStoreOptions options = options_;
  options.unlogged_kinds = {"big"};
  const auto store = MustOpen(options);
  Transaction most;
  most.puts.push_back({{"big", "a"}, std::string(kMaxPayloadBytes, 'x')});
  most.puts.push_back({{"big", "b"}, std::string((size_t{1} << 19) - (size_t{20} << 10), 'x')});
  EXPECT_TRUE(CommitSync(*store, most).ok()) << "etcd takes what is let through";
  most.puts.back().payload += std::string(size_t{10} << 10, 'x');
  EXPECT_EQ(ReasonOf(CommitSync(*store, most).status()), Reason::kTooLarge);
  // A logged one is in the request twice.
  EXPECT_EQ(ReasonOf(CommitSync(*store, PutOne("a", std::string(size_t{3} << 18, 'x'))).status()),
            Reason::kTooLarge);
  EXPECT_EQ(*CommitSync(*store, PutOne("a", std::string(size_t{700} << 10, 'x'))), 2);
}

TEST_F(EtcdStoreTest, MoreThanAMessageHoldsIsLoadedInPages) {
  EtcdStoreOptions options = options_;
  options.unlogged_kinds = {"big"};
  const auto store = MustOpen(options);
  std::set<std::string> put;
  for (int i = 0; i < 250; ++i) {
    Transaction transaction;
    const bool heavy = i % 25 == 0;
    transaction.puts.push_back(
        {{"big", std::to_string(i)}, std::string(heavy ? kMaxPayloadBytes : 9000, 'x')});
    put.insert(std::to_string(i));
    ASSERT_TRUE(CommitSync(*store, transaction).ok());
  }
  std::vector<std::string> order;
  const auto loaded = store->Load([&](const Record& record) { order.push_back(record.key.id); },
                                  [](const auto& key, const auto&) { ADD_FAILURE() << key.id; });
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_TRUE(std::is_sorted(order.begin(), order.end()));
  EXPECT_EQ(std::set<std::string>(order.begin(), order.end()), put);
  EXPECT_EQ(order.size(), put.size());
}

TEST_F(EtcdStoreTest, ChangesThatFillMessagesAreReadInPages) {
  const auto store = MustOpen(options_);
  for (int i = 0; i < 20; ++i) {
    ASSERT_TRUE(CommitSync(*store, PutOne("a", std::string(size_t{600} << 10, 'x'))).ok());
  }
  const auto log = store->ReadChanges(0, 1000);
  ASSERT_TRUE(log.ok()) << log.status();
  EXPECT_EQ(log->revisions.size(), 20u);
  EXPECT_EQ(log->up_to, 20);
}

TEST_F(EtcdStoreTest, RecordsComeByKindAndThenById) {
  const auto store = MustOpen(options_);
  Transaction transaction;
  for (const char* kind : {"b", "a", "a-b", "a_b", "a0"}) {
    transaction.puts.push_back({{kind, "!/x"}, ""});
  }
  ASSERT_TRUE(CommitSync(*store, transaction).ok());
  std::vector<RecordKey> keys;
  ASSERT_TRUE(store->Load([&](const Record& r) { keys.push_back(r.key); }, nullptr).ok());
  EXPECT_TRUE(std::is_sorted(keys.begin(), keys.end()));
  EXPECT_EQ(keys.size(), 5u);
}

TEST_F(EtcdStoreTest, WhatIsNotAStoreOfBerthIsRefusedAndLeftAlone) {
  const std::shared_ptr<EtcdClient> client = Server().Client();
  PutInEtcd(*client, layout_.KeyOf(Key("a")), "a letter");
  EXPECT_EQ(ReasonOf(OpenEtcdStore(options_).status()), Reason::kStoreCorrupt);
  PutInEtcd(*client, layout_.HeadKey(), "another letter");
  EXPECT_EQ(ReasonOf(OpenEtcdStore(options_).status()), Reason::kStoreCorrupt);
  EXPECT_EQ(GetFromEtcd(*client, layout_.HeadKey()).value(), "another letter");
}

TEST_F(EtcdStoreTest, AStoreOfANewerVersionIsRefused) {
  ASSERT_NE(MustOpen(options_), nullptr);
  const std::shared_ptr<EtcdClient> client = Server().Client();
  auto head = DecodeEtcdHead(GetFromEtcd(*client, layout_.HeadKey()).value());
  ASSERT_TRUE(head.ok()) << head.status();
  head->set_format(head->format() + 1);
  PutInEtcd(*client, layout_.HeadKey(), head->SerializeAsString());
  EXPECT_EQ(ReasonOf(OpenEtcdStore(options_).status()), Reason::kVersionSkew);
}

TEST_F(EtcdStoreTest, WhatOlderVersionsStoredIsReadAndGoesOn) {
  for (int format = 1; format <= kEtcdFormat; ++format) {
    const EtcdStoreOptions options = OptionsFor(Server(), FreshPrefix());
    const std::string name =
        absl::StrCat(BERTH_SOURCE_DIR "/tests/data/store/etcd-", format, ".txt");
    std::ifstream kept(name);
    ASSERT_TRUE(kept.is_open()) << name << ": keep one with keep.py of the version before";
    const std::shared_ptr<EtcdClient> client = Server().Client();
    for (std::string coded_key, coded_value; kept >> coded_key >> coded_value;) {
      std::string key;
      std::string value;
      ASSERT_TRUE(absl::Base64Unescape(coded_key, &key));
      ASSERT_TRUE(absl::Base64Unescape(coded_value, &value));
      PutInEtcd(*client, options.prefix + key, value);
    }
    {
      const auto store = MustOpen(options);
      ASSERT_NE(store, nullptr);
      const auto contents = Contents(*store);
      for (const char* id : {"placed", "rotated", "waiting", "gh200"}) {
        EXPECT_EQ(contents.count(id), 1U) << id;
      }
      ASSERT_TRUE(CommitSync(*store, PutOne("new", "1")).ok());
    }
    EXPECT_EQ(Contents(*MustOpen(options)).count("new"), 1U);
  }
}

TEST_F(EtcdStoreTest, OptionsThatAreWrongAreSaid) {
  for (const char* prefix : {"", "/", "berth", "/berth/", "/a\nb"}) {
    EtcdStoreOptions wrong = options_;
    wrong.prefix = prefix;
    EXPECT_EQ(ReasonOf(OpenEtcdStore(wrong).status()), Reason::kInvalidField) << prefix;
  }
  EtcdStoreOptions nowhere = options_;
  nowhere.etcd.endpoints.clear();
  EXPECT_EQ(ReasonOf(OpenEtcdStore(nowhere).status()), Reason::kMissingField);
}

TEST_F(EtcdStoreTest, AMemberThatIsGoneIsPassedOver) {
  EtcdStoreOptions options = options_;
  // Nobody listens on port 1.
  options.etcd.endpoints = {"127.0.0.1:1", Server().address()};
  const auto store = MustOpen(options);
  ASSERT_NE(store, nullptr);
  EXPECT_EQ(*CommitSync(*store, PutOne("a", "1")), 1);
}

// Commits go on while etcd is killed and comes back: what was acknowledged is there, what was
// refused is not, and revisions have no gap.
TEST(EtcdStoreWithItsOwnServer, AcknowledgedCommitsSurviveTheDeathOfEtcd) {
  EtcdServer server;
  EtcdStoreOptions options = OptionsFor(server, "/berth");
  options.etcd.attempts = 1000;
  auto store = OpenEtcdStore(options);
  ASSERT_TRUE(store.ok()) << store.status();
  std::atomic<bool> stop = false;
  std::atomic<int> acknowledged = 0;
  std::thread writer([&] {
    for (; !stop; ++acknowledged) {
      const auto outcome = CommitSync(**store, PutOne(std::to_string(acknowledged), "v"));
      ASSERT_TRUE(outcome.ok()) << outcome.status();
      ASSERT_EQ(*outcome, acknowledged + 1);
    }
  });
  for (int deaths = 0; deaths < 3; ++deaths) {
    const int before = acknowledged;
    PollUntil([&] { return acknowledged > before + 20; });
    server.Kill();
    server.Start();
  }
  stop = true;
  writer.join();
  EXPECT_EQ(Contents(**store).size(), static_cast<size_t>(acknowledged));
  EXPECT_EQ((*store)->CurrentRevision(), acknowledged);
}

TEST_F(EtcdStoreTest, AStoreThatWasNotWrittenToItsEndIsNoStore) {
  const EtcdStoreOptions options = OptionsFor(Server(), FreshPrefix());
  MustOpen(options).reset();
  internal::v1::EtcdHead head;
  head.set_format(kEtcdFormat);
  head.set_unfinished(3);
  const std::shared_ptr<EtcdClient> client = Server().Client();
  PutInEtcd(*client, EtcdLayout(options.prefix).HeadKey(), head.SerializeAsString());
  EXPECT_EQ(ReasonOf(OpenEtcdStore(options).status()), Reason::kStoreCorrupt);
  const std::unique_ptr<StoreMedium> medium = EtcdMedium(options);
  EXPECT_EQ(ReasonOf(medium->Read(nullptr).status()), Reason::kStoreCorrupt);
  const StoreSnapshot empty{.epoch = {"uid", 0, 1}, .revision = 5, .records = {}};
  EXPECT_EQ(ReasonOf(medium->Write(empty, StoreMedium::IfExists::kRefuse)), Reason::kAlreadyExists);
  ASSERT_TRUE(medium->Write(empty, StoreMedium::IfExists::kReplace).ok());
  EXPECT_EQ(MustOpen(options)->CurrentRevision(), 5);
}

}  // namespace
}  // namespace berth
