// SPDX-License-Identifier: Apache-2.0
#include "lib/emulator/kernel/mock.h"

#include <gtest/gtest.h>

#include "tests/emulator/emulator_fixture.h"

namespace berth::emulator {
namespace {

class MockTest : public EmulatorTest {
 protected:
  void SetUp() override {
    StartServer([](Server::Options& options) {
      UnitSpec mock;
      mock.id = "mock";
      mock.profile = UnitProfile::kSelftest;
      options.host.units.push_back(mock);
    });
    context_ = OpenContext();
    ioas_ = AllocIoas(context_);
  }

  int Test(uint32_t op, uapi::IommuTestCmd* cmd) {
    cmd->op = op;
    return Call(context_, uapi::kIommuTestCmd, cmd);
  }
  uapi::IommuTestMockDomain MakeDevice() {
    uapi::IommuTestCmd cmd = {};
    cmd.id = ioas_;
    EXPECT_EQ(Test(uapi::kTestOpMockDomain, &cmd), 0);
    return cmd.mock_domain;
  }
  uint32_t AllocParent(uint32_t device) {
    uapi::IommuHwptAlloc cmd = {};
    cmd.flags = uapi::kHwptAllocNestParent;
    cmd.dev_id = device;
    cmd.pt_id = ioas_;
    EXPECT_EQ(Call(context_, uapi::kIommuHwptAlloc, &cmd), 0);
    return cmd.out_hwpt_id;
  }
  uint32_t AllocNested(uint32_t device, uint32_t pt, uint32_t iotlb) {
    uapi::IommuHwptSelftest data = {iotlb, 0};
    uapi::IommuHwptAlloc cmd = {};
    cmd.dev_id = device;
    cmd.pt_id = pt;
    cmd.data_type = uapi::kHwptDataSelftest;
    cmd.data_len = sizeof(data);
    cmd.data_uptr = reinterpret_cast<uint64_t>(&data);
    EXPECT_EQ(Call(context_, uapi::kIommuHwptAlloc, &cmd), 0);
    return cmd.out_hwpt_id;
  }
  uint32_t AllocMockViommu(uint32_t device, uint32_t parent) {
    uapi::IommuViommuSelftest data = {};
    data.in_data = 0x1234;
    uapi::IommuViommuAlloc cmd = {};
    cmd.type = uapi::kViommuTypeSelftest;
    cmd.dev_id = device;
    cmd.hwpt_id = parent;
    cmd.data_len = sizeof(data);
    cmd.data_uptr = reinterpret_cast<uint64_t>(&data);
    EXPECT_EQ(Call(context_, uapi::kIommuViommuAlloc, &cmd), 0);
    EXPECT_EQ(data.out_data, 0x1234U);
    window_ = data;
    return cmd.out_viommu_id;
  }
  int Invalidate(uint32_t object, const void* entries, uint32_t length, uint32_t* count) {
    uapi::IommuHwptInvalidate cmd = {};
    cmd.hwpt_id = object;
    cmd.data_uptr = reinterpret_cast<uint64_t>(entries);
    cmd.data_type = uapi::kHwptInvalidateSelftest;
    cmd.entry_len = length;
    cmd.entry_num = *count;
    const int rc = Call(context_, uapi::kIommuHwptInvalidate, &cmd);
    *count = cmd.entry_num;
    return rc;
  }
  int CheckIotlb(uint32_t hwpt, uint32_t entry, uint32_t value) {
    uapi::IommuTestCmd cmd = {};
    cmd.id = hwpt;
    cmd.check_iotlb = {entry, value};
    return Test(uapi::kTestOpMdCheckIotlb, &cmd);
  }
  int CheckCache(uint32_t device, uint32_t entry, uint32_t value) {
    uapi::IommuTestCmd cmd = {};
    cmd.id = device;
    cmd.check_dev_cache = {entry, value};
    return Test(uapi::kTestOpDevCheckCache, &cmd);
  }

