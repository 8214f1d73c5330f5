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

// main.c, iommufd_object_remove(); viommu.c, iommufd_viommu_destroy(); hw_pagetable.c,
// __iommufd_hwpt_destroy(): each child's end is its parent's release.
TEST_P(KernelApiSuite, ParentsOutliveTheirChildren) {
  BERTH_NEEDS(Need::kViommus);
  const Vm vm = NewVm();
  const uint32_t viommu = NewViommu(vm);
  EXPECT_EQ(Destroy(vm.context, vm.ioas), -EBUSY) << "the nesting parent";
  EXPECT_EQ(Destroy(vm.context, vm.parent), -EBUSY) << "the vIOMMU";
  NewEventQueue events = NewVeventq(vm, viommu, types().veventq);
  events.fd.Reset();
  std::vector<uint32_t> children = {NewVdevice(vm, viommu, 1), NewNested(vm, viommu), events.id};
  if (Has(Need::kHwQueues)) children.push_back(NewHwQueue(vm, viommu, 0));
  for (const uint32_t child : children) {
    EXPECT_EQ(Destroy(vm.context, viommu), -EBUSY);
    EXPECT_EQ(Destroy(vm.context, child), 0);
  }
  EXPECT_EQ(Destroy(vm.context, viommu), 0);
  EXPECT_EQ(Destroy(vm.context, vm.parent), 0);
  EXPECT_EQ(Destroy(vm.context, vm.ioas), 0);
}

// viommu.c, iommufd_vdevice_alloc_ioctl(), iommufd_hw_queue_alloc_ioctl(); hw_pagetable.c,
// iommufd_viommu_alloc_hwpt_nested(); eventq.c, iommufd_veventq_alloc().
TEST_P(KernelApiSuite, EachChildAlonePinsTheViommu) {
  BERTH_NEEDS(Need::kViommus);
  const Vm vm = NewVm();
  const uint32_t viommu = NewViommu(vm);
  std::vector<std::function<uint32_t()>> makers = {
      [&] { return NewVdevice(vm, viommu, 1); }, [&] { return NewNested(vm, viommu); },
      [&] { return NewVeventq(vm, viommu, types().veventq).id; }};
  if (Has(Need::kHwQueues)) makers.emplace_back([&] { return NewHwQueue(vm, viommu, 0); });
  for (const auto& make : makers) {
    const uint32_t child = make();
    EXPECT_EQ(Destroy(vm.context, viommu), -EBUSY);
    EXPECT_EQ(Destroy(vm.context, child), 0);
  }
  EXPECT_EQ(Destroy(vm.context, viommu), 0);
}

// device.c, iommufd_device_remove_vdev(), which iommufd_device_pre_destroy() calls:
// REMOVE_OBJ_TOMBSTONE.
TEST_P(KernelApiSuite, VdeviceOfAClosedDeviceLeavesATombstone) {
  BERTH_NEEDS(Need::kViommus);
  Vm vm = NewVm();
  const uint32_t viommu = NewViommu(vm);
  const uint32_t vdevice = NewVdevice(vm, viommu, 1);
  EXPECT_EQ(Close(vm), 0);
  EXPECT_EQ(Destroy(vm.context, vdevice), -ENOENT) << "the kernel has destroyed it";
  for (const uint32_t id : IdsOf(vm.device)) EXPECT_EQ(NewIoas(vm.context), id) << "it is free";
  EXPECT_EQ(NewIoas(vm.context), vdevice + 1) << "the vDEVICE's id never is";
  EXPECT_EQ(Destroy(vm.context, viommu), 0) << "but it pins nothing";
  EXPECT_EQ(NewIoas(vm.context), viommu);
}

