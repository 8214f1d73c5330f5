// SPDX-License-Identifier: Apache-2.0
#include "tests/oracle/mock_oddities.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <initializer_list>
#include <string>
#include <utility>

namespace berth::oracle {
namespace {

using Numbers = std::initializer_list<std::pair<const char*, uint64_t>>;

constexpr uint64_t kSelftestType = 0xdeadbeef;
constexpr char kByItem[] = "a nested HWPT is invalidated item by item";
constexpr char kOldVirtId[] = "an event has the virt_id of before the re-attach";

Step MakeStep(const std::string& op, Numbers args, int64_t rc = 0, Numbers out = {}) {
  Step step;
  step.op = op;
  step.rc = rc;
  for (const auto& [name, value] : args) step.args.Set(name, std::to_string(value));
  for (const auto& [name, value] : out) step.out.Set(name, std::to_string(value));
  return step;
}

class MockOddityTest : public ::testing::Test {
 protected:
  // IOAS 1, vIOMMU 5, and HWPTs 6 and 7 nested on it.
  void SetUp() override {
    Look("IOAS_ALLOC", {}, 0, {{"out_ioas_id", 1}});
    Look("HWPT_ALLOC", {{"pt_id", 1}}, 0, {{"out_hwpt_id", 4}});
    Look("HWPT_ALLOC", {{"pt_id", 5}}, 0, {{"out_hwpt_id", 6}});
    Look("HWPT_ALLOC", {{"pt_id", 5}}, 0, {{"out_hwpt_id", 7}});
  }
  // Empty: no oddity.
  std::string Look(const std::string& op, Numbers args, int64_t rc = 0, Numbers out = {}) {
    return Look(MakeStep(op, args, rc, out));
  }
  std::string Look(const Step& step) {
    const char* what = oddities_.Look(step);
    return what != nullptr ? what : "";
  }
  std::string Invalidate(uint64_t hwpt, uint64_t length, int64_t rc, uint64_t done) {
    return Look("HWPT_INVALIDATE",
                {{"hwpt_id", hwpt},
                 {"data_type", kSelftestType},
                 {"entry_len", length},
                 {"entry_num", 3},
                 {"ptr", 1}},
                rc, {{"entry_num", done}});
  }
  std::string ReadEvents(const std::string& data) {
    Step step = MakeStep("READ_EVENT", {{"ev", 0}}, static_cast<int64_t>(data.size() / 2));
    step.out.Set("data", data);
    return Look(step);
  }

 private:
  MockOddities oddities_;
};

TEST_F(MockOddityTest, NestedInvalidationGoesItemByItem) {
  EXPECT_EQ(Invalidate(6, 4, -EINVAL, 0), kByItem);
  EXPECT_EQ(Invalidate(6, 16, -E2BIG, 2), kByItem);
  EXPECT_EQ(Invalidate(6, 8, -EFAULT, 1), kByItem);
  // What drivers of hardware do as well.
  EXPECT_EQ(Invalidate(6, 8, 0, 3), "");
  EXPECT_EQ(Invalidate(6, 8, -EOPNOTSUPP, 1), "");
  EXPECT_EQ(Invalidate(6, 16, -E2BIG, 0), "");
  EXPECT_EQ(Invalidate(6, 5000, -EINVAL, 0), "");
  EXPECT_EQ(Invalidate(4, 4, -EINVAL, 0), "");
  EXPECT_EQ(Invalidate(5, 4, -EINVAL, 0), "");
  Look("DESTROY", {{"id", 6}});
  EXPECT_EQ(Invalidate(6, 4, -EINVAL, 0), "");
}

// Device 3 of mock device 2, with virt_id 18 (0x12), then 19.
TEST_F(MockOddityTest, EventsKeepTheOldVirtId) {
  Look("TEST_MOCK_DOMAIN", {{"pt_id", 1}}, 0, {{"out_stdev_id", 2}, {"out_idev_id", 3}});
  Look("VEVENTQ_ALLOC", {{"viommu_id", 5}}, 0, {{"ev", 0}});
  Look("VDEVICE_ALLOC", {{"viommu_id", 5}, {"dev_id", 3}, {"virt_id", 18}}, 0,
       {{"out_vdevice_id", 8}});
  Look("TEST_MOCK_DOMAIN_REPLACE", {{"stdev_id", 2}}, 0, {{"pt_id", 6}});
  Look("TEST_TRIGGER_VEVENT", {{"dev_id", 3}});
  EXPECT_EQ(ReadEvents("000000000000000012000000"), "");

  Look("DESTROY", {{"id", 8}});
  Look("VDEVICE_ALLOC", {{"viommu_id", 5}, {"dev_id", 3}, {"virt_id", 19}}, 0,
       {{"out_vdevice_id", 8}});
  Look("TEST_MOCK_DOMAIN_REPLACE", {{"stdev_id", 2}}, 0, {{"pt_id", 7}});
  Look("TEST_TRIGGER_VEVENT", {{"dev_id", 3}});
  // Behind a record of lost events, which has no payload.
  EXPECT_EQ(ReadEvents("0100000001000000000000000200000012000000"), kOldVirtId);
  EXPECT_EQ(ReadEvents("000000000200000013000000"), "");

  // By way of another HWPT it is noted anew.
  Look("TEST_MOCK_DOMAIN_REPLACE", {{"stdev_id", 2}}, 0, {{"pt_id", 4}});
  Look("TEST_MOCK_DOMAIN_REPLACE", {{"stdev_id", 2}}, 0, {{"pt_id", 6}});
  Look("CLOSE_IOMMUFD", {});
  EXPECT_EQ(ReadEvents("000000000300000012000000"), "");
}

TEST_F(MockOddityTest, QueueIndexesAndLengths) {
  const Numbers first = {{"viommu_id", 5}, {"index", 0}};
  const Numbers second = {{"viommu_id", 5}, {"index", 1}};
  EXPECT_EQ(Look("HW_QUEUE_ALLOC", first, 0, {{"out_hw_queue_id", 8}}), "");
  EXPECT_EQ(Look("HW_QUEUE_ALLOC", first, -EEXIST), "");
  EXPECT_EQ(Look("HW_QUEUE_ALLOC", second, 0, {{"out_hw_queue_id", 10}}), "");
  Look("DESTROY", {{"id", 10}});
  EXPECT_EQ(Look("HW_QUEUE_ALLOC", first, 0, {{"out_hw_queue_id", 10}}),
            "HW queue index 0 is allocated twice");
  EXPECT_EQ(Look("HW_QUEUE_ALLOC", second, -EEXIST),
            "a HW queue index stays taken after its queue");
  EXPECT_EQ(Look("VIOMMU_ALLOC", {{"data_len", 24}}), "");
  EXPECT_NE(Look("VIOMMU_ALLOC", {{"data_len", 16}}), "");
}

}  // namespace
}  // namespace berth::oracle
