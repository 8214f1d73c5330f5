// SPDX-License-Identifier: Apache-2.0
//
// What keeps what alive. Linux drivers/iommu/iommufd/main.c: iommufd_object_remove(),
// iommufd_fops_release().
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <set>
#include <thread>

#include "tests/conformance/kernel_api_suite.h"

namespace berth::conformance {

TEST_P(KernelApiSuite, ParentsOutliveTheirChildren) {
  const Vm vm = NewVm();
  const uint32_t viommu = NewViommu(vm);
  EXPECT_EQ(Destroy(vm.context, vm.ioas), -EBUSY) << "the nesting parent";
  EXPECT_EQ(Destroy(vm.context, vm.parent), -EBUSY) << "the vIOMMU";
  NewEventQueue events = NewVeventq(vm, viommu, uapi::kVeventqTypeArmSmmuv3);
  events.fd.Reset();
  for (const uint32_t child : {NewVdevice(vm, viommu, 1), NewHwQueue(vm, viommu, 0),
                               NewNested(vm, viommu, uapi::kSteAbort), events.id}) {
    EXPECT_EQ(Destroy(vm.context, viommu), -EBUSY);
    EXPECT_EQ(Destroy(vm.context, child), 0);
  }
  EXPECT_EQ(Destroy(vm.context, viommu), 0);
  EXPECT_EQ(Destroy(vm.context, vm.parent), 0);
  EXPECT_EQ(Destroy(vm.context, vm.ioas), 0);
}

TEST_P(KernelApiSuite, EachChildAlonePinsTheViommu) {
  const Vm vm = NewVm();
  const uint32_t viommu = NewViommu(vm);
  const std::vector<std::function<uint32_t()>> makers = {
      [&] { return NewVdevice(vm, viommu, 1); }, [&] { return NewHwQueue(vm, viommu, 0); },
      [&] { return NewNested(vm, viommu, uapi::kSteAbort); },
      [&] { return NewVeventq(vm, viommu, uapi::kVeventqTypeArmSmmuv3).id; }};
  for (const auto& make : makers) {
    const uint32_t child = make();
    EXPECT_EQ(Destroy(vm.context, viommu), -EBUSY);
    EXPECT_EQ(Destroy(vm.context, child), 0);
  }
  EXPECT_EQ(Destroy(vm.context, viommu), 0);
}

TEST_P(KernelApiSuite, VdeviceOfAClosedDeviceLeavesATombstone) {
  Vm vm = NewVm();
  const uint32_t viommu = NewViommu(vm);
  const uint32_t vdevice = NewVdevice(vm, viommu, 1);
  vm.cdev.Reset();
  EXPECT_EQ(Destroy(vm.context, vdevice), -ENOENT) << "the kernel has destroyed it";
  EXPECT_EQ(NewIoas(vm.context), vm.device) << "the device's id is free";
  EXPECT_EQ(NewIoas(vm.context), vdevice + 1) << "the vDEVICE's id never is";
  EXPECT_EQ(Destroy(vm.context, viommu), 0) << "but it pins nothing";
  vm.cdev = OpenCdev(device(0));
  EXPECT_EQ(Bind(vm.cdev, vm.context), viommu);
}

TEST_P(KernelApiSuite, ClosedContextTakesEverythingAlong) {
  const int all = FreeVintfs();
  {
    const Vm vm = NewVm();
    const NewEventQueue events = Occupy(vm);
    EXPECT_EQ(FreeVintfs(), all - 1);
  }
  EXPECT_EQ(FreeVintfs(), all);
  const Vm again = NewVm();
  EXPECT_NE(again.parent, 0U) << "the device can be bound again";
}

TEST_P(KernelApiSuite, BoundCdevKeepsTheContext) {
  const int all = FreeVintfs();
  Vm vm = NewVm();
  NewViommu(vm);
  vm.context.Reset();
  EXPECT_EQ(FreeVintfs(), all - 1);
  EXPECT_EQ(Attach(vm.cdev, vm.parent), 0) << "the ids are still there";
  vm.cdev.Reset();
  EXPECT_EQ(FreeVintfs(), all);
}

TEST_P(KernelApiSuite, EventFdKeepsTheContext) {
  const int all = FreeVintfs();
  Vm vm = NewVm();
  NewEventQueue events = NewVeventq(vm, NewViommu(vm), uapi::kVeventqTypeTegra241Cmdqv);
  vm.cdev.Reset();
  vm.context.Reset();
  EXPECT_EQ(FreeVintfs(), all - 1);
  char buffer[64];
  EXPECT_EQ(kernel().ReadEvents(events.fd.get(), buffer, sizeof(buffer)), 0);
  events.fd.Reset();
  EXPECT_EQ(FreeVintfs(), all);
}

TEST_P(KernelApiSuite, CdevDupKeepsTheDeviceBound) {
  Vm vm = NewVm();
  const UniqueFd other = OpenCdev(device(0));
  const UniqueFd context = NewContext();
  UniqueFd dup(::dup(vm.cdev.get()));
  vm.cdev.Reset();
  vm.context.Reset();
  auto arg = Sized<uapi::VfioDeviceBindIommufd>();
  arg.iommufd = context.get();
  EXPECT_EQ(Call(other, uapi::kVfioDeviceBindIommufd, arg), -EINVAL);
  dup.Reset();
  EXPECT_EQ(Call(other, uapi::kVfioDeviceBindIommufd, arg), 0);
}

// iommufd/device.c, iommufd_device_pre_destroy(): a tombstone for each vDEVICE that was left.
TEST_P(KernelApiSuite, TombstonesAddUp) {
  Vm vm = NewVm();
  const uint32_t viommu = NewViommu(vm);
  for (uint32_t i = 0; i < 3; ++i) {
    // Device and vDEVICE come and go; the device's id is reused, the vDEVICE's is not.
    const uint32_t vdevice = NewVdevice(vm, viommu, 1);
    EXPECT_EQ(vdevice, viommu + 1 + i);
    vm.cdev.Reset();
    EXPECT_EQ(Destroy(vm.context, vdevice), -ENOENT);
    vm.cdev = OpenCdev(device(0));
    EXPECT_EQ(Bind(vm.cdev, vm.context), vm.device);
  }
}

// A vDEVICE that was destroyed in time leaves none.
TEST_P(KernelApiSuite, DestroyedVdeviceLeavesNoTombstone) {
  Vm vm = NewVm();
  const uint32_t viommu = NewViommu(vm);
  const uint32_t vdevice = NewVdevice(vm, viommu, 1);
  EXPECT_EQ(Destroy(vm.context, vdevice), 0);
  vm.cdev.Reset();
  EXPECT_EQ(NewIoas(vm.context), vm.device);
  EXPECT_EQ(NewIoas(vm.context), vdevice);
}

// iommufd/pages.c: a mapping keeps its file, whatever that is, also the context itself. (Left in
// place it would keep the context and its VINTF until the next boot.)
TEST_P(KernelApiSuite, ContextCanBeMappedIntoItself) {
  const int all = FreeVintfs();
  {
    const Vm vm = NewVm();
    NewViommu(vm);
    const uint32_t ioas = NewIoas(vm.context);
    EXPECT_EQ(MapFile(vm.context, vm.ioas, vm.context.get(), kPage, kHoleIova), -EINVAL)
        << "not where pages are pinned";
    ASSERT_EQ(MapFile(vm.context, ioas, vm.context.get(), kPage, kHoleIova), 0);
    EXPECT_EQ(Unmap(vm.context, ioas, kHoleIova, kPage), 0);
  }
  EXPECT_EQ(FreeVintfs(), all);
}

TEST_P(KernelApiSuite, FaultFdKeepsTheContext) {
  const int all = FreeVintfs();
  Vm vm = NewVm();
  NewViommu(vm);
  auto fault = Sized<uapi::IommuFaultAlloc>();
  ASSERT_EQ(Call(vm.context, uapi::kIommuFaultQueueAlloc, fault), 0);
  UniqueFd fd(fault.out_fault_fd);
  vm.cdev.Reset();
  vm.context.Reset();
  EXPECT_EQ(FreeVintfs(), all - 1);
  fd.Reset();
  EXPECT_EQ(FreeVintfs(), all);
}

// The last process that holds the fds dies without a word.
TEST_P(KernelApiSuite, KilledHolderFreesEverything) {
  const int all = FreeVintfs();
  pid_t holder = -1;
  {
    const Vm vm = NewVm();
    const NewEventQueue events = Occupy(vm);
    holder = ::fork();
    if (holder == 0) {
      while (true) ::pause();
    }
  }
  ASSERT_GT(holder, 0);
  EXPECT_EQ(FreeVintfs(), all - 1) << "the child holds them all";
  EXPECT_EQ(::kill(holder, SIGKILL), 0);
  EXPECT_EQ(::waitpid(holder, nullptr, 0), holder);
  EXPECT_EQ(FreeVintfs(), all);
  const Vm again = NewVm();
  EXPECT_NE(again.parent, 0U);
}

// A context is one, however many threads call.
TEST_P(KernelApiSuite, ThreadsNeverShareAnId) {
  constexpr int kThreads = 4;
  constexpr uint32_t kEach = 25;
  const UniqueFd context = NewContext();
  std::vector<std::vector<uint32_t>> ids(kThreads);
  std::vector<std::thread> threads;
  for (std::vector<uint32_t>& mine : ids) {
    threads.emplace_back([&] {
      for (uint32_t i = 0; i < kEach; ++i) {
        mine.push_back(NewIoas(context));
        // Every other one is freed at once, for anyone to take.
        if (i % 2 == 0) {
          EXPECT_EQ(Destroy(context, mine.back()), 0);
          mine.pop_back();
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  std::set<uint32_t> all;
  for (const std::vector<uint32_t>& mine : ids) {
    for (const uint32_t id : mine) EXPECT_TRUE(all.insert(id).second) << id;
  }
  for (const uint32_t id : all) EXPECT_EQ(Destroy(context, id), 0);
  EXPECT_EQ(NewIoas(context), 1U);
}

}  // namespace berth::conformance
