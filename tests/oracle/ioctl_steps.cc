// SPDX-License-Identifier: Apache-2.0
#include "tests/oracle/ioctl_steps.h"

#include <map>

#include "lib/iommufd/uapi/iommufd_test.h"
#include "lib/iommufd/uapi/vfio.h"

// The member of a uapi struct whose name in a recording may differ from ours.
#define BERTH_FIELD_AS(name, type, member) \
  { name, offsetof(uapi::type, member), sizeof(uapi::type::member) }
#define BERTH_FIELD(type, member) BERTH_FIELD_AS(#member, type, member)

namespace berth::oracle {
namespace {

std::vector<IoctlStep> IoasSteps() {
  return {
      {"IOAS_ALLOC",
       uapi::kIommuIoasAlloc,
       sizeof(uapi::IommuIoasAlloc),
       false,
       "size",
       {BERTH_FIELD(IommuIoasAlloc, flags)},
       {BERTH_FIELD(IommuIoasAlloc, out_ioas_id)}},
      {"DESTROY",
       uapi::kIommuDestroy,
       sizeof(uapi::IommuDestroy),
       false,
       "size",
       {BERTH_FIELD(IommuDestroy, id)},
       {}},
      {"IOAS_COPY",
       uapi::kIommuIoasCopy,
       sizeof(uapi::IommuIoasCopy),
       false,
       "size",
       {BERTH_FIELD(IommuIoasCopy, flags), BERTH_FIELD(IommuIoasCopy, dst_ioas_id),
        BERTH_FIELD(IommuIoasCopy, src_ioas_id), BERTH_FIELD(IommuIoasCopy, length),
        BERTH_FIELD(IommuIoasCopy, dst_iova), BERTH_FIELD(IommuIoasCopy, src_iova)},
       {BERTH_FIELD(IommuIoasCopy, dst_iova)}},
      {"IOAS_MAP_FILE",
       uapi::kIommuIoasMapFile,
       sizeof(uapi::IommuIoasMapFile),
       false,
       "size",
       {BERTH_FIELD(IommuIoasMapFile, flags), BERTH_FIELD(IommuIoasMapFile, ioas_id),
        BERTH_FIELD_AS("memfd", IommuIoasMapFile, fd), BERTH_FIELD(IommuIoasMapFile, start),
        BERTH_FIELD(IommuIoasMapFile, length), BERTH_FIELD(IommuIoasMapFile, iova)},
       {BERTH_FIELD(IommuIoasMapFile, iova)}},
      {"IOAS_UNMAP",
       uapi::kIommuIoasUnmap,
       sizeof(uapi::IommuIoasUnmap),
       false,
       "size",
       {BERTH_FIELD(IommuIoasUnmap, ioas_id), BERTH_FIELD(IommuIoasUnmap, iova),
        BERTH_FIELD(IommuIoasUnmap, length)},
       {BERTH_FIELD(IommuIoasUnmap, length)}},
  };
}

std::vector<IoctlStep> IovaSteps() {
  return {
      {"IOAS_IOVA_RANGES",
       uapi::kIommuIoasIovaRanges,
       sizeof(uapi::IommuIoasIovaRanges),
       false,
       "size",
       {BERTH_FIELD(IommuIoasIovaRanges, ioas_id), BERTH_FIELD(IommuIoasIovaRanges, num_iovas),
        BERTH_FIELD(IommuIoasIovaRanges, reserved)},
       {BERTH_FIELD(IommuIoasIovaRanges, num_iovas),
        BERTH_FIELD(IommuIoasIovaRanges, out_iova_alignment)},
       offsetof(uapi::IommuIoasIovaRanges, allowed_iovas),
       "ranges",
       "num_iovas",
       sizeof(uapi::IommuIovaRange)},
      {"IOAS_ALLOW_IOVAS",
       uapi::kIommuIoasAllowIovas,
       sizeof(uapi::IommuIoasAllowIovas),
       false,
       "size",
       {BERTH_FIELD(IommuIoasAllowIovas, ioas_id), BERTH_FIELD(IommuIoasAllowIovas, num_iovas),
        BERTH_FIELD(IommuIoasAllowIovas, reserved)},
       {},
       offsetof(uapi::IommuIoasAllowIovas, allowed_iovas),
       "ranges"},
      {"IOAS_CHANGE_PROCESS",
       uapi::kIommuIoasChangeProcess,
       sizeof(uapi::IommuIoasChangeProcess),
       false,
       "size",
       {BERTH_FIELD(IommuIoasChangeProcess, reserved)},
       {}},
      {"OPTION",
       uapi::kIommuOption,
       sizeof(uapi::IommuOption),
       false,
       "size",
       {BERTH_FIELD(IommuOption, option_id), BERTH_FIELD_AS("opc", IommuOption, op),
        BERTH_FIELD(IommuOption, reserved), BERTH_FIELD(IommuOption, object_id),
        BERTH_FIELD(IommuOption, val64)},
       {BERTH_FIELD(IommuOption, val64)}},
  };
}

std::vector<IoctlStep> HwptSteps() {
  return {
      {"HWPT_ALLOC",
       uapi::kIommuHwptAlloc,
       sizeof(uapi::IommuHwptAlloc),
       false,
       "size",
       {BERTH_FIELD(IommuHwptAlloc, flags), BERTH_FIELD(IommuHwptAlloc, dev_id),
        BERTH_FIELD(IommuHwptAlloc, pt_id), BERTH_FIELD(IommuHwptAlloc, reserved),
        BERTH_FIELD(IommuHwptAlloc, data_type), BERTH_FIELD(IommuHwptAlloc, data_len),
        BERTH_FIELD(IommuHwptAlloc, fault_id), BERTH_FIELD(IommuHwptAlloc, reserved2)},
       {BERTH_FIELD(IommuHwptAlloc, out_hwpt_id)},
       offsetof(uapi::IommuHwptAlloc, data_uptr)},
      {"HWPT_INVALIDATE",
       uapi::kIommuHwptInvalidate,
       sizeof(uapi::IommuHwptInvalidate),
       false,
       "size",
       {BERTH_FIELD(IommuHwptInvalidate, hwpt_id), BERTH_FIELD(IommuHwptInvalidate, data_type),
        BERTH_FIELD(IommuHwptInvalidate, entry_len), BERTH_FIELD(IommuHwptInvalidate, entry_num),
        BERTH_FIELD(IommuHwptInvalidate, reserved)},
       {BERTH_FIELD(IommuHwptInvalidate, entry_num)},
       offsetof(uapi::IommuHwptInvalidate, data_uptr)},
      {"GET_HW_INFO",
       uapi::kIommuGetHwInfo,
       sizeof(uapi::IommuHwInfo),
       false,
       "size",
       {BERTH_FIELD(IommuHwInfo, flags), BERTH_FIELD(IommuHwInfo, dev_id),
        BERTH_FIELD(IommuHwInfo, data_len), BERTH_FIELD_AS("in_data_type", IommuHwInfo, data_type)},
       {BERTH_FIELD(IommuHwInfo, data_len), BERTH_FIELD_AS("out_data_type", IommuHwInfo, data_type),
        BERTH_FIELD(IommuHwInfo, out_max_pasid_log2), BERTH_FIELD(IommuHwInfo, out_capabilities)},
       offsetof(uapi::IommuHwInfo, data_uptr),
       "",
       "data_len",
       1},
      {"HWPT_SET_DIRTY_TRACKING",
       uapi::kIommuHwptSetDirtyTracking,
       sizeof(uapi::IommuHwptSetDirtyTracking),
       false,
       "size",
       {BERTH_FIELD(IommuHwptSetDirtyTracking, flags),
        BERTH_FIELD(IommuHwptSetDirtyTracking, hwpt_id),
        BERTH_FIELD(IommuHwptSetDirtyTracking, reserved)},
       {}},
      {"FAULT_QUEUE_ALLOC",
       uapi::kIommuFaultQueueAlloc,
       sizeof(uapi::IommuFaultAlloc),
       false,
       "size",
       {BERTH_FIELD(IommuFaultAlloc, flags)},
       {BERTH_FIELD(IommuFaultAlloc, out_fault_id)},
       0,
       "",
       nullptr,
       0,
       offsetof(uapi::IommuFaultAlloc, out_fault_fd)},
  };
}

std::vector<IoctlStep> ViommuSteps() {
  return {
      {"VIOMMU_ALLOC",
       uapi::kIommuViommuAlloc,
       sizeof(uapi::IommuViommuAlloc),
       false,
       "size",
       {BERTH_FIELD(IommuViommuAlloc, flags), BERTH_FIELD(IommuViommuAlloc, type),
        BERTH_FIELD(IommuViommuAlloc, dev_id), BERTH_FIELD(IommuViommuAlloc, hwpt_id),
        BERTH_FIELD(IommuViommuAlloc, data_len), BERTH_FIELD(IommuViommuAlloc, reserved)},
       {BERTH_FIELD(IommuViommuAlloc, out_viommu_id)},
       offsetof(uapi::IommuViommuAlloc, data_uptr),
       "data",
       "data_len",
       1},
      {"VDEVICE_ALLOC",
       uapi::kIommuVdeviceAlloc,
       sizeof(uapi::IommuVdeviceAlloc),
       false,
       "size",
       {BERTH_FIELD(IommuVdeviceAlloc, viommu_id), BERTH_FIELD(IommuVdeviceAlloc, dev_id),
        BERTH_FIELD(IommuVdeviceAlloc, virt_id)},
       {BERTH_FIELD(IommuVdeviceAlloc, out_vdevice_id)}},
      {"VEVENTQ_ALLOC",
       uapi::kIommuVeventqAlloc,
       sizeof(uapi::IommuVeventqAlloc),
       false,
       "size",
       {BERTH_FIELD(IommuVeventqAlloc, flags), BERTH_FIELD(IommuVeventqAlloc, viommu_id),
        BERTH_FIELD(IommuVeventqAlloc, type),
        BERTH_FIELD_AS("depth", IommuVeventqAlloc, veventq_depth),
        BERTH_FIELD(IommuVeventqAlloc, reserved)},
       {BERTH_FIELD(IommuVeventqAlloc, out_veventq_id)},
       0,
       "",
       nullptr,
       0,
       offsetof(uapi::IommuVeventqAlloc, out_veventq_fd)},
      {"HW_QUEUE_ALLOC",
       uapi::kIommuHwQueueAlloc,
       sizeof(uapi::IommuHwQueueAlloc),
       false,
       "size",
       {BERTH_FIELD(IommuHwQueueAlloc, flags), BERTH_FIELD(IommuHwQueueAlloc, viommu_id),
        BERTH_FIELD(IommuHwQueueAlloc, type), BERTH_FIELD(IommuHwQueueAlloc, index),
        BERTH_FIELD(IommuHwQueueAlloc, nesting_parent_iova),
        BERTH_FIELD(IommuHwQueueAlloc, length)},
       {BERTH_FIELD(IommuHwQueueAlloc, out_hw_queue_id)}},
  };
}

std::vector<IoctlStep> CdevSteps() {
  return {
      {"BIND_IOMMUFD",
       uapi::kVfioDeviceBindIommufd,
       sizeof(uapi::VfioDeviceBindIommufd),
       true,
       "size",
       {BERTH_FIELD(VfioDeviceBindIommufd, flags),
        BERTH_FIELD_AS("ctx", VfioDeviceBindIommufd, iommufd)},
       {BERTH_FIELD(VfioDeviceBindIommufd, out_devid)},
       offsetof(uapi::VfioDeviceBindIommufd, token_uuid_ptr)},
      {"ATTACH_PT",
       uapi::kVfioDeviceAttachIommufdPt,
       sizeof(uapi::VfioDeviceAttachIommufdPt),
       true,
       "argsz",
       {BERTH_FIELD(VfioDeviceAttachIommufdPt, flags),
        BERTH_FIELD(VfioDeviceAttachIommufdPt, pt_id),
        BERTH_FIELD(VfioDeviceAttachIommufdPt, pasid)},
       {BERTH_FIELD(VfioDeviceAttachIommufdPt, pt_id)}},
      {"DETACH_PT",
       uapi::kVfioDeviceDetachIommufdPt,
       sizeof(uapi::VfioDeviceDetachIommufdPt),
       true,
       "argsz",
       {BERTH_FIELD(VfioDeviceDetachIommufdPt, flags),
        BERTH_FIELD(VfioDeviceDetachIommufdPt, pasid)},
       {}},
  };
}

// Of level A.
std::vector<IoctlStep> TestSteps() {
  const Field op = BERTH_FIELD(IommuTestCmd, op);
  const size_t mock = offsetof(uapi::IommuTestCmd, mock_domain);
  return {
      {"TEST_MOCK_DOMAIN",
       uapi::kIommuTestCmd,
       sizeof(uapi::IommuTestCmd),
       false,
       "size",
       {BERTH_FIELD_AS("pt_id", IommuTestCmd, id)},
       {{"out_stdev_id", mock, 4}, {"out_hwpt_id", mock + 4, 4}, {"out_idev_id", mock + 8, 4}},
       0,
       "",
       nullptr,
       0,
       0,
       {{op, uapi::kTestOpMockDomain}}},
      {"TEST_MOCK_DOMAIN_REPLACE",
       uapi::kIommuTestCmd,
       sizeof(uapi::IommuTestCmd),
       false,
       "size",
       {BERTH_FIELD_AS("stdev_id", IommuTestCmd, id), BERTH_FIELD(IommuTestCmd, pt_id)},
       {BERTH_FIELD(IommuTestCmd, pt_id)},
       0,
       "",
       nullptr,
       0,
       0,
       {{op, uapi::kTestOpMockDomainReplace}}},
      {"TEST_TRIGGER_VEVENT",
       uapi::kIommuTestCmd,
       sizeof(uapi::IommuTestCmd),
       false,
       "size",
       {BERTH_FIELD(IommuTestCmd, dev_id)},
       {},
       0,
       "",
       nullptr,
       0,
       0,
       {{op, uapi::kTestOpTriggerVevent}}},
  };
}

}  // namespace

const IoctlStep* FindIoctlStep(const std::string& op) {
  static const auto* const kSteps = [] {
    auto* steps = new std::map<std::string, IoctlStep>();
    for (auto* family : {IoasSteps, IovaSteps, HwptSteps, ViommuSteps, CdevSteps, TestSteps}) {
      for (IoctlStep& step : family()) steps->emplace(step.op, std::move(step));
    }
    return steps;
  }();
  const auto found = kSteps->find(op);
  return found != kSteps->end() ? &found->second : nullptr;
}

}  // namespace berth::oracle
