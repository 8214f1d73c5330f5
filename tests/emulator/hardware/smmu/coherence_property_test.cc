// SPDX-License-Identifier: Apache-2.0
//
// Random maps, unmaps, invalidations and DMA against a model without caches: a device reads what is
// mapped, or what it has read there before and nobody has invalidated since.
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <array>
#include <map>
#include <memory>
#include <optional>
#include <ostream>
#include <span>
#include <tuple>
#include <utility>
#include <vector>

#include "lib/emulator/hardware/smmu/smmu.h"
#include "lib/iommufd/uapi/smmuv3.h"
#include "tests/emulator/hardware/smmu/guest_memory.h"

namespace berth::emulator::testing {
namespace {

// VMIDs of one bank, so that they meet in the same sets.
constexpr std::array<uint16_t, 2> kVmids = {7, 71};
constexpr std::array<uint16_t, 2> kAsids = {1, 2};

// Places where something is mapped. Neighbours, the same and other tables, a block, and a page that
// is global and the same in both address spaces.
struct Place {
  uint64_t address;
  int level;
  bool global;
  [[nodiscard]] uint64_t last() const { return address + (level == 3 ? 0xfff : 0x1fffff); }
};
constexpr std::array<Place, 8> kPlaces = {{{0x10000000, 3, false},
                                           {0x10001000, 3, false},
                                           {0x10002000, 3, false},
                                           {0x10010000, 3, false},
                                           {0x10200000, 3, false},
                                           {0x4010000000, 3, false},
                                           {0x10400000, 2, false},
                                           {0x10011000, 3, true}}};
constexpr int kPages = 6;

enum class Op : uint8_t {
  kMap,
  kUnmap,
  kRead,
  kReadByAts,
  kTlbiVa,
  kTlbiVaRange,
  kTlbiVaa,
  kTlbiAsid,
  kTlbiAll,
  kAtcInv,
  kAtcInvAll,
  kStage2,
};
constexpr int kOps = 12;

struct Step {
  int op = 0;
  int vm = 0;
  int asid = 0;  // also: which stream of the VM
  int place = 0;
  int page = 0;
  int level = 0;  // TTL; 0 = any
  int pages = 1;  // of a range
};

void showValue(const Step& step, std::ostream& out) {
  static constexpr const char* kNames[] = {
      "map",      "unmap",     "read",     "read_by_ats", "tlbi_va",     "tlbi_va_range",
      "tlbi_vaa", "tlbi_asid", "tlbi_all", "atc_inv",     "atc_inv_all", "stage2"};
  out << kNames[step.op] << "(vm " << step.vm << ", asid " << step.asid << ", place " << step.place
      << ", page " << step.page << ", level " << step.level << ", pages " << step.pages << ")";
}

// 0: nothing there.
using Value = uint64_t;

// What a device may read. Of caches it knows only which value was read at a place, and so may be
// remembered, since the last invalidation that names the place.
class Model {
 public:
  struct Key {
    int vm;
    int asid;
    int place;
    auto operator<=>(const Key&) const = default;
  };
  void Map(Key key, Value value) {
    for (int asid = 0; asid < 2; ++asid) {
      if (asid == key.asid || kPlaces[key.place].global) mapped_[{key.vm, asid, key.place}] = value;
    }
  }
  bool MayRead(Key key, bool by_ats, Value value) {
    const Key tlb = TlbKey(key);
    const bool from_atc = by_ats && atc_.contains(key) && atc_[key] == value;
    const bool stale = tlb_.contains(tlb) && tlb_[tlb] == value;
    const bool current = mapped_[key] == value;
    if (!from_atc && !stale && !current) return false;
    if (!current) ++stale_reads;
    if (value == 0) return true;  // faults are not remembered
    if (!from_atc) tlb_[tlb] = value;
    if (by_ats) atc_[key] = value;
    return true;
  }
  template <typename Matches>
  void InvalidateTlb(Matches matches) {
    std::erase_if(tlb_, [&](const auto& entry) { return matches(entry.first); });
  }
  template <typename Matches>
  void InvalidateAtc(Matches matches) {
    std::erase_if(atc_, [&](const auto& entry) { return matches(entry.first); });
  }
  Value mapped(Key key) { return mapped_[key]; }

  int stale_reads = 0;

