// SPDX-License-Identifier: Apache-2.0
//
// Interrupts that a device raises, as vfio-pci hands them on (Linux drivers/vfio/pci/
// vfio_pci_intrs.c, vfio_msihandler(), vfio_intx_handler(), vfio_pci_intx_unmask_handler()).
#include <sys/eventfd.h>
#include <unistd.h>

#include <cstring>
#include <vector>

#include "tests/emulator/dma_fixture.h"
#include "tests/testing/poll_until.h"

namespace berth::emulator {
namespace {

class DmaIrq : public DmaTest {
 protected:
  void SetUp() override {
    StartServer([](Server::Options& options) {
      for (DeviceSpec& device : options.host.devices) {
        device.model = DeviceModel::kDmaTest;
        device.msi_vectors = 8;
        device.msix_vectors = 5;
        device.intx = true;
      }
    });
    vm_ = MakeVm("vfio0");
    ASSERT_EQ(Attach(vm_, vm_.guest.ioas), 0);
    page_ = vm_.memory->Allocate();
  }

  static UniqueFd Eventfd() { return UniqueFd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)); }
  int Set(uint32_t index, uint32_t flags, const std::vector<int32_t>& values, uint32_t start = 0) {
    return Set(index, flags, values, start, static_cast<uint32_t>(values.size()));
  }
  int Set(uint32_t index, uint32_t flags, const std::vector<int32_t>& values, uint32_t start,
          uint32_t count) {
    std::vector<std::byte> bytes(sizeof(uapi::VfioIrqSet) + values.size() * sizeof(int32_t));
    const uapi::VfioIrqSet set = {static_cast<uint32_t>(bytes.size()), flags, index, start, count};
    std::memcpy(bytes.data(), &set, sizeof(set));
    if (!values.empty()) {
      std::memcpy(&bytes[sizeof(set)], values.data(), values.size() * sizeof(int32_t));
    }
    return client().Ioctl(vm_.guest.cdev.get(), uapi::kVfioDeviceSetIrqs, bytes.data());
  }
  int Connect(uint32_t index, const std::vector<int32_t>& fds, uint32_t start = 0) {
    return Set(index, uapi::kVfioIrqSetDataEventfd | uapi::kVfioIrqSetActionTrigger, fds, start);
  }
  int MaskIntx(uint32_t action) {
    return Set(uapi::kVfioPciIntxIrq, uapi::kVfioIrqSetDataNone | action, {}, 0, 1);
  }
  // One copy that ends with an interrupt. The device's thread has also looked at what there is to
  // unmask, and told of the interrupt, once a copy after it is done.
  void CopyAndRaise(uint32_t vector = 0) {
    vm_.dma->Reg32(kDmaVector).store(vector);
    EXPECT_EQ(vm_.dma->Copy(page_, page_ + 8, 8, kDmaControlInterrupt), DmaStatus::kOk);
    raised_ = vm_.dma->done();
  }
  // Whatever was raised before has been delivered.
  void Settle() {
    EXPECT_EQ(vm_.dma->Copy(page_, page_ + 8, 8), DmaStatus::kOk);
    EXPECT_EQ(vm_.dma->Copy(page_, page_ + 8, 8), DmaStatus::kOk);
  }
  void Acknowledge() { vm_.dma->Reg32(kDmaAcknowledge).store(raised_); }
  static uint64_t Signals(const UniqueFd& eventfd) {
    uint64_t count = 0;
    return ::read(eventfd.get(), &count, sizeof(count)) == sizeof(count) ? count : 0;
  }
  // Exactly one signal comes.
  void ExpectSignal(const UniqueFd& eventfd) {
    berth::testing::PollUntil([&] { return IsReadable(eventfd); });
    EXPECT_EQ(Signals(eventfd), 1U);
  }
  void ExpectSilence(const UniqueFd& eventfd) {
    Settle();
    EXPECT_EQ(Signals(eventfd), 0U);
  }

  DmaVm vm_;
  uint64_t page_ = 0;
  uint32_t raised_ = 0;
};

