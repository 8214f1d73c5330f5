// SPDX-License-Identifier: Apache-2.0
//
// Devices: binding, attaching, what is known about their hardware. Linux
// drivers/vfio/{device_cdev,iommufd}.c, drivers/iommu/iommufd/device.c.
#include <cerrno>
#include <cstring>

#include "tests/conformance/kernel_api_suite.h"

namespace berth::conformance {

TEST_P(KernelApiSuite, BindChecksInOrder) {
  const UniqueFd context = NewContext();
  const UniqueFd memory = NewMemory(kPage);
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

TEST_P(KernelApiSuite, DeviceIsBoundOnce) {
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

TEST_P(KernelApiSuite, DevicesOfOneContextHaveIdsOfTheirOwn) {
  const UniqueFd context = NewContext();
  const UniqueFd a = OpenCdev(device(0));
  const UniqueFd b = OpenCdev(device(1));
  EXPECT_EQ(Bind(a, context), 1U);
  EXPECT_EQ(Bind(b, context), 2U);
}

TEST_P(KernelApiSuite, BeforeBindEverythingElseIsEinval) {
  const UniqueFd cdev = OpenCdev(device(0));
  EXPECT_EQ(Attach(cdev, 1), -EINVAL);
  EXPECT_EQ(Detach(cdev), -EINVAL);
  auto info = Sized<uapi::VfioDeviceInfo>();
  EXPECT_EQ(Call(cdev, uapi::kVfioDeviceGetInfo, info), -EINVAL);
  EXPECT_EQ(kernel().Ioctl(cdev.get(), uapi::kVfioDeviceReset, nullptr), -EINVAL);
}

TEST_P(KernelApiSuite, AttachChecksItsTarget) {
  const Vm vm = NewVm();
  const uint32_t viommu = NewViommu(vm);
  auto arg = Sized<uapi::VfioDeviceAttachIommufdPt>();
  arg.pt_id = vm.parent;
  arg.argsz = 11;
  EXPECT_EQ(Call(vm.cdev, uapi::kVfioDeviceAttachIommufdPt, arg), -EINVAL);
  arg.argsz = sizeof(arg);
  arg.flags = 2;
  EXPECT_EQ(Call(vm.cdev, uapi::kVfioDeviceAttachIommufdPt, arg), -EINVAL);
  EXPECT_EQ(Attach(vm.cdev, kStaleId), -ENOENT);
  EXPECT_EQ(Attach(vm.cdev, 0), -ENOENT);
  EXPECT_EQ(Attach(vm.cdev, viommu), -EINVAL) << "not something to attach to";
  EXPECT_EQ(Attach(vm.cdev, vm.device), -EINVAL);
  EXPECT_EQ(Attach(vm.cdev, vm.parent), 0);
  EXPECT_EQ(Attach(vm.cdev, vm.parent), 0) << "again";
  EXPECT_EQ(Detach(vm.cdev), 0);
  EXPECT_EQ(Detach(vm.cdev), 0) << "nothing attached";
}

TEST_P(KernelApiSuite, AttachedIoasGetsAnHwptOfItsOwn) {
  const Vm vm = NewVm();
  auto arg = Sized<uapi::VfioDeviceAttachIommufdPt>();
  arg.pt_id = vm.ioas;
  ASSERT_EQ(Call(vm.cdev, uapi::kVfioDeviceAttachIommufdPt, arg), 0);
  const uint32_t automatic = arg.pt_id;
  EXPECT_EQ(automatic, vm.parent + 1) << "the lowest free id";
  EXPECT_EQ(Destroy(vm.context, automatic), -EBUSY);
  uapi::IommuViommuTegra241Cmdqv page0 = {};
  auto viommu = ViommuArg(vm, &page0);
  viommu.hwpt_id = automatic;
  EXPECT_EQ(Call(vm.context, uapi::kIommuViommuAlloc, viommu), -EINVAL) << "no nesting parent";
  EXPECT_EQ(Detach(vm.cdev), 0);
  EXPECT_EQ(Destroy(vm.context, automatic), -ENOENT) << "it went with its last device";
  EXPECT_EQ(NewIoas(vm.context), automatic);
}

TEST_P(KernelApiSuite, AttachedHwptIsEbusy) {
  const Vm vm = NewVm();
  ASSERT_EQ(Attach(vm.cdev, vm.parent), 0);
  EXPECT_EQ(Destroy(vm.context, vm.parent), -EBUSY);
  EXPECT_EQ(Detach(vm.cdev), 0);
  EXPECT_EQ(Destroy(vm.context, vm.parent), 0);
}

TEST_P(KernelApiSuite, ClosedCdevIsDetached) {
  Vm vm = NewVm();
  ASSERT_EQ(Attach(vm.cdev, vm.parent), 0);
  vm.cdev.Reset();
  EXPECT_EQ(Destroy(vm.context, vm.parent), 0);
  EXPECT_EQ(Destroy(vm.context, vm.ioas), 0);
}

TEST_P(KernelApiSuite, HwInfoTellsSmmuAndCmdqv) {
  const Vm vm = NewVm();
  const uapi::IommuHwInfoTegra241Cmdqv cmdqv = CmdqvInfo(vm);
  EXPECT_EQ(cmdqv.version, 1);
  EXPECT_GE(cmdqv.log2vcmdqs, 1);
  EXPECT_GE(cmdqv.log2vsids, 1);

  unsigned char buffer[64];
  std::memset(buffer, 0xff, sizeof(buffer));
  auto arg = Sized<uapi::IommuHwInfo>();
  arg.dev_id = vm.device;
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

// device.c, iommufd_get_hw_info().
TEST_P(KernelApiSuite, HwInfoChecksInOrder) {
  const Vm vm = NewVm();
  uapi::IommuHwInfoArmSmmuv3 info = {};
  using Arg = uapi::IommuHwInfo;
  auto valid = Sized<Arg>();
  valid.dev_id = vm.device;
  valid.data_len = sizeof(info);
  valid.data_uptr = reinterpret_cast<uint64_t>(&info);
  const auto other_vendor = [](Arg& a) {
    a.flags |= uapi::kHwInfoInputType;
    a.data_type = uapi::kHwInfoVtd;
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

TEST_P(KernelApiSuite, HwInfoFillsAShortBuffer) {
  const Vm vm = NewVm();
  const uapi::IommuHwInfoArmSmmuv3 whole = SmmuInfo(vm);
  unsigned char part[16];
  std::memset(part, 0xee, sizeof(part));
  auto arg = Sized<uapi::IommuHwInfo>();
  arg.dev_id = vm.device;
  arg.data_len = 12;
  arg.data_uptr = reinterpret_cast<uint64_t>(part);
  EXPECT_EQ(Call(vm.context, uapi::kIommuGetHwInfo, arg), 0);
  EXPECT_EQ(arg.data_len, sizeof(whole)) << "how much there is";
  EXPECT_EQ(std::memcmp(part, &whole, 12), 0);
  EXPECT_EQ(part[12], 0xee) << "not written";
  arg.flags = uapi::kHwInfoInputType;
  arg.data_type = uapi::kHwInfoDefault;
  arg.data_len = 0;
  EXPECT_EQ(Call(vm.context, uapi::kIommuGetHwInfo, arg), 0);
  EXPECT_EQ(arg.data_type, uapi::kHwInfoArmSmmuv3) << "what the default is";
}

}  // namespace berth::conformance