  UniqueFd context_;
  uint32_t ioas_ = 0;
  uapi::IommuViommuSelftest window_ = {};
};

TEST_F(MockTest, DeviceGoesWithItsObject) {
  const auto device = MakeDevice();
  EXPECT_EQ(Destroy(context_, device.out_idev_id), -EBUSY);
  EXPECT_EQ(Destroy(context_, device.out_stdev_id), 0);
  EXPECT_EQ(Destroy(context_, device.out_idev_id), -ENOENT);
  EXPECT_EQ(Destroy(context_, device.out_hwpt_id), -ENOENT);
  EXPECT_EQ(Destroy(context_, ioas_), 0);
}

TEST_F(MockTest, ContextWithMockDevicesEnds) {
  MakeDevice();
  MakeDevice();
  context_.Reset();
  OpenContext();
  EXPECT_EQ(server().kernel().TakeSnapshot().objects["SELFTEST"], 0);
}

TEST_F(MockTest, NestedInvalidationIsItemByItem) {
  const auto device = MakeDevice();
  const uint32_t nested = AllocNested(device.out_idev_id, AllocParent(device.out_idev_id), 7);
  EXPECT_EQ(CheckIotlb(nested, 3, 7), 0);
  const uapi::IommuHwptInvalidateSelftest entries[] = {{0, 1}, {0, 9}, {1, 0}};
  uint32_t count = 3;
  EXPECT_EQ(Invalidate(nested, entries, sizeof(entries[0]), &count), -EINVAL);
  EXPECT_EQ(count, 1U);
  EXPECT_EQ(CheckIotlb(nested, 1, 0), 0);
  EXPECT_EQ(CheckIotlb(nested, 0, 7), 0);
  count = 1;
  EXPECT_EQ(Invalidate(nested, &entries[2], sizeof(entries[0]), &count), 0);
  EXPECT_EQ(CheckIotlb(nested, 0, 0), 0);
  EXPECT_EQ(CheckIotlb(nested, 0, 7), -EINVAL);
}

TEST_F(MockTest, ViommuInvalidationFindsTheDeviceByItsVirtualId) {
  const auto device = MakeDevice();
  const uint32_t viommu = AllocMockViommu(device.out_idev_id, AllocParent(device.out_idev_id));
  uapi::IommuVdeviceAlloc vdevice = {};
  vdevice.viommu_id = viommu;
  vdevice.dev_id = device.out_idev_id;
  vdevice.virt_id = 0x99;
  ASSERT_EQ(Call(context_, uapi::kIommuVdeviceAlloc, &vdevice), 0);
  EXPECT_EQ(CheckCache(device.out_idev_id, 2, uapi::kMockCacheDefault), 0);
  const uapi::IommuViommuInvalidateSelftest entries[] = {{0, 0x99, 2}, {0, 0x98, 1}};
  uint32_t count = 2;
  EXPECT_EQ(Invalidate(viommu, entries, sizeof(entries[0]), &count), -EINVAL);
  EXPECT_EQ(count, 1U);
  EXPECT_EQ(CheckCache(device.out_idev_id, 2, 0), 0);
  EXPECT_EQ(CheckCache(device.out_idev_id, 1, uapi::kMockCacheDefault), 0);
}

TEST_F(MockTest, WindowShowsWhatWasGivenAndPinsTheViommu) {
  const auto device = MakeDevice();
  const uint32_t viommu = AllocMockViommu(device.out_idev_id, AllocParent(device.out_idev_id));
  EXPECT_EQ(window_.out_mmap_length, 2 * kPageSize);
  auto region =
      client().RegionForVmm(context_.get(), window_.out_mmap_offset, window_.out_mmap_length);
  ASSERT_TRUE(region.ok()) << region.status();
  auto mapping = Mapping::Map(region->fd.get(), 0, region->length, Mapping::Access::kReadWrite);
  ASSERT_TRUE(mapping.ok()) << mapping.status();
  uint32_t shown = 0;
  std::memcpy(&shown, mapping->data(), sizeof(shown));
  EXPECT_EQ(shown, 0x1234U);
  EXPECT_EQ(Destroy(context_, viommu), -EBUSY);
  mapping->Reset();
  EXPECT_EQ(Destroy(context_, viommu), 0);
}

TEST_F(MockTest, ReadThatCannotBeDeliveredKeepsTheRecord) {
  const auto device = MakeDevice();
  const uint32_t viommu = AllocMockViommu(device.out_idev_id, AllocParent(device.out_idev_id));
  uapi::IommuVdeviceAlloc vdevice = {};
  vdevice.viommu_id = viommu;
  vdevice.dev_id = device.out_idev_id;
  vdevice.virt_id = 5;
  ASSERT_EQ(Call(context_, uapi::kIommuVdeviceAlloc, &vdevice), 0);
  uapi::IommuVeventqAlloc queue = {};
  queue.viommu_id = viommu;
  queue.type = uapi::kVeventqTypeSelftest;
  queue.veventq_depth = 4;
  ASSERT_EQ(Call(context_, uapi::kIommuVeventqAlloc, &queue), 0);
  const UniqueFd events(queue.out_veventq_fd);
  uapi::IommuTestCmd trigger = {};
  trigger.dev_id = device.out_idev_id;
  EXPECT_EQ(Test(uapi::kTestOpTriggerVevent, &trigger), -ENOENT);
  uapi::IommuTestCmd replace = {};
  replace.id = device.out_stdev_id;
  replace.pt_id = AllocNested(device.out_idev_id, viommu, 0);
  ASSERT_EQ(Test(uapi::kTestOpMockDomainReplace, &replace), 0);
  trigger.dev_id = device.out_idev_id;
  ASSERT_EQ(Test(uapi::kTestOpTriggerVevent, &trigger), 0);
  EXPECT_TRUE(IsReadable(events));
  EXPECT_EQ(client().ReadEvents(events.get(), nullptr, 64), -EFAULT);
  uint32_t record[3] = {};
  EXPECT_EQ(client().ReadEvents(events.get(), record, sizeof(record)), 12);
  EXPECT_EQ(record[2], 5U);
}

TEST_F(MockTest, NoTestCommandsWithoutAMock) {
  StopServer();
  StartServer();
  context_ = OpenContext();
  uapi::IommuTestCmd cmd = {};
  EXPECT_EQ(Test(uapi::kTestOpMockDomain, &cmd), -ENOTTY);
}

}  // namespace
}  // namespace berth::emulator
