// SPDX-License-Identifier: Apache-2.0
//
// Contexts, ids, and how structs of other sizes are read. Linux drivers/iommu/iommufd/main.c.
#include <fcntl.h>

#include <cerrno>
#include <cstring>

#include "lib/iommufd/uapi/ops.h"
#include "tests/conformance/kernel_api_suite.h"

namespace berth::conformance {

// main.c, _iommufd_object_alloc(): xa_alloc() from 1.
TEST_P(KernelApiSuite, IdsAreTheLowestFree) {
  const UniqueFd context = NewContext();
  for (uint32_t id = 1; id <= 4; ++id) EXPECT_EQ(NewIoas(context), id);
  EXPECT_EQ(Destroy(context, 3), 0);
  EXPECT_EQ(Destroy(context, 2), 0);
  EXPECT_EQ(NewIoas(context), 2U);
  EXPECT_EQ(NewIoas(context), 3U);
  EXPECT_EQ(NewIoas(context), 5U);
}

// main.c, iommufd_fops_open(): each open file has an xarray of its own.
TEST_P(KernelApiSuite, ContextsHaveIdsOfTheirOwn) {
  const UniqueFd a = NewContext();
  const UniqueFd b = NewContext();
  EXPECT_EQ(NewIoas(a), 1U);
  EXPECT_EQ(NewIoas(b), 1U);
  EXPECT_EQ(NewIoas(b), 2U);
  EXPECT_EQ(Destroy(a, 2), -ENOENT);
}

// fs/open.c, do_sys_openat2(): O_CLOEXEC, which KernelApi opens with; a misc device (main.c,
// iommu_misc_dev) and a cdev (vfio/device_cdev.c, vfio_device_fops_cdev_open()) have no say in it.
TEST_P(KernelApiSuite, FdsAreClosedOnExec) {
  EXPECT_EQ(::fcntl(NewContext().get(), F_GETFD), FD_CLOEXEC);
  if (Has(Need::kCdevs)) {
    EXPECT_EQ(::fcntl(OpenCdev(device(0)).get(), F_GETFD), FD_CLOEXEC);
  }
}

// main.c, iommufd_fops_open(): the context is the file's, not the fd's.
TEST_P(KernelApiSuite, DupIsTheSameContext) {
  UniqueFd context = NewContext();
  const UniqueFd dup(::fcntl(context.get(), F_DUPFD_CLOEXEC, 0));
  EXPECT_EQ(NewIoas(context), 1U);
  context.Reset();
  EXPECT_EQ(NewIoas(dup), 2U);
  EXPECT_EQ(Destroy(dup, 1), 0);
}

// fs/namei.c, path_openat(): no such node. vfio/device_cdev.c, vfio_cdev_device_add(), makes one
// for each device.
TEST_P(KernelApiSuite, UnknownDeviceIsNotFound) {
  EXPECT_EQ(ReasonOf(kernel().OpenDevice("no-such-cdev").status()), Reason::kNotFound);
}

// main.c, iommufd_fops_ioctl(): its number alone, _IOC_NR(), finds the op, and the size is read
// before the rest of the request is looked at; vfio_compat.c, iommufd_vfio_ioctl(): ENOIOCTLCMD.
TEST_P(KernelApiSuite, UnknownRequestIsEnotty) {
  const UniqueFd context = NewContext();
  uint64_t arg[8] = {sizeof(arg)};
  for (const uapi::Request request : {0x3b96UL, 0x3bffUL, 0x1234UL}) {
    EXPECT_EQ(Call(context, request, arg), -ENOTTY) << std::hex << request;
  }
  constexpr uapi::Request kWithDirection = 0x40083b00 | (uapi::kIommuIoasAlloc & 0xff);
  EXPECT_EQ(Call(context, kWithDirection, arg), -ENOTTY);
  EXPECT_EQ(kernel().Ioctl(context.get(), kWithDirection, nullptr), -EFAULT);
}

// main.c, iommufd_fops_ioctl(): min_size of iommufd_ioctl_ops.
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

// main.c, iommufd_fops_ioctl(): copy_struct_from_user().
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

// main.c, iommufd_fops_ioctl(): copy_struct_from_user().
TEST_P(KernelApiSuite, MissingFieldsAreZero) {
  BERTH_NEEDS(Need::kViommus);
  const Vm vm = NewVm();
  // Up to out_viommu_id, as before data_len existed; what lies behind is not read.
  auto arg = ViommuArg(vm, nullptr);
  if (Has(Need::kPlainViommus)) arg.type = uapi::kViommuTypeArmSmmuv3;
  arg.size = offsetof(uapi::IommuViommuAlloc, data_len);
  EXPECT_EQ(Call(vm.context, uapi::kIommuViommuAlloc, arg), 0);
  EXPECT_NE(arg.out_viommu_id, 0U);
  auto cut = Sized<uapi::IommuHwptAlloc>();
  cut.dev_id = vm.device.id;
  cut.pt_id = vm.ioas;
  cut.data_type = types().nested;
  cut.size = offsetof(uapi::IommuHwptAlloc, data_type);
  EXPECT_EQ(Call(vm.context, uapi::kIommuHwptAlloc, cut), 0);
}

// main.c, iommufd_fops_ioctl(): get_user().
TEST_P(KernelApiSuite, MissingStructIsEfault) {
  const UniqueFd context = NewContext();
  EXPECT_EQ(kernel().Ioctl(context.get(), uapi::kIommuIoasAlloc, nullptr), -EFAULT);
}

// ioas.c, iommufd_ioas_alloc_ioctl().
TEST_P(KernelApiSuite, IoasAllocTakesNoFlags) {
  const UniqueFd context = NewContext();
  auto arg = Sized<uapi::IommuIoasAlloc>();
  arg.flags = 1;
  EXPECT_EQ(Call(context, uapi::kIommuIoasAlloc, arg), -EOPNOTSUPP);
  EXPECT_EQ(NewIoas(context), 1U) << "a failed call takes no id";
}

// main.c, iommufd_destroy(), iommufd_object_remove().
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
