// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "lib/emulator/kernel/ops.h"
#include "lib/iommufd/uapi/smmuv3.h"
#include "tests/emulator/emulator_fixture.h"
#include "tests/testing/poll_until.h"

namespace berth::emulator {
namespace {

constexpr size_t kHugePage = 2 << 20;

// A mapping of this process that goes at the end.
class Memory {
 public:
  Memory(size_t size, int protection, int flags, int fd = -1)
      : data_(::mmap(nullptr, size, protection, flags, fd, 0)), size_(size) {}
  ~Memory() { ::munmap(data_, size_); }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;
  [[nodiscard]] uint64_t address() const { return reinterpret_cast<uint64_t>(data_); }
  [[nodiscard]] void* data() const { return data_; }

 private:
  void* data_;
  size_t size_;
};

class IoasTest : public EmulatorTest {
 protected:
  static constexpr uint32_t kFlags =
      uapi::kIoasMapFixedIova | uapi::kIoasMapReadable | uapi::kIoasMapWriteable;

  int Map(const Guest& guest, uint64_t address, uint64_t length, uint32_t flags = kFlags) {
    uapi::IommuIoasMap cmd = {};
    cmd.flags = flags;
    cmd.ioas_id = guest.ioas;
    cmd.user_va = address;
    cmd.length = length;
    cmd.iova = kQueueIova;
    const int rc = Call(guest.context, uapi::kIommuIoasMap, &cmd);
    iova_ = cmd.iova;
    return rc;
  }
  int AllocQueue(const Guest& guest, uint64_t length) {
    uapi::IommuHwQueueAlloc cmd = {};
    cmd.viommu_id = guest.viommu;
    cmd.type = uapi::kHwQueueTypeTegra241Cmdqv;
    cmd.nesting_parent_iova = kQueueIova;
    cmd.length = length;
    return Call(guest.context, uapi::kIommuHwQueueAlloc, &cmd);
  }
  int ChangeProcess(const Guest& guest) {
    uapi::IommuIoasChangeProcess cmd = {};
    return Call(guest.context, uapi::kIommuIoasChangeProcess, &cmd);
  }
  // Lets the hardware execute a TLBI and a SYNC out of the ring at `ring`.
  void ExpectQueueReads(const Guest& guest, void* ring) {
    const Mapping page0 = MapPage0(guest);
    ASSERT_TRUE(page0.valid());
    const auto reg = [&page0](uint64_t offset) {
      return reinterpret_cast<volatile uint32_t*>(page0.data() + offset);
    };
    const uint64_t commands[][2] = {{uapi::kCmdTlbiNhAsid, 0}, {uapi::kCmdSync, 0}};
    std::memcpy(ring, commands, sizeof(commands));
    *reg(uapi::kVcmdqConfig) = uapi::kVcmdqConfigEnable;
    testing::PollUntil(
        [&] { return (*reg(uapi::kVcmdqStatus) & uapi::kVcmdqStatusEnableOk) != 0; });
    *reg(uapi::kVcmdqProd) = 2;
    testing::PollUntil([&] { return uapi::kVcmdqConsIndex.Get(*reg(uapi::kVcmdqCons)) == 2; });
    EXPECT_EQ(server().kernel().TakeSnapshot().units[0].by_vcmdqs.at(uapi::kCmdTlbiNhAsid), 1U);
  }