 private:
  // A global page is one translation for both address spaces.
  static Key TlbKey(Key key) {
    if (kPlaces[key.place].global) key.asid = 0;
    return key;
  }
  std::map<Key, Value> mapped_;
  std::map<Key, Value> tlb_;
  std::map<Key, Value> atc_;  // `asid` is the stream
};

class Machine {
 public:
  Machine() {
    for (int vm = 0; vm < 2; ++vm) {
      Vm& v = vms_[vm];
      v.memory = std::make_unique<GuestMemory>();
      for (int page = 0; page < kPages; ++page) {
        const Value value = Value{100} * static_cast<Value>(vm) + static_cast<Value>(page) + 1;
        v.pages[page] = v.memory->AllocatePage(value);
        if (page < 2) v.blocks[page] = v.memory->AllocatePage(value, 2 << 20);
      }
      for (int asid = 0; asid < 2; ++asid) {
        v.tables[asid] = std::make_unique<Tables>(v.memory.get());
        const uint64_t cd = v.memory->Allocate();
        WriteContext(v.memory.get(), cd, {.asid = kAsids[asid], .low = v.tables[asid].get()});
        StreamEntry entry;
        entry.config = StreamEntry::Config::kNested;
        entry.stage2 = v.memory->stage2();
        entry.vmid = kVmids[vm];
        entry.guest_ste =
            cd | uapi::kSte0Valid.Put(1) | uapi::kSte0Config.Put(uapi::kSteConfigS1Translate);
        entry.ats = true;
        smmu_.SetStream(Sid(vm, asid), std::move(entry));
      }
    }
  }

  void Run(const Step& step) {
    const Model::Key key = {step.vm, step.asid, step.place};
    switch (static_cast<Op>(step.op)) {
      case Op::kMap:
        Map(key, step.page);
        break;
      case Op::kUnmap:
        ForEachAsid(key, [&](Tables& tables) {
          tables.Unmap(kPlaces[key.place].address, kPlaces[key.place].level);
        });
        model_.Map(key, 0);
        break;
      case Op::kRead:
        Read(key, Translating::kBySmmu);
        break;
      case Op::kReadByAts:
        Read(key, Translating::kByAts);
        break;
      case Op::kTlbiVa:
      case Op::kTlbiVaRange:
      case Op::kTlbiVaa:
        TlbiVa(step);
        break;
      case Op::kTlbiAsid:
        smmu_.Invalidate(
            {.opcode = Opcode::kTlbiNhAsid, .vmid = kVmids[key.vm], .asid = kAsids[key.asid]});
        model_.InvalidateTlb([&](const Model::Key& k) {
          return k.vm == key.vm && k.asid == key.asid && !kPlaces[k.place].global;
        });
        break;
      case Op::kTlbiAll:
        smmu_.Invalidate({.opcode = Opcode::kTlbiNhAll, .vmid = kVmids[key.vm]});
        model_.InvalidateTlb([&](const Model::Key& k) { return k.vm == key.vm; });
        break;
      case Op::kAtcInv:
        AtcInv(key, kPlaces[key.place].address & ~0xfffULL, 1);
        break;
      case Op::kAtcInvAll:
        AtcInv(key, 0, 0);
        break;
      case Op::kStage2:
        ChangeStage2(key.vm);
        break;
    }
    smmu_.Sync();
  }

  // Everything invalidated, every place reads as it is mapped.
  void CheckAll() {
    for (int vm = 0; vm < 2; ++vm) {
      Run({.op = static_cast<int>(Op::kTlbiAll), .vm = vm});
      for (int asid = 0; asid < 2; ++asid) {
        Run({.op = static_cast<int>(Op::kAtcInvAll), .vm = vm, .asid = asid});
        for (int place = 0; place < static_cast<int>(kPlaces.size()); ++place) {
          const Model::Key key = {vm, asid, place};
          RC_ASSERT(DeviceReads(key, Translating::kBySmmu) == model_.mapped(key));
          RC_ASSERT(DeviceReads(key, Translating::kByAts) == model_.mapped(key));
        }
      }
    }
  }
  [[nodiscard]] int stale_reads() const { return model_.stale_reads; }

 private:
  struct Vm {
    std::unique_ptr<GuestMemory> memory;
    std::array<std::unique_ptr<Tables>, 2> tables;
    std::array<uint64_t, kPages> pages;
    std::array<uint64_t, 2> blocks;
  };
  static uint32_t Sid(int vm, int stream) { return static_cast<uint32_t>(0x100 + vm * 8 + stream); }

