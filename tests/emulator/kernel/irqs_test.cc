// SPDX-License-Identifier: Apache-2.0
#include "lib/emulator/kernel/irqs.h"

#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "tests/emulator/emulator_fixture.h"

namespace berth::emulator {
namespace {

class IrqsTest : public EmulatorTest {
 protected:
  struct Request {
    uapi::VfioIrqSet set;
    int32_t value;
  };

  void SetUp() override {
    EmulatorTest::SetUp();
    context_ = OpenContext();
    cdev_ = OpenDevice("vfio0");
    ASSERT_EQ(Bind(cdev_, context_.get()), 0);
    uapi::IommuIoasAlloc ioas = {};
    ASSERT_EQ(Call(context_, uapi::kIommuIoasAlloc, &ioas), 0);
    uapi::VfioDeviceAttachIommufdPt attach = {};
    attach.pt_id = ioas.out_ioas_id;
    ASSERT_EQ(Call(cdev_, uapi::kVfioDeviceAttachIommufdPt, &attach), 0);
  }

  int Set(uint32_t index, uint32_t flags, uint32_t count, int32_t value) {
    Request request = {};
    request.set = {sizeof(request), flags, index, 0, count};
    request.value = value;
    return client().Ioctl(cdev_.get(), uapi::kVfioDeviceSetIrqs, &request);
  }
  int Connect(uint32_t index, int32_t fd) {
    return Set(index, uapi::kVfioIrqSetDataEventfd | uapi::kVfioIrqSetActionTrigger, 1, fd);
  }
  static uint64_t Signals(const UniqueFd& eventfd) {
    uint64_t count = 0;
    return ::read(eventfd.get(), &count, sizeof(count)) == sizeof(count) ? count : 0;
  }
  static UniqueFd Eventfd() { return UniqueFd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)); }

  static constexpr uint32_t kTrigger = uapi::kVfioIrqSetDataNone | uapi::kVfioIrqSetActionTrigger;
  UniqueFd context_;
  UniqueFd cdev_;
};

TEST_F(IrqsTest, InfoTellsWhatThereIs) {
  const auto count = [this](uint32_t index) {
    uapi::VfioIrqInfo info = {};
    info.index = index;
    EXPECT_EQ(Call(cdev_, uapi::kVfioDeviceGetIrqInfo, &info), 0);
    return info.count;
  };
  EXPECT_EQ(count(uapi::kVfioPciIntxIrq), 0U);
  EXPECT_EQ(count(uapi::kVfioPciMsiIrq), 1U);
  EXPECT_EQ(count(uapi::kVfioPciMsixIrq), 0U);
  EXPECT_EQ(count(uapi::kVfioPciErrIrq), 1U);
  EXPECT_EQ(count(uapi::kVfioPciReqIrq), 1U);
}

TEST_F(IrqsTest, EventfdIsSignalledUntilItIsTakenAway) {
  const UniqueFd eventfd = Eventfd();
  EXPECT_EQ(Set(uapi::kVfioPciMsiIrq, kTrigger, 1, 0), -EINVAL);
  ASSERT_EQ(Connect(uapi::kVfioPciMsiIrq, eventfd.get()), 0);
  EXPECT_EQ(Set(uapi::kVfioPciMsiIrq, kTrigger, 1, 0), 0);
  EXPECT_EQ(Signals(eventfd), 1U);
  const uint32_t boolean = uapi::kVfioIrqSetDataBool | uapi::kVfioIrqSetActionTrigger;
  EXPECT_EQ(Set(uapi::kVfioPciMsiIrq, boolean, 1, 0), 0);
  EXPECT_EQ(Signals(eventfd), 0U);
  EXPECT_EQ(Set(uapi::kVfioPciMsiIrq, boolean, 1, 1), 0);
  EXPECT_EQ(Signals(eventfd), 1U);
  EXPECT_EQ(Set(uapi::kVfioPciMsiIrq, kTrigger, 0, 0), 0);
  EXPECT_EQ(Set(uapi::kVfioPciMsiIrq, kTrigger, 1, 0), -EINVAL);
}

TEST_F(IrqsTest, RequestNotifierMayBeAbsent) {
  const UniqueFd eventfd = Eventfd();
  EXPECT_EQ(Set(uapi::kVfioPciReqIrq, kTrigger, 1, 0), -EINVAL);
  ASSERT_EQ(Connect(uapi::kVfioPciReqIrq, eventfd.get()), 0);
  EXPECT_EQ(Set(uapi::kVfioPciReqIrq, kTrigger, 1, 0), 0);
  EXPECT_EQ(Signals(eventfd), 1U);
  ASSERT_EQ(Connect(uapi::kVfioPciReqIrq, -1), 0);
  EXPECT_EQ(Set(uapi::kVfioPciReqIrq, kTrigger, 1, 0), -EINVAL);
  EXPECT_EQ(Signals(eventfd), 0U);
}

TEST_F(IrqsTest, ArgumentsAreChecked) {
  const UniqueFd eventfd = Eventfd();
  EXPECT_EQ(Connect(uapi::kVfioPciMsixIrq, eventfd.get()), -EINVAL);
  EXPECT_EQ(Connect(uapi::kVfioPciNumIrqs, eventfd.get()), -EINVAL);
  EXPECT_EQ(Connect(uapi::kVfioPciMsiIrq, 9999), -EBADF);
  EXPECT_EQ(Connect(uapi::kVfioPciMsiIrq, cdev_.get()), -EINVAL);
  EXPECT_EQ(Set(uapi::kVfioPciMsiIrq, kTrigger, 2, 0), -EINVAL);
  EXPECT_EQ(Set(uapi::kVfioPciMsiIrq, uapi::kVfioIrqSetActionTrigger, 1, 0), -EINVAL);
  EXPECT_EQ(Set(uapi::kVfioPciMsiIrq, kTrigger | 64, 1, 0), -EINVAL);
  EXPECT_EQ(
      Set(uapi::kVfioPciMsiIrq, uapi::kVfioIrqSetDataNone | uapi::kVfioIrqSetActionMask, 1, 0),
      -ENOTTY);
  Request request = {};
  request.set = {sizeof(request.set), uapi::kVfioIrqSetDataEventfd | uapi::kVfioIrqSetActionTrigger,
                 uapi::kVfioPciMsiIrq, 0, 1};
  EXPECT_EQ(client().Ioctl(cdev_.get(), uapi::kVfioDeviceSetIrqs, &request), -EINVAL);
}

TEST_F(IrqsTest, ClosedDeviceForgetsItsEventfds) {
  const UniqueFd eventfd = Eventfd();
  ASSERT_EQ(Connect(uapi::kVfioPciReqIrq, eventfd.get()), 0);
  cdev_ = OpenDevice("vfio0");
  ASSERT_EQ(Bind(cdev_, context_.get()), 0);
  EXPECT_EQ(Set(uapi::kVfioPciReqIrq, kTrigger, 1, 0), -EINVAL);
  EXPECT_EQ(Signals(eventfd), 0U);
}

}  // namespace
}  // namespace berth::emulator
