// SPDX-License-Identifier: Apache-2.0
//
// Interrupts of devices. Linux drivers/vfio/vfio_main.c, drivers/vfio/pci/vfio_pci_core.c and
// vfio_pci_intrs.c.
#include <cerrno>

#include "tests/conformance/irq_index.h"

namespace berth::conformance {

// vfio_pci_core.c, vfio_pci_ioctl_get_irq_info().
TEST_P(KernelApiSuite, IrqInfoChecksInOrder) {
  BERTH_NEEDS(Need::kCdevs);
  const UniqueFd context = NewContext();
  const Device device = AddDevice(context, 0);
  using Arg = uapi::VfioIrqInfo;
  auto valid = Sized<Arg>();
  valid.index = uapi::kVfioPciReqIrq;
  ExpectPrecedence<Arg>(
      device.cdev, uapi::kVfioDeviceGetIrqInfo, valid,
      {{"argsz below the minimum", [](Arg& a) { a.argsz = sizeof(a) - 1; }, EINVAL},
       {"no such index", [](Arg& a) { a.index = uapi::kVfioPciNumIrqs; }, EINVAL}});
  EXPECT_EQ(kernel().Ioctl(device.cdev.get(), uapi::kVfioDeviceGetIrqInfo, nullptr), -EFAULT);
  EXPECT_EQ(CallReadOnly(device.cdev, uapi::kVfioDeviceGetIrqInfo, valid), -EFAULT);
  valid.argsz = 1 << 20;
  valid.flags = ~0U;
  EXPECT_EQ(Call(device.cdev, uapi::kVfioDeviceGetIrqInfo, valid), 0) << "flags are not read";
}

// vfio_pci_core.c, vfio_pci_ioctl_get_irq_info(), vfio_pci_get_irq_count().
TEST_P(KernelApiSuite, IrqInfoTellsOfEachIndex) {
  BERTH_NEEDS(Need::kCdevs);
  const UniqueFd context = NewContext();
  const Device device = AddDevice(context, 0);
  const auto flags = [&](uint32_t index) {
    auto arg = Sized<uapi::VfioIrqInfo>();
    arg.index = index;
    EXPECT_EQ(Call(device.cdev, uapi::kVfioDeviceGetIrqInfo, arg), 0) << index;
    return arg.flags;
  };
  EXPECT_EQ(flags(uapi::kVfioPciIntxIrq),
            uapi::kVfioIrqInfoEventfd | uapi::kVfioIrqInfoMaskable | uapi::kVfioIrqInfoAutomasked);
  EXPECT_EQ(flags(uapi::kVfioPciMsiIrq), uapi::kVfioIrqInfoEventfd | uapi::kVfioIrqInfoNoresize);
  // Vectors of MSI-X can be added one by one where the platform can (has_dyn_msix).
  EXPECT_EQ(flags(uapi::kVfioPciMsixIrq) & ~uapi::kVfioIrqInfoNoresize, uapi::kVfioIrqInfoEventfd);
  for (const uint32_t index : {uapi::kVfioPciErrIrq, uapi::kVfioPciReqIrq}) {
    EXPECT_EQ(flags(index), uapi::kVfioIrqInfoEventfd | uapi::kVfioIrqInfoNoresize) << index;
    EXPECT_EQ(IrqIndex(&kernel(), &device.cdev, index).Vectors(), 1U) << index;
  }
  EXPECT_LE(IrqIndex(&kernel(), &device.cdev, uapi::kVfioPciIntxIrq).Vectors(), 1U);
  EXPECT_LE(IrqIndex(&kernel(), &device.cdev, uapi::kVfioPciMsiIrq).Vectors(), 32U);
  EXPECT_LE(IrqIndex(&kernel(), &device.cdev, uapi::kVfioPciMsixIrq).Vectors(), 2048U);
}

// vfio_main.c, vfio_set_irqs_validate_and_prepare(); vfio_pci_intrs.c, vfio_pci_set_irqs_ioctl(),
// vfio_pci_set_ctx_trigger_single(): the action after the data, the eventfd last.
TEST_P(KernelApiSuite, SetIrqsChecksInOrder) {
  BERTH_NEEDS(Need::kCdevs);
  const UniqueFd context = NewContext();
  const Device device = AddDevice(context, 0);
  const UniqueFd eventfd = NewEventfd();
  const SetIrqs valid = SetArg(uapi::kVfioPciReqIrq, kEventfd, 1, eventfd.get());
  const auto two_types = [](SetIrqs& a) { a.set.flags |= uapi::kVfioIrqSetDataBool; };
  ExpectPrecedence<SetIrqs>(
      device.cdev, uapi::kVfioDeviceSetIrqs, valid,
      {{"argsz below the minimum", [](SetIrqs& a) { a.set.argsz = sizeof(a.set) - 1; }, EINVAL},
       {"no such index", [](SetIrqs& a) { a.set.index = uapi::kVfioPciNumIrqs; }, EINVAL},
       {"ends beyond 32 bits", [](SetIrqs& a) { a.set.start = UINT32_MAX; }, EINVAL},
       {"unknown flag", [](SetIrqs& a) { a.set.flags |= 64; }, EINVAL},
       {"starts beyond what there is", [](SetIrqs& a) { a.set.start = 1; }, EINVAL},
       {"ends beyond what there is", [](SetIrqs& a) { a.set.count = 2; }, EINVAL},
       {"two kinds of data", two_types, EINVAL},
       {"data beyond argsz", [](SetIrqs& a) { a.set.argsz = sizeof(a.set) + 3; }, EINVAL},
       {"no action", [](SetIrqs& a) { a.set.flags &= ~kTrigger; }, ENOTTY},
       {"not open", [](SetIrqs& a) { a.value = kNotOpen; }, EBADF}});
  SetIrqs arg = valid;
  arg.set.flags = kTrigger;
  EXPECT_EQ(Call(device.cdev, uapi::kVfioDeviceSetIrqs, arg), -EINVAL) << "no kind of data";
  arg = valid;
  arg.value = context.get();
  EXPECT_EQ(Call(device.cdev, uapi::kVfioDeviceSetIrqs, arg), -EINVAL) << "no eventfd";
  arg = SetArg(uapi::kVfioPciReqIrq, kNone, 0);
  arg.set.start = 1;
  EXPECT_EQ(Call(device.cdev, uapi::kVfioDeviceSetIrqs, arg), -EINVAL) << "none, but from 1 on";
  arg = valid;
  EXPECT_EQ(Call(device.cdev, uapi::kVfioDeviceSetIrqs, arg), 0);
}

// vfio_pci_core.c, vfio_pci_ioctl_set_irqs(): copy_from_user() before all, memdup_user() before the
// action is looked at.
TEST_P(KernelApiSuite, SetIrqsReadsItsDataBeforeTheAction) {
  BERTH_NEEDS(Need::kCdevs);
  const UniqueFd context = NewContext();
  const Device device = AddDevice(context, 0);
  EXPECT_EQ(kernel().Ioctl(device.cdev.get(), uapi::kVfioDeviceSetIrqs, nullptr), -EFAULT);
  auto* pages = static_cast<char*>(
      ::mmap(nullptr, 2 * page(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  ASSERT_NE(pages, MAP_FAILED);
  ASSERT_EQ(::mprotect(pages + page(), page(), PROT_NONE), 0);
  const auto call_at_the_end = [&](const SetIrqs& arg) {
    char* at = pages + page() - sizeof(arg.set);
    std::memcpy(at, &arg.set, sizeof(arg.set));
    return kernel().Ioctl(device.cdev.get(), uapi::kVfioDeviceSetIrqs, at);
  };
  EXPECT_EQ(call_at_the_end(SetArg(uapi::kVfioPciReqIrq, kEventfd, 1)), -EFAULT);
  EXPECT_EQ(call_at_the_end(SetArg(uapi::kVfioPciReqIrq, uapi::kVfioIrqSetDataBool, 1)), -EFAULT)
      << "no action, either";
  EXPECT_EQ(call_at_the_end(SetArg(uapi::kVfioPciReqIrq, uapi::kVfioIrqSetDataNone, 1)), -ENOTTY)
      << "no data to read";
  EXPECT_EQ(call_at_the_end(SetArg(uapi::kVfioPciReqIrq, uapi::kVfioIrqSetDataBool, 0)), -ENOTTY);
  ::munmap(pages, 2 * page());
}

// vfio_pci_intrs.c, vfio_pci_set_irqs_ioctl(): one action at a time, and nothing but INTx is
// masked.
TEST_P(KernelApiSuite, OnlyTriggersAreSet) {
  BERTH_NEEDS(Need::kCdevs);
  const UniqueFd context = NewContext();
  const Device device = AddDevice(context, 0);
  for (const uint32_t number :
       {uapi::kVfioPciMsiIrq, uapi::kVfioPciMsixIrq, uapi::kVfioPciErrIrq, uapi::kVfioPciReqIrq}) {
    IrqIndex index(&kernel(), &device.cdev, number);
    if (index.Vectors() == 0) continue;
    for (const uint32_t action :
         {0U, kMask, kUnmask, kMask | kUnmask, kMask | kTrigger, kUnmask | kTrigger}) {
      EXPECT_EQ(index.Set(uapi::kVfioIrqSetDataNone | action, 1), -ENOTTY)
          << number << " " << action;
      EXPECT_EQ(index.Set(uapi::kVfioIrqSetDataEventfd | action, 1, kNotOpen), -ENOTTY)
          << number << " " << action;
    }
  }
}

// vfio_main.c, vfio_set_irqs_validate_and_prepare(): also to switch off what is not there.
TEST_P(KernelApiSuite, AnIndexWithoutInterruptsTakesNothing) {
  BERTH_NEEDS(Need::kCdevs);
  const UniqueFd context = NewContext();
  const Device device = AddDevice(context, 0);
  const UniqueFd eventfd = NewEventfd();
  int empty = 0;
  for (uint32_t number = 0; number < uapi::kVfioPciNumIrqs; ++number) {
    IrqIndex index(&kernel(), &device.cdev, number);
    if (index.Vectors() != 0) continue;
    ++empty;
    EXPECT_EQ(index.Connect(eventfd.get()), -EINVAL) << number;
    EXPECT_EQ(index.Set(kNone, 0), -EINVAL) << number;
    EXPECT_EQ(index.Set(uapi::kVfioIrqSetDataNone | uapi::kVfioIrqSetActionMask, 1), -EINVAL)
        << number;
  }
  if (empty == 0) GTEST_SKIP() << "needs a device that lacks some interrupts";
}

// vfio_pci_intrs.c, vfio_pci_set_ctx_trigger_single(), of vfio_pci_set_err_trigger() and
// vfio_pci_set_req_trigger().
TEST_P(KernelApiSuite, ErrorAndRequestHaveOneEventfdEach) {
  BERTH_NEEDS(Need::kCdevs);
  const UniqueFd context = NewContext();
  const Device device = AddDevice(context, 0);
  for (const uint32_t number : {uapi::kVfioPciErrIrq, uapi::kVfioPciReqIrq}) {
    IrqIndex index(&kernel(), &device.cdev, number);
    const UniqueFd eventfd = NewEventfd();
    EXPECT_EQ(index.Set(kNone, 1), -EINVAL) << "nobody to signal";
    EXPECT_EQ(index.Set(kNone, 0), -EINVAL) << "nothing to switch off";
    EXPECT_EQ(index.Set(kBool, 1, 1), 0);
    EXPECT_EQ(index.Set(kBool, 0), -EINVAL);
    EXPECT_EQ(index.Set(kEventfd, 0), -EINVAL);
    ASSERT_EQ(index.Connect(eventfd.get()), 0);
    EXPECT_EQ(index.Set(kNone, 1), 0);
    EXPECT_EQ(Signals(eventfd), 1U);
    EXPECT_EQ(index.Set(kBool, 1, 0), 0);
    EXPECT_EQ(Signals(eventfd), 0U);
    EXPECT_EQ(index.Set(kBool, 1, 1), 0);
    EXPECT_EQ(Signals(eventfd), 1U);
    EXPECT_EQ(index.Connect(kNotOpen), -EBADF);
    EXPECT_EQ(index.Connect(context.get()), -EINVAL);
    EXPECT_EQ(index.Connect(-2), -EINVAL);
    EXPECT_EQ(index.Set(kNone, 1), 0);
    EXPECT_EQ(Signals(eventfd), 1U) << "none of these changed anything";
    EXPECT_EQ(index.Connect(-1), 0);
    EXPECT_EQ(index.Set(kNone, 1), -EINVAL) << "switched off";
    ASSERT_EQ(index.Connect(eventfd.get()), 0);
    EXPECT_EQ(index.Set(kNone, 0), 0);
    EXPECT_EQ(index.Set(kBool, 1, 1), 0);
    EXPECT_EQ(Signals(eventfd), 0U) << "switched off, too";
  }
}

// vfio_pci_core.c, vfio_pci_core_close_device(), vfio_pci_core_disable().
TEST_P(KernelApiSuite, ClosedCdevForgetsItsEventfds) {
  BERTH_NEEDS(Need::kCdevs);
  Vm vm = NewVm();
  Device& device = vm.device;
  ASSERT_EQ(Attach(vm, vm.parent), 0);
  const UniqueFd eventfd = NewEventfd();
  ASSERT_EQ(IrqIndex(&kernel(), &device.cdev, uapi::kVfioPciReqIrq).Connect(eventfd.get()), 0);
  IrqIndex msi(&kernel(), &device.cdev, uapi::kVfioPciMsiIrq);
  const bool has_msi = msi.Vectors() != 0;
  if (has_msi) {
    ASSERT_EQ(msi.Connect(eventfd.get()), 0);
  }
  ASSERT_EQ(Close(vm), 0);
  device = AddDevice(vm.context, 0);
  ASSERT_EQ(Attach(vm, vm.parent), 0);
  EXPECT_EQ(IrqIndex(&kernel(), &device.cdev, uapi::kVfioPciReqIrq).Set(kNone, 1), -EINVAL);
  if (has_msi) {
    EXPECT_EQ(msi.Set(kNone, 1), -EINVAL);
  }
  EXPECT_EQ(Signals(eventfd), 0U);
}

}  // namespace berth::conformance
