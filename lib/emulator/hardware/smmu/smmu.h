// SPDX-License-Identifier: Apache-2.0
//
// One SMMUv3 (Arm IHI 0070) as the devices behind it see it: streams, both stages of translation,
// and the caches in between, which remember until they are told to forget.
#ifndef BERTH_LIB_EMULATOR_HARDWARE_SMMU_SMMU_H_
#define BERTH_LIB_EMULATOR_HARDWARE_SMMU_SMMU_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <unordered_map>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "lib/emulator/hardware/invalidation.h"
#include "lib/emulator/hardware/smmu/atc.h"
#include "lib/emulator/hardware/smmu/context_descriptor.h"
#include "lib/emulator/hardware/smmu/dirty_log.h"
#include "lib/emulator/hardware/smmu/event.h"
#include "lib/emulator/hardware/smmu/in_flight.h"
#include "lib/emulator/hardware/smmu/iotlb.h"
#include "lib/emulator/hardware/smmu/stage2.h"

namespace berth::emulator {

// A stream table entry: what happens to the transactions of one device.
struct StreamEntry {
  enum class Config : uint8_t {
    kAbort,   // refused, without an event
    kStage2,  // addresses are intermediate physical ones
    kNested,  // stage 1 in guest memory, in front of stage 2
  };
  Config config = Config::kAbort;
  std::shared_ptr<const Stage2> stage2;  // but for kAbort
  uint16_t vmid = 0;                     // kNested
  // kNested: the guest's entry, S1Fmt, S1ContextPtr, S1CDMax of dword 0.
  uint64_t guest_ste = 0;
  bool ats = false;  // EATS: the device may ask for translations
  // kStage2: hears of every write, before it is done. Null: nobody asks.
  std::shared_ptr<DirtyLog> dirty;
};

// How one DMA of a device ended.
struct DmaResult {
  enum class Status : uint8_t {
    kOk,
    kAborted,  // translation failed, or the bus did
    kDenied,   // the device asked by ATS and was refused as a whole
  };
  Status status = Status::kOk;
  size_t done = 0;  // bytes transferred before
  // What the SMMU recorded. A fault may leave no record: IHI 0070, 3.9.1 (ATS), CD.R, STE abort.
  std::optional<SmmuEvent> event;
};

// Whether a device asks for translations and keeps them (ATS), or leaves them to the SMMU.
enum class Translating : uint8_t { kBySmmu, kByAts };

// Thread-safe. What a method takes away is not used by a DMA that begins after the method returns;
// Sync() waits for those that began before. SetStream() and OnStage2Change() have waited
// themselves. None of these may be called by someone whom a DMA waits for.
class Smmu : public InvalidationSink {
 public:
  // Output addresses have `address_bits` bits (IDR5.OAS); `updates` are what IDR0.HTTU offers.
  explicit Smmu(int address_bits, TableUpdates updates = TableUpdates::kNone)
      : address_bits_(address_bits), updates_(updates) {}

  // Puts a stream table entry in place of the one there is, as CFGI_STE and an ATC_INV of
  // everything do. A stream that was never set aborts.
  void SetStream(uint32_t sid, StreamEntry entry);

  // Mappings of `stage2`, which is the second stage of `vmid`, have been taken away (Linux
  // arm-smmu-v3.c, arm_smmu_tlb_inv_range_domain: a nesting parent's change flushes all first
  // stages behind it and the ATCs of all its streams).
  void OnStage2Change(const Stage2& stage2, uint16_t vmid);
  // The VMID has ended, and the next one to have it finds nothing.
  void InvalidateVmid(uint16_t vmid) { iotlb_.InvalidateVmid(vmid); }
  // The device forgets its translations, as at a reset.
  void ClearAtc(uint32_t sid);

  // Of a vCMDQ, of the host's own queue, or trapped.
  void Invalidate(const Command& command) override;
  ConsError Sync() override;

  // DMA of device `sid`: page by page, up to the first fault.
  DmaResult Read(uint32_t sid, uint64_t address, std::span<std::byte> out, Translating translating);
  DmaResult Write(uint32_t sid, uint64_t address, std::span<const std::byte> bytes,
                  Translating translating);

 private:
  struct Stream {
    explicit Stream(StreamEntry stream_entry) : entry(std::move(stream_entry)) {}
    const StreamEntry entry;
    absl::Mutex mu;
    // The configuration cache.
    std::optional<ContextDescriptor> cd ABSL_GUARDED_BY(mu);
    uint64_t cd_epoch ABSL_GUARDED_BY(mu) = 0;  // counts invalidations
    Atc atc;
  };
  // One transaction on its way.
  struct Request {
    uint32_t sid = 0;
    uint64_t address = 0;
    bool write = false;
    [[nodiscard]] Rights access() const { return {!write, write}; }
  };
  // Where the bytes of [first, last] are.
  struct Translation {
    std::shared_ptr<const Memory> memory;
    uint64_t offset = 0;  // of the request's address
    uint64_t first = 0;
    uint64_t last = 0;
    Rights access;
  };
  struct Outcome {
    DmaResult::Status status = DmaResult::Status::kOk;
    std::optional<SmmuEvent> event;
    Translation translation;  // with kOk
    bool overtaken = false;   // walk again: someone changed the descriptor that was to be updated
  };
  using Transfer = std::function<bool(const Memory& memory, uint64_t offset, size_t at, size_t n)>;

  [[nodiscard]] std::shared_ptr<Stream> FindStream(uint32_t sid) ABSL_LOCKS_EXCLUDED(mu_);
  std::vector<std::shared_ptr<Stream>> StreamsWhere(
      const std::function<bool(uint32_t sid, const Stream& stream)>& matches)
      ABSL_LOCKS_EXCLUDED(mu_);
  void InvalidateAddresses(const Command& command);
  void InvalidateAtc(const Command& command);
  static void ForgetContext(Stream* stream);
  DmaResult Dma(Request request, size_t size, Translating translating, const Transfer& transfer);
  Outcome Translate(Stream& stream, const Request& request);
  Outcome TranslateByAts(Stream& stream, const Request& request);
  static Outcome TranslateStage2(const StreamEntry& entry, const Request& request);
  Outcome TranslateNested(Stream& stream, const Request& request);
  Outcome WalkBothStages(const StreamEntry& entry, const ContextDescriptor& cd,
                         const TranslationRegime& regime, const Request& request);
  Outcome FinishWalk(const StreamEntry& entry, const ContextDescriptor& cd, const WalkResult& walk,
                     const TlbTag& tag, Iotlb::Epoch epoch, const Request& request);
  // What became of a walk that came to no leaf, or to one that could not be updated.
  static Outcome WalkFailed(const ContextDescriptor& cd, const WalkResult& walk,
                            const Request& request);
  // A translation that was found, if it allows the request.
  static Outcome UseLeaf(const ContextDescriptor& cd, const Iotlb::LeafHit& hit,
                         const Request& request);
  // The stream's CD, from the cache or from memory; nullopt and *failed.
  std::optional<ContextDescriptor> LoadContext(Stream& stream, const Request& request,
                                               Outcome* failed) const;

  const int address_bits_;
  const TableUpdates updates_;
  Iotlb iotlb_;
  InFlight in_flight_;
  absl::Mutex mu_;
  std::unordered_map<uint32_t, std::shared_ptr<Stream>> streams_ ABSL_GUARDED_BY(mu_);
};

}  // namespace berth::emulator

#endif  // BERTH_LIB_EMULATOR_HARDWARE_SMMU_SMMU_H_
