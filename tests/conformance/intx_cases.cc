// SPDX-License-Identifier: Apache-2.0
//
// INTx of devices. Linux drivers/vfio/pci/vfio_pci_intrs.c, vfio_pci_config.c,
// drivers/vfio/virqfd.c.
#include <cerrno>

#include "tests/conformance/irq_index.h"

namespace berth::conformance {
namespace {

constexpr char kNeedsIntx[] = "needs a device with INTx";

constexpr uint32_t kMaskNone = uapi::kVfioIrqSetDataNone | kMask;
constexpr uint32_t kMaskBool = uapi::kVfioIrqSetDataBool | kMask;
constexpr uint32_t kMaskEventfd = uapi::kVfioIrqSetDataEventfd | kMask;
constexpr uint32_t kUnmaskNone = uapi::kVfioIrqSetDataNone | kUnmask;
constexpr uint32_t kUnmaskBool = uapi::kVfioIrqSetDataBool | kUnmask;
constexpr uint32_t kUnmaskEventfd = uapi::kVfioIrqSetDataEventfd | kUnmask;

}  // namespace

// vfio_pci_intrs.c, vfio_pci_set_intx_trigger(), vfio_intx_enable(), vfio_intx_set_signal().
TEST_P(KernelApiSuite, IntxIsOnFromItsFirstEventfd) {
  BERTH_NEEDS(Need::kCdevs);
  const auto number = DeviceWithIrqs(kernel(), machine(), uapi::kVfioPciIntxIrq, 1);
  if (!number) GTEST_SKIP() << kNeedsIntx;
  const UniqueFd context = NewContext();
  const Device device = AddDevice(context, *number);
  IrqIndex intx(&kernel(), &device.cdev, uapi::kVfioPciIntxIrq);
  const UniqueFd eventfd = NewEventfd();
  for (const uint32_t count : {0U, 1U}) {
    EXPECT_EQ(intx.Set(kNone, count), -EINVAL) << "off";
    EXPECT_EQ(intx.Set(kBool, count, 1), -EINVAL) << "off";
  }
  EXPECT_EQ(intx.Set(kEventfd, 0), -EINVAL) << "it is one, neither more nor less";
  EXPECT_EQ(intx.Connect(kNotOpen), -EBADF);
  EXPECT_EQ(intx.Connect(context.get()), -EINVAL);
  EXPECT_EQ(intx.Set(kNone, 1), -EINVAL) << "still off";
  EXPECT_EQ(intx.Connect(-1), 0) << "on, and nobody is told; attached to nothing";
  EXPECT_EQ(intx.Set(kNone, 1), 0);
  ASSERT_EQ(intx.Connect(eventfd.get()), 0);
  EXPECT_EQ(intx.Set(kNone, 1), 0);
  EXPECT_EQ(Signals(eventfd), 1U);
  EXPECT_EQ(intx.Set(kBool, 1, 0), 0);
  EXPECT_EQ(Signals(eventfd), 0U);
  EXPECT_EQ(intx.Set(kBool, 1, 1), 0);
  EXPECT_EQ(Signals(eventfd), 1U);
  EXPECT_EQ(intx.Connect(kNotOpen), -EBADF);
  EXPECT_EQ(intx.Set(kNone, 1), 0);
  EXPECT_EQ(Signals(eventfd), 1U) << "one that is refused changes nothing";
  EXPECT_EQ(intx.Set(kBool, 0), -EINVAL);
  EXPECT_EQ(intx.Set(kNone, 0), 0) << "off";
  EXPECT_EQ(intx.Set(kNone, 1), -EINVAL);
  EXPECT_EQ(intx.Set(kNone, 0), -EINVAL);
}

// vfio_pci_intrs.c, vfio_pci_set_intx_mask(), vfio_pci_set_intx_unmask(); virqfd.c,
// vfio_virqfd_enable().
TEST_P(KernelApiSuite, IntxIsMaskedWhileItIsOn) {
  BERTH_NEEDS(Need::kCdevs);
  const auto number = DeviceWithIrqs(kernel(), machine(), uapi::kVfioPciIntxIrq, 1);
  if (!number) GTEST_SKIP() << kNeedsIntx;
  const UniqueFd context = NewContext();
  const Device device = AddDevice(context, *number);
  IrqIndex intx(&kernel(), &device.cdev, uapi::kVfioPciIntxIrq);
  for (const uint32_t flags :
       {kMaskNone, kMaskBool, kMaskEventfd, kUnmaskNone, kUnmaskBool, kUnmaskEventfd}) {
    EXPECT_EQ(intx.Set(flags, 1, kNotOpen), -EINVAL) << "off " << flags;
  }
  for (const uint32_t action : {0U, kMask | kUnmask, kMask | kTrigger, kUnmask | kTrigger}) {
    EXPECT_EQ(intx.Set(uapi::kVfioIrqSetDataNone | action, 1), -ENOTTY) << action;
  }
  const UniqueFd eventfd = NewEventfd();
  const UniqueFd unmask = NewEventfd();
  ASSERT_EQ(intx.Connect(eventfd.get()), 0);
  for (const uint32_t flags : {kMaskNone, kMaskBool, kUnmaskNone, kUnmaskBool}) {
    EXPECT_EQ(intx.Set(flags, 1, 1), 0) << flags;
    EXPECT_EQ(intx.Set(flags, 0, 1), -EINVAL) << flags;
    EXPECT_EQ(intx.Set(kNone, 1), 0);
    EXPECT_EQ(Signals(eventfd), 1U) << "a loopback is not masked";
  }
  EXPECT_EQ(intx.Set(kMaskEventfd, 1, kNotOpen), -ENOTTY) << "there is no such thing";
  EXPECT_EQ(intx.Set(kMaskEventfd, 0), -EINVAL);
  EXPECT_EQ(intx.Set(kUnmaskEventfd, 0), -EINVAL);
  EXPECT_EQ(intx.Set(kUnmaskEventfd, 1, kNotOpen), -EBADF);
  EXPECT_EQ(intx.Set(kUnmaskEventfd, 1, context.get()), -EINVAL);
  EXPECT_EQ(intx.Set(kUnmaskEventfd, 1, unmask.get()), 0);
  EXPECT_EQ(intx.Set(kUnmaskEventfd, 1, unmask.get()), -EBUSY) << "there is one";
  EXPECT_EQ(intx.Set(kUnmaskEventfd, 1, kNotOpen), -EBADF) << "before that";
  EXPECT_EQ(intx.Set(kUnmaskEventfd, 1, -1), 0);
  EXPECT_EQ(intx.Set(kUnmaskEventfd, 1, unmask.get()), 0);
  EXPECT_EQ(intx.Set(kNone, 0), 0) << "off";
  ASSERT_EQ(intx.Connect(eventfd.get()), 0);
  EXPECT_EQ(intx.Set(kUnmaskEventfd, 1, unmask.get()), 0) << "it went, too";
}

// vfio_pci_config.c, vfio_basic_config_write(); vfio_pci_intrs.c, vfio_send_intx_eventfd().
TEST_P(KernelApiSuite, InterruptDisableSilencesIntx) {
  BERTH_NEEDS(Need::kCdevs);
  const auto number = DeviceWithIrqs(kernel(), machine(), uapi::kVfioPciIntxIrq, 1);
  if (!number) GTEST_SKIP() << kNeedsIntx;
  const UniqueFd context = NewContext();
  const Device device = AddDevice(context, *number);
  IrqIndex intx(&kernel(), &device.cdev, uapi::kVfioPciIntxIrq);
  constexpr uint64_t kCommand = (uint64_t{uapi::kVfioPciConfigRegion} << 40) + 4;
  constexpr uint16_t kInterruptDisable = 1 << 10;
  uint16_t command = 0;
  ASSERT_EQ(kernel().ReadRegion(device.cdev.get(), &command, sizeof(command), kCommand), 2);
  EXPECT_EQ(command & kInterruptDisable, 0) << "not in a device that was just opened";
  const auto disable = [&](bool disabled) {
    const auto bit = static_cast<uint16_t>(disabled ? kInterruptDisable : 0);
    const auto value = static_cast<uint16_t>((command & ~kInterruptDisable) | bit);
    EXPECT_EQ(kernel().WriteRegion(device.cdev.get(), &value, sizeof(value), kCommand), 2);
  };
  const UniqueFd eventfd = NewEventfd();
  ASSERT_EQ(intx.Connect(eventfd.get()), 0);
  disable(true);
  EXPECT_EQ(intx.Set(kNone, 1), 0);
  EXPECT_EQ(intx.Set(kUnmaskNone, 1), 0);
  EXPECT_EQ(intx.Set(kNone, 1), 0);
  EXPECT_EQ(Signals(eventfd), 0U);
  disable(false);
  EXPECT_EQ(intx.Set(kNone, 1), 0);
  EXPECT_EQ(Signals(eventfd), 1U);
}

// vfio_pci_intrs.c, vfio_pci_set_intx_trigger(), vfio_pci_set_msi_trigger(): irq_type is one.
TEST_P(KernelApiSuite, OneKindOfInterruptIsOnAtATime) {
  BERTH_NEEDS(Need::kCdevs);
  const auto number = DeviceWithIrqs(kernel(), machine(), uapi::kVfioPciIntxIrq, 1);
  if (!number) GTEST_SKIP() << kNeedsIntx;
  const Vm vm = NewVm(*number);
  ASSERT_EQ(Attach(vm, vm.parent), 0);
  const UniqueFd eventfd = NewEventfd();
  constexpr uint32_t kKinds[] = {uapi::kVfioPciIntxIrq, uapi::kVfioPciMsiIrq,
                                 uapi::kVfioPciMsixIrq};
  for (const uint32_t on : kKinds) {
    IrqIndex index(&kernel(), &vm.device.cdev, on);
    if (index.Vectors() == 0) continue;
    ASSERT_EQ(index.Connect(eventfd.get()), 0) << on;
    for (const uint32_t other : kKinds) {
      IrqIndex refused(&kernel(), &vm.device.cdev, other);
      if (other == on || refused.Vectors() == 0) continue;
      EXPECT_EQ(refused.Connect(eventfd.get()), -EINVAL) << other << " while " << on;
      EXPECT_EQ(refused.Connect(kNotOpen), -EINVAL) << other << " while " << on;
      EXPECT_EQ(refused.Set(kNone, 1), -EINVAL) << other << " while " << on;
      EXPECT_EQ(refused.Set(kNone, 0), -EINVAL) << other << " while " << on;
    }
    ASSERT_EQ(index.Set(kNone, 0), 0) << on;
  }
}

}  // namespace berth::conformance
