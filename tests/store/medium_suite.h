// SPDX-License-Identifier: Apache-2.0
//
// What every StoreMedium does. Instantiate MediumSuite with a function that makes a harness.
#ifndef BERTH_TESTS_STORE_MEDIUM_SUITE_H_
#define BERTH_TESTS_STORE_MEDIUM_SUITE_H_

#include <memory>
#include <string>
#include <utility>

#include "lib/store/medium.h"
#include "tests/store/store_suite.h"

namespace berth {

class MediumSuite : public ::testing::TestWithParam<std::pair<std::string, HarnessMaker>> {
 protected:
  MediumSuite() : harness_(GetParam().second()) {}

  StoreMedium& medium() { return harness_->medium(); }
  // At first there is no store, or an empty one.
  std::unique_ptr<Store> Open() {
    auto store = harness_->Open({});
    EXPECT_TRUE(store.ok()) << store.status();
    return store.ok() ? *std::move(store) : nullptr;
  }
  StoreSnapshot MustRead() {
    auto snapshot = medium().Read([](const RecordKey& key, const absl::Status& why) {
      ADD_FAILURE() << key.id << ": " << why;
    });
    EXPECT_TRUE(snapshot.ok()) << snapshot.status();
    return snapshot.ok() ? *std::move(snapshot) : StoreSnapshot{};
  }

  std::unique_ptr<StoreHarness> harness_;
};

}  // namespace berth

#endif  // BERTH_TESTS_STORE_MEDIUM_SUITE_H_
