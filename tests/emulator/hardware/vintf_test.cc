// SPDX-License-Identifier: Apache-2.0
//
// page0 as its peers see it: the memfd of a VINTF, in this and in other processes.
#include "lib/emulator/hardware/vintf.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <vector>

#include "tests/emulator/hardware/unit_fixture.h"

namespace berth::emulator::testing {
namespace {

using Page0Test = UnitTest;
using TurnsTest = UnitTest;
using PolledPage0Test = PolledUnitTest;

// A CMD_SYNC without a flood takes as long as some tens of commands; with one, no more than ten
// times that.
TEST_F(TurnsTest, AFloodHoldsUpNobodyForLong) {
  ASSERT_EQ(cmdqv_->AllocVintf(1, 0), 1);
  ASSERT_EQ(cmdqv_->AllocVintf(2, 0), 2);
  const Mapping flooding_page0 = MapPage0(*cmdqv_, 1);
  const Mapping page0 = MapPage0(*cmdqv_, 2);
  GuestQueue flooding = MapQueue(1, 0, flooding_page0, 12);
  GuestQueue guest = MapQueue(2, 0, page0);
  ASSERT_TRUE(flooding.Enable());
  ASSERT_TRUE(guest.Enable());
  flooding.Submit(std::vector<RawCommand>(1 << 12, kTlbiVa));
  guest.Submit({kSync});
  ASSERT_TRUE(guest.AwaitIdle());
  EXPECT_GT(flooding.cons(), 0u);
  EXPECT_LE(flooding.cons(), 256u);
  ASSERT_TRUE(flooding.AwaitIdle());
}

TEST_F(Page0Test, HasAFixedSizeAndStartsAtZero) {
  const int fd = cmdqv_->Page0Fd(cmdqv_->AllocVintf(1, 0));
  EXPECT_EQ(::ftruncate(fd, 0), -1);
  EXPECT_EQ(errno, EPERM);
  EXPECT_EQ(::ftruncate(fd, 2 * kPage0Size), -1);
  EXPECT_EQ(errno, EPERM);
  const Mapping page0 = MapPage0(*cmdqv_, 1);
  for (size_t i = 0; i < kPage0Size; ++i) ASSERT_EQ(page0.data()[i], std::byte{0});
}

TEST_F(Page0Test, EachAllocationHasItsOwn) {
  ASSERT_EQ(cmdqv_->AllocVintf(1, 0), 1);
  const Mapping old = MapPage0(*cmdqv_, 1);
  ASSERT_EQ(cmdqv_->FreeVintf(1), 0);
  ASSERT_EQ(cmdqv_->AllocVintf(2, 0), 1);
  const Mapping page0 = MapPage0(*cmdqv_, 1);
  GuestQueue guest = MapQueue(1, 0, page0);
  ASSERT_TRUE(guest.Enable());
  LvcmdqRegisters(old.data(), 0).Store(Register::kConfig, 0);
  PassTime();
  EXPECT_EQ(guest.registers().Load(Register::kStatus), kStatusEnabled)
      << "what is left of the last owner's page reaches nothing";
}

TEST_F(Page0Test, RetiringIsRefusedWhileItIsMappedAndQueuesGoOn) {
  ASSERT_EQ(cmdqv_->AllocVintf(1, 0), 1);
  Mapping page0 = MapPage0(*cmdqv_, 1);
  GuestQueue guest = MapQueue(1, 0, page0);
  ASSERT_TRUE(guest.Enable());
  guest.Submit({kTlbiVa, kSync});
  ASSERT_TRUE(guest.AwaitIdle());
  EXPECT_EQ(cmdqv_->RetirePage0(1), -EBUSY);
  guest.Submit({kTlbiVa, kSync});
  ASSERT_TRUE(guest.AwaitIdle());
  EXPECT_EQ(cmdqv_->Counters(1, 0)->executed.total(), 4u) << "counted on";
  page0.Reset();
  EXPECT_EQ(cmdqv_->RetirePage0(1), 0);
  EXPECT_EQ(cmdqv_->RetirePage0(1), 0);
  EXPECT_FALSE(cmdqv_->Snapshot(1)->lvcmdqs[0].enabled);
  EXPECT_FALSE(Mapping::Map(cmdqv_->Page0Fd(1), 0, kPage0Size, Mapping::Access::kReadWrite).ok());
  EXPECT_EQ(cmdqv_->FreeVintf(1), 0);
}

TEST_F(Page0Test, APeerThatSealsTheSealsHurtsNobody) {
  ASSERT_EQ(cmdqv_->AllocVintf(1, 0), 1);
  const Mapping page0 = MapPage0(*cmdqv_, 1);
  ASSERT_EQ(::fcntl(cmdqv_->Page0Fd(1), F_ADD_SEALS, F_SEAL_SEAL), 0);
  EXPECT_EQ(cmdqv_->RetirePage0(1), 0);
  EXPECT_EQ(cmdqv_->FreeVintf(1), 0);
  EXPECT_EQ(cmdqv_->AllocVintf(2, 0), 1);
}

TEST_F(Page0Test, APeerThatForbidsFutureWritesLosesOnlyItsOwnQueues) {
  ASSERT_EQ(cmdqv_->AllocVintf(1, 0), 1);
  Mapping page0 = MapPage0(*cmdqv_, 1);
  GuestQueue guest = MapQueue(1, 0, page0);
  ASSERT_TRUE(guest.Enable());
  ASSERT_EQ(::fcntl(cmdqv_->Page0Fd(1), F_ADD_SEALS, F_SEAL_FUTURE_WRITE), 0);
  EXPECT_EQ(cmdqv_->RetirePage0(1), -EBUSY);
  guest.Submit({kSync});
  PassTime();
  EXPECT_EQ(guest.cons(), 0u);
  EXPECT_EQ(cmdqv_->UnmapLvcmdq(1, 0), 0);
  page0.Reset();
  EXPECT_EQ(cmdqv_->RetirePage0(1), 0);
}

// Forks a child that holds page0 and drives queue 0 until the pipe `release` can be read.
pid_t ForkGuest(Mapping* page0, GuestQueue* guest, const int release[2]) {
  const pid_t child = ::fork();
  if (child != 0) return child;
  ::close(release[1]);  // a parent that fails ends the child, too
  guest->Submit({kTlbiVa, kTlbiVa, kSync});
  const bool done = guest->AwaitIdle();
  char byte;
  const bool released = ::read(release[0], &byte, 1) == 1;
  page0->Reset();
  ::_exit(done && released ? 0 : 1);
}

TEST_F(PolledPage0Test, AnotherProcessDrivesItAndPinsItUntilItEnds) {
  ASSERT_EQ(cmdqv_->AllocVintf(1, 0), 1);
  Mapping page0 = MapPage0(*cmdqv_, 1);
  // The ring is memory of both processes, too.
  UniqueFd fd(::memfd_create("guest-memory", MFD_CLOEXEC));
  ASSERT_EQ(::ftruncate(fd.get(), 4096), 0);
  auto memory =
      std::make_shared<Mapping>(*Mapping::Map(fd.get(), 0, 4096, Mapping::Access::kReadWrite));
  Ring ring(6, memory, memory->data());
  ASSERT_EQ(cmdqv_->MapLvcmdq(1, 0, ring.memory(), 6), 0);
  GuestQueue guest = Guest(page0, 0, ring);
  ASSERT_TRUE(guest.Enable());
  int release[2];
  ASSERT_EQ(::pipe2(release, O_CLOEXEC), 0);

  const pid_t child = ForkGuest(&page0, &guest, release);
  ASSERT_GT(child, 0);
  page0.Reset();
  while (cmdqv_->Counters(1, 0)->executed.total() < 3) ::sched_yield();
  EXPECT_EQ(cmdqv_->RetirePage0(1), -EBUSY);
  ASSERT_EQ(::write(release[1], "x", 1), 1);
  int status = -1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(cmdqv_->RetirePage0(1), 0);
  EXPECT_EQ(cmdqv_->Counters(1, 0)->executed[Opcode::kTlbiNhVa], 2u);
  ::close(release[0]);
  ::close(release[1]);
}

}  // namespace
}  // namespace berth::emulator::testing
