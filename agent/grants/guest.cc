// SPDX-License-Identifier: Apache-2.0
#include "agent/grants/guest.h"

#include <bit>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "lib/base/failpoint.h"
#include "lib/base/status.h"
#include "lib/iommufd/uapi/smmuv3.h"

namespace berth {
namespace {

absl::Status Numbered(Reason reason, std::string_view what, uint64_t number) {
  return Error(reason, absl::StrCat(std::string(what), " ", number, ": ",
                                    std::string(ReasonMeaning(reason))));
}

}  // namespace

Guest::Guest(PreparedContext* context, GuestMemory::Limits limits)
    : context_(context),
      memory_(limits),
      queues_(context->units().size()),
      streams_(context->devices().size()) {}

// After a Reset() that the kernel refused, closing the context's fds frees what is left.
Guest::~Guest() { Reset().IgnoreError(); }

absl::Status Guest::CheckUnit(uint32_t unit) const {
  if (unit < queues_.size()) return absl::OkStatus();
  return Numbered(Reason::kUnitUnknown, "unit", unit);
}

// ---- Memory

absl::Status Guest::MapMemory(const Ioas::FileMapping& mapping) {
  BERTH_RETURN_IF_ERROR(HitFailpoint(Failpoint::kAttachMapMemory));
  return memory_.Map(context_->ioas(), context_->iova_ranges(), mapping);
}

absl::Status Guest::UnmapMemory(uint64_t iova, uint64_t length) {
  for (const std::vector<Queue>& unit : queues_) {
    for (const Queue& queue : unit) {
      if (Overlap(iova, length, queue.iova, queue.length)) {
        return Error(Reason::kMemoryInUse,
                     absl::StrCat("the queue at 0x", absl::Hex(queue.iova), " lives there"));
      }
    }
  }
  return memory_.Unmap(context_->ioas(), iova, length);
}

// ---- Streams

absl::Status Guest::CheckVsid(const Stream& stream) const {
  if (stream.vsid >> uapi::kVsidBits != 0) {
    return Numbered(Reason::kVsidRange, "vSID", stream.vsid);
  }
  for (size_t other = 0; other < streams_.size(); ++other) {
    if (other != stream.device && streams_[other].vdevice.has_value() &&
        streams_[other].vsid == stream.vsid &&
        context_->unit_of(other) == context_->unit_of(stream.device)) {
      return Numbered(Reason::kVsidInUse, "vSID", stream.vsid);
    }
  }
  return absl::OkStatus();
}

absl::Status Guest::Attach(size_t device, StreamMode mode, const std::optional<Hwpt>& nested) {
  const PreparedContext::Unit& unit = context_->units()[context_->unit_of(device)];
  const std::optional<Hwpt>& target = mode == StreamMode::kTranslate ? nested
                                      : mode == StreamMode::kBypass  ? unit.bypass
                                                                     : unit.abort;
  return context_->devices()[device].Attach(*target).status();
}

// Leaves the device blocked, with a vDEVICE of `vsid`, or with none.
absl::Status Guest::SwitchVdevice(size_t device, std::optional<uint32_t> vsid) {
  StreamObjects& objects = streams_[device];
  if (objects.vdevice.has_value()) {
    BERTH_RETURN_IF_ERROR(Attach(device, StreamMode::kAbort, std::nullopt));
    BERTH_RETURN_IF_ERROR(objects.vdevice->Destroy());
    objects.vdevice.reset();
  }
  if (!vsid.has_value()) return absl::OkStatus();
  BERTH_RETURN_IF_ERROR(HitFailpoint(Failpoint::kAttachAllocVdevice));
  const Viommu& viommu = *context_->units()[context_->unit_of(device)].viommu;
  BERTH_ASSIGN_OR_RETURN(Vdevice vdevice,
                         Vdevice::Create(viommu, context_->devices()[device], *vsid));
  objects.vdevice.emplace(std::move(vdevice));
  objects.vsid = *vsid;
  return absl::OkStatus();
}

absl::Status Guest::Block(size_t device) {
  StreamObjects& objects = streams_[device];
  BERTH_RETURN_IF_ERROR(Attach(device, StreamMode::kAbort, std::nullopt));
  objects.mode = StreamMode::kAbort;
  if (!objects.nested.has_value()) return absl::OkStatus();
  BERTH_RETURN_IF_ERROR(objects.nested->Destroy());
  objects.nested.reset();
  return absl::OkStatus();
}

absl::Status Guest::SetStream(const Stream& stream) {
  if (stream.device >= streams_.size()) {
    return Numbered(Reason::kDeviceUnknown, "device", stream.device);
  }
  BERTH_RETURN_IF_ERROR(CheckVsid(stream));
  if (stream.mode == StreamMode::kAbort) return Block(stream.device);

  // First of all the nested HWPT: the kernel judges the STE, and nothing has changed yet.
  std::optional<Hwpt> nested;
  if (stream.mode == StreamMode::kTranslate) {
    BERTH_RETURN_IF_ERROR(HitFailpoint(Failpoint::kAttachAllocNested));
    const Viommu& viommu = *context_->units()[context_->unit_of(stream.device)].viommu;
    BERTH_ASSIGN_OR_RETURN(
        Hwpt made, Hwpt::CreateNested(context_->devices()[stream.device], viommu, stream.ste));
    nested.emplace(std::move(made));
  }
  StreamObjects& objects = streams_[stream.device];
  const auto before = objects.vdevice.has_value() ? std::optional(objects.vsid) : std::nullopt;
  const bool switches = before != stream.vsid;
  // A vDEVICE comes before the attachment: a translating HWPT is refused without one, and events of
  // the others would have no vSID (Linux arm-smmu-v3-iommufd.c).
  absl::Status status = switches ? SwitchVdevice(stream.device, stream.vsid) : absl::OkStatus();
  if (status.ok()) status = HitFailpoint(Failpoint::kAttachStream);
  if (status.ok()) status = Attach(stream.device, stream.mode, nested);
  if (status.ok()) {
    std::swap(objects.nested, nested);
    objects.mode = stream.mode;
    return absl::OkStatus();
  }
  // A replace that failed has left the old attachment; a switch of the vDEVICE has not.
  if (!switches) return status;
  absl::Status undone = SwitchVdevice(stream.device, before);
  if (undone.ok()) undone = Attach(stream.device, objects.mode, objects.nested);
  return undone.ok() ? status : WithMetadata(status, "undo", std::string(undone.message()));
}

// ---- Queues

absl::Status Guest::CheckQueue(uint32_t unit, uint32_t index, uint64_t iova,
                               uint64_t length) const {
  BERTH_RETURN_IF_ERROR(CheckUnit(unit));
  const PreparedContext::Unit& facts = context_->units()[unit];
  if (index >= facts.queues) return Numbered(Reason::kQueueIndex, "queue", index);
  if (index < queues_[unit].size()) return Numbered(Reason::kQueueExists, "queue", index);
  if (index > queues_[unit].size()) return Numbered(Reason::kQueueOrder, "queue", index);
  const uint64_t most = uint64_t{sizeof(uapi::IommuViommuArmSmmuv3Invalidate)}
                        << facts.max_queue_log2;
  if (!std::has_single_bit(length) || length < uapi::kMinHwQueueLength || length > most ||
      (iova & (length - 1)) != 0) {
    return Error(
        Reason::kQueueSize,
        absl::StrCat("a queue has a power of two of bytes from ", uapi::kMinHwQueueLength, " to ",
                     most, ", aligned to its length; not ", length, " at 0x", absl::Hex(iova)));
  }
  if (!memory_.Contains(iova, length)) {
    return Error(Reason::kMemoryUnknown,
                 absl::StrCat("no registered region holds the queue at 0x", absl::Hex(iova)));
  }
  return absl::OkStatus();
}

absl::Status Guest::AllocQueue(uint32_t unit, uint32_t index, uint64_t iova, uint64_t length) {
  BERTH_RETURN_IF_ERROR(CheckQueue(unit, index, iova, length));
  BERTH_RETURN_IF_ERROR(HitFailpoint(Failpoint::kAttachAllocQueue));
  BERTH_ASSIGN_OR_RETURN(HwQueue queue,
                         HwQueue::Create(*context_->units()[unit].viommu, index, iova, length));
  queues_[unit].push_back({std::move(queue), iova, length});
  return absl::OkStatus();
}

absl::Status Guest::FreeQueue(uint32_t unit, uint32_t index) {
  BERTH_RETURN_IF_ERROR(CheckUnit(unit));
  std::vector<Queue>& queues = queues_[unit];
  if (index >= queues.size()) return Numbered(Reason::kQueueUnknown, "queue", index);
  if (index + 1 != queues.size()) return Numbered(Reason::kQueueOrder, "queue", index);
  BERTH_RETURN_IF_ERROR(queues.back().object.Destroy());
  queues.pop_back();
  return absl::OkStatus();
}

size_t Guest::queue_count() const {
  size_t count = 0;
  for (const std::vector<Queue>& unit : queues_) count += unit.size();
  return count;
}

// ---- The rest

Viommu::Invalidated Guest::Invalidate(
    uint32_t unit, std::span<const uapi::IommuViommuArmSmmuv3Invalidate> commands) {
  if (absl::Status status = CheckUnit(unit); !status.ok()) return {0, std::move(status)};
  return context_->units()[unit].viommu->Invalidate(commands);
}

absl::Status Guest::Reset() {
  for (std::vector<Queue>& queues : queues_) {
    while (!queues.empty()) {
      BERTH_RETURN_IF_ERROR(queues.back().object.Destroy());
      queues.pop_back();
    }
  }
  for (size_t device = 0; device < streams_.size(); ++device) {
    BERTH_RETURN_IF_ERROR(Block(device));
    BERTH_RETURN_IF_ERROR(SwitchVdevice(device, std::nullopt));
  }
  return absl::OkStatus();
}

void Guest::Abandon() {
  for (std::vector<Queue>& queues : queues_) {
    for (Queue& queue : queues) std::ignore = queue.object.Forget();
  }
  for (StreamObjects& objects : streams_) {
    if (objects.vdevice.has_value()) std::ignore = objects.vdevice->Forget();
    if (objects.nested.has_value()) std::ignore = objects.nested->Forget();
  }
  queues_.clear();
  streams_.clear();
}

}  // namespace berth
