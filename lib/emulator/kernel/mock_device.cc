// SPDX-License-Identifier: Apache-2.0
//
// Mock devices, and IOMMU_TEST_CMD: Linux drivers/iommu/iommufd/selftest.c, iommufd_test().
#include <cerrno>

#include "lib/emulator/kernel/mock.h"

namespace berth::emulator {
namespace {

// A mock device is bound and attached at once; each is an IOMMU group of its own.
int MockDomain(Ucmd& ucmd, uapi::IommuTestCmd& cmd) {
  Context& context = ucmd.context;
  NewObject<MockDevice> mock(&context);
  if (mock.error() != 0) return mock.error();
  mock->context = &context;
  mock->function.unit = context.machine().FindMock();
  mock->function.group = &mock->group;
  mock->group.functions.push_back(&mock->function);
  mock->function.mock_cache.fill(uapi::kMockCacheDefault);
  NewObject<DeviceObject> device(&context);
  if (device.error() != 0) return device.error();
  device->Own(&context, &mock->function);
  ++device->users;  // the mock device's own
  mock->device = device.Install();
  uint32_t pt_id = cmd.id;
  if (int rc = AttachDevice(mock->device, &pt_id); rc != 0) return rc;
  mock->attached = true;
  cmd.mock_domain = {mock->id, pt_id, mock->device->id};
  if (int rc = ucmd.user.Respond(); rc != 0) return rc;
  mock.Install();
  return 0;
}

int MockDomainReplace(Ucmd& ucmd, uapi::IommuTestCmd& cmd) {
  const MockDevice* mock = ucmd.context.Find<MockDevice>(cmd.id);
  if (mock == nullptr) return -ENOENT;
  if (int rc = ReplaceDevice(mock->device, &cmd.pt_id); rc != 0) return rc;
  return ucmd.user.Respond();
}

int CheckIotlb(Ucmd& ucmd, const uapi::IommuTestCmd& cmd) {
  const HwptNested* hwpt = ucmd.context.Find<HwptNested>(cmd.id);
  if (hwpt == nullptr) return -ENOENT;
  if (cmd.check_iotlb.id >= uapi::kMockIotlbEntries) return -EINVAL;
  return hwpt->mock_iotlb[cmd.check_iotlb.id] == cmd.check_iotlb.value ? 0 : -EINVAL;
}

int CheckCache(Ucmd& ucmd, const uapi::IommuTestCmd& cmd) {
  const DeviceObject* device = ucmd.context.Find<DeviceObject>(cmd.id);
  if (device == nullptr) return -ENOENT;
  if (cmd.check_dev_cache.id >= uapi::kMockCacheEntries) return -EINVAL;
  const uint32_t value = device->function->mock_cache[cmd.check_dev_cache.id];
  return value == cmd.check_dev_cache.value ? 0 : -EINVAL;
}

int TriggerVevent(Ucmd& ucmd, const uapi::IommuTestCmd& cmd) {
  const DeviceObject* device = ucmd.context.Find<DeviceObject>(cmd.dev_id);
  if (device == nullptr) return -ENOENT;
  const Function& function = *device->function;
  if (function.event_viommu == nullptr || function.event_vsid == 0) return -ENOENT;
  const auto& queues = function.event_viommu->veventqs;
  const auto queue = queues.find(uapi::kVeventqTypeSelftest);
  if (queue == queues.end()) return -EOPNOTSUPP;
  const uapi::IommuVeventSelftest event = {static_cast<uint32_t>(function.event_vsid)};
  queue->second->Report(&event, sizeof(event));
  return 0;
}

}  // namespace

MockDevice::~MockDevice() {
  if (device == nullptr) return;
  if (attached) DetachDevice(device);
  if (device->vdevice != nullptr) context->DestroyToTombstone(device->vdevice->id);
  --device->users;
  context->Remove(device);
  context->groups.erase(&group);
}

int TestCmd(Ucmd& ucmd) {
  auto& cmd = ucmd.As<uapi::IommuTestCmd>();
  switch (cmd.op) {
    case uapi::kTestOpMockDomain:
      return MockDomain(ucmd, cmd);
    case uapi::kTestOpMockDomainReplace:
      return MockDomainReplace(ucmd, cmd);
    case uapi::kTestOpMdCheckIotlb:
      return CheckIotlb(ucmd, cmd);
    case uapi::kTestOpDevCheckCache:
      return CheckCache(ucmd, cmd);
    case uapi::kTestOpTriggerVevent:
      return TriggerVevent(ucmd, cmd);
    default:
      return -EOPNOTSUPP;
  }
}

}  // namespace berth::emulator
