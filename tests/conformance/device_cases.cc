// SPDX-License-Identifier: Apache-2.0
//
// Devices: binding, attaching, what is known about their hardware. Linux
// drivers/vfio/{device_cdev,iommufd}.c, drivers/iommu/iommufd/device.c.
#include <cerrno>
#include <cstring>

#include "tests/conformance/kernel_api_suite.h"

namespace berth::conformance {

// device_cdev.c, vfio_df_ioctl_bind_iommufd(); iommufd/main.c, iommufd_ctx_from_fd().
TEST_P(KernelApiSuite, BindChecksInOrder) {
  BERTH_NEEDS(Need::kCdevs);
  const UniqueFd context = NewContext();
  const UniqueFd memory = NewMemory(page());
  const UniqueFd cdev = OpenCdev(device(0));
  auto valid = Tailed<uapi::VfioDeviceBindIommufd>{};
  valid.arg.argsz = sizeof(valid.arg);
  valid.arg.iommufd = context.get();
  using Arg = Tailed<uapi::VfioDeviceBindIommufd>;
  ExpectPrecedence<Arg>(
      cdev, uapi::kVfioDeviceBindIommufd, valid,
      {{"argsz below the minimum", [](Arg& a) { a.arg.argsz = 15; }, EINVAL},
       {"a tail that is not zero",
        [](Arg& a) {
          a.arg.argsz = sizeof(a);
          a.tail = 1;
        },
        E2BIG},
       {"negative iommufd", [](Arg& a) { a.arg.iommufd = -1; }, EINVAL},
       {"unknown flag", [](Arg& a) { a.arg.flags = 2; }, EINVAL},
       {"not an fd", [](Arg& a) { a.arg.iommufd = 1 << 20; }, EBADF},
       {"not an iommufd", [&](Arg& a) { a.arg.iommufd = memory.get(); }, EBADFD}});
  valid.arg.argsz = sizeof(valid);
  EXPECT_EQ(Call(cdev, uapi::kVfioDeviceBindIommufd, valid), 0) << "a zero tail is fine";
  EXPECT_EQ(valid.arg.out_devid, 1U);
  valid.arg.iommufd = 1 << 20;
  EXPECT_EQ(Call(cdev, uapi::kVfioDeviceBindIommufd, valid), -EINVAL)
      << "bound already, before the fd is looked at";
}

// vfio_main.c, vfio_df_open(): one open at a time for a cdev; iommufd/main.c,
// iommufd_object_remove().
TEST_P(KernelApiSuite, DeviceIsBoundOnce) {
  BERTH_NEEDS(Need::kCdevs);
  const UniqueFd a = NewContext();
  const UniqueFd b = NewContext();
  UniqueFd first = OpenCdev(device(0));
  EXPECT_EQ(Bind(first, a), 1U);
  const UniqueFd second = OpenCdev(device(0));
  auto arg = Sized<uapi::VfioDeviceBindIommufd>();
  for (const UniqueFd* context : {&a, &b}) {
    arg.iommufd = context->get();
    EXPECT_EQ(Call(second, uapi::kVfioDeviceBindIommufd, arg), -EINVAL);
  }
  EXPECT_EQ(Destroy(a, 1), -EBUSY) << "a device goes with its cdev only";
  first.Reset();
  EXPECT_EQ(Destroy(a, 1), -ENOENT);
  EXPECT_EQ(Call(second, uapi::kVfioDeviceBindIommufd, arg), 0);
  EXPECT_EQ(NewIoas(a), 1U) << "the id is free again";
}

// iommufd/device.c, iommufd_device_bind().
TEST_P(KernelApiSuite, DevicesOfOneContextHaveIdsOfTheirOwn) {
  BERTH_NEEDS(Need::kCdevs);
  const UniqueFd context = NewContext();
  const UniqueFd a = OpenCdev(device(0));
  const UniqueFd b = OpenCdev(device(1));
  EXPECT_EQ(Bind(a, context), 1U);
  EXPECT_EQ(Bind(b, context), 2U);
}

// vfio_main.c, vfio_device_fops_unl_ioctl(), vfio_device_fops_read(), vfio_device_fops_write():
// access_granted.
TEST_P(KernelApiSuite, BeforeBindEverythingElseIsEinval) {
  BERTH_NEEDS(Need::kCdevs);
  const UniqueFd cdev = OpenCdev(device(0));
  auto attach = Sized<uapi::VfioDeviceAttachIommufdPt>();
  attach.pt_id = 1;
  EXPECT_EQ(Call(cdev, uapi::kVfioDeviceAttachIommufdPt, attach), -EINVAL);
  auto detach = Sized<uapi::VfioDeviceDetachIommufdPt>();
  EXPECT_EQ(Call(cdev, uapi::kVfioDeviceDetachIommufdPt, detach), -EINVAL);
  auto info = Sized<uapi::VfioDeviceInfo>();
  EXPECT_EQ(Call(cdev, uapi::kVfioDeviceGetInfo, info), -EINVAL);
  EXPECT_EQ(kernel().Ioctl(cdev.get(), uapi::kVfioDeviceReset, nullptr), -EINVAL);
  // Whatever is wrong with them.
  for (const uapi::Request request : {uapi::kVfioDeviceGetRegionInfo, uapi::kVfioDeviceGetIrqInfo,
                                      uapi::kVfioDeviceSetIrqs, uapi::Request{0x3bff}}) {
    EXPECT_EQ(kernel().Ioctl(cdev.get(), request, nullptr), -EINVAL) << std::hex << request;
  }
  uint32_t value = 0;
  constexpr uint64_t kConfig = uint64_t{uapi::kVfioPciConfigRegion} << 40;
  EXPECT_EQ(kernel().ReadRegion(cdev.get(), &value, sizeof(value), kConfig), -EINVAL);
  EXPECT_EQ(kernel().WriteRegion(cdev.get(), &value, sizeof(value), kConfig), -EINVAL);
}

// device_cdev.c, vfio_df_ioctl_attach_pt(), vfio_df_ioctl_detach_pt(); vfio/iommufd.c,
// vfio_iommufd_physical_detach_ioas(): detaching nothing is fine.
TEST_P(KernelApiSuite, AttachChecksItsArguments) {
  BERTH_NEEDS(Need::kCdevs);
  const Vm vm = NewVm();
  auto arg = Sized<uapi::VfioDeviceAttachIommufdPt>();
  arg.pt_id = vm.parent;
  arg.argsz = 11;
  EXPECT_EQ(Call(vm.device.cdev, uapi::kVfioDeviceAttachIommufdPt, arg), -EINVAL);
  arg.argsz = sizeof(arg);
  arg.flags = 2;
  EXPECT_EQ(Call(vm.device.cdev, uapi::kVfioDeviceAttachIommufdPt, arg), -EINVAL);
  EXPECT_EQ(Detach(vm), 0) << "nothing attached";
  EXPECT_EQ(Attach(vm, vm.parent), 0);
  EXPECT_EQ(Detach(vm), 0);
  EXPECT_EQ(Detach(vm), 0);
}

// iommufd/device.c, iommufd_device_change_pt(), iommufd_device_do_replace(): the same again is
// fine.
TEST_P(KernelApiSuite, AttachChecksItsTarget) {
  const Vm vm = NewVm();
  EXPECT_EQ(Attach(vm, kStaleId), -ENOENT);
  EXPECT_EQ(Attach(vm, 0), -ENOENT);
  if (Has(Need::kViommus)) {
    EXPECT_EQ(Attach(vm, NewViommu(vm)), -EINVAL) << "not something to attach to";
  }
  EXPECT_EQ(Attach(vm, vm.device.id), -EINVAL);
  EXPECT_EQ(Attach(vm, vm.parent), 0);
  EXPECT_EQ(Attach(vm, vm.parent), 0) << "again";
  EXPECT_EQ(Detach(vm), 0);
}

// iommufd/device.c, iommufd_device_auto_get_domain(), iommufd_device_detach(): auto_domain.
TEST_P(KernelApiSuite, AttachedIoasGetsAnHwptOfItsOwn) {
  BERTH_NEEDS(Need::kViommus);
  const Vm vm = NewVm();
  uint32_t automatic = 0;
  ASSERT_EQ(Attach(vm, vm.ioas, &automatic), 0);
  EXPECT_EQ(automatic, vm.parent + 1) << "the lowest free id";
  EXPECT_EQ(Destroy(vm.context, automatic), -EBUSY);
  ViommuData data = {};
  auto viommu = ViommuArg(vm, &data);
  viommu.hwpt_id = automatic;
  EXPECT_EQ(Call(vm.context, uapi::kIommuViommuAlloc, viommu), -EINVAL) << "no nesting parent";
  EXPECT_EQ(Detach(vm), 0);
  EXPECT_EQ(Destroy(vm.context, automatic), -ENOENT) << "it went with its last device";
  EXPECT_EQ(NewIoas(vm.context), automatic);
}

// iommufd/device.c, iommufd_device_do_attach() takes a reference; iommufd/main.c,
// iommufd_object_remove().
TEST_P(KernelApiSuite, AttachedHwptIsEbusy) {
  const Vm vm = NewVm();
  ASSERT_EQ(Attach(vm, vm.parent), 0);
  EXPECT_EQ(Destroy(vm.context, vm.parent), -EBUSY);
  EXPECT_EQ(Detach(vm), 0);
  EXPECT_EQ(Destroy(vm.context, vm.parent), 0);
}

// vfio/iommufd.c, vfio_iommufd_physical_unbind(); iommufd/selftest.c, iommufd_selftest_destroy().
TEST_P(KernelApiSuite, ClosedCdevIsDetached) {
  Vm vm = NewVm();
  ASSERT_EQ(Attach(vm, vm.parent), 0);
  EXPECT_EQ(Close(vm), 0);
  EXPECT_EQ(Destroy(vm.context, vm.parent), 0);
  EXPECT_EQ(Destroy(vm.context, vm.ioas), 0);
}

// arm-smmu-v3-iommufd.c, arm_smmu_hw_info(); tegra241-cmdqv.c, tegra241_cmdqv_hw_info();
// iommufd/device.c, iommufd_get_hw_info(): the rest of the buffer is zeroed.
TEST_P(KernelApiSuite, HwInfoTellsSmmuAndCmdqv) {
  BERTH_NEEDS(Need::kCmdqv);
  const Vm vm = NewVm();
  const uapi::IommuHwInfoTegra241Cmdqv cmdqv = CmdqvInfo(vm);
  EXPECT_EQ(cmdqv.version, 1);
  EXPECT_GE(cmdqv.log2vcmdqs, 1);
  EXPECT_GE(cmdqv.log2vsids, 1);

  unsigned char buffer[64];
  std::memset(buffer, 0xff, sizeof(buffer));
  auto arg = Sized<uapi::IommuHwInfo>();
  arg.dev_id = vm.device.id;
  arg.data_len = sizeof(buffer);
  arg.data_uptr = reinterpret_cast<uint64_t>(buffer);
  arg.data_type = 99;  // not read without the flag
  ASSERT_EQ(Call(vm.context, uapi::kIommuGetHwInfo, arg), 0);
  EXPECT_EQ(arg.data_type, uapi::kHwInfoArmSmmuv3);
  EXPECT_EQ(arg.data_len, sizeof(uapi::IommuHwInfoArmSmmuv3));
  for (size_t i = arg.data_len; i < sizeof(buffer); ++i) EXPECT_EQ(buffer[i], 0) << i;
  uapi::IommuHwInfoArmSmmuv3 smmu;
  std::memcpy(&smmu, buffer, sizeof(smmu));
  EXPECT_EQ(uapi::kIdr0S2p.Get(smmu.idr[0]), 1U);
  EXPECT_GT(uapi::kIdr1Cmdqs.Get(smmu.idr[1]), 0U);

  arg.data_len = 0;
  arg.data_uptr = 0;
  EXPECT_EQ(Call(vm.context, uapi::kIommuGetHwInfo, arg), 0) << "just asking";
  EXPECT_EQ(arg.data_len, sizeof(uapi::IommuHwInfoArmSmmuv3));
}

// iommufd/device.c, iommufd_get_hw_info().
TEST_P(KernelApiSuite, HwInfoChecksInOrder) {
  const Vm vm = NewVm();
  unsigned char info[64] = {};
  using Arg = uapi::IommuHwInfo;
  auto valid = Sized<Arg>();
  valid.dev_id = vm.device.id;
  valid.data_len = sizeof(info);
  valid.data_uptr = reinterpret_cast<uint64_t>(info);
  const auto other_vendor = [](Arg& a) {
    a.flags |= uapi::kHwInfoInputType;
    a.data_type = 99;
  };
  ExpectPrecedence<Arg>(vm.context, uapi::kIommuGetHwInfo, valid,
                        {{"unknown flag", [](Arg& a) { a.flags |= 2; }, EOPNOTSUPP},
                         {"reserved", [](Arg& a) { a.reserved[2] = 1; }, EOPNOTSUPP},
                         {"no such device", [](Arg& a) { a.dev_id = kStaleId; }, ENOENT},
                         {"an IOAS", [&](Arg& a) { a.dev_id = vm.ioas; }, ENOENT},
                         {"another vendor's type", other_vendor, EOPNOTSUPP},
                         {"unwritable", [](Arg& a) { a.data_uptr = 8; }, EFAULT}});
  EXPECT_EQ(CallReadOnly(vm.context, uapi::kIommuGetHwInfo, valid), -EFAULT);
}

// iommufd/device.c, iommufd_get_hw_info(): data_len is what there is, not what was copied.
TEST_P(KernelApiSuite, HwInfoFillsAShortBuffer) {
  const Vm vm = NewVm();
  unsigned char whole[64] = {};
  auto arg = Sized<uapi::IommuHwInfo>();
  arg.dev_id = vm.device.id;
  arg.data_len = sizeof(whole);
  arg.data_uptr = reinterpret_cast<uint64_t>(whole);
  ASSERT_EQ(Call(vm.context, uapi::kIommuGetHwInfo, arg), 0);
  EXPECT_EQ(arg.data_type, types().hw_info);
  const uint32_t length = arg.data_len;
  ASSERT_GE(length, 8U);
  ASSERT_LE(length, sizeof(whole));
  unsigned char part[64];
  std::memset(part, 0xee, sizeof(part));
  arg.data_len = length - 4;
  arg.data_uptr = reinterpret_cast<uint64_t>(part);
  EXPECT_EQ(Call(vm.context, uapi::kIommuGetHwInfo, arg), 0);
  EXPECT_EQ(arg.data_len, length) << "how much there is";
  EXPECT_EQ(std::memcmp(part, whole, length - 4), 0);
  EXPECT_EQ(part[length - 4], 0xee) << "not written";
  arg.flags = uapi::kHwInfoInputType;
  arg.data_type = uapi::kHwInfoDefault;
  arg.data_len = 0;
  EXPECT_EQ(Call(vm.context, uapi::kIommuGetHwInfo, arg), 0);
  EXPECT_EQ(arg.data_type, types().hw_info) << "what the default is";
}

// device.c, iommufd_get_hw_info(): hw_info() of the driver: arm-smmu-v3-iommufd.c,
// arm_smmu_hw_info(); tegra241-cmdqv.c, tegra241_cmdqv_hw_info(); selftest.c,
// mock_domain_hw_info(); intel/iommu.c, intel_iommu_hw_info().
TEST_P(KernelApiSuite, HwInfoTypesAreTheDrivers) {
  const Vm vm = NewVm();
  auto arg = Sized<uapi::IommuHwInfo>();
  arg.dev_id = vm.device.id;
  arg.flags = uapi::kHwInfoInputType;
  for (const uint32_t type : {uapi::kHwInfoVtd, uapi::kHwInfoArmSmmuv3, uapi::kHwInfoTegra241Cmdqv,
                              uapi::kHwInfoAmd, uapi::kHwInfoSelftest}) {
    const bool known =
        type == types().hw_info || (type == uapi::kHwInfoTegra241Cmdqv && Has(Need::kCmdqv));
    auto ask = arg;
    ask.data_type = type;
    EXPECT_EQ(Call(vm.context, uapi::kIommuGetHwInfo, ask), known ? 0 : -EOPNOTSUPP) << type;
    ask.dev_id = kStaleId;
    EXPECT_EQ(Call(vm.context, uapi::kIommuGetHwInfo, ask), -ENOENT) << type;
  }
}

}  // namespace berth::conformance
