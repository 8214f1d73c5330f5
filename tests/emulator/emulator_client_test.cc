// SPDX-License-Identifier: Apache-2.0
//
// What the socket between agent and emulator must not change: fds, lifetimes, readiness, bad
// pointers, several callers, and the end of the emulator.
#include "lib/emulator/emulator_client.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <thread>

#include "lib/base/status.h"
#include "lib/iommufd/uapi/smmuv3.h"
#include "tests/emulator/emulator_fixture.h"

namespace berth::emulator {
namespace {

using EmulatorClientTest = EmulatorTest;

// Runs `body` in a forked child; its return value is the exit status.
int InChild(const std::function<int()>& body) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(body());
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

// Two ends that a child and its parent tell each other things through.
struct Gate {
  Gate() { EXPECT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0); }
  ~Gate() {
    ::close(ends[0]);
    ::close(ends[1]);
  }
  static void Tell(int end) { EXPECT_EQ(::send(end, "x", 1, MSG_NOSIGNAL), 1); }
  static void Await(int end) {
    char byte;
    EXPECT_EQ(::recv(end, &byte, 1, 0), 1);
  }
  int ends[2];
};

TEST_F(EmulatorClientTest, ADupOfAContextIsTheSameContext) {
  const UniqueFd context = OpenContext();
  const UniqueFd copy(::fcntl(context.get(), F_DUPFD_CLOEXEC, 0));
  const uint32_t ioas = AllocIoas(context);
  EXPECT_EQ(Destroy(copy, ioas), 0);
  EXPECT_EQ(Destroy(context, ioas), -ENOENT);
}

TEST_F(EmulatorClientTest, AContextLivesUntilItsLastFdInAnyProcessIsClosed) {
  Guest guest = MakeGuest("vfio0");
  Gate gate;
  const pid_t child = ::fork();
  if (child == 0) {
    Gate::Await(gate.ends[1]);
    ::_exit(0);
  }
  guest.context.Reset();
  guest.cdev.Reset();
  const UniqueFd other = OpenContext();  // a call, so that closes before it have been seen
  EXPECT_EQ(UsedVintfs(), 1U);
  Gate::Tell(gate.ends[0]);
  ASSERT_EQ(::waitpid(child, nullptr, 0), child);
  EXPECT_EQ(AllocIoas(other), 1U);
  EXPECT_EQ(UsedVintfs(), 0U);
}

TEST_F(EmulatorClientTest, AForkedChildCallsWithoutDisturbingItsParent) {
  const UniqueFd context = OpenContext();
  EXPECT_EQ(AllocIoas(context), 1U);
  const int status = InChild([&] {
    for (int i = 0; i < 100; ++i) {
      const uint32_t id = AllocIoas(context);
      if (id == 0 || Destroy(context, id) != 0) return 1;
    }
    return AllocIoas(context) == 2 ? 0 : 2;
  });
  EXPECT_EQ(status, 0);
  EXPECT_EQ(AllocIoas(context), 3U);
}

TEST_F(EmulatorClientTest, ThreadsCallOnOneContextAtOnce) {
  const UniqueFd context = OpenContext();
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&] {
      for (int k = 0; k < 100; ++k) EXPECT_EQ(Destroy(context, AllocIoas(context)), 0);
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(AllocIoas(context), 1U);
}

TEST_F(EmulatorClientTest, ForeignFdsAnswerAsTheKernelDoes) {
  const UniqueFd context = OpenContext();
  const UniqueFd cdev = OpenDevice("vfio0");
  const UniqueFd memfd = GuestMemory(4096);
  uapi::IommuIoasAlloc cmd = {};
  EXPECT_EQ(Call(-1, uapi::kIommuIoasAlloc, &cmd), -EBADF);
  EXPECT_EQ(Call(memfd, uapi::kIommuIoasAlloc, &cmd), -ENOTTY);
  EXPECT_EQ(Bind(cdev, memfd.get()), -EBADFD);
  EXPECT_EQ(Bind(cdev, 9999), -EBADF);
  EXPECT_EQ(Bind(cdev, -1), -EINVAL);
  EXPECT_EQ(Bind(cdev, cdev.get()), -EBADFD);
  EXPECT_EQ(Bind(cdev, context.get()), 0);
}

TEST_F(EmulatorClientTest, AStructThatCannotBeWrittenUndoesTheAllocation) {
  const UniqueFd context = OpenContext();
  void* page = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(page, MAP_FAILED);
  auto* cmd = static_cast<uapi::IommuIoasAlloc*>(page);
  cmd->size = sizeof(*cmd);
  ASSERT_EQ(::mprotect(page, 4096, PROT_READ), 0);
  EXPECT_EQ(client().Ioctl(context.get(), uapi::kIommuIoasAlloc, page), -EFAULT);
  ASSERT_EQ(::mprotect(page, 4096, PROT_NONE), 0);
  EXPECT_EQ(client().Ioctl(context.get(), uapi::kIommuIoasAlloc, page), -EFAULT);
  ::munmap(page, 4096);
  EXPECT_EQ(AllocIoas(context), 1U);
}

TEST_F(EmulatorClientTest, ADriverBufferThatCannotBeWrittenGivesTheVintfBack) {
  Guest guest = MakeGuest("vfio0");
  uapi::IommuViommuAlloc cmd = {};
  cmd.type = uapi::kViommuTypeTegra241Cmdqv;
  cmd.dev_id = guest.device;
  cmd.hwpt_id = guest.parent;
  cmd.data_len = 16;
  static const uapi::IommuViommuTegra241Cmdqv kReadOnly = {};
  cmd.data_uptr = reinterpret_cast<uint64_t>(&kReadOnly);
  EXPECT_EQ(Call(guest.context, uapi::kIommuViommuAlloc, &cmd), -EFAULT);
  EXPECT_EQ(UsedVintfs(), 1U);
}

TEST_F(EmulatorClientTest, AnInvalidationLargerThanAPacketArrivesWhole) {
  const Guest guest = MakeGuest("vfio0");
  std::vector<uapi::IommuViommuArmSmmuv3Invalidate> commands(10000);
  for (auto& command : commands) command.cmd[0] = uapi::kCmdTlbiNhAsid;
  uapi::IommuHwptInvalidate cmd = {};
  cmd.hwpt_id = guest.viommu;
  cmd.data_uptr = reinterpret_cast<uint64_t>(commands.data());
  cmd.data_type = uapi::kViommuInvalidateArmSmmuv3;
  cmd.entry_len = 16;
  cmd.entry_num = static_cast<uint32_t>(commands.size());
  EXPECT_EQ(Call(guest.context, uapi::kIommuHwptInvalidate, &cmd), 0);
  EXPECT_EQ(cmd.entry_num, commands.size());
  const auto trapped = server().kernel().TakeSnapshot().units[0].trapped;
  EXPECT_EQ(trapped.at(uapi::kCmdTlbiNhAsid), commands.size());
}

TEST_F(EmulatorClientTest, AnEventFdIsReadableExactlyWhileThereAreRecords) {
  Guest guest = MakeGuest("vfio0");
  UniqueFd events;
  AllocVeventq(guest, uapi::kVeventqTypeArmSmmuv3, 8, &events);
  AttachToAbort(guest, 0x42);

  EXPECT_FALSE(IsReadable(events));
  const uapi::IommuVeventArmSmmuv3 event = {{uapi::kEvtFTranslation, 0, 0x1000, 0}};
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(server().kernel().ReportSmmuEvent("vfio0", event));
  }
  EXPECT_TRUE(IsReadable(events));
  struct {
    uapi::IommufdVeventHeader header;
    uapi::IommuVeventArmSmmuv3 event;
  } records[2];
  ASSERT_EQ(client().ReadEvents(events.get(), records, sizeof(records)), sizeof(records));
  EXPECT_EQ(records[1].header.sequence, 1U);
  EXPECT_EQ(uapi::kEvt0Sid.Get(records[1].event.evt[0]), 0x42U);
  EXPECT_TRUE(IsReadable(events)) << "one record is left";
  EXPECT_EQ(client().ReadEvents(events.get(), records, sizeof(records)), 40);
  EXPECT_FALSE(IsReadable(events));
  EXPECT_EQ(client().ReadEvents(events.get(), records, sizeof(records)), 0);
}

