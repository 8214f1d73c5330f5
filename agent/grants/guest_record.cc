// SPDX-License-Identifier: Apache-2.0
//
// The part of Guest that outlives the agent: into the journal, and back, with an end for the call
// that the agent before this one did not bring to one.
#include <cstdlib>
#include <optional>
#include <set>
#include <utility>

#include "agent/grants/guest.h"
#include "lib/base/status.h"

namespace berth {
namespace {

using internal::v1::JournaledCall;
using internal::v1::JournaledGrant;
using internal::v1::JournaledQueue;
using internal::v1::JournaledStream;
using internal::v1::JournaledUnit;

// What the kernel has no more is as it should be.
absl::Status UnlessUnknown(absl::Status status) {
  const Reason reason = ReasonOf(status);
  if (reason == Reason::kNotFound || reason == Reason::kMemoryUnknown) return absl::OkStatus();
  return status;
}

JournaledStream::Mode ToRecord(Guest::StreamMode mode) {
  switch (mode) {
    case Guest::StreamMode::kAbort:
      return JournaledStream::ABORT;
    case Guest::StreamMode::kBypass:
      return JournaledStream::BYPASS;
    case Guest::StreamMode::kTranslate:
      return JournaledStream::TRANSLATE;
  }
  std::abort();
}

Guest::StreamMode FromRecord(JournaledStream::Mode mode) {
  if (mode == JournaledStream::TRANSLATE) return Guest::StreamMode::kTranslate;
  if (mode == JournaledStream::BYPASS) return Guest::StreamMode::kBypass;
  return Guest::StreamMode::kAbort;
}

std::set<uint32_t> ObjectsOf(const JournaledGrant& record) {
  std::set<uint32_t> ids = {record.ioas()};
  for (const auto& device : record.devices()) {
    ids.insert({device.object(), device.stream().vdevice(), device.stream().nested_hwpt()});
  }
  for (const JournaledUnit& unit : record.units()) {
    ids.insert({unit.nesting_parent(), unit.viommu(), unit.abort_hwpt(), unit.bypass_hwpt()});
    for (const auto& events : unit.veventqs()) ids.insert(events.object());
    for (const JournaledQueue& queue : unit.queues()) ids.insert(queue.object());
  }
  return ids;
}

}  // namespace

void Guest::WriteTo(JournaledGrant* record) const {
  for (const auto& [iova, length] : memory_.regions()) {
    auto* region = record->add_regions();
    region->set_iova(iova);
    region->set_length(length);
  }
  for (size_t i = 0; i < streams_.size(); ++i) {
    const StreamObjects& objects = streams_[i];
    if (!objects.vdevice.has_value()) continue;
    JournaledStream* stream = record->mutable_devices(static_cast<int>(i))->mutable_stream();
    stream->set_mode(ToRecord(objects.mode));
    stream->set_vsid(objects.vsid);
    stream->set_vdevice(objects.vdevice->id());
    if (objects.nested.has_value()) stream->set_nested_hwpt(objects.nested->id());
  }
  for (size_t unit = 0; unit < queues_.size(); ++unit) {
    for (const Queue& queue : queues_[unit]) {
      JournaledQueue* written = record->mutable_units(static_cast<int>(unit))->add_queues();
      written->set_object(queue.object.id());
      written->set_iova(queue.iova);
      written->set_length(queue.length);
    }
  }
}

void Guest::Adopt(const JournaledGrant& record) {
  const Context& context = context_->ioas().context();
  for (const auto& region : record.regions()) memory_.Adopt(region.iova(), region.length());
  for (size_t i = 0; i < streams_.size(); ++i) {
    const JournaledStream& known = record.devices(static_cast<int>(i)).stream();
    if (known.vdevice() == 0) continue;
    StreamObjects& objects = streams_[i];
    objects.mode = FromRecord(known.mode());
    objects.vsid = known.vsid();
    objects.vdevice.emplace(Vdevice::Adopt(context, known.vdevice()));
    if (known.nested_hwpt() != 0) objects.nested.emplace(Hwpt::Adopt(context, known.nested_hwpt()));
  }
  for (size_t unit = 0; unit < queues_.size(); ++unit) {
    for (const JournaledQueue& known : record.units(static_cast<int>(unit)).queues()) {
      queues_[unit].push_back(
          {HwQueue::Adopt(context, known.object()), known.iova(), known.length()});
    }
  }
}

// A call that would be refused has changed nothing, and leaves nothing to settle.
absl::StatusOr<Guest::Settled> Guest::Settle(const JournaledGrant& record) {
  const JournaledCall& call = record.begun();
  switch (call.what_case()) {
    case JournaledCall::kMap:
      BERTH_RETURN_IF_ERROR(UndoMap(call.map().iova(), call.map().length()));
      return Settled::kUndone;
    case JournaledCall::kUnmap:
      return RedoUnmap(call.unmap().iova(), call.unmap().length());
    case JournaledCall::kSetStream:
      BERTH_RETURN_IF_ERROR(UndoStream(record));
      return Settled::kUndone;
    case JournaledCall::kAllocQueue:
      DestroyUnknown(record);
      return Settled::kUndone;
    case JournaledCall::kFreeQueue:
      return RedoFreeQueue(call.free_queue().unit(), call.free_queue().index());
    case JournaledCall::kResetGuest: {
      absl::Status status = Reset();
      // Each object that is gone already is an error once.
      for (size_t left = ObjectsOf(record).size(); left > 0 && !status.ok(); --left) {
        if (ReasonOf(status) != Reason::kNotFound) return status;
        status = Reset();
      }
      BERTH_RETURN_IF_ERROR(status);
      return Settled::kDone;
    }
    case JournaledCall::WHAT_NOT_SET:
      break;
  }
  return Settled::kUndone;
}

absl::Status Guest::UndoMap(uint64_t iova, uint64_t length) {
  if (length == 0 || iova + (length - 1) < iova) return absl::OkStatus();
  for (const auto& [known, known_length] : memory_.regions()) {
    if (Overlap(iova, length, known, known_length)) return absl::OkStatus();
  }
  return UnlessUnknown(context_->ioas().Unmap(iova, length).status());
}

absl::StatusOr<Guest::Settled> Guest::RedoUnmap(uint64_t iova, uint64_t length) {
  const auto known = memory_.regions().find(iova);
  if (known == memory_.regions().end() || known->second != length) return Settled::kUndone;
  const absl::Status status = UnmapMemory(iova, length);
  if (ReasonOf(status) == Reason::kMemoryInUse) return Settled::kUndone;
  BERTH_RETURN_IF_ERROR(UnlessUnknown(status));
  memory_.Forget(iova);
  return Settled::kDone;
}

absl::StatusOr<Guest::Settled> Guest::RedoFreeQueue(uint32_t unit, uint32_t index) {
  if (unit >= queues_.size() || index + size_t{1} != queues_[unit].size()) return Settled::kUndone;
  BERTH_RETURN_IF_ERROR(UnlessUnknown(queues_[unit].back().object.Destroy()));
  queues_[unit].pop_back();
  return Settled::kDone;
}

absl::Status Guest::UndoStream(const JournaledGrant& record) {
  const auto& [device, vsid] =
      std::pair(size_t{record.begun().set_stream().device()}, record.begun().set_stream().vsid());
  if (device >= streams_.size() || !CheckVsid({.device = device, .vsid = vsid}).ok()) {
    return absl::OkStatus();
  }
  StreamObjects& objects = streams_[device];
  // With the vDEVICE that it had, the stream may still have what it was attached to.
  const bool kept = !objects.vdevice.has_value() || objects.vsid == vsid;
  absl::Status status = kept ? Attach(device, objects.mode, objects.nested)
                             : Error(Reason::kNotFound, "the vDEVICE was to be another");
  if (status.ok()) {
    DestroyUnknown(record);
    return absl::OkStatus();
  }
  if (ReasonOf(status) != Reason::kNotFound) return status;
  return BlockAnew(record);
}

// Which objects of the stream were made or destroyed nobody knows, and ids of those destroyed may
// have been given anew: the stream blocks, without a vDEVICE, until the VMM repeats its call.
absl::Status Guest::BlockAnew(const JournaledGrant& record) {
  const size_t device = record.begun().set_stream().device();
  StreamObjects& objects = streams_[device];
  BERTH_RETURN_IF_ERROR(Attach(device, StreamMode::kAbort, std::nullopt));
  if (objects.nested.has_value()) {
    BERTH_RETURN_IF_ERROR(UnlessUnknown(objects.nested->Destroy()));
  }
  if (objects.vdevice.has_value()) {
    BERTH_RETURN_IF_ERROR(UnlessUnknown(objects.vdevice->Destroy()));
  }
  objects = StreamObjects();
  DestroyUnknown(record);
  return absl::OkStatus();
}

// Ids are given lowest first (Linux drivers/iommu/iommufd/main.c, _iommufd_object_alloc()), so what
// the journal does not know is among the first ones that are free in it. A queue has two: its own,
// and one of an access that cannot be destroyed and goes with it.
void Guest::DestroyUnknown(const JournaledGrant& record) {
  constexpr uint32_t kMadeByOneCall = 2;
  const std::set<uint32_t> known = ObjectsOf(record);
  const Context& context = context_->ioas().context();
  const auto hidden = static_cast<uint32_t>(queue_count());
  for (uint32_t id = 1, left = kMadeByOneCall + hidden; left > 0; ++id) {
    if (known.contains(id)) continue;
    auto arg = Sized<uapi::IommuDestroy>();
    arg.id = id;
    context.Call(uapi::kIommuDestroy, &arg).IgnoreError();
    --left;
  }
}

}  // namespace berth
