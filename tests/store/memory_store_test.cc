// SPDX-License-Identifier: Apache-2.0
#include "lib/store/memory_store.h"

#include <gtest/gtest.h>

#include "tests/store/medium_suite.h"
#include "tests/store/store_suite.h"

namespace berth {
namespace {

class MemoryHarness : public StoreHarness {
 public:
  absl::StatusOr<std::unique_ptr<Store>> Open(const StoreOptions& options) override {
    return OpenMemoryStore(medium_, options);
  }
  void Damage(const RecordKey& key) override { ASSERT_TRUE(medium_->Damage(key)); }
  StoreMedium& medium() override { return *medium_; }

 private:
  std::shared_ptr<MemoryMedium> medium_ = std::make_shared<MemoryMedium>();
};

const auto kHarness = testing::Values(
    std::make_pair("memory", HarnessMaker([] { return std::make_unique<MemoryHarness>(); })));
INSTANTIATE_TEST_SUITE_P(Memory, StoreSuite, kHarness);
INSTANTIATE_TEST_SUITE_P(Memory, MediumSuite, kHarness);

TEST(MemoryStore, TwoMediaAreTwoStores) {
  const auto a = OpenMemoryStore(std::make_shared<MemoryMedium>());
  const auto b = OpenMemoryStore(std::make_shared<MemoryMedium>());
  ASSERT_TRUE(a.ok() && b.ok());
  EXPECT_NE((*a)->epoch().uid, (*b)->epoch().uid);
}

}  // namespace
}  // namespace berth
