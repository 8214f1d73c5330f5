// SPDX-License-Identifier: Apache-2.0
#include "tests/oracle/mock_oddities.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

#include "lib/iommufd/uapi/iommufd.h"
#include "lib/iommufd/uapi/iommufd_test.h"

namespace berth::oracle {
namespace {

// IOMMU_HWPT_INVALIDATE_ENTRY_NUM_MAX (Linux drivers/iommu/iommufd/hw_pagetable.c).
constexpr uint64_t kMostEntries = uint64_t{1} << 19;

}  // namespace

bool MockOddities::HasQueue(Id viommu, uint64_t index) const {
  return std::ranges::any_of(queues_, [&](const auto& entry) {
    return entry.first.first == viommu.first && entry.second.viommu == viommu.second &&
           entry.second.index == index;
  });
}

// mock_hw_queue_init_phys() never stores the index in the queue, so that mock_hw_queue_destroy()
// always gives index 0 back.
const char* MockOddities::LookAtQueue(const Step& step) {
  const uint64_t context = step.args.Unsigned("ctx");
  const uint64_t viommu = step.args.Unsigned("viommu_id");
  const uint64_t index = step.args.Unsigned("index");
  const bool exists = HasQueue({context, viommu}, index);
  if (step.rc == -EEXIST && !exists) return "a HW queue index stays taken after its queue";
  if (step.rc != 0) return nullptr;
  queues_[{context, step.out.Unsigned("out_hw_queue_id")}] = {viommu, index};
  return exists ? "HW queue index 0 is allocated twice" : nullptr;
}

// mock_domain_cache_invalidate_user() takes one entry after the other, where drivers of hardware
// copy all first (include/linux/iommu.h, iommu_copy_struct_from_full_user_array()): that accepts
// short entries, and has done nothing when one cannot be read.
const char* MockOddities::LookAtInvalidation(const Step& step) const {
  if (!nested_.contains({step.args.Unsigned("ctx"), step.args.Unsigned("hwpt_id")}) ||
      step.args.Unsigned("data_type") != uapi::kHwptInvalidateSelftest) {
    return nullptr;
  }
  const uint64_t length = step.args.Unsigned("entry_len");
  const uint64_t count = step.args.Unsigned("entry_num");
  // What the core refuses before the driver is asked is no oddity.
  const bool refuses_short = step.rc == -EINVAL && length > 0 &&
                             length < sizeof(uapi::IommuHwptInvalidateSelftest) && count > 0 &&
                             count <= kMostEntries && step.args.Unsigned("ptr") != 0;
  const bool stops_between =
      (step.rc == -EFAULT || step.rc == -E2BIG) && step.out.Unsigned("entry_num") > 0;
  return refuses_short || stops_between ? "a nested HWPT is invalidated item by item" : nullptr;
}

const char* MockOddities::LookAtEvents(const Step& step) const {
  const auto queue = event_queues_.find(step.args.Unsigned("ev"));
  if (step.rc <= 0 || queue == event_queues_.end()) return nullptr;
  const auto stale = stale_virt_ids_.find(queue->second);
  if (stale == stale_virt_ids_.end()) return nullptr;
  const std::vector<std::byte> bytes = step.out.Bytes("data");
  uapi::IommufdVeventHeader header;
  for (size_t at = 0; at + sizeof(header) <= bytes.size();) {
    std::memcpy(&header, &bytes[at], sizeof(header));
    at += sizeof(header);
    uapi::IommuVeventSelftest event;
    if ((header.flags & uapi::kVeventLostEvents) != 0) continue;
    if (at + sizeof(event) > bytes.size()) break;
    std::memcpy(&event, &bytes[at], sizeof(event));
    at += sizeof(event);
    if (stale->second.contains(event.virt_id)) {
      return "an event has the virt_id of before the re-attach";
    }
  }
  return nullptr;
}

std::optional<uint64_t> MockOddities::VirtIdOf(Id device, uint64_t viommu) const {
  for (const auto& [id, vdevice] : vdevices_) {
    if (id.first == device.first && vdevice.viommu == viommu && vdevice.device == device.second) {
      return vdevice.virt_id;
    }
  }
  return std::nullopt;
}

// mock_domain_nop_attach() does nothing when the vIOMMU is the one of before.
void MockOddities::FollowAttach(const Step& step, uint64_t context) {
  const uint64_t stdev = step.args.Unsigned("stdev_id");
  for (auto& [id, device] : devices_) {
    if (id.first != context || device.stdev != stdev) continue;
    const auto nested = nested_.find({context, step.out.Unsigned("pt_id")});
    if (nested == nested_.end()) {
      device.events.reset();
    } else if (!device.events || device.events->viommu != nested->second) {
      device.events = EventsOf{nested->second, VirtIdOf(id, nested->second)};
    }
  }
}

void MockOddities::FollowTrigger(Id device) {
  const auto found = devices_.find(device);
  if (found == devices_.end() || !found->second.events) return;
  const EventsOf& events = *found->second.events;
  if (!events.virt_id || events.virt_id == VirtIdOf(device, events.viommu)) return;
  stale_virt_ids_[{device.first, events.viommu}].insert(static_cast<uint32_t>(*events.virt_id));
}

void MockOddities::FollowDestroy(Id id) {
  queues_.erase(id);
  ioas_.erase(id);
  nested_.erase(id);
  vdevices_.erase(id);
  stale_virt_ids_.erase(id);
  // Of a mock device: its vDEVICE goes with it.
  const auto device = std::ranges::find_if(devices_, [&](const auto& entry) {
    return entry.first.first == id.first && entry.second.stdev == id.second;
  });
  if (device == devices_.end()) return;
  std::erase_if(vdevices_, [&](const auto& entry) {
    return entry.first.first == id.first && entry.second.device == device->first.second;
  });
  devices_.erase(device);
}

void MockOddities::FollowClose(uint64_t context) {
  const auto of_context = [&](const auto& entry) { return entry.first.first == context; };
  std::erase_if(queues_, of_context);
  std::erase_if(ioas_, [&](const Id& id) { return id.first == context; });
  std::erase_if(nested_, of_context);
  std::erase_if(devices_, of_context);
  std::erase_if(vdevices_, of_context);
  std::erase_if(stale_virt_ids_, of_context);
  std::erase_if(event_queues_, [&](const auto& entry) { return entry.second.first == context; });
}

void MockOddities::FollowAlloc(const Step& step, uint64_t context) {
  const auto out = [&](const char* name) { return Id{context, step.out.Unsigned(name)}; };
  if (step.op == "IOAS_ALLOC") {
    ioas_.insert(out("out_ioas_id"));
  } else if (step.op == "HWPT_ALLOC") {
    const uint64_t parent = step.args.Unsigned("pt_id");
    if (!ioas_.contains({context, parent})) nested_[out("out_hwpt_id")] = parent;
  } else if (step.op == "VDEVICE_ALLOC") {
    vdevices_[out("out_vdevice_id")] = {step.args.Unsigned("viommu_id"),
                                        step.args.Unsigned("dev_id"),
                                        step.args.Unsigned("virt_id")};
  } else if (step.op == "VEVENTQ_ALLOC") {
    event_queues_[step.out.Unsigned("ev")] = {context, step.args.Unsigned("viommu_id")};
  } else if (step.op == "TEST_MOCK_DOMAIN") {
    devices_[out("out_idev_id")] = {step.out.Unsigned("out_stdev_id"), std::nullopt};
  }
}

const char* MockOddities::Look(const Step& step) {
  if (step.op == "HW_QUEUE_ALLOC") return LookAtQueue(step);
  if (step.op == "HWPT_INVALIDATE") return LookAtInvalidation(step);
  if (step.op == "READ_EVENT") return LookAtEvents(step);
  if (step.op == "CLOSE_EVENT") event_queues_.erase(step.args.Unsigned("ev"));
  if (step.rc != 0) return nullptr;
  const uint64_t context = step.args.Unsigned("ctx");
  const uint64_t length = step.args.Unsigned("data_len");
  if (step.op == "VIOMMU_ALLOC" && length != 0 && length != sizeof(uapi::IommuViommuSelftest)) {
    return "vIOMMU data of another length than the struct's";
  }
  if (step.op == "DESTROY") {
    FollowDestroy({context, step.args.Unsigned("id")});
  } else if (step.op == "CLOSE_IOMMUFD") {
    FollowClose(context);
  } else if (step.op == "TEST_MOCK_DOMAIN_REPLACE") {
    FollowAttach(step, context);
  } else if (step.op == "TEST_TRIGGER_VEVENT") {
    FollowTrigger({context, step.args.Unsigned("dev_id")});
  } else {
    FollowAlloc(step, context);
  }
  return nullptr;
}

}  // namespace berth::oracle