TEST_F(DmaIrq, EachVectorHasItsEventfd) {
  for (const uint32_t index : {uapi::kVfioPciMsiIrq, uapi::kVfioPciMsixIrq}) {
    const UniqueFd first = Eventfd();
    const UniqueFd third = Eventfd();
    ASSERT_EQ(Connect(index, {first.get(), -1, third.get()}), 0);
    CopyAndRaise(2);
    ExpectSignal(third);
    CopyAndRaise(0);
    ExpectSignal(first);
    CopyAndRaise(1);
    CopyAndRaise(4);
    CopyAndRaise(1000);
    Settle();
    EXPECT_EQ(Signals(first), 0U);
    EXPECT_EQ(Signals(third), 0U);
    if (index == uapi::kVfioPciMsixIrq) {
      const UniqueFd fifth = Eventfd();
      ASSERT_EQ(Connect(index, {fifth.get()}, 4), 0);
      CopyAndRaise(4);
      ExpectSignal(fifth);
    }
    ASSERT_EQ(Set(index, uapi::kVfioIrqSetDataNone | uapi::kVfioIrqSetActionTrigger, {}), 0);
  }
}

TEST_F(DmaIrq, OneEventfdMayStandForSeveralVectors) {
  const UniqueFd eventfd = Eventfd();
  ASSERT_EQ(Connect(uapi::kVfioPciMsiIrq, std::vector<int32_t>(8, eventfd.get())), 0);
  for (const uint32_t vector : {0U, 7U}) {
    CopyAndRaise(vector);
    ExpectSignal(eventfd);
  }
}

TEST_F(DmaIrq, IntxIsMaskedUntilItIsUnmasked) {
  const UniqueFd eventfd = Eventfd();
  ASSERT_EQ(Connect(uapi::kVfioPciIntxIrq, {eventfd.get()}), 0);
  CopyAndRaise();
  ExpectSignal(eventfd);
  CopyAndRaise();
  ExpectSilence(eventfd);
  EXPECT_EQ(MaskIntx(uapi::kVfioIrqSetActionUnmask), 0);
  EXPECT_EQ(Signals(eventfd), 1U) << "the device still asserts it";
  Acknowledge();
  EXPECT_EQ(MaskIntx(uapi::kVfioIrqSetActionUnmask), 0);
  EXPECT_EQ(Signals(eventfd), 0U);
  CopyAndRaise();
  ExpectSignal(eventfd);
  Acknowledge();
  EXPECT_EQ(MaskIntx(uapi::kVfioIrqSetActionUnmask), 0);
  EXPECT_EQ(MaskIntx(uapi::kVfioIrqSetActionMask), 0);
  CopyAndRaise();
  ExpectSilence(eventfd);
}

TEST_F(DmaIrq, AssertedBeforeItIsOnIntxComesAtOnce) {
  CopyAndRaise();
  Settle();
  const UniqueFd eventfd = Eventfd();
  ASSERT_EQ(Connect(uapi::kVfioPciIntxIrq, {eventfd.get()}), 0);
  EXPECT_EQ(Signals(eventfd), 1U);
}

TEST_F(DmaIrq, ResetTakesIntxBack) {
  const UniqueFd eventfd = Eventfd();
  ASSERT_EQ(Connect(uapi::kVfioPciIntxIrq, {eventfd.get()}), 0);
  CopyAndRaise();
  ExpectSignal(eventfd);
  ASSERT_EQ(client().Ioctl(vm_.guest.cdev.get(), uapi::kVfioDeviceReset, nullptr), 0);
  EXPECT_EQ(MaskIntx(uapi::kVfioIrqSetActionUnmask), 0);
  EXPECT_EQ(Signals(eventfd), 0U);
}

TEST_F(DmaIrq, AnEventfdUnmasks) {
  const UniqueFd eventfd = Eventfd();
  const UniqueFd unmask = Eventfd();
  ASSERT_EQ(Connect(uapi::kVfioPciIntxIrq, {eventfd.get()}), 0);
  ASSERT_EQ(Set(uapi::kVfioPciIntxIrq, uapi::kVfioIrqSetDataEventfd | uapi::kVfioIrqSetActionUnmask,
                {unmask.get()}),
            0);
  const uint64_t one = 1;
  for (int i = 0; i < 3; ++i) {
    CopyAndRaise();
    ExpectSignal(eventfd);
    ASSERT_EQ(::write(unmask.get(), &one, sizeof(one)), sizeof(one));
    ExpectSignal(eventfd);  // not acknowledged
    Acknowledge();
    ASSERT_EQ(::write(unmask.get(), &one, sizeof(one)), sizeof(one));
    berth::testing::PollUntil([&] { return !IsReadable(unmask); });
    Settle();
  }
  // Taken away, it does nothing.
  ASSERT_EQ(Set(uapi::kVfioPciIntxIrq, uapi::kVfioIrqSetDataEventfd | uapi::kVfioIrqSetActionUnmask,
                {-1}),
            0);
  CopyAndRaise();
  ExpectSignal(eventfd);
  ASSERT_EQ(::write(unmask.get(), &one, sizeof(one)), sizeof(one));
  ExpectSilence(eventfd);
  EXPECT_EQ(Signals(unmask), 1U);
}

