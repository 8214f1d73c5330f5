// SPDX-License-Identifier: Apache-2.0
//
// What every Store does. Instantiate StoreSuite with a function that makes a harness.
#ifndef BERTH_TESTS_STORE_STORE_SUITE_H_
#define BERTH_TESTS_STORE_STORE_SUITE_H_

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "lib/base/status.h"
#include "lib/store/medium.h"
#include "lib/store/store.h"

namespace berth {

// A medium on which stores are opened, one after the other.
class StoreHarness {
 public:
  virtual ~StoreHarness() = default;
  virtual absl::StatusOr<std::unique_ptr<Store>> Open(const StoreOptions& options) = 0;
  // Makes one stored record unreadable, while no store is open.
  virtual void Damage(const RecordKey& key) = 0;
  // The same, from outside.
  virtual StoreMedium& medium() = 0;
};

using HarnessMaker = std::function<std::unique_ptr<StoreHarness>()>;

inline RecordKey Key(std::string id) { return {"thing", std::move(id)}; }

inline Transaction PutOne(std::string id, std::string payload) {
  Transaction transaction;
  transaction.puts.push_back({Key(std::move(id)), std::move(payload)});
  return transaction;
}

inline Transaction DeleteOne(std::string id) {
  Transaction transaction;
  transaction.deletes.push_back(Key(std::move(id)));
  return transaction;
}

inline std::map<std::string, std::string> Contents(Store& store) {
  std::map<std::string, std::string> all;
  const auto loaded =
      store.Load([&all](const Record& record) { all[record.key.id] = record.payload; },
                 [](const RecordKey& key, const absl::Status& why) {
                   ADD_FAILURE() << key.id << ": " << why;
                 });
  EXPECT_TRUE(loaded.ok()) << loaded.status();
  return all;
}

// "1:+a=x,-b 2:+c=y" for what ReadChanges returned.
inline std::string Spell(const ChangeLog& log) {
  std::string text;
  for (const RevisionChanges& revision : log.revisions) {
    text += (text.empty() ? "" : " ") + std::to_string(revision.revision) + ":";
    for (const Change& change : revision.changes) {
      if (text.back() != ':') text += ",";
      text += change.payload ? "+" + change.key.id + "=" + *change.payload : "-" + change.key.id;
    }
  }
  return text;
}

class StoreSuite : public ::testing::TestWithParam<std::pair<std::string, HarnessMaker>> {
 protected:
  StoreSuite() : harness_(GetParam().second()) {}

  Store& Open(const StoreOptions& options = {}) {
    store_.reset();
    auto opened = harness_->Open(options);
    if (!opened.ok()) {
      ADD_FAILURE() << opened.status();
      std::abort();
    }
    store_ = *std::move(opened);
    return *store_;
  }
  void Close() { store_.reset(); }

  Revision MustCommit(Transaction transaction) {
    const auto revision = CommitSync(*store_, std::move(transaction));
    EXPECT_TRUE(revision.ok()) << revision.status();
    return revision.value_or(-1);
  }

  std::unique_ptr<StoreHarness> harness_;
  std::unique_ptr<Store> store_;
};

}  // namespace berth

#endif  // BERTH_TESTS_STORE_STORE_SUITE_H_
