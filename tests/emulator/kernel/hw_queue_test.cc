// SPDX-License-Identifier: Apache-2.0
//
// HW queues as the agent allocates them: order, memory, what they pin, and commands and errors that
// come out of them.
#include <sys/mman.h>

#include <cstring>

#include "lib/emulator/kernel/ops.h"
#include "lib/iommufd/uapi/smmuv3.h"
#include "tests/emulator/emulator_fixture.h"
#include "tests/testing/huge_pages.h"

namespace berth::emulator {
namespace {

constexpr uint64_t kLength = 4096;

class HwQueueTest : public EmulatorTest {
 protected:
  void SetUp() override {
    EmulatorTest::SetUp();
    guest_ = MakeGuest("vfio0");
  }
  void MapMemory(const UniqueFd& memfd, uint64_t length) {
    uapi::IommuIoasMapFile cmd = {};
    cmd.flags = uapi::kIoasMapFixedIova | uapi::kIoasMapReadable | uapi::kIoasMapWriteable;
    cmd.ioas_id = guest_.ioas;
    cmd.fd = memfd.get();
    cmd.length = length;
    cmd.iova = kQueueIova;
    ASSERT_EQ(Call(guest_.context, uapi::kIommuIoasMapFile, &cmd), 0);
  }
  int Alloc(uint32_t index, uint64_t offset, uint64_t length = kLength, uint32_t* id = nullptr) {
    uapi::IommuHwQueueAlloc cmd = {};
    cmd.viommu_id = guest_.viommu;
    cmd.type = uapi::kHwQueueTypeTegra241Cmdqv;
    cmd.index = index;
    cmd.nesting_parent_iova = kQueueIova + offset;
    cmd.length = length;
    const int rc = Call(guest_.context, uapi::kIommuHwQueueAlloc, &cmd);
    if (id != nullptr) *id = cmd.out_hw_queue_id;
    return rc;
  }
  int Unmap() {
    uapi::IommuIoasUnmap cmd = {};
    cmd.ioas_id = guest_.ioas;
    cmd.iova = kQueueIova;
    cmd.length = kLength * 2;
    return Call(guest_.context, uapi::kIommuIoasUnmap, &cmd);
  }
  volatile uint32_t* Register(size_t offset) {
    return reinterpret_cast<volatile uint32_t*>(page0_.data() + offset);
  }
  // Waits for the hardware; the test's time-out is the limit.
  static void Await(const std::function<bool()>& condition) {
    while (!condition()) ::poll(nullptr, 0, 1);
  }

