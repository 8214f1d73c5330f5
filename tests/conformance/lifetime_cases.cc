// SPDX-License-Identifier: Apache-2.0
//
// What keeps what alive. Linux drivers/iommu/iommufd/main.c: iommufd_object_remove(),
// iommufd_fops_release().
#include <cerrno>

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
    const uint32_t viommu = NewViommu(vm);
    NewVdevice(vm, viommu, 1);
    NewHwQueue(vm, viommu, 0);
    NewHwQueue(vm, viommu, 1);
    ASSERT_EQ(Attach(vm.cdev, NewNested(vm, viommu, uapi::kSteAbort)), 0);
    const NewEventQueue events = NewVeventq(vm, viommu, uapi::kVeventqTypeTegra241Cmdqv);
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

}  // namespace berth::conformance
