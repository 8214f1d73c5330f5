// SPDX-License-Identifier: Apache-2.0
#include "lib/emulator/hardware/vintf.h"

#include <utility>

#include "lib/emulator/hardware/physical_memory.h"

namespace berth::emulator {
namespace {

constexpr uint64_t kMinLog2Size = 1;
constexpr uint64_t kMaxLog2Size = 19;  // the index and its wrap bit have 20 bits in all

// Where registers of vCMDQ or LVCMDQ `index` lie in a page.
size_t InPage(int index) { return kLvcmdqStride * static_cast<size_t>(index); }

}  // namespace

Vintf::Vintf(UnitState* unit, int index, std::span<QueueWatch> watches)
    : unit_(unit),
      index_(index),
      registers_(unit->registers().At(config_page::Vintf(index))),
      watches_(watches),
      executor_(unit->config(), registers_) {
  AddSlots(static_cast<int>(watches_.size()));
}

void Vintf::AddSlots(int count) {
  const RegisterView page0 = unit_->registers().At(VintfPage0(index_));
  for (int i = static_cast<int>(slots_.size()); i < count; ++i) {
    QueueWatch* watch = i < std::ssize(watches_) ? &watches_[i] : nullptr;
    slots_.push_back({Lvcmdq(unit_->config(), LvcmdqRegisters(page0.At(InPage(i))), watch)});
  }
}

void Vintf::SetPage0(bool there) {
  page0_there_ = there;
  for (QueueWatch& watch : watches_) watch.SetBusy();
}

bool Vintf::LookAtConfig() {
  const uint32_t config = registers_.Load(vintf_config::kConfig);
  const bool enable = unit_->enabled() && (config & kEnable) != 0;
  bool changed = enable != enabled_;
  if (changed && enable) Enable(config);
  if (changed && !enable) Disable();
  registers_.Reassert(vintf_config::kStatus, enabled_ ? kEnable : 0);
  if (!enabled_) return changed;
  changed |= ReadAllocations();
  for (int i = 0; i < std::ssize(slots_); ++i) {
    if (slots_[i].vcmdq < 0) continue;
    if (page0_there_) slots_[i].queue.FollowDirect();
    FollowPage1(i);
  }
  PublishErrors();
  return changed;
}

// A driver may be about to write CONFIG again (Linux writes it without EN, then with), so HYP_OWN
// is taken away only from the value that was read; if that is gone, the next look decides. Software
// reads HYP_OWN back after it has seen STATUS.
void Vintf::Enable(uint32_t config) {
  if ((config & kVintfHypOwn) != 0 && unit_->config().hyp_own == HypOwn::kWiredToZero) {
    if (!registers_.Exchange(vintf_config::kConfig, config, config & ~kVintfHypOwn)) return;
    config &= ~kVintfHypOwn;
  }
  executor_.SetVmid(static_cast<uint16_t>(config >> kVintfVmidShift & kVintfVmidMask));
  executor_.SetHypOwn((config & kVintfHypOwn) != 0);
  for (Slot& slot : slots_) slot.queue.Start();
  enabled_ = true;
  unit_->SetActive(index_, true);
}

void Vintf::Disable() {
  for (Slot& slot : slots_) Detach(&slot);
  enabled_ = false;
  unit_->SetActive(index_, false);
  PublishErrors();
}

// A vCMDQ that several entries could claim goes to the lowest.
bool Vintf::ReadAllocations() {
  const int vcmdqs = unit_->config().vcmdqs;
  std::array<int, kMaxVcmdqs> wanted;
  wanted.fill(-1);
  const uint32_t mine = CmdqAllocValue(index_, 0) | kCmdqAllocated;
  constexpr uint32_t kLvcmdqBits = 0x7f << 1;
  for (int q = vcmdqs - 1; q >= 0; --q) {
    const uint32_t alloc = unit_->registers().Load(config_page::CmdqAlloc(q)) & kCmdqAllocMask;
    if ((alloc & ~kLvcmdqBits) == mine) wanted[(alloc & kLvcmdqBits) >> 1] = q;
  }
  bool changed = false;
  for (int i = 0; i < kMaxVcmdqs; ++i) {
    if (wanted[i] >= 0) AddSlots(i + 1);
    if (i >= std::ssize(slots_) || slots_[i].vcmdq == wanted[i]) continue;
    changed = true;
    Detach(&slots_[i]);
    if (wanted[i] >= 0) Attach(i, wanted[i]);
  }
  // Not all queues may be watched any more.
  if (changed) SetPage0(page0_there_);
  return changed;
}

void Vintf::Attach(int lvcmdq, int vcmdq) {
  Slot& slot = slots_[lvcmdq];
  slot.vcmdq = vcmdq;
  slot.queue.Attach(LvcmdqRegisters(unit_->registers().At(kVcmdqPage0 + InPage(vcmdq))));
  const RegisterView direct = unit_->registers().At(kVcmdqPage1 + InPage(vcmdq));
  for (size_t i = 0; i < slot.page1.size(); ++i) {
    slot.page1[i] = Page1(lvcmdq).Load(4 * i);
    direct.Store(4 * i, slot.page1[i]);
  }
}

void Vintf::Detach(Slot* slot) {
  if (slot->vcmdq < 0) return;
  unit_->SetVcmdqError(slot->vcmdq, false);
  slot->queue.Detach();
  slot->vcmdq = -1;
}

RegisterView Vintf::Page1(int lvcmdq) const {
  return unit_->registers().At(VintfPage1(index_) + InPage(lvcmdq));
}

// As Lvcmdq::FollowDirect().
void Vintf::FollowPage1(int lvcmdq) {
  Slot& slot = slots_[lvcmdq];
  const RegisterView logical = Page1(lvcmdq);
  const RegisterView direct = unit_->registers().At(kVcmdqPage1 + InPage(slot.vcmdq));
  for (size_t i = 0; i < slot.page1.size(); ++i) {
    const uint32_t here = logical.Load(4 * i);
    const uint32_t there = direct.Load(4 * i);
    if (there != slot.page1[i]) {
      if (logical.Exchange(4 * i, here, there)) slot.page1[i] = there;
    } else if (here != slot.page1[i] && direct.Exchange(4 * i, there, here)) {
      slot.page1[i] = here;
    }
  }
}

std::optional<RingMemory> Vintf::OpenRing(int lvcmdq) {
  if (slots_[lvcmdq].vcmdq < 0) return std::nullopt;
  FollowPage1(lvcmdq);
  const RegisterView page1 = Page1(lvcmdq);
  const uint64_t base = uint64_t{page1.Load(kBaseHigh)} << 32 | page1.Load(kBaseLow);
  const uint64_t log2size = base & kBaseLog2SizeMask;
  if (log2size < kMinLog2Size || log2size > kMaxLog2Size) return std::nullopt;
  RingMemory ring = {{}, static_cast<uint32_t>(log2size)};
  PhysicalMemory* memory = unit_->config().memory;
  if (memory != nullptr) {
    ring.memory = memory->Open(base & kBaseAddressMask, sizeof(RawCommand) << log2size);
  }
  return ring;
}

// What was written before CONFIG.EN must count, so it is looked at here and not when its turn
// comes.
void Vintf::EnableQueues() {
  bool wanted = false;
  for (Slot& slot : slots_) wanted |= slot.queue.WantsEnable();
  if (!wanted) return;
  ReadAllocations();
  for (int i = 0; i < std::ssize(slots_); ++i) {
    if (slots_[i].queue.WantsEnable()) slots_[i].queue.Enable(OpenRing(i));
  }
}

void Vintf::Settle() {
  if (!enabled_ || !page0_there_) return;
  for (Slot& slot : slots_) slot.queue.FollowDisable();
  EnableQueues();
}

bool Vintf::Look() {
  if (!enabled_ || !page0_there_) return false;
  bool worked = false;
  bool errors_changed = false;
  for (size_t i = 0; i < slots_.size(); ++i) {
    Lvcmdq& queue = slots_[i].queue;
    if (queue.WantsEnable()) {
      EnableQueues();
      worked = true;
    }
    const Lvcmdq::Sighting sighting = queue.Look(executor_);
    worked |= sighting.worked;
    errors_changed |= sighting.new_error || sighting.acknowledged;
    if (!sighting.new_error) continue;
    PublishErrors();
    unit_->RaiseInterrupt(index_);
  }
  if (errors_changed) PublishErrors();
  return worked;
}

LvcmdqErrorMap Vintf::ErrorMap() const {
  LvcmdqErrorMap map = {};
  for (size_t i = 0; i < slots_.size(); ++i) {
    if (slots_[i].queue.in_error()) map[i / 64] |= uint64_t{1} << (i % 64);
  }
  return map;
}

void Vintf::PublishErrors() {
  const LvcmdqErrorMap map = ErrorMap();
  const RegisterView at = registers_.At(vintf_config::kLvcmdqErrMap);
  for (size_t i = 0; i < 4; ++i) {
    at.Reassert(4 * i, static_cast<uint32_t>(map[i / 2] >> (32 * (i % 2))));
  }
  for (const Slot& slot : slots_) {
    if (slot.vcmdq >= 0) unit_->SetVcmdqError(slot.vcmdq, slot.queue.in_error());
  }
  unit_->SetVintfError(index_, (map[0] | map[1]) != 0);
}

VintfSnapshot Vintf::Snapshot() const {
  VintfSnapshot snapshot;
  snapshot.vmid = executor_.vmid();
  snapshot.hyp_own = executor_.hyp_own();
  snapshot.lvcmdq_err_map = ErrorMap();
  snapshot.sid_slots = executor_.SidSlots();
  for (const Slot& slot : slots_) {
    snapshot.lvcmdqs.push_back(slot.queue.Snapshot());
    if (!page0_there_) snapshot.lvcmdqs.back().enabled = false;
  }
  return snapshot;
}

const Lvcmdq* Vintf::lvcmdq(int index) const {
  return index >= 0 && index < std::ssize(slots_) ? &slots_[index].queue : nullptr;
}

}  // namespace berth::emulator
