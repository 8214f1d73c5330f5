// SPDX-License-Identifier: Apache-2.0
#include "lib/emulator/kernel/memlock.h"

#include <gtest/gtest.h>
#include <linux/capability.h>
#include <sys/resource.h>

#include <cerrno>

#include "tests/emulator/emulator_fixture.h"

namespace berth::emulator {
namespace {

TEST(PinCountsTest, EachPageCountsOnce) {
  PinCounts pins;
  EXPECT_EQ(pins.Add(0, 9), 10U);
  EXPECT_EQ(pins.Add(5, 14), 5U);
  EXPECT_EQ(pins.Add(5, 6), 0U);
  EXPECT_EQ(pins.pinned(), 15U);
  EXPECT_EQ(pins.Remove(0, 9), 5U);
  EXPECT_EQ(pins.Remove(5, 14), 8U);
  EXPECT_EQ(pins.Remove(5, 6), 2U);
  EXPECT_EQ(pins.pinned(), 0U);
  EXPECT_EQ(pins.Add(3, 3), 1U);
}

TEST(MemlockAccountTest, IsChargedUpToTheLimit) {
  MemlockLedger ledger(4096);
  const Payer payer = {.user = 7, .limit = 4 * 4096 + 100};
  MemlockAccount first(&ledger, AccountMode::kUser, payer);
  MemlockAccount second(&ledger, AccountMode::kUser, payer);
  EXPECT_EQ(first.Pin(0, 2), 0);
  EXPECT_EQ(second.Pin(0, 1), -ENOMEM);
  EXPECT_EQ(second.Pin(0, 0), 0);
  EXPECT_EQ(first.Pin(0, 2), 0) << "pinned already";
  first.Unpin(0, 2);
  EXPECT_EQ(ledger.Charged(AccountMode::kUser, payer), 4U);
  first.Unpin(0, 2);
  EXPECT_EQ(ledger.Charged(AccountMode::kUser, payer), 1U);
}

TEST(MemlockAccountTest, ProcessesAndUsersAreDifferentBooks) {
  MemlockLedger ledger(4096);
  const Payer payer = {.user = 7, .process = 7, .limit = 4096};
  MemlockAccount user(&ledger, AccountMode::kUser, payer);
  MemlockAccount process(&ledger, AccountMode::kProcess, payer);
  EXPECT_EQ(user.Pin(0, 0), 0);
  EXPECT_EQ(process.Pin(0, 0), 0);
  EXPECT_EQ(process.Pin(1, 1), -ENOMEM);
}

TEST(MemlockAccountTest, NobodyPaysForAnExemptCaller) {
  MemlockLedger ledger(4096);
  const Payer payer = {.user = 7, .limit = 0, .exempt = true};
  MemlockAccount account(&ledger, AccountMode::kUser, payer);
  EXPECT_EQ(account.Pin(0, 100), 0);
  EXPECT_EQ(ledger.Charged(AccountMode::kUser, payer), 0U);
}

TEST(MemlockAccountTest, ChangesHandsWholeOrNotAtAll) {
  MemlockLedger ledger(4096);
  const Payer from = {.user = 1, .limit = 10 * 4096};
  const Payer to = {.user = 2, .limit = 4096};
  MemlockAccount account(&ledger, AccountMode::kUser, from);
  ASSERT_EQ(account.Pin(0, 1), 0);
  EXPECT_EQ(account.ChargeToo(to), -ENOMEM);
  EXPECT_EQ(ledger.Charged(AccountMode::kUser, to), 0U);
  const Payer richer = {.user = 2, .limit = 8192};
  ASSERT_EQ(account.ChargeToo(richer), 0);
  account.Abort(richer);
  EXPECT_EQ(ledger.Charged(AccountMode::kUser, richer), 0U);
  ASSERT_EQ(account.ChargeToo(richer), 0);
  account.Commit(richer);
  EXPECT_EQ(ledger.Charged(AccountMode::kUser, from), 0U);
  EXPECT_EQ(ledger.Charged(AccountMode::kUser, richer), 2U);
}

// With a client that has no CAP_IPC_LOCK and may lock 4 pages.
class MemlockTest : public EmulatorTest {
 protected:
  static constexpr rlim_t kLimit = 4 * kPageSize;

  void SetUp() override {
    StartServer([](Server::Options& options) { options.host.limits_memlock = true; });
    ASSERT_EQ(::getrlimit(RLIMIT_MEMLOCK, &before_), 0);
    const rlimit limit = {std::min(kLimit, before_.rlim_max), before_.rlim_max};
    if (limit.rlim_cur != kLimit) GTEST_SKIP() << "RLIMIT_MEMLOCK is lower";
    ASSERT_EQ(::setrlimit(RLIMIT_MEMLOCK, &limit), 0);
  }
  void TearDown() override { ::setrlimit(RLIMIT_MEMLOCK, &before_); }

  int Map(const Guest& guest, const UniqueFd& memfd, uint64_t iova, uint64_t length) {
    uapi::IommuIoasMapFile cmd = {};
    cmd.size = sizeof(cmd);
    cmd.flags = uapi::kIoasMapFixedIova | uapi::kIoasMapReadable;
    cmd.ioas_id = guest.ioas;
    cmd.fd = memfd.get();
    cmd.length = length;
    cmd.iova = iova;
    return poor_.Ioctl(guest.context.get(), uapi::kIommuIoasMapFile, &cmd);
  }
  int Unmap(const Guest& guest, uint64_t iova, uint64_t length) {
    uapi::IommuIoasUnmap cmd = {};
    cmd.ioas_id = guest.ioas;
    cmd.iova = iova;
    cmd.length = length;
    return Call(guest.context, uapi::kIommuIoasUnmap, &cmd);
  }

