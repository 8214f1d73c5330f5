// SPDX-License-Identifier: Apache-2.0
#include "agent/vmm/vmm_calls.h"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/strings/str_cat.h"
#include "lib/base/failpoint.h"
#include "lib/base/status.h"
#include "lib/wire/encode.h"

namespace berth {
namespace {

using uapi::IommuViommuArmSmmuv3Invalidate;

// The reply and its error, before encoding.
class Performer {
 public:
  Performer(const wire::Call& call, Guest& guest, PreparedContext& context)
      : call_(call), guest_(guest), context_(context) {}

  CallResult operator()(const berth_vmm_get_unit& arg) {
    if (arg.unit >= context_.units().size()) return Unknown(Reason::kUnitUnknown, arg.unit);
    const PreparedContext::Unit& unit = context_.units()[arg.unit];
    berth_vmm_unit_reply reply = {};
    wire::CopyText(unit.facts.id.str(), reply.id);
    reply.profile = static_cast<uint32_t>(unit.facts.profile);
    reply.vcmdqs = unit.queues;
    reply.sid_slots = unit.cmdqv.has_value() ? 1U << std::min<unsigned>(unit.cmdqv->log2vsids, 16)
                                             : static_cast<uint32_t>(unit.devices.size());
    reply.max_queue_log2 = unit.max_queue_log2;
    reply.hw_info_type = uapi::kHwInfoArmSmmuv3;
    reply.hw_info_length = sizeof(unit.smmu.smmu);
    std::memcpy(reply.hw_info, &unit.smmu.smmu, sizeof(unit.smmu.smmu));
    if (unit.cmdqv.has_value()) {
      reply.cmdqv_info_length = sizeof(*unit.cmdqv);
      std::memcpy(reply.cmdqv_info, &*unit.cmdqv, sizeof(*unit.cmdqv));
    }
    return Reply(reply);
  }

  CallResult operator()(const berth_vmm_get_device& arg) {
    if (arg.device >= context_.devices().size()) return Unknown(Reason::kDeviceUnknown, arg.device);
    if (absl::Status status = HitFailpoint(Failpoint::kAttachGiveDevice); !status.ok()) {
      return Failed(std::move(status));
    }
    const GrantDevice& facts = context_.facts(arg.device);
    UniqueFd cdev(::fcntl(context_.devices()[arg.device].fd(), F_DUPFD_CLOEXEC, 0));
    if (!cdev.valid()) return Failed(ErrnoToStatus(errno, "dup of the cdev"));
    berth_vmm_device_reply reply = {};
    wire::CopyText(facts.address, reply.address);
    wire::CopyText(facts.id.str(), reply.id);
    reply.unit = static_cast<uint32_t>(context_.unit_of(arg.device));
    reply.vendor_id = facts.vendor_id;
    reply.device_id = facts.device_id;
    reply.pci_class = facts.pci_class;
    return Reply(reply, std::move(cdev));
  }

  CallResult operator()(const berth_vmm_get_page0& arg) {
    if (arg.unit >= context_.units().size()) return Unknown(Reason::kUnitUnknown, arg.unit);
    const PreparedContext::Unit& unit = context_.units()[arg.unit];
    if (unit.queues == 0) {
      return Failed(Error(Reason::kUnsupported,
                          absl::StrCat("unit ", arg.unit, " has no queues and no page0 here")));
    }
    if (absl::Status status = HitFailpoint(Failpoint::kAttachGivePage0); !status.ok()) {
      return Failed(std::move(status));
    }
    absl::StatusOr<MappedRegion> region = unit.viommu->RegionForVmm();
    if (!region.ok()) return Failed(region.status());
    berth_vmm_page0_reply reply = {};
    reply.kind = region->kind == MappedRegion::Kind::kIommufd ? BERTH_VMM_REGION_IOMMUFD
                                                              : BERTH_VMM_REGION_MEMFD;
    reply.offset = region->offset;
    reply.length = region->length;
    return Reply(reply, std::move(region->fd));
  }

  CallResult operator()(const berth_vmm_get_iova_ranges&) {
    berth_vmm_iova_ranges_reply reply = {};
    const auto& ranges = context_.iova_ranges().ranges;
    reply.range_count =
        static_cast<uint32_t>(std::min<size_t>(ranges.size(), BERTH_VMM_MAX_RANGES));
    for (uint32_t i = 0; i < reply.range_count; ++i) {
      reply.ranges[i] = {ranges[i].start, ranges[i].last};
    }
    return Reply(reply);
  }