TEST_F(DmaIrq, InterruptDisableHoldsIntxBack) {
  constexpr uint16_t kInterruptDisable = 1 << 10;
  const UniqueFd eventfd = Eventfd();
  ASSERT_EQ(Connect(uapi::kVfioPciIntxIrq, {eventfd.get()}), 0);
  ASSERT_EQ(SetCommand(vm_, kMemoryAndBusMaster | kInterruptDisable), 2);
  CopyAndRaise();
  ExpectSilence(eventfd);
  EXPECT_EQ(MaskIntx(uapi::kVfioIrqSetActionUnmask), 0);
  EXPECT_EQ(Signals(eventfd), 0U);
  ASSERT_EQ(SetCommand(vm_, kMemoryAndBusMaster), 2);
  EXPECT_EQ(Signals(eventfd), 1U);
}

TEST_F(DmaIrq, ConfigSpaceTellsOfThem) {
  const auto config = [&](uint64_t at) {
    uint32_t value = 0;
    EXPECT_EQ(client().ReadRegion(vm_.guest.cdev.get(), &value, 4, kConfigRegion + at), 4);
    return value;
  };
  EXPECT_EQ(config(0x3c) >> 8 & 0xff, 1U) << "Interrupt Pin";
  EXPECT_EQ(config(0x40) >> 8 & 0xff, 0x80U);
  EXPECT_EQ(config(0x80), 0x0086a005U) << "MSI: 64 bits, 8 vectors; MSI-X is next";
  EXPECT_EQ(config(0xa0), 0x00040011U) << "MSI-X with 5 vectors, the last capability";
  EXPECT_EQ(config(0xa4), 2U) << "BAR 2";
}

// vfio_pci_rdwr.c, vfio_pci_bar_rw(): the table is the kernel's own.
TEST_F(DmaIrq, TheTableOfMsixReadsAsOnes) {
  uapi::VfioRegionInfo info = {};
  info.index = uapi::kVfioPciBar0Region + 2;
  ASSERT_EQ(Call(vm_.guest.cdev, uapi::kVfioDeviceGetRegionInfo, &info), 0);
  EXPECT_EQ(info.size, 4096U);
  EXPECT_EQ(info.flags, uapi::kVfioRegionFlagRead | uapi::kVfioRegionFlagWrite);
  const int cdev = vm_.guest.cdev.get();
  const auto read = [&](uint64_t at, int64_t result) {
    uint64_t value = 0;
    EXPECT_EQ(client().ReadRegion(cdev, &value, sizeof(value), info.offset + at), result) << at;
    return value;
  };
  const uint64_t zero = 0;
  EXPECT_EQ(client().WriteRegion(cdev, &zero, sizeof(zero), info.offset), 8);
  EXPECT_EQ(read(0, 8), ~uint64_t{0});
  EXPECT_EQ(read(72, 8), ~uint64_t{0});
  EXPECT_EQ(read(76, 8), 0xffffffffU) << "the table ends within";
  EXPECT_EQ(read(2048, 8), 0U) << "nothing is pending";
  EXPECT_EQ(read(4092, 4), 0U);
  read(4096, -EINVAL);
  ASSERT_EQ(SetCommand(vm_, 0), 2);
  EXPECT_EQ(read(0, 8), ~uint64_t{0}) << "not of the device";
  read(2048, -EIO);
  EXPECT_EQ(client().WriteRegion(cdev, &zero, sizeof(zero), info.offset + 2048), -EIO);
}

}  // namespace
}  // namespace berth::emulator
