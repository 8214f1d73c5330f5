// SPDX-License-Identifier: Apache-2.0
#include "lib/emulator/hardware/smmu/smmu.h"

#include <algorithm>
#include <limits>

namespace berth::emulator {
namespace {

constexpr uint64_t kMax = std::numeric_limits<uint64_t>::max();
// A transaction crosses no page of any granule, and PCIe allows none to cross 4 KiB.
constexpr uint64_t kTransactionSize = 4096;
constexpr int kAtcPageLog2 = 12;

uint64_t LastOf(uint64_t first, uint64_t length) {
  uint64_t last = 0;
  return __builtin_add_overflow(first, length - 1, &last) ? kMax : last;
}

}  // namespace

void Smmu::SetStream(uint32_t sid, StreamEntry entry) {
  auto stream = std::make_shared<Stream>(std::move(entry));
  {
    absl::MutexLock lock(&mu_);
    streams_[sid].swap(stream);
  }
  in_flight_.Drain();
}

std::shared_ptr<Smmu::Stream> Smmu::FindStream(uint32_t sid) {
  absl::ReaderMutexLock lock(&mu_);
  const auto found = streams_.find(sid);
  return found != streams_.end() ? found->second : nullptr;
}

std::vector<std::shared_ptr<Smmu::Stream>> Smmu::StreamsWhere(
    const std::function<bool(uint32_t sid, const Stream& stream)>& matches) {
  std::vector<std::shared_ptr<Stream>> found;
  absl::ReaderMutexLock lock(&mu_);
  for (const auto& [sid, stream] : streams_) {
    if (matches(sid, *stream)) found.push_back(stream);
  }
  return found;
}

void Smmu::OnStage2Change(const Stage2& stage2, uint16_t vmid) {
  iotlb_.InvalidateVmid(vmid);
  for (const auto& stream : StreamsWhere([&](uint32_t, const Stream& candidate) {
         return candidate.entry.stage2.get() == &stage2;
       })) {
    stream->atc.Invalidate(0, kMax);
  }
  in_flight_.Drain();
}

void Smmu::ClearAtc(uint32_t sid) {
  if (const std::shared_ptr<Stream> stream = FindStream(sid)) stream->atc.Invalidate(0, kMax);
}

void Smmu::Invalidate(const Command& command) {
  switch (command.opcode) {
    case Opcode::kTlbiNhVa:
    case Opcode::kTlbiNhVaa:
      InvalidateAddresses(command);
      return;
    case Opcode::kTlbiNhAsid:
      iotlb_.InvalidateAsid(command.vmid, command.asid);
      return;
    case Opcode::kTlbiNhAll:
    case Opcode::kTlbiS12Vmall:
      iotlb_.InvalidateVmid(command.vmid);
      return;
    case Opcode::kTlbiNsnhAll:
      iotlb_.InvalidateAll();
      return;
    case Opcode::kAtcInv:
      InvalidateAtc(command);
      return;
    case Opcode::kCfgiCd:
      if (command.ssid != 0) return;  // there is one context
      [[fallthrough]];
    case Opcode::kCfgiCdAll:
    case Opcode::kCfgiSte:
      if (const auto stream = FindStream(command.sid)) ForgetContext(stream.get());
      return;
    case Opcode::kCfgiSteRange:
      for (const auto& stream : StreamsWhere([&](uint32_t sid, const Stream&) {
             return uint64_t{sid} >> command.sid_span_log2 ==
                    uint64_t{command.sid} >> command.sid_span_log2;
           })) {
        ForgetContext(stream.get());
      }
      return;
    default:
      // Second stages alone are not remembered here, nor is anything of EL2; nothing stalls.
      return;
  }
}

void Smmu::InvalidateAddresses(const Command& command) {
  TlbRange range = {
      .vmid = command.vmid, .asid = command.asid, .any_asid = command.opcode == Opcode::kTlbiNhVaa};
  // Without TG the command is one address with pages of any size; what it decodes to is no valid
  // range (IHI 0070, 4.4.1: NUM, SCALE and TTL of 0 are reserved with a TG).
  const bool single = command.granule_log2 == 12 && command.pages == 1 && command.ttl == 0;
  if (!single) range.granule_log2 = command.granule_log2;
  range.level = command.ttl;
  range.first = command.address;
  range.last = LastOf(command.address, command.pages << command.granule_log2);
  iotlb_.InvalidateRange(range, command.leaf ? Iotlb::Scope::kLeaves : Iotlb::Scope::kAll);
}

void Smmu::InvalidateAtc(const Command& command) {
  if (command.has_ssid) return;  // no device here has translations with a PASID
  const std::shared_ptr<Stream> stream = FindStream(command.sid);
  if (stream == nullptr) return;
  const uint64_t last =
      command.pages == 0 ? kMax : LastOf(command.address, command.pages << kAtcPageLog2);
  stream->atc.Invalidate(command.address, last);
}

void Smmu::ForgetContext(Stream* stream) {
  absl::MutexLock lock(&stream->mu);
  ++stream->cd_epoch;
  stream->cd.reset();
}

ConsError Smmu::Sync() {
  in_flight_.Drain();
  return ConsError::kNone;
}

DmaResult Smmu::Read(uint32_t sid, uint64_t address, std::span<std::byte> out,
                     Translating translating) {
  return Dma({sid, address, false}, out.size(), translating,
             [&](const Memory& memory, uint64_t offset, size_t at, size_t n) {
               return memory.Read(offset, out.subspan(at, n));
             });
}

DmaResult Smmu::Write(uint32_t sid, uint64_t address, std::span<const std::byte> bytes,
                      Translating translating) {
  return Dma({sid, address, true}, bytes.size(), translating,
             [&](const Memory& memory, uint64_t offset, size_t at, size_t n) {
               return memory.Write(offset, bytes.subspan(at, n));
             });
}

DmaResult Smmu::Dma(Request request, size_t size, Translating translating,
                    const Transfer& transfer) {
  DmaResult result;
  while (result.done < size) {
    const InFlight::Transaction transaction(&in_flight_);
    const std::shared_ptr<Stream> stream = FindStream(request.sid);
    if (stream == nullptr) {
      result.status = DmaResult::Status::kAborted;
      return result;
    }
    Outcome outcome = translating == Translating::kByAts ? TranslateByAts(*stream, request)
                                                         : Translate(*stream, request);
    result.status = outcome.status;
    result.event = outcome.event;
    if (outcome.status != DmaResult::Status::kOk) return result;
    const uint64_t to_page_end = kTransactionSize - request.address % kTransactionSize;
    const size_t n = std::min<uint64_t>(size - result.done, to_page_end);
    if (request.write && stream->entry.dirty) stream->entry.dirty->Write(request.address, n);
    if (!transfer(*outcome.translation.memory, outcome.translation.offset, result.done, n)) {
      result.status = DmaResult::Status::kAborted;
      return result;
    }
    result.done += n;
    request.address += n;
  }
  return result;
}

}  // namespace berth::emulator
