// SPDX-License-Identifier: Apache-2.0
//
// Who made a VM may die: the hardware goes on for whoever is left, and ends with the last.
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/emulator/dma_fixture.h"
#include "tests/testing/poll_until.h"

namespace berth::emulator {
namespace {

enum class Keeps { kPage0, kBar, kEverything };

class LifetimeTest : public DmaTest {
 protected:
  void SetUp() override {
    DmaTest::SetUp();
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends_), 0);
  }
  void TearDown() override {
    ::close(ends_[0]);
    ::close(ends_[1]);
  }
  static void Tell(int end, char what = 'x') {
    if (::send(end, &what, 1, MSG_NOSIGNAL) != 1) ::_exit(1);
  }
  // 0: the other end has gone.
  static char Await(int end) {
    char what = 0;
    return ::recv(end, &what, 1, 0) == 1 ? what : '\0';
  }

  // In a process of its own: makes a VM and forks a child that keeps some of it; then waits to be
  // killed. Returns when the child is there.
  pid_t StartOwner(Keeps keeps) {
    const pid_t owner = ::fork();
    if (owner != 0) {
      ::close(ends_[1]);  // so that the end of the last child is seen
      ends_[1] = -1;
      EXPECT_EQ(Await(ends_[0]), 'x');
      return owner;
    }
    ::close(ends_[0]);
    DmaVm vm = MakeNestedVm("vfio0");
    vm.tables->Map(kVa, vm.memory->AllocatePage(1));
    if (HasFailure() || ::fork() == 0) Keep(vm, keeps);
    ::close(ends_[1]);
    while (true) ::pause();
  }
  // The child: does as it is told until it is told to end.
  [[noreturn]] void Keep(DmaVm& vm, Keeps keeps) {
    if (HasFailure()) ::_exit(1);
    if (keeps != Keeps::kEverything) {
      vm.guest.context.Reset();
      vm.guest.cdev.Reset();
    }
    if (keeps == Keeps::kPage0) vm.dma.reset();
    if (keeps == Keeps::kBar) vm.page0.Reset();
    Tell(ends_[1]);
    while (const char what = Await(ends_[1])) {
      bool well = true;
      if (what == 'c') {  // commands
        Execute(vm, {testing::kTlbiVa, testing::kTlbiAsid});
      } else if (what == 'r') {  // DMA
        well = DeviceReads(vm, kVa) == 1U;
      } else if (what == 'd') {  // DMA, and a change of its tables
        well = DeviceReads(vm, kVa) == 1U;
        vm.tables->Map(kVa, vm.memory->AllocatePage(2));
        Execute(vm, {{uint64_t{DmaVm::kAsid} << 48 | 0x11, 0}});
        well = well && DeviceReads(vm, kVa) == 2U;
      } else {
        break;
      }
      Tell(ends_[1], well && !HasFailure() ? 'y' : 'n');
    }
    ::_exit(0);
  }
  char Ask(char what) {
    Tell(ends_[0], what);
    return Await(ends_[0]);
  }
  static void Kill(pid_t process) {
    ASSERT_EQ(::kill(process, SIGKILL), 0);
    ASSERT_EQ(::waitpid(process, nullptr, 0), process);
  }

  int ends_[2];
};

TEST_F(LifetimeTest, AForkedChildsMappingKeepsTheQueuesRunning) {
  const pid_t owner = StartOwner(Keeps::kPage0);
  Kill(owner);
  const UniqueFd other = OpenContext();  // a call, so that closes before it have been seen
  EXPECT_EQ(UsedVintfs(), 1U);
  EXPECT_EQ(server().kernel().TakeSnapshot().bound_devices, 0) << "nobody has the cdev";
  EXPECT_EQ(Ask('c'), 'y');
  EXPECT_EQ(Ask('c'), 'y');
  const LvcmdqCounters counters =
      server().kernel().TakeSnapshot().units[0].allocated.at(0).hardware.lvcmdqs.at(0).counters;
  EXPECT_EQ(counters.executed[Opcode::kCmdSync], 2U);
  EXPECT_EQ(Ask('q'), '\0');
  berth::testing::PollUntil([&] { return UsedVintfs() == 0; });
  EXPECT_EQ(server().kernel().TakeSnapshot().contexts, 1) << "the other one";
}

TEST_F(LifetimeTest, AForkedChildsMappedBarKeepsTheDevice) {
  const pid_t owner = StartOwner(Keeps::kBar);
  Kill(owner);
  const UniqueFd context = OpenContext();
  const UniqueFd cdev = OpenDevice("vfio0");
  EXPECT_EQ(Ask('r'), 'y');
  EXPECT_EQ(Bind(cdev, context.get()), -EINVAL);
  EXPECT_EQ(UsedVintfs(), 1U);
  EXPECT_EQ(Ask('r'), 'y');
  EXPECT_EQ(Ask('q'), '\0');
  berth::testing::PollUntil([&] { return Bind(cdev, context.get()) == 0; });
  EXPECT_EQ(UsedVintfs(), 0U);
}

TEST_F(LifetimeTest, DmaGoesOnForWhoeverHasTheDevice) {
  const pid_t owner = StartOwner(Keeps::kEverything);
  EXPECT_EQ(Ask('c'), 'y');
  Kill(owner);
  EXPECT_EQ(Ask('d'), 'y');
  EXPECT_EQ(server().kernel().TakeSnapshot().bound_devices, 1);
  EXPECT_EQ(Ask('q'), '\0');
  berth::testing::PollUntil([&] { return UsedVintfs() == 0; });
  const UniqueFd context = OpenContext();
  const UniqueFd cdev = OpenDevice("vfio0");
  EXPECT_EQ(Bind(cdev, context.get()), 0);
  EXPECT_EQ(server().kernel().TakeSnapshot().contexts, 1);
}

// As a test does whose server is in its own process: the child has copies of the server's ends.
TEST_F(LifetimeTest, AForkedCopyOfTheServersEndsDoesNotKeepItBusy) {
  UniqueFd context = OpenContext();
  const pid_t child = ::fork();
  if (child == 0) {
    ::close(ends_[0]);
    context.Reset();
    Tell(ends_[1]);
    Await(ends_[1]);
    ::_exit(0);
  }
  ::close(ends_[1]);
  ends_[1] = -1;
  EXPECT_EQ(Await(ends_[0]), 'x');
  context.Reset();  // the last of the client's ends
  EXPECT_TRUE(OpenContext().valid()) << "answered, after the hang-up was seen";
  ::close(ends_[0]);
  ends_[0] = -1;
  EXPECT_EQ(::waitpid(child, nullptr, 0), child);
}

}  // namespace
}  // namespace berth::emulator
