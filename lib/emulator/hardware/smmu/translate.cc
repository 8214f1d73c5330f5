// SPDX-License-Identifier: Apache-2.0
//
// Smmu's way from a transaction to memory: stream table entry, context descriptor, both stages.
#include <cstring>

#include "lib/emulator/hardware/smmu/smmu.h"
#include "lib/emulator/hardware/smmu/walk.h"
#include "lib/iommufd/uapi/smmuv3.h"

namespace berth::emulator {
namespace {

using Status = DmaResult::Status;

// What a read of the SMMU's own through stage 2 comes to.
WalkStatus ReadThrough(const Stage2& stage2, uint64_t ipa, std::span<std::byte> out) {
  const auto target = stage2.Find(ipa);
  if (!target || target->last - ipa < out.size() - 1) return WalkStatus::kStage2;
  if (!target->access.read) return WalkStatus::kStage2Permission;
  return target->memory->Read(target->offset, out) ? WalkStatus::kOk : WalkStatus::kAbort;
}

// Hardware reads a descriptor as a whole. A file is not read so: what two reads agree on was there.
WalkStatus ReadDescriptor(const Stage2& stage2, uint64_t ipa, uint64_t* descriptor) {
  uint64_t before = 0;
  WalkStatus status =
      ReadThrough(stage2, ipa, std::as_writable_bytes(std::span<uint64_t, 1>(&before, 1)));
  while (status == WalkStatus::kOk) {
    status =
        ReadThrough(stage2, ipa, std::as_writable_bytes(std::span<uint64_t, 1>(descriptor, 1)));
    if (before == *descriptor) break;
    before = *descriptor;
  }
  return status;
}

// The update of a descriptor that was read as `value`, which is a write of the SMMU's own through
// stage 2. *overtaken: it has another value by now.
WalkStatus UpdateDescriptor(const Stage2& stage2, uint64_t ipa, uint64_t value, uint64_t updated,
                            bool* overtaken) {
  const auto target = stage2.Find(ipa);
  if (!target || target->last - ipa < sizeof(value) - 1) return WalkStatus::kStage2;
  if (!target->access.write) return WalkStatus::kStage2Permission;
  const auto exchange = target->memory->CompareExchange(target->offset, value, updated);
  *overtaken = exchange == Memory::Exchange::kLost;
  return exchange == Memory::Exchange::kAbort ? WalkStatus::kAbort : WalkStatus::kOk;
}

// The address as the caches know it: a tag in the top byte is none of it.
uint64_t WithoutTag(const TranslationRegime& regime, uint64_t address) {
  if (!regime.ignore_top_byte) return address;
  return static_cast<uint64_t>(static_cast<int64_t>(address << 8) >> 8);
}

uint8_t EventOf(WalkStatus status) {
  switch (status) {
    case WalkStatus::kAddressSize:
      return uapi::kEvtFAddrSize;
    case WalkStatus::kAccessFlag:
      return uapi::kEvtFAccess;
    case WalkStatus::kStage2Permission:
      return uapi::kEvtFPermission;
    case WalkStatus::kAbort:
      return kEvtFWalkEabt;
    default:
      return uapi::kEvtFTranslation;
  }
}

}  // namespace

Smmu::Outcome Smmu::Translate(Stream& stream, const Request& request) {
  switch (stream.entry.config) {
    case StreamEntry::Config::kStage2:
      return TranslateStage2(stream.entry, request);
    case StreamEntry::Config::kNested:
      return TranslateNested(stream, request);
    case StreamEntry::Config::kAbort:
      break;
  }
  return {Status::kAborted, std::nullopt, {}};
}

// IHI 0070, 3.9.1: a translation fault is an answer without permissions and leaves no record; a
// wrong configuration, and ATS that is not enabled, deny the request.
Smmu::Outcome Smmu::TranslateByAts(Stream& stream, const Request& request) {
  if (const auto cached = stream.atc.Find(request.address)) {
    if (cached->access.allows(request.access())) {
      Outcome outcome;
      outcome.translation = {cached->memory.lock(),
                             cached->offset + (request.address - cached->first), cached->first,
                             cached->last, cached->access};
      if (outcome.translation.memory == nullptr) outcome.status = Status::kAborted;
      return outcome;
    }
  }
  if (!stream.entry.ats) return {Status::kDenied, std::nullopt, {}};
  const Atc::Epoch epoch = stream.atc.BeginRequest();
  Outcome outcome = Translate(stream, request);
  if (outcome.status != Status::kOk) {
    const uint64_t id = outcome.event ? uapi::kEvt0Id.Get(outcome.event->evt[0]) : 0;
    if (id == uapi::kEvtCBadSte || id == uapi::kEvtCBadCd) {
      outcome.status = Status::kDenied;
    } else {
      outcome.event.reset();
    }
    return outcome;
  }
  const Translation& found = outcome.translation;
  stream.atc.Insert(epoch, {found.first, found.last, found.memory,
                            found.offset - (request.address - found.first), found.access});
  return outcome;
}

Smmu::Outcome Smmu::TranslateStage2(const StreamEntry& entry, const Request& request) {
  FaultRecord fault = {.sid = request.sid,
                       .write = request.write,
                       .stage2 = true,
                       .address = request.address,
                       .ipa = request.address};
  auto target = entry.stage2->Find(request.address);
  if (!target) {
    fault.id = uapi::kEvtFTranslation;
    return {Status::kAborted, TranslationEvent(fault), {}};
  }
  if (!target->access.allows(request.access())) {
    fault.id = uapi::kEvtFPermission;
    return {Status::kAborted, TranslationEvent(fault), {}};
  }
  Outcome outcome;
  outcome.translation = {std::move(target->memory), target->offset, target->first, target->last,
                         target->access};
  return outcome;
}

std::optional<ContextDescriptor> Smmu::LoadContext(Stream& stream, const Request& request,
                                                   Outcome* failed) const {
  uint64_t epoch = 0;
  {
    absl::MutexLock lock(&stream.mu);
    if (stream.cd) return stream.cd;
    epoch = stream.cd_epoch;
  }
  failed->status = Status::kAborted;
  // IDR1.SSIDSIZE is 0: there is one context, and an entry that says otherwise is illegal.
  if (uapi::kSte0S1CdMax.Get(stream.entry.guest_ste) != 0) {
    failed->event = ConfigurationEvent(uapi::kEvtCBadSte, request.sid);
    return std::nullopt;
  }
  std::array<uint64_t, 8> dwords;
  static_assert(sizeof(dwords) == kContextDescriptorSize);
  const uint64_t address = stream.entry.guest_ste & uapi::kSte0S1ContextPtr.mask();
  const WalkStatus fetched = ReadThrough(*stream.entry.stage2, address,
                                         std::as_writable_bytes(std::span<uint64_t>(dwords)));
  if (fetched == WalkStatus::kAbort) {
    failed->event = ConfigurationEvent(kEvtFCdFetch, request.sid);
    return std::nullopt;
  }
  if (fetched != WalkStatus::kOk) {
    failed->event = TranslationEvent({.id = EventOf(fetched),
                                      .sid = request.sid,
                                      .write = request.write,
                                      .stage2 = true,
                                      .fault_class = FaultClass::kCd,
                                      .address = request.address,
                                      .ipa = address});
    return std::nullopt;
  }
  auto cd = DecodeContextDescriptor(dwords, address_bits_, updates_);
  if (!cd) {
    failed->event = ConfigurationEvent(uapi::kEvtCBadCd, request.sid);
    return std::nullopt;
  }
  absl::MutexLock lock(&stream.mu);
  if (stream.cd_epoch == epoch) stream.cd = cd;
  return cd;
}

Smmu::Outcome Smmu::TranslateNested(Stream& stream, const Request& request) {
  Outcome failed;
  const auto cd = LoadContext(stream, request, &failed);
  if (!cd) return failed;
  const auto stage1_fault = [&](uint8_t id) {
    return TranslationEvent(
        {.id = id, .sid = request.sid, .write = request.write, .address = request.address});
  };
  failed.status = Status::kAborted;
  const TranslationRegime* regime = SelectRegime(*cd, request.address);
  if (regime == nullptr) {
    if (cd->records_faults) failed.event = stage1_fault(uapi::kEvtFTranslation);
    return failed;
  }
  const uint64_t address = WithoutTag(*regime, request.address);
  const auto hit = iotlb_.FindLeaf(stream.entry.vmid, cd->asid, address);
  if (hit && !(hit->leaf.clean && request.write)) return UseLeaf(*cd, *hit, request);
  Outcome outcome;
  do {
    outcome = WalkBothStages(stream.entry, *cd, *regime, request);
  } while (outcome.overtaken);
  return outcome;
}

Smmu::Outcome Smmu::UseLeaf(const ContextDescriptor& cd, const Iotlb::LeafHit& hit,
                            const Request& request) {
  const CachedLeaf& leaf = hit.leaf;
  FaultRecord fault = {.id = uapi::kEvtFPermission,
                       .sid = request.sid,
                       .write = request.write,
                       .address = request.address};
  Outcome outcome;
  if (!leaf.stage1.allows(request.access())) {
    outcome.status = Status::kAborted;
    if (cd.records_faults) outcome.event = TranslationEvent(fault);
    return outcome;
  }
  if (!leaf.stage2.allows(request.access())) {
    outcome.status = Status::kAborted;
    fault.stage2 = true;
    fault.ipa = leaf.ipa + hit.within;
    outcome.event = TranslationEvent(fault);
    return outcome;
  }
  outcome.translation = {
      leaf.memory.lock(),
      leaf.offset + hit.within,
      request.address - hit.within,
      request.address - hit.within + (hit.size - 1),
      {leaf.stage1.read && leaf.stage2.read, leaf.stage1.write && leaf.stage2.write}};
  if (outcome.translation.memory == nullptr) outcome.status = Status::kAborted;
  return outcome;
}

Smmu::Outcome Smmu::WalkBothStages(const StreamEntry& entry, const ContextDescriptor& cd,
                                   const TranslationRegime& regime, const Request& request) {
  const uint64_t address = WithoutTag(regime, request.address);
  const Iotlb::Epoch epoch = iotlb_.BeginWalk(entry.vmid);
  TlbTag tag = {.vmid = entry.vmid, .asid = cd.asid, .granule_log2 = regime.granule_log2};
  const auto cached = iotlb_.FindTable(entry.vmid, cd.asid, address);
  const WalkResult walk = Walk(
      cd, regime, cached.value_or(FirstTable(regime)), address,
      [&](uint64_t at, uint64_t* descriptor) {
        return ReadDescriptor(*entry.stage2, at, descriptor);
      },
      [&](const Table& table, uint8_t span_log2) {
        tag.address = address & (~uint64_t{0} << span_log2);
        tag.size_log2 = span_log2;
        iotlb_.InsertTable(epoch, tag, table);
      });
  if (walk.status != WalkStatus::kOk) return WalkFailed(cd, walk, request);
  const uint64_t block = ~uint64_t{0} << walk.leaf.size_log2;
  tag.address = address & block;
  tag.size_log2 = walk.leaf.size_log2;
  tag.level = walk.leaf.level;
  tag.global = walk.leaf.global;
  return FinishWalk(entry, cd, walk, tag, epoch, request);
}

Smmu::Outcome Smmu::WalkFailed(const ContextDescriptor& cd, const WalkResult& walk,
                               const Request& request) {
  Outcome outcome;
  outcome.status = Status::kAborted;
  const bool stage2 = walk.status == WalkStatus::kStage2 ||
                      walk.status == WalkStatus::kStage2Permission ||
                      walk.status == WalkStatus::kAbort;
  if (!stage2 && !cd.records_faults) return outcome;
  outcome.event = TranslationEvent({.id = EventOf(walk.status),
                                    .sid = request.sid,
                                    .write = request.write,
                                    .stage2 = stage2 && walk.status != WalkStatus::kAbort,
                                    .fault_class = stage2 ? FaultClass::kTable : FaultClass::kInput,
                                    .updates = walk.updates,
                                    .address = request.address,
                                    .ipa = walk.descriptor});
  return outcome;
}

Smmu::Outcome Smmu::FinishWalk(const StreamEntry& entry, const ContextDescriptor& cd,
                               const WalkResult& walk, const TlbTag& tag, Iotlb::Epoch epoch,
                               const Request& request) {
  const Leaf& leaf = walk.leaf;
  const uint64_t size = uint64_t{1} << leaf.size_log2;
  const uint64_t within =
      WithoutTag(cd.regimes[request.address >> 55 & 1], request.address) - tag.address;
  const uint64_t ipa = leaf.address + within;
  // Stage 1 comes first: what it forbids never gets to stage 2.
  Iotlb::LeafHit hit = {{{}, 0, leaf.address, leaf.access, {true, true}, leaf.clean}, within, size};
  const bool dirties = leaf.clean && request.write;
  if (dirties) {
    hit.leaf.stage1.write = true;
    hit.leaf.clean = false;
  }
  const bool allowed = hit.leaf.stage1.allows(request.access());
  const auto target = entry.stage2->Find(ipa);
  if (!target) {
    if (!allowed) return UseLeaf(cd, hit, request);
    return {Status::kAborted,
            TranslationEvent({.id = uapi::kEvtFTranslation,
                              .sid = request.sid,
                              .write = request.write,
                              .stage2 = true,
                              .address = request.address,
                              .ipa = ipa}),
            {}};
  }
  hit.leaf.memory = target->memory;
  hit.leaf.stage2 = target->access;
  hit.leaf.offset = target->offset - within;
  if (dirties || leaf.old) {
    // An access that is refused changes nothing, and is not remembered.
    if (!allowed || !target->access.allows(request.access())) return UseLeaf(cd, hit, request);
    WalkResult update = walk;
    update.updates = true;
    Outcome outcome;
    update.status = UpdateDescriptor(*entry.stage2, walk.descriptor, walk.value,
                                     Touched(leaf, walk.value, request.write), &outcome.overtaken);
    if (outcome.overtaken) return outcome;
    if (update.status != WalkStatus::kOk) return WalkFailed(cd, update, request);
  }
  if (target->first <= leaf.address && leaf.address + (size - 1) <= target->last) {
    iotlb_.InsertLeaf(epoch, tag, hit.leaf);
    return UseLeaf(cd, hit, request);
  }
  // A block of stage 1 that stage 2 has in pieces is not remembered: an invalidation of any of its
  // addresses would have to find all the pieces.
  Outcome outcome = UseLeaf(cd, hit, request);
  constexpr uint64_t kPage = 4096;
  outcome.translation.first = request.address / kPage * kPage;
  outcome.translation.last = outcome.translation.first + (kPage - 1);
  return outcome;
}

}  // namespace berth::emulator