  CallResult operator()(const berth_vmm_map_memory& arg) {
    if ((arg.flags & BERTH_VMM_MEMORY_READ) == 0) {
      return Failed(Error(Reason::kInvalidField, "flags: memory that cannot be read"));
    }
    const auto access =
        (arg.flags & BERTH_VMM_MEMORY_WRITE) != 0 ? Ioas::Access::kReadWrite : Ioas::Access::kRead;
    return Done(guest_.MapMemory({.fd = call_.fd.get(),
                                  .start = arg.offset,
                                  .length = arg.length,
                                  .iova = arg.iova,
                                  .access = access}));
  }

  CallResult operator()(const berth_vmm_unmap_memory& arg) {
    return Done(guest_.UnmapMemory(arg.iova, arg.length));
  }

  CallResult operator()(const berth_vmm_set_stream& arg) {
    Guest::Stream stream = {
        .device = arg.device, .vsid = arg.vsid, .ste = {arg.ste[0], arg.ste[1]}};
    switch (arg.mode) {
      case BERTH_VMM_STREAM_ABORT:
        stream.mode = Guest::StreamMode::kAbort;
        break;
      case BERTH_VMM_STREAM_BYPASS:
        stream.mode = Guest::StreamMode::kBypass;
        break;
      case BERTH_VMM_STREAM_TRANSLATE:
        stream.mode = Guest::StreamMode::kTranslate;
        break;
      default:
        return Failed(Error(Reason::kInvalidField, absl::StrCat("mode: ", arg.mode)));
    }
    return Done(guest_.SetStream(stream));
  }

  CallResult operator()(const berth_vmm_alloc_queue& arg) {
    return Done(guest_.AllocQueue(arg.unit, arg.index, arg.iova, arg.length));
  }

  CallResult operator()(const berth_vmm_free_queue& arg) {
    return Done(guest_.FreeQueue(arg.unit, arg.index));
  }

  CallResult operator()(const wire::Invalidate& arg) {
    static_assert(sizeof(wire::Command) == sizeof(IommuViommuArmSmmuv3Invalidate));
    std::vector<IommuViommuArmSmmuv3Invalidate> commands(arg.commands.size());
    std::memcpy(commands.data(), arg.commands.data(), commands.size() * sizeof(wire::Command));
    const Viommu::Invalidated done = guest_.Invalidate(arg.fixed.unit, commands);
    berth_vmm_invalidate_reply reply = {};
    if (!done.status.ok()) wire::SetError(done.status, &reply.reply);
    reply.handled = done.handled;
    return {wire::EncodeReply(call_.header, reply), done.status};
  }

  CallResult operator()(const berth_vmm_reset_guest&) { return Done(guest_.Reset()); }

  // Not reached: the server handles these itself, or they are of the other mode.
  CallResult operator()(const berth_vmm_hello&) { return Misplaced(); }
  CallResult operator()(const berth_vmm_detach&) { return Misplaced(); }
  CallResult operator()(const berth_vmm_hand_off&) { return Misplaced(); }
  CallResult operator()(const berth_vmm_confirm_hand_off&) { return Misplaced(); }

 private:
  template <typename T>
  CallResult Reply(const T& reply, UniqueFd fd = {}) {
    std::vector<UniqueFd> fds;
    if (fd.valid()) fds.push_back(std::move(fd));
    return {wire::EncodeReply(call_.header, reply, std::move(fds)), absl::OkStatus()};
  }
  CallResult Failed(absl::Status status) {
    return {wire::EncodeError(call_.header, status), std::move(status)};
  }
  CallResult Done(absl::Status status) {
    return status.ok() ? Reply(berth_vmm_empty_reply{}) : Failed(std::move(status));
  }
  CallResult Unknown(Reason reason, uint32_t number) {
    return Failed(Error(reason, absl::StrCat(number, ": ", std::string(ReasonMeaning(reason)))));
  }
  CallResult Misplaced() { return Failed(Error(Reason::kInternal, "not a call of a session")); }