  uint64_t iova_ = 0;
};

TEST_F(IoasTest, PrivateMemoryOfTheCallerCanBeMapped) {
  const Guest guest = MakeGuest("vfio0");
  const Memory memory(4 * kPageSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS);
  ASSERT_EQ(Map(guest, memory.address(), 4 * kPageSize), 0);
  EXPECT_EQ(ChangeProcess(guest), -EINVAL);
  EXPECT_EQ(AllocQueue(guest, 2 * kPageSize), -EFAULT) << "pages that do not follow each other";
  ASSERT_EQ(AllocQueue(guest, kPageSize), 0);
  ExpectQueueReads(guest, memory.data());
}

TEST_F(IoasTest, SharedMappingOfAFileIsTheFile) {
  const UniqueFd file = GuestMemory(4 * kPageSize);
  const Memory memory(4 * kPageSize, PROT_READ | PROT_WRITE, MAP_SHARED, file.get());
  const Guest guest = MakeGuest("vfio0");
  ASSERT_EQ(Map(guest, memory.address() + kPageSize, kPageSize), 0);
  EXPECT_EQ(ChangeProcess(guest), -EINVAL);
  ASSERT_EQ(AllocQueue(guest, kPageSize), 0);
  ExpectQueueReads(guest, static_cast<std::byte*>(memory.data()) + kPageSize);
}

TEST_F(IoasTest, SharedMappingOfAHugePageIsContiguous) {
  const UniqueFd file(::memfd_create("huge", MFD_CLOEXEC | MFD_HUGETLB));
  if (!file.valid() || ::ftruncate(file.get(), kHugePage) != 0) GTEST_SKIP() << "no hugetlbfs";
  const Memory memory(kHugePage, PROT_READ | PROT_WRITE, MAP_SHARED, file.get());
  if (memory.data() == MAP_FAILED) GTEST_SKIP() << "no free huge pages";
  const Guest guest = MakeGuest("vfio0");
  ASSERT_EQ(Map(guest, memory.address(), kHugePage), 0);
  EXPECT_EQ(AllocQueue(guest, 4 * kPageSize), 0);
}

TEST_F(IoasTest, AddressesWithoutMemoryAreFoundWhenTheyArePinned) {
  const Memory memory(kPageSize, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS);
  Guest guest;
  guest.context = OpenContext();
  guest.ioas = AllocIoas(guest.context);
  EXPECT_EQ(Map(guest, memory.address(), kPageSize), 0);
  guest = MakeGuest("vfio0");
  EXPECT_EQ(Map(guest, memory.address(), kPageSize), -EFAULT);
  const Memory read_only(kPageSize, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS);
  EXPECT_EQ(Map(guest, read_only.address(), kPageSize), -EFAULT);
  constexpr uint32_t kReadOnly = uapi::kIoasMapFixedIova | uapi::kIoasMapReadable;
  EXPECT_EQ(Map(guest, read_only.address(), kPageSize, kReadOnly), 0);
}

TEST_F(IoasTest, AutomaticIovaIsAlignedAsTheAddressIs) {
  Guest guest;
  guest.context = OpenContext();
  guest.ioas = AllocIoas(guest.context);
  const Memory memory(2 * kHugePage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS);
  const uint64_t aligned = (memory.address() + kHugePage - 1) & ~(kHugePage - 1);
  ASSERT_EQ(Map(guest, aligned, kHugePage / 2, uapi::kIoasMapReadable), 0);
  EXPECT_EQ(iova_ % (kHugePage / 2), 0U);
  ASSERT_EQ(Map(guest, aligned + 8, kPageSize, uapi::kIoasMapReadable), 0);
  EXPECT_EQ(iova_ % kPageSize, 8U);
}

TEST_F(IoasTest, MapChecksInOrder) {
  Guest guest;
  guest.context = OpenContext();
  guest.ioas = AllocIoas(guest.context);
  EXPECT_EQ(Map(guest, 0, 0, 8), -EOPNOTSUPP);
  EXPECT_EQ(Map(guest, 0, UINT64_MAX, 0), -EOVERFLOW);
  EXPECT_EQ(Map(guest, 0, kPageSize, 0), -EINVAL);
  EXPECT_EQ(Map(guest, UINT64_MAX, kPageSize), -EOVERFLOW);
  EXPECT_EQ(Map(guest, kPageSize, 0), -EINVAL);
  guest.ioas = 99;
  EXPECT_EQ(Map(guest, 0, kPageSize), -ENOENT);
}

TEST_F(IoasTest, CompatibilityIoasIsRemembered) {
  const UniqueFd context = OpenContext();
  uapi::IommuVfioIoas cmd = {};
  cmd.op = uapi::kVfioIoasGet;
  EXPECT_EQ(Call(context, uapi::kIommuVfioIoas, &cmd), -ENODEV);
  cmd.op = uapi::kVfioIoasSet;
  EXPECT_EQ(Call(context, uapi::kIommuVfioIoas, &cmd), -ENOENT);
  const uint32_t ioas = AllocIoas(context);
  cmd.ioas_id = ioas;
  EXPECT_EQ(Call(context, uapi::kIommuVfioIoas, &cmd), 0);
  cmd = {};
  EXPECT_EQ(Call(context, uapi::kIommuVfioIoas, &cmd), 0);
  EXPECT_EQ(cmd.ioas_id, ioas);
  EXPECT_EQ(Destroy(context, ioas), 0);
  EXPECT_EQ(Call(context, uapi::kIommuVfioIoas, &cmd), -ENODEV);
  cmd.op = 3;
  EXPECT_EQ(Call(context, uapi::kIommuVfioIoas, &cmd), -EOPNOTSUPP);
}

}  // namespace
}  // namespace berth::emulator