TEST_F(EmulatorClientTest, Page0MappedInAnotherProcessKeepsTheVintf) {
  Guest guest = MakeGuest("vfio0");
  auto region = client().RegionForVmm(guest.context.get(), guest.page0_offset, guest.page0_length);
  ASSERT_TRUE(region.ok()) << region.status();
  Gate gate;
  const pid_t vmm = ::fork();
  if (vmm == 0) {
    const auto page0 =
        Mapping::Map(region->fd.get(), 0, region->length, Mapping::Access::kReadWrite);
    Gate::Tell(gate.ends[1]);
    Gate::Await(gate.ends[1]);
    ::_exit(page0.ok() ? 0 : 1);
  }
  Gate::Await(gate.ends[0]);
  EXPECT_EQ(Destroy(guest.context, guest.viommu), -EBUSY);
  region->fd.Reset();
  EXPECT_EQ(Destroy(guest.context, guest.viommu), -EBUSY);
  // Without an fd the context lives on through the mapping alone; the child has them too, but
  // closing them is the child's end.
  Gate::Tell(gate.ends[0]);
  int status = 0;
  ASSERT_EQ(::waitpid(vmm, &status, 0), vmm);
  EXPECT_EQ(WEXITSTATUS(status), 0);
  EXPECT_EQ(Destroy(guest.context, guest.viommu), 0);
  EXPECT_EQ(UsedVintfs(), 0U);
}