  template <typename Change>
  void ForEachAsid(const Model::Key& key, Change change) {
    for (int asid = 0; asid < 2; ++asid) {
      if (asid == key.asid || kPlaces[key.place].global) change(*vms_[key.vm].tables[asid]);
    }
  }
  void Map(const Model::Key& key, int page) {
    const Place& place = kPlaces[key.place];
    const Vm& vm = vms_[key.vm];
    const uint64_t target = place.level == 3 ? vm.pages[page] : vm.blocks[page % 2];
    const uint64_t bits = place.global ? kPteNormal & ~kPteNotGlobal : kPteNormal;
    ForEachAsid(key, [&](Tables& tables) { tables.Map(place.address, target, place.level, bits); });
    model_.Map(key, vm.memory->Load(target));
  }
  Value DeviceReads(const Model::Key& key, Translating translating) {
    uint64_t value = 0;
    const DmaResult result =
        smmu_.Read(Sid(key.vm, key.asid), kPlaces[key.place].address,
                   std::as_writable_bytes(std::span<uint64_t, 1>(&value, 1)), translating);
    return result.status == DmaResult::Status::kOk ? value : 0;
  }
  void Read(const Model::Key& key, Translating translating) {
    const Value value = DeviceReads(key, translating);
    RC_ASSERT(model_.MayRead(key, translating == Translating::kByAts, value));
  }
  void TlbiVa(const Step& step) {
    const Place& place = kPlaces[step.place];
    Command command = {.opcode = Opcode::kTlbiNhVa,
                       .leaf = step.page % 2 == 0,
                       .vmid = kVmids[step.vm],
                       .asid = kAsids[step.asid]};
    command.address = place.address;
    command.pages = 1;
    if (static_cast<Op>(step.op) == Op::kTlbiVaa) command.opcode = Opcode::kTlbiNhVaa;
    if (static_cast<Op>(step.op) == Op::kTlbiVaRange) {
      command.pages = static_cast<uint64_t>(step.pages);
      command.ttl = static_cast<uint8_t>(step.level);
    }
    smmu_.Invalidate(command);
    const uint64_t last = command.address + command.pages * 4096 - 1;
    model_.InvalidateTlb([&](const Model::Key& k) {
      const Place& p = kPlaces[k.place];
      const bool any_asid = command.opcode == Opcode::kTlbiNhVaa || p.global;
      return k.vm == step.vm && (any_asid || k.asid == step.asid) && p.address <= last &&
             command.address <= p.last() && (command.ttl == 0 || command.ttl == p.level);
    });
  }
  void AtcInv(const Model::Key& key, uint64_t address, uint64_t pages) {
    Command command = {.opcode = Opcode::kAtcInv, .sid = Sid(key.vm, key.asid)};
    command.address = address;
    command.pages = pages;
    smmu_.Invalidate(command);
    model_.InvalidateAtc([&](const Model::Key& k) {
      return k.vm == key.vm && k.asid == key.asid &&
             (pages == 0 || (kPlaces[k.place].address <= address + pages * 4096 - 1 &&
                             address <= kPlaces[k.place].last()));
    });
  }
  // An unmap and a map of the same: nothing that was translated before may be remembered.
  void ChangeStage2(int vm) {
    GuestMemory& memory = *vms_[vm].memory;
    memory.stage2()->Unmap(memory.base());
    smmu_.OnStage2Change(*memory.stage2(), kVmids[vm]);
    const Model::Key any = {vm, 0, 0};
    RC_ASSERT(DeviceReads(any, Translating::kBySmmu) == 0U);
    RC_ASSERT(DeviceReads(any, Translating::kByAts) == 0U);
    memory.stage2()->Map(memory.base(), memory.base() + memory.size() - 1, memory.memory(), 0,
                         {true, true});
    model_.InvalidateTlb([&](const Model::Key& k) { return k.vm == vm; });
    model_.InvalidateAtc([&](const Model::Key& k) { return k.vm == vm; });
  }

  Smmu smmu_{48};
  std::array<Vm, 2> vms_;
  Model model_;
};

rc::Gen<Step> AnyStep() {
  // Reads and maps are more common than what takes away, so that there is something to take.
  const auto op = rc::gen::weightedOneOf<int>({{6, rc::gen::inRange(0, 4)},
                                               {2, rc::gen::inRange(4, kOps - 1)},
                                               {1, rc::gen::just(static_cast<int>(Op::kRead))},
                                               {1, rc::gen::inRange(0, kOps)}});
  return rc::gen::build<Step>(
      rc::gen::set(&Step::op, op), rc::gen::set(&Step::vm, rc::gen::inRange(0, 2)),
      rc::gen::set(&Step::asid, rc::gen::inRange(0, 2)),
      rc::gen::set(&Step::place, rc::gen::inRange(0, static_cast<int>(kPlaces.size()))),
      rc::gen::set(&Step::page, rc::gen::inRange(0, kPages)),
      rc::gen::set(&Step::level, rc::gen::element(0, 0, 2, 3)),
      rc::gen::set(&Step::pages, rc::gen::element(1, 2, 17, 600, 70000)));
}

TEST(Coherence, ADeviceReadsWhatIsMappedOrWhatNobodyInvalidated) {
  size_t steps_run = 0;
  int stale_reads = 0;
  EXPECT_TRUE(rc::check([&] {
    // 100 runs of up to 2,400 steps.
    const auto steps = *rc::gen::scale(24.0, rc::gen::container<std::vector<Step>>(AnyStep()));
    Machine machine;
    for (const Step& step : steps) machine.Run(step);
    machine.CheckAll();
    steps_run += steps.size();
    stale_reads += machine.stale_reads();
  }));
  EXPECT_GE(steps_run, 20000U);
  EXPECT_GE(stale_reads, 100) << "the caches remember nothing";
}

}  // namespace
}  // namespace berth::emulator::testing
