// SPDX-License-Identifier: Apache-2.0
//
// Contexts, ids, and how structs of other sizes are read. Linux drivers/iommu/iommufd/main.c.
#include <fcntl.h>

#include <cerrno>
#include <cstring>

#include "lib/iommufd/uapi/ops.h"
#include "tests/conformance/kernel_api_suite.h"

namespace berth::conformance {

TEST_P(KernelApiSuite, IdsAreTheLowestFree) {
  const UniqueFd context = NewContext();
  for (uint32_t id = 1; id <= 4; ++id) EXPECT_EQ(NewIoas(context), id);
  EXPECT_EQ(Destroy(context, 3), 0);
  EXPECT_EQ(Destroy(context, 2), 0);
  EXPECT_EQ(NewIoas(context), 2U);
  EXPECT_EQ(NewIoas(context), 3U);
  EXPECT_EQ(NewIoas(context), 5U);
}

TEST_P(KernelApiSuite, ContextsHaveIdsOfTheirOwn) {
  const UniqueFd a = NewContext();
  const UniqueFd b = NewContext();
  EXPECT_EQ(NewIoas(a), 1U);
  EXPECT_EQ(NewIoas(b), 1U);
  EXPECT_EQ(NewIoas(b), 2U);
  EXPECT_EQ(Destroy(a, 2), -ENOENT);
}

TEST_P(KernelApiSuite, FdsAreClosedOnExec) {
  EXPECT_EQ(::fcntl(NewContext().get(), F_GETFD), FD_CLOEXEC);
  EXPECT_EQ(::fcntl(OpenCdev(device(0)).get(), F_GETFD), FD_CLOEXEC);
}

TEST_P(KernelApiSuite, DupIsTheSameContext) {
  UniqueFd context = NewContext();
  const UniqueFd dup(::fcntl(context.get(), F_DUPFD_CLOEXEC, 0));
  EXPECT_EQ(NewIoas(context), 1U);
  context.Reset();
  EXPECT_EQ(NewIoas(dup), 2U);
  EXPECT_EQ(Destroy(dup, 1), 0);
}

TEST_P(KernelApiSuite, UnknownDeviceIsNotFound) {
  EXPECT_EQ(ReasonOf(kernel().OpenDevice("no-such-cdev").status()), Reason::kNotFound);
}

TEST_P(KernelApiSuite, UnknownRequestIsEnotty) {
  const UniqueFd context = NewContext();
  uint64_t arg[8] = {sizeof(arg)};
  for (const uapi::Request request : {0x3b96UL, 0x3bffUL, 0x1234UL}) {
    EXPECT_EQ(Call(context, request, arg), -ENOTTY) << std::hex << request;
  }
}

TEST_P(KernelApiSuite, StructBelowTheMinimumIsEinval) {
  const UniqueFd context = NewContext();
  for (const uapi::Op& op : uapi::kIommuOps) {
    if (op.request == uapi::kIommuIoasNoiommuGetPa) continue;  // depends on the configuration
    for (const uint32_t size : {0U, op.min_size - 1}) {
      uint32_t arg[32] = {size};
      EXPECT_EQ(Call(context, op.request, arg), -EINVAL) << op.name << " " << size;
    }
  }
}

TEST_P(KernelApiSuite, UnknownTailMustBeZero) {
  const UniqueFd context = NewContext();
  for (const uapi::Op& op : uapi::kIommuOps) {
    if (op.request == uapi::kIommuIoasNoiommuGetPa) continue;
    unsigned char arg[128] = {};
    const uint32_t size = op.struct_size + 8;
    std::memcpy(arg, &size, sizeof(size));
    arg[size - 1] = 1;
    EXPECT_EQ(Call(context, op.request, arg), -E2BIG) << op.name;
  }
  Tailed<uapi::IommuIoasAlloc> longer = {};
  longer.arg.size = sizeof(longer);
  EXPECT_EQ(Call(context, uapi::kIommuIoasAlloc, longer), 0);
  EXPECT_EQ(longer.arg.out_ioas_id, 1U);
}

TEST_P(KernelApiSuite, MissingFieldsAreZero) {
  const Vm vm = NewVm();
  // Up to out_viommu_id, as before data_len existed; what lies behind is not read.
  auto arg = ViommuArg(vm, nullptr);
  arg.type = uapi::kViommuTypeArmSmmuv3;
  arg.size = offsetof(uapi::IommuViommuAlloc, data_len);
  EXPECT_EQ(Call(vm.context, uapi::kIommuViommuAlloc, arg), 0);
  EXPECT_NE(arg.out_viommu_id, 0U);
  auto cut = Sized<uapi::IommuHwptAlloc>();
  cut.dev_id = vm.device;
  cut.pt_id = vm.ioas;
  cut.data_type = uapi::kHwptDataArmSmmuv3;
  cut.size = offsetof(uapi::IommuHwptAlloc, data_type);
  EXPECT_EQ(Call(vm.context, uapi::kIommuHwptAlloc, cut), 0);
}

TEST_P(KernelApiSuite, MissingStructIsEfault) {
  const UniqueFd context = NewContext();
  EXPECT_EQ(kernel().Ioctl(context.get(), uapi::kIommuIoasAlloc, nullptr), -EFAULT);
}

TEST_P(KernelApiSuite, IoasAllocTakesNoFlags) {
  const UniqueFd context = NewContext();
  auto arg = Sized<uapi::IommuIoasAlloc>();
  arg.flags = 1;
  EXPECT_EQ(Call(context, uapi::kIommuIoasAlloc, arg), -EOPNOTSUPP);
  EXPECT_EQ(NewIoas(context), 1U) << "a failed call takes no id";
}

TEST_P(KernelApiSuite, DestroyKnowsOnlyWhatExists) {
  const UniqueFd context = NewContext();
  EXPECT_EQ(Destroy(context, 0), -ENOENT);
  EXPECT_EQ(Destroy(context, 1), -ENOENT);
  EXPECT_EQ(Destroy(context, 0xffffffff), -ENOENT);
  const uint32_t ioas = NewIoas(context);
  EXPECT_EQ(Destroy(context, ioas), 0);
  EXPECT_EQ(Destroy(context, ioas), -ENOENT);
}

}  // namespace berth::conformance