  rlimit before_ = {};
  EmulatorClient poor_{socket_path(), [](int capability) { return capability != CAP_IPC_LOCK; }};
};

TEST_F(MemlockTest, PinnedMemoryIsLimited) {
  const UniqueFd memfd = GuestMemory(8 * kPageSize);
  const Guest guest = MakeGuest("vfio0");
  EXPECT_EQ(Map(guest, memfd, 0x100000, 5 * kPageSize), -ENOMEM);
  ASSERT_EQ(Map(guest, memfd, 0x100000, 3 * kPageSize), 0);
  EXPECT_EQ(Map(guest, memfd, 0x200000, 2 * kPageSize), -ENOMEM);
  ASSERT_EQ(Unmap(guest, 0x100000, 3 * kPageSize), 0);
  EXPECT_EQ(Map(guest, memfd, 0x200000, 2 * kPageSize), 0);
}

TEST_F(MemlockTest, WithoutADomainNothingIsPinnedYet) {
  const UniqueFd memfd = GuestMemory(8 * kPageSize);
  Guest guest;
  guest.context = OpenContext();
  guest.ioas = AllocIoas(guest.context);
  ASSERT_EQ(Map(guest, memfd, 0x100000, 8 * kPageSize), 0);
  guest.cdev = OpenDevice("vfio0");
  ASSERT_EQ(Bind(guest.cdev, guest.context.get(), &guest.device), 0);
  uapi::IommuHwptAlloc hwpt = {};
  hwpt.dev_id = guest.device;
  hwpt.pt_id = guest.ioas;
  EXPECT_EQ(Call(guest.context, uapi::kIommuHwptAlloc, &hwpt), -ENOMEM);
  ASSERT_EQ(Unmap(guest, 0x100000, 8 * kPageSize), 0);
  EXPECT_EQ(Call(guest.context, uapi::kIommuHwptAlloc, &hwpt), 0);
}

TEST_F(MemlockTest, CopiesShareTheirPins) {
  const UniqueFd memfd = GuestMemory(8 * kPageSize);
  const Guest guest = MakeGuest("vfio0");
  ASSERT_EQ(Map(guest, memfd, 0x100000, 4 * kPageSize), 0);
  uapi::IommuIoasCopy copy = {};
  copy.flags = uapi::kIoasMapFixedIova | uapi::kIoasMapReadable;
  copy.dst_ioas_id = guest.ioas;
  copy.src_ioas_id = guest.ioas;
  copy.length = 4 * kPageSize;
  copy.src_iova = 0x100000;
  copy.dst_iova = 0x200000;
  EXPECT_EQ(Call(guest.context, uapi::kIommuIoasCopy, &copy), 0);
  ASSERT_EQ(Unmap(guest, 0x100000, 4 * kPageSize), 0);
  EXPECT_EQ(Map(guest, memfd, 0x300000, kPageSize), -ENOMEM) << "the copy holds the pages";
  ASSERT_EQ(Unmap(guest, 0x200000, 4 * kPageSize), 0);
  EXPECT_EQ(Map(guest, memfd, 0x300000, kPageSize), 0);
}

class BigPageTest : public EmulatorTest {
 protected:
  static constexpr uint64_t kBigPage = 65536;

  void SetUp() override {
    StartServer([](Server::Options& options) { options.host.page_size = kBigPage; });
  }
  int Map(const Guest& guest, const UniqueFd& memfd, uint64_t iova, uint64_t length) {
    uapi::IommuIoasMapFile cmd = {};
    cmd.flags = uapi::kIoasMapFixedIova | uapi::kIoasMapReadable;
    cmd.ioas_id = guest.ioas;
    cmd.fd = memfd.get();
    cmd.length = length;
    cmd.iova = iova;
    return Call(guest.context, uapi::kIommuIoasMapFile, &cmd);
  }
  int AllocQueue(const Guest& guest, uint32_t index, uint64_t iova, uint64_t length) {
    uapi::IommuHwQueueAlloc cmd = {};
    cmd.viommu_id = guest.viommu;
    cmd.type = uapi::kHwQueueTypeTegra241Cmdqv;
    cmd.index = index;
    cmd.nesting_parent_iova = iova;
    cmd.length = length;
    return Call(guest.context, uapi::kIommuHwQueueAlloc, &cmd);
  }
};

TEST_F(BigPageTest, AlignmentContiguityAndWindowsFollow) {
  const UniqueFd memfd = GuestMemory(4 * kBigPage);
  const Guest guest = MakeGuest("vfio0");
  EXPECT_EQ(guest.page0_offset, kBigPage);
  EXPECT_EQ(Map(guest, memfd, 0x1001000, kBigPage), -EINVAL);
  EXPECT_EQ(Map(guest, memfd, 0x1000000, 4096), -EINVAL);
  ASSERT_EQ(Map(guest, memfd, 0x1000000, 4 * kBigPage), 0);
  uapi::IommuIoasIovaRanges ranges = {};
  ranges.ioas_id = guest.ioas;
  EXPECT_EQ(Call(guest.context, uapi::kIommuIoasIovaRanges, &ranges), -EMSGSIZE);
  EXPECT_EQ(ranges.out_iova_alignment, kBigPage);
  EXPECT_EQ(AllocQueue(guest, 0, 0x1000000, kBigPage), 0);
  EXPECT_EQ(AllocQueue(guest, 1, 0x1010000, 2 * kBigPage), -EFAULT);
}

}  // namespace
}  // namespace berth::emulator