TEST_F(EmulatorClientTest, AMappingAloneKeepsAContextUntilItIsGone) {
  Guest guest = MakeGuest("vfio0");
  Mapping page0 = MapPage0(guest);
  guest = Guest();
  const UniqueFd other = OpenContext();
  EXPECT_EQ(server().kernel().TakeSnapshot().pinned_contexts, 1);
  EXPECT_EQ(UsedVintfs(), 1U);
  page0.Reset();
  EXPECT_EQ(AllocIoas(other), 1U);
  EXPECT_EQ(server().kernel().TakeSnapshot().pinned_contexts, 0);
  EXPECT_EQ(UsedVintfs(), 0U);
}

TEST_F(EmulatorClientTest, ADestroyedRegionCannotBeMappedAgain) {
  Guest guest = MakeGuest("vfio0");
  const auto region =
      client().RegionForVmm(guest.context.get(), guest.page0_offset, guest.page0_length);
  ASSERT_TRUE(region.ok());
  ASSERT_EQ(Destroy(guest.context, guest.viommu), 0);
  EXPECT_FALSE(Mapping::Map(region->fd.get(), 0, region->length, Mapping::Access::kReadWrite).ok());
  const auto again =
      client().RegionForVmm(guest.context.get(), guest.page0_offset, guest.page0_length);
  EXPECT_EQ(ReasonOf(again.status()), Reason::kNotFound);
}

TEST_F(EmulatorClientTest, AContextThatMapsItselfNeverEndsAsOnTheRealKernel) {
  {
    const UniqueFd context = OpenContext();
    uapi::IommuIoasMapFile cmd = {};
    cmd.ioas_id = AllocIoas(context);
    cmd.flags = uapi::kIoasMapReadable | uapi::kIoasMapFixedIova;
    cmd.fd = context.get();
    cmd.length = 4096;
    cmd.iova = 0x10000;
    ASSERT_EQ(Call(context, uapi::kIommuIoasMapFile, &cmd), 0);
  }
  (void)OpenContext();
  EXPECT_GE(server().kernel().TakeSnapshot().contexts, 1);
}

TEST_F(EmulatorClientTest, WhatIsHeldWhenTheEmulatorEndsIsOnlyGoodForClosing) {
  Guest guest = MakeGuest("vfio0");
  UniqueFd events;
  AllocVeventq(guest, uapi::kVeventqTypeTegra241Cmdqv, 8, &events);
  StopServer();
  EXPECT_TRUE(IsHungUp(guest.context));
  EXPECT_EQ(Destroy(guest.context, guest.viommu), -ESHUTDOWN);
  EXPECT_EQ(ReasonOf(client().OpenContext().status()), Reason::kKernelGone);
  EXPECT_EQ(ReasonOf(client().OpenDevice("vfio0").status()), Reason::kKernelGone);

  StartServer();
  const UniqueFd fresh = OpenContext();
  EXPECT_EQ(AllocIoas(fresh), 1U);
  char record[64];
  EXPECT_EQ(Destroy(guest.context, guest.viommu), -ESHUTDOWN);
  EXPECT_EQ(client().ReadEvents(events.get(), record, sizeof(record)), -ESHUTDOWN);
  EXPECT_EQ(client().ReadRegion(guest.cdev.get(), record, 4, 0), -ESHUTDOWN);
  EXPECT_EQ(ReasonOf(client().RegionForVmm(guest.context.get(), 0x1000, kPage0Size).status()),
            Reason::kKernelGone);
}

TEST_F(EmulatorClientTest, AnUnknownCdevIsNotFound) {
  EXPECT_EQ(ReasonOf(client().OpenDevice("vfio77").status()), Reason::kNotFound);
}

TEST_F(EmulatorClientTest, ConfigSpaceIsReadAndOnlyTheCommandRegisterWritten) {
  const UniqueFd context = OpenContext();
  const UniqueFd cdev = OpenDevice("vfio0");
  uapi::VfioRegionInfo info = {};
  EXPECT_EQ(Call(cdev, uapi::kVfioDeviceGetRegionInfo, &info), -EINVAL) << "not bound";
  ASSERT_EQ(Bind(cdev, context.get()), 0);
  info.index = uapi::kVfioPciConfigRegion;
  ASSERT_EQ(Call(cdev, uapi::kVfioDeviceGetRegionInfo, &info), 0);
  uint16_t ids[3] = {0x1111, 0x2222, 0x0007};
  EXPECT_EQ(client().WriteRegion(cdev.get(), ids, sizeof(ids), info.offset), 6);
  EXPECT_EQ(client().ReadRegion(cdev.get(), ids, sizeof(ids), info.offset), 6);
  EXPECT_EQ(ids[0], 0x10de);
  EXPECT_EQ(ids[2], 0x0007);
  EXPECT_EQ(client().Ioctl(cdev.get(), uapi::kVfioDeviceReset, nullptr), 0);
  EXPECT_EQ(client().ReadRegion(cdev.get(), ids, sizeof(ids), info.offset), 6);
  EXPECT_EQ(ids[2], 0x0007) << "put back after the reset";
}

}  // namespace
}  // namespace berth::emulator
