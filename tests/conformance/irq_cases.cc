// SPDX-License-Identifier: Apache-2.0
//
// Interrupts of devices. Linux drivers/vfio/vfio_main.c, drivers/vfio/pci/vfio_pci_core.c and
// vfio_pci_intrs.c.
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>

#include "tests/conformance/kernel_api_suite.h"

namespace berth::conformance {
namespace {

struct SetIrqs {
  uapi::VfioIrqSet set;
  int32_t value;
};

constexpr uint32_t kTrigger = uapi::kVfioIrqSetActionTrigger;
constexpr uint32_t kNone = uapi::kVfioIrqSetDataNone | kTrigger;
constexpr uint32_t kBool = uapi::kVfioIrqSetDataBool | kTrigger;
constexpr uint32_t kEventfd = uapi::kVfioIrqSetDataEventfd | kTrigger;
constexpr int32_t kNotOpen = 1 << 20;

UniqueFd NewEventfd() { return UniqueFd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)); }

// How often it was signalled since the last look.
uint64_t Signals(const UniqueFd& eventfd) {
  uint64_t count = 0;
  return ::read(eventfd.get(), &count, sizeof(count)) == sizeof(count) ? count : 0;
}

SetIrqs SetArg(uint32_t index, uint32_t flags, uint32_t count, int32_t value = 0) {
  return {{sizeof(SetIrqs), flags, index, 0, count}, value};
}

// One index of a bound device.
class Index {
 public:
  Index(KernelApi* kernel, const UniqueFd* cdev, uint32_t index)
      : kernel_(kernel), cdev_(cdev), index_(index) {}

  int Set(uint32_t flags, uint32_t count, int32_t value = 0) {
    SetIrqs arg = SetArg(index_, flags, count, value);
    return kernel_->Ioctl(cdev_->get(), uapi::kVfioDeviceSetIrqs, &arg);
  }
  int Connect(int32_t fd) { return Set(kEventfd, 1, fd); }
  // 0 also where the device has no such index.
  uint32_t Vectors() {
    auto arg = Sized<uapi::VfioIrqInfo>();
    arg.index = index_;
    const int result = kernel_->Ioctl(cdev_->get(), uapi::kVfioDeviceGetIrqInfo, &arg);
    return result == 0 ? arg.count : 0;
  }

 private:
  KernelApi* kernel_;
  const UniqueFd* cdev_;
  const uint32_t index_;
};

}  // namespace

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
    EXPECT_EQ(Index(&kernel(), &device.cdev, index).Vectors(), 1U) << index;
  }
  EXPECT_LE(Index(&kernel(), &device.cdev, uapi::kVfioPciIntxIrq).Vectors(), 1U);
  EXPECT_LE(Index(&kernel(), &device.cdev, uapi::kVfioPciMsiIrq).Vectors(), 32U);
  EXPECT_LE(Index(&kernel(), &device.cdev, uapi::kVfioPciMsixIrq).Vectors(), 2048U);
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
  constexpr uint32_t kMask = uapi::kVfioIrqSetActionMask;
  constexpr uint32_t kUnmask = uapi::kVfioIrqSetActionUnmask;
  for (const uint32_t number :
       {uapi::kVfioPciMsiIrq, uapi::kVfioPciMsixIrq, uapi::kVfioPciErrIrq, uapi::kVfioPciReqIrq}) {
    Index index(&kernel(), &device.cdev, number);
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
    Index index(&kernel(), &device.cdev, number);
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
    Index index(&kernel(), &device.cdev, number);
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

// vfio_pci_intrs.c, vfio_pci_set_msi_trigger(), vfio_msi_enable(); drivers/pci/msi/msi.c,
// __pci_enable_msi_range().
TEST_P(KernelApiSuite, MsiIsOnFromItsFirstEventfds) {
  BERTH_NEEDS(Need::kCdevs);
  const UniqueFd context = NewContext();
  const Device device = AddDevice(context, 0);
  Index msi(&kernel(), &device.cdev, uapi::kVfioPciMsiIrq);
  if (msi.Vectors() == 0) GTEST_SKIP() << "needs a device with MSI";
  const UniqueFd eventfd = NewEventfd();
  for (const uint32_t count : {0U, 1U}) {
    EXPECT_EQ(msi.Set(kNone, count), -EINVAL) << "off";
    EXPECT_EQ(msi.Set(kBool, count, 1), -EINVAL) << "off";
  }
  EXPECT_EQ(msi.Set(kEventfd, 0), -ERANGE) << "with no vector";
  EXPECT_EQ(msi.Connect(kNotOpen), -EBADF);
  EXPECT_EQ(msi.Connect(context.get()), -EINVAL);
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
  const UniqueFd context = NewContext();
  const Device device = AddDevice(context, 0);
  Index msi(&kernel(), &device.cdev, uapi::kVfioPciMsiIrq);
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

// vfio_pci_core.c, vfio_pci_core_close_device(), vfio_pci_core_disable().
TEST_P(KernelApiSuite, ClosedCdevForgetsItsEventfds) {
  BERTH_NEEDS(Need::kCdevs);
  const UniqueFd context = NewContext();
  const UniqueFd eventfd = NewEventfd();
  Device device = AddDevice(context, 0);
  ASSERT_EQ(Index(&kernel(), &device.cdev, uapi::kVfioPciReqIrq).Connect(eventfd.get()), 0);
  Index msi(&kernel(), &device.cdev, uapi::kVfioPciMsiIrq);
  const bool has_msi = msi.Vectors() != 0;
  if (has_msi) {
    ASSERT_EQ(msi.Connect(eventfd.get()), 0);
  }
  device.cdev.Reset();
  device = AddDevice(context, 0);
  EXPECT_EQ(Index(&kernel(), &device.cdev, uapi::kVfioPciReqIrq).Set(kNone, 1), -EINVAL);
  if (has_msi) {
    EXPECT_EQ(msi.Set(kNone, 1), -EINVAL);
  }
  EXPECT_EQ(Signals(eventfd), 0U);
}

}  // namespace berth::conformance