  const wire::Call& call_;
  Guest& guest_;
  PreparedContext& context_;
};

CallResult Refused(const wire::Call& call, absl::Status status) {
  return {wire::EncodeError(call.header, status), std::move(status)};
}

CallResult GiveHandOff(const wire::Call& call, uint64_t session, Grant& grant) {
  absl::StatusOr<std::vector<UniqueFd>> fds = grant.HandOut(session);
  if (!fds.ok()) return Refused(call, fds.status());
  berth_vmm_hand_off_reply reply = {};
  for (const GrantDevice& facts : grant.devices()) {
    berth_vmm_hand_off_device& device = reply.devices[reply.device_count++];
    wire::CopyText(facts.address, device.address);
    wire::CopyText(facts.id.str(), device.id);
    wire::CopyText(facts.unit.str(), device.unit);
    device.vendor_id = facts.vendor_id;
    device.device_id = facts.device_id;
    device.pci_class = facts.pci_class;
  }
  return {wire::EncodeReply(call.header, reply, *std::move(fds)), absl::OkStatus()};
}

}  // namespace

absl::Status CheckMode(const wire::Call& call, const Grant& grant) {
  const bool of_hand_off = std::holds_alternative<berth_vmm_hand_off>(call.body) ||
                           std::holds_alternative<berth_vmm_confirm_hand_off>(call.body);
  if (of_hand_off == grant.hand_off()) return absl::OkStatus();
  return Error(Reason::kUnknownMessage, grant.hand_off()
                                            ? "the assignment's attach_mode is HAND_OFF: the VMM "
                                              "makes its own ioctls, and the agent none for it"
                                            : "the assignment's attach_mode is BROKERED");
}

CallResult PerformCall(const wire::Call& call, uint64_t session, Grant& grant) {
  if (!grant.attached(session)) {
    return Refused(call, Error(Reason::kNoSession, "the session has ended; say HELLO"));
  }
  if (absl::Status status = CheckMode(call, grant); !status.ok()) {
    return Refused(call, std::move(status));
  }
  if (grant.hand_off()) return GiveHandOff(call, session, grant);
  Guest* guest = grant.guest(session);
  if (guest == nullptr || grant.context() == nullptr) {
    return Refused(call, Error(Reason::kNoSession, "the context has ended; say HELLO"));
  }
  CallResult result = std::visit(Performer(call, *guest, *grant.context()), call.body);
  if (result.status.ok() && std::holds_alternative<berth_vmm_reset_guest>(call.body)) {
    grant.EndEvents();
  }
  return result;
}

bool IsRepeatable(const wire::Call& call) {
  return std::holds_alternative<berth_vmm_get_device>(call.body) ||
         std::holds_alternative<berth_vmm_get_page0>(call.body) ||
         std::holds_alternative<berth_vmm_hand_off>(call.body);
}

std::optional<internal::v1::JournaledCall> ToJournal(const wire::Call& call) {
  internal::v1::JournaledCall noted;
  if (const auto* map = std::get_if<berth_vmm_map_memory>(&call.body)) {
    noted.mutable_map()->set_iova(map->iova);
    noted.mutable_map()->set_length(map->length);
  } else if (const auto* unmap = std::get_if<berth_vmm_unmap_memory>(&call.body)) {
    noted.mutable_unmap()->set_iova(unmap->iova);
    noted.mutable_unmap()->set_length(unmap->length);
  } else if (const auto* stream = std::get_if<berth_vmm_set_stream>(&call.body)) {
    noted.mutable_set_stream()->set_device(stream->device);
    noted.mutable_set_stream()->set_vsid(stream->vsid);
  } else if (const auto* alloc = std::get_if<berth_vmm_alloc_queue>(&call.body)) {
    noted.mutable_alloc_queue()->set_unit(alloc->unit);
    noted.mutable_alloc_queue()->set_index(alloc->index);
  } else if (const auto* free = std::get_if<berth_vmm_free_queue>(&call.body)) {
    noted.mutable_free_queue()->set_unit(free->unit);
    noted.mutable_free_queue()->set_index(free->index);
  } else if (std::holds_alternative<berth_vmm_reset_guest>(call.body)) {
    noted.set_reset_guest(true);
  } else {
    return std::nullopt;
  }
  noted.set_id(call.header.call_id);
  noted.set_call(reinterpret_cast<const char*>(call.bytes.data()), call.bytes.size());
  return noted;
}

berth_vmm_hello_reply HelloReply(uint64_t session, uint64_t last_call_id, Grant& grant) {
  berth_vmm_hello_reply reply = {};
  reply.reply.header.session_id = session;
  reply.version = BERTH_VMM_VERSION;
  reply.last_call_id = last_call_id;
  reply.isolation = static_cast<uint32_t>(grant.isolation());
  reply.attach_mode = BERTH_VMM_ATTACH_MODE_BROKERED;
  if (grant.hand_off()) {
    reply.attach_mode = BERTH_VMM_ATTACH_MODE_HAND_OFF;
    reply.unit_count = static_cast<uint32_t>(grant.unit_count());
    reply.device_count = static_cast<uint32_t>(grant.devices().size());
    return reply;
  }
  const Guest* guest = grant.guest(session);
  const PreparedContext* context = grant.context();
  if (guest == nullptr || context == nullptr) return reply;
  reply.unit_count = static_cast<uint32_t>(context->units().size());
  reply.device_count = static_cast<uint32_t>(context->devices().size());
  reply.max_regions = static_cast<uint32_t>(guest->memory().limits().regions);
  reply.memory_limit = guest->memory().limits().bytes;
  reply.iova_alignment = context->iova_ranges().alignment;
  return reply;
}

}  // namespace berth