// main.c, iommufd_fops_release().
TEST_P(KernelApiSuite, ClosedContextTakesEverythingAlong) {
  BERTH_NEEDS(Need::kCmdqv);
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

// device.c, iommufd_device_bind(): iommufd_ctx_get(); vfio/device_cdev.c,
// vfio_df_unbind_iommufd().
TEST_P(KernelApiSuite, BoundCdevKeepsTheContext) {
  BERTH_NEEDS(Need::kCmdqv);
  const int all = FreeVintfs();
  Vm vm = NewVm();
  NewViommu(vm);
  vm.context.Reset();
  EXPECT_EQ(FreeVintfs(), all - 1);
  EXPECT_EQ(Attach(vm, vm.parent), 0) << "the ids are still there";
  Close(vm);
  EXPECT_EQ(FreeVintfs(), all);
}

// eventq.c, iommufd_eventq_init(): iommufd_ctx_get(); iommufd_eventq_fops_release().
TEST_P(KernelApiSuite, EventFdKeepsTheContext) {
  BERTH_NEEDS(Need::kCmdqv);
  const int all = FreeVintfs();
  Vm vm = NewVm();
  NewEventQueue events = NewVeventq(vm, NewViommu(vm), types().veventq);
  Close(vm);
  vm.context.Reset();
  EXPECT_EQ(FreeVintfs(), all - 1);
  char buffer[64];
  EXPECT_EQ(kernel().ReadEvents(events.fd.get(), buffer, sizeof(buffer)), 0);
  events.fd.Reset();
  EXPECT_EQ(FreeVintfs(), all);
}

// vfio/vfio_main.c, vfio_device_fops_release(): the last close of the file unbinds.
TEST_P(KernelApiSuite, CdevDupKeepsTheDeviceBound) {
  BERTH_NEEDS(Need::kCdevs);
  Vm vm = NewVm();
  const UniqueFd other = OpenCdev(device(0));
  const UniqueFd context = NewContext();
  UniqueFd dup(::dup(vm.device.cdev.get()));
  Close(vm);
  vm.context.Reset();
  auto arg = Sized<uapi::VfioDeviceBindIommufd>();
  arg.iommufd = context.get();
  EXPECT_EQ(Call(other, uapi::kVfioDeviceBindIommufd, arg), -EINVAL);
  dup.Reset();
  EXPECT_EQ(Call(other, uapi::kVfioDeviceBindIommufd, arg), 0);
}

// device.c, iommufd_device_pre_destroy(): a tombstone for each vDEVICE that was left.
TEST_P(KernelApiSuite, TombstonesAddUp) {
  BERTH_NEEDS(Need::kCdevs, Need::kViommus);
  Vm vm = NewVm();
  const uint32_t viommu = NewViommu(vm);
  for (uint32_t i = 0; i < 3; ++i) {
    // Device and vDEVICE come and go; the device's id is reused, the vDEVICE's is not.
    const uint32_t vdevice = NewVdevice(vm, viommu, 1);
    EXPECT_EQ(vdevice, viommu + 1 + i);
    EXPECT_EQ(Close(vm), 0);
    EXPECT_EQ(Destroy(vm.context, vdevice), -ENOENT);
    const uint32_t before = vm.device.id;
    vm.device = AddDevice(vm.context, 0);
    EXPECT_EQ(vm.device.id, before);
  }
}

// viommu.c, iommufd_vdevice_destroy(): one that was destroyed in time is gone when its device
// goes.
TEST_P(KernelApiSuite, DestroyedVdeviceLeavesNoTombstone) {
  BERTH_NEEDS(Need::kViommus);
  Vm vm = NewVm();
  const uint32_t viommu = NewViommu(vm);
  const uint32_t vdevice = NewVdevice(vm, viommu, 1);
  EXPECT_EQ(Destroy(vm.context, vdevice), 0);
  EXPECT_EQ(Close(vm), 0);
  for (const uint32_t id : IdsOf(vm.device)) EXPECT_EQ(NewIoas(vm.context), id);
  EXPECT_EQ(NewIoas(vm.context), vdevice);
}

// pages.c, iopt_alloc_file_pages(): a mapping keeps its file, whatever that is, also the context
// itself. (Left in place it would keep the context and its VINTF until the next boot.)
TEST_P(KernelApiSuite, ContextCanBeMappedIntoItself) {
  BERTH_NEEDS(Need::kCmdqv);
  const int all = FreeVintfs();
  {
    const Vm vm = NewVm();
    NewViommu(vm);
    const uint32_t ioas = NewIoas(vm.context);
    EXPECT_EQ(MapFile(vm.context, vm.ioas, vm.context.get(), page(), kHoleIova), -EINVAL)
        << "not where pages are pinned";
    ASSERT_EQ(MapFile(vm.context, ioas, vm.context.get(), page(), kHoleIova), 0);
    EXPECT_EQ(Unmap(vm.context, ioas, kHoleIova, page()), 0);
  }
  EXPECT_EQ(FreeVintfs(), all);
}

// eventq.c, iommufd_eventq_init(): iommufd_ctx_get().
TEST_P(KernelApiSuite, FaultFdKeepsTheContext) {
  BERTH_NEEDS(Need::kCmdqv);
  const int all = FreeVintfs();
  Vm vm = NewVm();
  NewViommu(vm);
  auto fault = Sized<uapi::IommuFaultAlloc>();
  ASSERT_EQ(Call(vm.context, uapi::kIommuFaultQueueAlloc, fault), 0);
  UniqueFd fd(fault.out_fault_fd);
  Close(vm);
  vm.context.Reset();
  EXPECT_EQ(FreeVintfs(), all - 1);
  fd.Reset();
  EXPECT_EQ(FreeVintfs(), all);
}

// main.c, iommufd_fops_release(), when the last process that holds the fds dies without a word.
TEST_P(KernelApiSuite, KilledHolderFreesEverything) {
  BERTH_NEEDS(Need::kCmdqv);
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

// main.c, _iommufd_object_alloc(): a context is one, however many threads call.
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
