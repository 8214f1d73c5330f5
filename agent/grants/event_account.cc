// SPDX-License-Identifier: Apache-2.0
#include "agent/grants/event_account.h"

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "lib/iommufd/uapi/smmuv3.h"

namespace berth {
namespace {

// Those that Linux passes on to guests (drivers/iommu/arm/arm-smmu-v3/arm-smmu-v3.c,
// arm_smmu_handle_event()); names of the SMMUv3 specification, 7.3.
std::string EventName(uint64_t id) {
  switch (id) {
    case uapi::kEvtCBadSte:
      return "C_BAD_STE";
    case uapi::kEvtFStreamDisabled:
      return "F_STREAM_DISABLED";
    case uapi::kEvtCBadSubstreamid:
      return "C_BAD_SUBSTREAMID";
    case uapi::kEvtCBadCd:
      return "C_BAD_CD";
    case uapi::kEvtFTranslation:
      return "F_TRANSLATION";
    case uapi::kEvtFAddrSize:
      return "F_ADDR_SIZE";
    case uapi::kEvtFAccess:
      return "F_ACCESS";
    case uapi::kEvtFPermission:
      return "F_PERMISSION";
    default:
      return absl::StrCat("event 0x", absl::Hex(id));
  }
}

std::vector<DeviceId> DevicesOf(const EventAccount::Source& source, std::optional<uint64_t> vsid) {
  std::vector<DeviceId> devices;
  for (const auto& stream : source.streams) {
    if (!vsid.has_value() || stream.vsid == vsid) devices.push_back(stream.device);
  }
  return devices;
}

EventNews Describe(const EventAccount::Source& source, const Vevent& record) {
  if (source.type == Veventq::Type::kTegra241Cmdqv) {
    return {.kind = EventNews::Kind::kQueueError,
            .unit = source.unit,
            .devices = {},
            .count = 1,
            .last = absl::StrCat("LVCMDQs in error: 0x", absl::Hex(record.data[1]), ":",
                                 absl::Hex(record.data[0], absl::kZeroPad16))};
  }
  const uint64_t vsid = uapi::kEvt0Sid.Get(record.data[0]);
  std::vector<DeviceId> devices = DevicesOf(source, vsid);
  if (devices.empty()) devices = DevicesOf(source, std::nullopt);
  return {.kind = EventNews::Kind::kFault,
          .unit = source.unit,
          .devices = std::move(devices),
          .count = 1,
          .last = absl::StrCat(EventName(uapi::kEvt0Id.Get(record.data[0])), " of vSID 0x",
                               absl::Hex(vsid), " at 0x", absl::Hex(record.data[2]))};
}

// Joins what is of one kind and of the same devices.
void Add(EventNews news, std::vector<EventNews>* all) {
  const auto same = std::find_if(all->begin(), all->end(), [&](const EventNews& known) {
    return known.kind == news.kind && known.devices == news.devices;
  });
  if (same == all->end()) {
    all->push_back(std::move(news));
    return;
  }
  same->count += news.count;
  same->last = std::move(news.last);
}

}  // namespace

uint64_t EventAccount::LostBefore(const Source& source, const Vevent& record) {
  const auto [known, first] = last_.try_emplace({source.unit, source.type}, record.sequence);
  const bool tells = record.kind == Vevent::Kind::kLost;
  if (first) return tells ? 1 : 0;
  const uint32_t before = std::exchange(known->second, record.sequence);
  // The record of lost events has the number of the last of them.
  return EventsLostBetween(before, record.sequence) + (tells ? 1 : 0);
}

std::vector<EventNews> EventAccount::OnRead(const Source& source, std::span<const Vevent> records) {
  std::vector<EventNews> all;
  for (const Vevent& record : records) {
    if (const uint64_t lost = LostBefore(source, record); lost > 0) {
      Add({.kind = EventNews::Kind::kLost,
           .unit = source.unit,
           .devices = DevicesOf(source, std::nullopt),
           .count = lost,
           .last = absl::StrCat("the last before number ", record.sequence)},
          &all);
    }
    if (record.kind == Vevent::Kind::kEvent) Add(Describe(source, record), &all);
  }
  return all;
}

EventNews EventAccount::OnUnreadable(const Source& source, const absl::Status& status) {
  return {.kind = EventNews::Kind::kUnreadable,
          .unit = source.unit,
          .devices = {},
          .count = 1,
          .last = std::string(status.message())};
}

}  // namespace berth