  Guest guest_;
  Mapping page0_;
};

TEST_F(HwQueueTest, QueuesGoUpwardAndDownwardAndTakeTwoIdsEach) {
  const UniqueFd memfd = GuestMemory(kLength * 2);
  MapMemory(memfd, kLength * 2);
  EXPECT_EQ(Alloc(1, 0), -EIO);
  EXPECT_EQ(Alloc(2, 0), -EINVAL);
  uint32_t first = 0;
  uint32_t second = 0;
  ASSERT_EQ(Alloc(0, 0, kLength, &first), 0);
  EXPECT_EQ(Alloc(0, 0), -EEXIST);
  ASSERT_EQ(Alloc(1, kLength, kLength, &second), 0);
  EXPECT_EQ(second, first + 2);
  EXPECT_EQ(Destroy(guest_.context, first + 1), -EBUSY) << "the hidden access";
  EXPECT_EQ(Destroy(guest_.context, first), -EBUSY);
  EXPECT_EQ(Unmap(), -EBUSY);
  EXPECT_EQ(Destroy(guest_.context, guest_.viommu), -EBUSY);
  EXPECT_EQ(Destroy(guest_.context, second), 0);
  EXPECT_EQ(Destroy(guest_.context, first), 0);
  EXPECT_EQ(Destroy(guest_.context, first + 1), -ENOENT);
  EXPECT_EQ(Unmap(), 0);
}

TEST_F(HwQueueTest, MemoryIsLookedAtBeforeTheIndex) {
  EXPECT_EQ(Alloc(9, 0), -ENOENT) << "nothing is mapped";
  const UniqueFd memfd = GuestMemory(kLength * 2);
  MapMemory(memfd, kLength * 2);
  EXPECT_EQ(Alloc(9, 0, kLength * 2), -EFAULT) << "two pages of shmem do not follow each other";
  EXPECT_EQ(Alloc(9, 0), -EINVAL);
  EXPECT_EQ(Alloc(0, 0, 48), -EINVAL);
  EXPECT_EQ(Alloc(0, 32, 64), -EINVAL) << "not aligned to its length";
  EXPECT_EQ(Alloc(0, 0, 0), -EINVAL);
  EXPECT_EQ(Alloc(0, ~uint64_t{0} - kQueueIova - 10, 64), -EOVERFLOW);
  EXPECT_EQ(Alloc(0, 0, uint64_t{1} << 40), -ENOMEM);
}

// A huge page is one piece of physical memory, and two of them are two.
class HugeQueueTest : public HwQueueTest, public ::testing::WithParamInterface<int> {};

TEST_P(HugeQueueTest, AQueueMayFillAHugePageAndNotReachIntoTheNext) {
  const UniqueFd memfd = testing::HugeMemory(2, GetParam());
  if (!memfd.valid()) GTEST_SKIP() << testing::kNoHugePages;
  MapMemory(memfd, 2 * testing::kHugePage);
  EXPECT_EQ(Alloc(0, testing::kHugePage - kLength, 2 * kLength), -EFAULT);
  EXPECT_EQ(Alloc(0, 0, 2 * testing::kHugePage), -EFAULT);
  ASSERT_EQ(Alloc(0, 0, testing::kHugePage), 0);
  ASSERT_EQ(Alloc(1, testing::kHugePage + 16 * kLength, 16 * kLength), 0);

  // Far more commands than fit a small page.
  constexpr uint32_t kCommands = 4000;
  const Mapping memory =
      *Mapping::Map(memfd.get(), 0, 2 * testing::kHugePage, Mapping::Access::kReadWrite);
  for (uint32_t i = 0; i < kCommands; ++i) {
    const uint64_t command[2] = {uapi::kCmdTlbiNhAsid, 0};
    std::memcpy(memory.data() + i * sizeof(command), command, sizeof(command));
    std::memcpy(memory.data() + testing::kHugePage + 16 * kLength + i * sizeof(command), command,
                sizeof(command));
  }
  page0_ = MapPage0(guest_);
  ASSERT_TRUE(page0_.valid());
  for (const size_t queue : {0, 1}) {
    const size_t at = queue * kLvcmdqStride;
    *Register(at + uapi::kVcmdqConfig) = uapi::kVcmdqConfigEnable;
    Await([&] { return (*Register(at + uapi::kVcmdqStatus) & uapi::kVcmdqStatusEnableOk) != 0; });
    *Register(at + uapi::kVcmdqProd) = kCommands;
    Await([&] { return uapi::kVcmdqConsIndex.Get(*Register(at + uapi::kVcmdqCons)) == kCommands; });
  }
  EXPECT_EQ(server().kernel().TakeSnapshot().units[0].by_vcmdqs.at(uapi::kCmdTlbiNhAsid),
            2 * kCommands);
}

// Read in place, and with pread(2) where the file could shrink.
INSTANTIATE_TEST_SUITE_P(Seals, HugeQueueTest, ::testing::Values(F_SEAL_SHRINK, 0),
                         [](const auto& test) { return test.param != 0 ? "Sealed" : "Unsealed"; });

TEST_F(HwQueueTest, AGuestsCommandsAreExecutedAndItsErrorBecomesAnEvent) {
  const UniqueFd memfd = GuestMemory(kLength);
  MapMemory(memfd, kLength);
  UniqueFd events;
  AllocVeventq(guest_, uapi::kVeventqTypeTegra241Cmdqv, 8, &events);
  ASSERT_EQ(Alloc(0, 0), 0);
  page0_ = MapPage0(guest_);
  ASSERT_TRUE(page0_.valid());
  auto ring = Mapping::Map(memfd.get(), 0, kLength, Mapping::Access::kReadWrite);
  ASSERT_TRUE(ring.ok());
  const uint64_t commands[][2] = {
      {uapi::kCmdTlbiNhAsid, 0}, {uapi::kCmdSync, 0}, {uapi::kCmdResume, 0}};
  std::memcpy(ring->data(), commands, sizeof(commands));
  *Register(uapi::kVcmdqConfig) = uapi::kVcmdqConfigEnable;
  Await([&] { return (*Register(uapi::kVcmdqStatus) & uapi::kVcmdqStatusEnableOk) != 0; });
  *Register(uapi::kVcmdqProd) = 3;
  Await([&] { return IsReadable(events); });
  EXPECT_EQ(uapi::kVcmdqConsIndex.Get(*Register(uapi::kVcmdqCons)), 2U);
  struct {
    uapi::IommufdVeventHeader header;
    uapi::IommuVeventTegra241Cmdqv event;
  } record = {};
  EXPECT_EQ(client().ReadEvents(events.get(), &record, sizeof(record)), 24);
  EXPECT_EQ(record.event.lvcmdq_err_map[0], 1U);
  const auto counts = server().kernel().TakeSnapshot().units[0].by_vcmdqs;
  EXPECT_EQ(counts.at(uapi::kCmdTlbiNhAsid), 1U);
  EXPECT_EQ(counts.at(uapi::kCmdSync), 1U);
}

TEST_F(HwQueueTest, ARingThatIsCutAwayStopsTheQueueAndNotTheEmulator) {
  const UniqueFd memfd = GuestMemory(kLength, 0);
  MapMemory(memfd, kLength);
  ASSERT_EQ(Alloc(0, 0), 0);
  page0_ = MapPage0(guest_);
  ASSERT_TRUE(page0_.valid());
  *Register(uapi::kVcmdqConfig) = uapi::kVcmdqConfigEnable;
  Await([&] { return (*Register(uapi::kVcmdqStatus) & uapi::kVcmdqStatusEnableOk) != 0; });
  ASSERT_EQ(::ftruncate(memfd.get(), 0), 0);
  *Register(uapi::kVcmdqProd) = 1;
  Await([&] { return (*Register(uapi::kVcmdqGerror) & uapi::kVcmdqGerrorCommand) != 0; });
  EXPECT_EQ(uapi::kVcmdqConsError.Get(*Register(uapi::kVcmdqCons)), uapi::kVcmdqErrorAbort);
}

TEST_F(HwQueueTest, ATombstoneIsLeftByADeviceThatGoesBeforeItsVdevice) {
  uapi::IommuVdeviceAlloc cmd = {};
  cmd.viommu_id = guest_.viommu;
  cmd.dev_id = guest_.device;
  cmd.virt_id = 7;
  ASSERT_EQ(Call(guest_.context, uapi::kIommuVdeviceAlloc, &cmd), 0);
  guest_.cdev.Reset();
  EXPECT_EQ(Destroy(guest_.context, cmd.out_vdevice_id), -ENOENT);
  EXPECT_EQ(AllocIoas(guest_.context), guest_.device) << "the device's id is free again";
  EXPECT_GT(AllocIoas(guest_.context), cmd.out_vdevice_id) << "the vDEVICE's never";
}

}  // namespace
}  // namespace berth::emulator
