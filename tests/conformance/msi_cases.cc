// SPDX-License-Identifier: Apache-2.0
//
// MSI and MSI-X of devices. Linux drivers/vfio/pci/vfio_pci_intrs.c, drivers/pci/msi/*.
#include <cerrno>

#include "tests/conformance/irq_index.h"

namespace berth::conformance {
namespace {

constexpr char kNeedsVectors[] = "needs a device with several vectors of MSI or MSI-X";

}  // namespace

// vfio_pci_intrs.c, vfio_pci_set_msi_trigger(), vfio_msi_enable(); drivers/pci/msi/msi.c,
// __pci_enable_msi_range().
TEST_P(KernelApiSuite, MsiIsOnFromItsFirstEventfds) {
  BERTH_NEEDS(Need::kCdevs);
  const Vm vm = NewVm();
  ASSERT_EQ(Attach(vm, vm.parent), 0);
  IrqIndex msi(&kernel(), &vm.device.cdev, uapi::kVfioPciMsiIrq);
  if (msi.Vectors() == 0) GTEST_SKIP() << "needs a device with MSI";
  const UniqueFd eventfd = NewEventfd();
  for (const uint32_t count : {0U, 1U}) {
    EXPECT_EQ(msi.Set(kNone, count), -EINVAL) << "off";
    EXPECT_EQ(msi.Set(kBool, count, 1), -EINVAL) << "off";
  }
  EXPECT_EQ(msi.Set(kEventfd, 0), -ERANGE) << "with no vector";
  EXPECT_EQ(msi.Connect(kNotOpen), -EBADF);
  EXPECT_EQ(msi.Connect(vm.context.get()), -EINVAL);
  EXPECT_EQ(msi.Set(kNone, 1), -EINVAL) << "still off";
  EXPECT_EQ(msi.Connect(-1), 0) << "on, and nobody is told";
  EXPECT_EQ(msi.Set(kNone, 1), 0);
  EXPECT_EQ(msi.Set(kBool, 0), 0);
  EXPECT_EQ(msi.Set(kEventfd, 0), 0);
  ASSERT_EQ(msi.Connect(eventfd.get()), 0);
  EXPECT_EQ(msi.Set(kNone, 1), 0);
  EXPECT_EQ(Signals(eventfd), 1U);
  EXPECT_EQ(msi.Set(kBool, 1, 0), 0);
  EXPECT_EQ(Signals(eventfd), 0U);
  EXPECT_EQ(msi.Set(kBool, 1, 1), 0);
  EXPECT_EQ(Signals(eventfd), 1U);
  EXPECT_EQ(msi.Set(kNone, 0), 0) << "off";
  EXPECT_EQ(msi.Set(kNone, 1), -EINVAL);
  EXPECT_EQ(msi.Set(kNone, 0), -EINVAL);
}

// vfio_pci_intrs.c, vfio_msi_set_block(), vfio_msi_set_vector_signal(): the old eventfd goes first.
TEST_P(KernelApiSuite, MsiVectorLosesItsEventfdBeforeItTakesAnother) {
  BERTH_NEEDS(Need::kCdevs);
  const Vm vm = NewVm();
  ASSERT_EQ(Attach(vm, vm.parent), 0);
  IrqIndex msi(&kernel(), &vm.device.cdev, uapi::kVfioPciMsiIrq);
  if (msi.Vectors() == 0) GTEST_SKIP() << "needs a device with MSI";
  const UniqueFd first = NewEventfd();
  const UniqueFd second = NewEventfd();
  ASSERT_EQ(msi.Connect(first.get()), 0);
  ASSERT_EQ(msi.Connect(second.get()), 0);
  EXPECT_EQ(msi.Set(kNone, 1), 0);
  EXPECT_EQ(Signals(first), 0U);
  EXPECT_EQ(Signals(second), 1U);
  EXPECT_EQ(msi.Connect(kNotOpen), -EBADF);
  EXPECT_EQ(msi.Set(kNone, 1), 0) << "still on";
  EXPECT_EQ(Signals(second), 0U);
  ASSERT_EQ(msi.Connect(second.get()), 0);
  EXPECT_EQ(msi.Connect(-2), 0);
  EXPECT_EQ(msi.Set(kNone, 1), 0);
  EXPECT_EQ(Signals(second), 0U) << "any negative number is none";
}

// drivers/iommu/iommu.c, iommu_dma_prepare_msi(): a device that is attached to nothing is in the
// blocking domain, which has no room for the page that its MSIs are written to; kernel/irq/msi.c,
// msi_handle_pci_fail(). vfio_pci_intrs.c, vfio_pci_set_msi_trigger(): before any eventfd is looked
// at. Of a device that no other case wants MSIs of: each refused one costs it a vector for good
// (drivers/irqchip/irq-gic-v3-its.c, its_irq_domain_alloc()).
TEST_P(KernelApiSuite, MsiNeedsAnAttachment) {
  BERTH_NEEDS(Need::kSmmu);
  const UniqueFd context = NewContext();
  const Device device = AddDevice(context, machine().devices.size() - 1);
  IrqIndex msi(&kernel(), &device.cdev, uapi::kVfioPciMsiIrq);
  if (msi.Vectors() == 0) GTEST_SKIP() << "needs a device with MSI";
  const UniqueFd eventfd = NewEventfd();
  EXPECT_EQ(msi.Set(kEventfd, 0), -ERANGE);
  EXPECT_EQ(msi.Connect(eventfd.get()), -ENOSPC);
  EXPECT_EQ(msi.Connect(kNotOpen), -ENOSPC);
  EXPECT_EQ(msi.Connect(-1), -ENOSPC);
  EXPECT_EQ(msi.Set(kNone, 1), -EINVAL) << "off";
}

// vfio_pci_intrs.c, vfio_msi_set_vector_signal(): what is allocated stays so.
TEST_P(KernelApiSuite, MsiThatIsOnNeedsNoAttachment) {
  BERTH_NEEDS(Need::kCdevs);
  const Vm vm = NewVm();
  IrqIndex msi(&kernel(), &vm.device.cdev, uapi::kVfioPciMsiIrq);
  if (msi.Vectors() == 0) GTEST_SKIP() << "needs a device with MSI";
  const UniqueFd first = NewEventfd();
  const UniqueFd second = NewEventfd();
  ASSERT_EQ(Attach(vm, vm.parent), 0);
  ASSERT_EQ(msi.Connect(first.get()), 0);
  ASSERT_EQ(Detach(vm), 0);
  EXPECT_EQ(msi.Set(kNone, 1), 0);
  EXPECT_EQ(Signals(first), 1U);
  EXPECT_EQ(msi.Connect(second.get()), 0);
  EXPECT_EQ(msi.Set(kNone, 1), 0);
  EXPECT_EQ(Signals(second), 1U);
  EXPECT_EQ(msi.Set(kNone, 0), 0);
}

// vfio_pci_intrs.c, vfio_pci_set_msi_trigger(), vfio_msi_set_block(): from the first vector to the
// first that fails; then all of these, and none behind it, have lost their eventfds.
TEST_P(KernelApiSuite, VectorsAreSetInBlocks) {
  BERTH_NEEDS(Need::kCdevs);
  int with_several = 0;
  for (const uint32_t number : {uapi::kVfioPciMsiIrq, uapi::kVfioPciMsixIrq}) {
    const auto device = DeviceWithIrqs(kernel(), machine(), number, 2);
    if (!device) continue;
    ++with_several;
    const Vm vm = NewVm(*device);
    ASSERT_EQ(Attach(vm, vm.parent), 0);
    IrqIndex index(&kernel(), &vm.device.cdev, number);
    const UniqueFd a = NewEventfd();
    const UniqueFd b = NewEventfd();
    const UniqueFd c = NewEventfd();
    EXPECT_EQ(index.ConnectBlock(0, {a.get(), kNotOpen}), -EBADF);
    EXPECT_EQ(index.RaiseAll(0, 2), -EINVAL) << "so that it is off";
    ASSERT_EQ(index.ConnectBlock(0, {a.get(), b.get()}), 0);
    EXPECT_EQ(index.RaiseAll(0, 2), 0);
    EXPECT_EQ(Signals(a), 1U);
    EXPECT_EQ(Signals(b), 1U);
    EXPECT_EQ(index.RaiseAll(1, 1), 0);
    EXPECT_EQ(index.RaiseBlock(0, {0, 1}), 0);
    EXPECT_EQ(Signals(a), 0U);
    EXPECT_EQ(Signals(b), 2U);
    EXPECT_EQ(index.ConnectBlock(1, std::vector<int32_t>(index.Vectors(), -1)), -EINVAL)
        << "ends beyond what there is";
    EXPECT_EQ(index.ConnectBlock(0, {kNotOpen, c.get()}), -EBADF);
    EXPECT_EQ(index.RaiseAll(0, 2), 0);
    EXPECT_EQ(Signals(a), 0U) << "lost";
    EXPECT_EQ(Signals(b), 1U) << "not come to";
    EXPECT_EQ(index.ConnectBlock(0, {c.get(), kNotOpen}), -EBADF);
    EXPECT_EQ(index.RaiseAll(0, 2), 0);
    EXPECT_EQ(Signals(c), 0U) << "taken away again";
    EXPECT_EQ(Signals(b), 0U) << "lost";
    ASSERT_EQ(index.ConnectBlock(0, {a.get(), -1}), 0);
    EXPECT_EQ(index.RaiseBlock(0, {1, 1}), 0);
    EXPECT_EQ(Signals(a), 1U);
    EXPECT_EQ(index.RaiseAll(0, 0), 0) << "off";
    EXPECT_EQ(index.RaiseAll(0, 2), -EINVAL);
  }
  if (with_several == 0) GTEST_SKIP() << kNeedsVectors;
}

// vfio_pci_intrs.c, vfio_pci_set_msi_trigger(): start and count say how many vectors are allocated;
// vfio_msi_alloc_irq(): those of MSI are all there will be.
TEST_P(KernelApiSuite, MsiHasTheVectorsItWasSwitchedOnWith) {
  BERTH_NEEDS(Need::kCdevs);
  const auto device = DeviceWithIrqs(kernel(), machine(), uapi::kVfioPciMsiIrq, 2);
  if (!device) GTEST_SKIP() << "needs a device with several vectors of MSI";
  const Vm vm = NewVm(*device);
  ASSERT_EQ(Attach(vm, vm.parent), 0);
  IrqIndex msi(&kernel(), &vm.device.cdev, uapi::kVfioPciMsiIrq);
  const UniqueFd a = NewEventfd();
  const UniqueFd b = NewEventfd();
  ASSERT_EQ(msi.ConnectBlock(0, {a.get()}), 0);
  EXPECT_EQ(msi.ConnectBlock(1, {b.get()}), -EINVAL);
  EXPECT_EQ(msi.ConnectBlock(1, {kNotOpen}), -EINVAL) << "before the eventfd is looked at";
  EXPECT_EQ(msi.ConnectBlock(1, {-1}), 0) << "no eventfd needs no vector";
  EXPECT_EQ(msi.RaiseAll(0, 2), 0);
  EXPECT_EQ(Signals(a), 1U);
  ASSERT_EQ(msi.RaiseAll(0, 0), 0);
  ASSERT_EQ(msi.ConnectBlock(1, {b.get()}), 0) << "the second, and with it the first";
  EXPECT_EQ(msi.ConnectBlock(0, {a.get()}), 0);
  EXPECT_EQ(msi.RaiseAll(0, 2), 0);
  EXPECT_EQ(Signals(a), 1U);
  EXPECT_EQ(Signals(b), 1U);
  ASSERT_EQ(msi.RaiseAll(0, 0), 0);
  ASSERT_EQ(msi.ConnectBlock(1, {}), 0) << "up to the second, without it";
  EXPECT_EQ(msi.ConnectBlock(1, {b.get()}), -EINVAL);
}

// vfio_pci_intrs.c, vfio_msi_alloc_irq(): vectors of MSI-X are allocated when they first get an
// eventfd, where the platform can (vfio_pci_core.c, has_dyn_msix: NORESIZE is not set).
TEST_P(KernelApiSuite, VectorsOfMsixAreAddedOneByOne) {
  BERTH_NEEDS(Need::kCdevs);
  const auto device = DeviceWithIrqs(kernel(), machine(), uapi::kVfioPciMsixIrq, 2);
  if (!device) GTEST_SKIP() << "needs a device with several vectors of MSI-X";
  const Vm vm = NewVm(*device);
  ASSERT_EQ(Attach(vm, vm.parent), 0);
  IrqIndex msix(&kernel(), &vm.device.cdev, uapi::kVfioPciMsixIrq);
  const bool grows = (msix.Info().flags & uapi::kVfioIrqInfoNoresize) == 0;
  const UniqueFd a = NewEventfd();
  const UniqueFd b = NewEventfd();
  ASSERT_EQ(msix.ConnectBlock(0, {a.get()}), 0);
  if (!grows) {
    EXPECT_EQ(msix.ConnectBlock(1, {b.get()}), -EINVAL);
    return;
  }
  EXPECT_EQ(msix.ConnectBlock(1, {kNotOpen}), -EBADF);
  ASSERT_EQ(msix.ConnectBlock(1, {b.get()}), 0);
  EXPECT_EQ(msix.RaiseAll(0, 2), 0);
  EXPECT_EQ(Signals(a), 1U) << "goes on all the time";
  EXPECT_EQ(Signals(b), 1U);
}

}  // namespace berth::conformance
