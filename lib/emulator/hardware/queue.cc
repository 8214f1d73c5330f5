// SPDX-License-Identifier: Apache-2.0
#include "lib/emulator/hardware/queue.h"

#include <algorithm>
#include <array>
#include <utility>

namespace berth::emulator {
namespace {

// Commands of one look: a few microseconds, so that neither other queues nor whoever waits for the
// VINTF wait long. A CMD_SYNC of a queue waits for a look at each queue that floods; with more a
// single flood would make it wait for many times what it takes without.
constexpr uint32_t kLookBudget = 128;
constexpr size_t kChunk = 64;

bool IsCmdSync(const RawCommand& raw) {
  return static_cast<Opcode>(raw.dword0 & 0xff) == Opcode::kCmdSync;
}

}  // namespace

void Lvcmdq::Start() {
  Stop();
  error_ = ConsError::kNone;
  gerror_ = registers_.Load(Register::kGerrorn);
  executed_any_ = false;
  counters_ = {};
  Reassert(registers_);
}

void Lvcmdq::Stop() {
  if (watch_ != nullptr) watch_->SetBusy();
  enable_seen_ = enabled_ = atc_unanswered_ = false;
  error_ = ConsError::kNone;
  memory_ = {};
  log2size_ = index_mask_ = 0;
  registers_.Reassert(Register::kStatus, 0);
}

void Lvcmdq::Attach(LvcmdqRegisters direct) {
  if (watch_ != nullptr) watch_->SetBusy();
  direct_ = direct;
  direct_used_ = false;
  for (size_t i = 0; i < kWritable.size(); ++i) {
    common_[i] = registers_.Load(kWritable[i]);
    direct_.Store(kWritable[i], common_[i]);
  }
  Reassert(direct_);
}

void Lvcmdq::Detach() {
  Stop();
  Reassert(direct_);
  direct_ = {};
  direct_used_ = false;
}

void Lvcmdq::Reassert(const LvcmdqRegisters& registers) const {
  if (enabled_) registers.Reassert(Register::kCons, cons_register());
  registers.Reassert(Register::kGerror, gerror_);
  registers.Reassert(Register::kStatus, enabled_ ? kStatusEnabled : 0);
}

// Who wrote is found by comparing with what both had. A register that changed in both pages between
// two looks keeps the value of the direct one.
void Lvcmdq::FollowDirect() {
  if (!attached()) return;
  for (size_t i = 0; i < kWritable.size(); ++i) {
    const Register reg = kWritable[i];
    if (reg == Register::kCons && enabled_) {
      common_[i] = cons_register();
      continue;
    }
    const uint32_t logical = registers_.Load(reg);
    const uint32_t direct = direct_.Load(reg);
    if (direct != common_[i]) {
      direct_used_ = true;
      if (watch_ != nullptr) watch_->SetBusy();
      if (registers_.Exchange(reg, logical, direct)) common_[i] = direct;
    } else if (logical != common_[i] && direct_.Exchange(reg, direct, logical)) {
      common_[i] = logical;
    }
  }
  Reassert(direct_);
}

void Lvcmdq::Enable(std::optional<RingMemory> ring) {
  enable_seen_ = true;
  if (!ring) {
    ++counters_.init_errors;
    RaiseGerror(kGerrorInitError);
    return;
  }
  memory_ = std::move(ring->memory);
  log2size_ = ring->log2size;
  index_mask_ = (2u << log2size_) - 1;
  enabled_ = true;
  cons_ = prod_seen_ = registers_.Load(Register::kCons) & index_mask_;
  Reassert(registers_);
}

bool Lvcmdq::FollowDisable() {
  if (!enable_seen_ || (registers_.Load(Register::kConfig) & kConfigEnable) != 0) return false;
  enable_seen_ = enabled_ = false;
  memory_ = {};
  registers_.Reassert(Register::kStatus, 0);
  return true;
}

Lvcmdq::Sighting Lvcmdq::Look(const CommandExecutor& executor) {
  Sighting sighting;
  if (watch_ != nullptr) watch_->SetBusy();
  if (direct_used_) FollowDirect();
  const uint32_t config = registers_.Load(Register::kConfig);
  sighting.worked = FollowDisable();
  const uint32_t gerrorn = registers_.Load(Register::kGerrorn);
  if (in_error() && ((gerrorn ^ gerror_) & kGerrorCmdqError) == 0) {
    error_ = ConsError::kNone;
    sighting.worked = sighting.acknowledged = true;
  }
  Reassert(registers_);
  const uint32_t written = registers_.Load(Register::kProd);
  const uint32_t prod = written & index_mask_;
  if (!enabled_ || in_error() || Distance(prod) == 0) {
    if (!sighting.worked) TellQuiet(written, config, gerrorn);
    return sighting;
  }

  const uint32_t size = 1u << log2size_;
  const uint32_t distance = Distance(prod);
  if (distance > size && config_.prod_overrun == ProdOverrun::kIgnore) return sighting;
  sighting.worked = true;
  if (prod != std::exchange(prod_seen_, prod)) {
    ++counters_.doorbells;
    if (distance == size) ++counters_.full_rings;
  }
  const ConsError error = distance > size ? ConsError::kIllegal : Consume(prod, executor);
  if (error != ConsError::kNone) {
    Fail(error);
    sighting.new_error = true;
  }
  if (direct_used_) Reassert(direct_);
  return sighting;
}

void Lvcmdq::TellQuiet(uint32_t prod, uint32_t config, uint32_t gerrorn) {
  // What wants to be enabled, and what may be written in the other page, is looked at each time.
  if (watch_ == nullptr || direct_used_ || ((config & kConfigEnable) != 0) != enable_seen_) return;
  const uint32_t cons = enabled_ ? cons_register() : registers_.Load(Register::kCons);
  watch_->SetQuiet({cons, prod, config, enabled_ ? kStatusEnabled : 0, gerror_, gerrorn});
}

// The bits toggle, and a bit that differs from GERRORN is active. Software that wrote something
// else into GERRORN than it read from GERROR must still see the error.
void Lvcmdq::RaiseGerror(uint32_t bit) {
  const uint32_t acknowledged = registers_.Load(Register::kGerrorn) & bit;
  gerror_ = (gerror_ & ~bit) | (acknowledged ^ bit);
  registers_.Store(Register::kGerror, gerror_);
}

ConsError Lvcmdq::Consume(uint32_t prod, const CommandExecutor& executor) {
  const uint32_t size = 1u << log2size_;
  ConsError error = ConsError::kNone;
  uint32_t budget = kLookBudget;
  while (error == ConsError::kNone && budget > 0 && cons_ != prod) {
    const uint32_t to_ring_end = size - (cons_ & (size - 1));
    const uint32_t count =
        std::min({static_cast<uint32_t>(kChunk), Distance(prod), to_ring_end, budget});
    error = ConsumeChunk(count, executor);
    budget -= count;
  }
  if (error == ConsError::kNone) registers_.Store(Register::kCons, cons_);
  return error;
}

// Software waits for CONS to pass its CMD_SYNC, so CONS is published at each.
ConsError Lvcmdq::ConsumeChunk(size_t count, const CommandExecutor& executor) {
  std::array<RawCommand, kChunk> chunk;
  const size_t fetched = memory_.Fetch(cons_ & ((1u << log2size_) - 1), count, chunk.data());
  for (size_t i = 0; i < fetched; ++i) {
    if (atc_unanswered_ && IsCmdSync(chunk[i])) {
      // Said once: the next try of the CMD_SYNC has nothing to wait for (IHI 0070,
      // CERROR_ATC_INV_SYNC).
      atc_unanswered_ = false;
      return ConsError::kAtcTimeout;
    }
    Command& command = commands_[1 - last_];
    const uint64_t unanswered = counters_.unanswered;
    const ConsError error = executor.Execute(chunk[i], &counters_, &command);
    if (error != ConsError::kNone) return error;
    atc_unanswered_ |= counters_.unanswered != unanswered;
    last_ = 1 - last_;
    executed_any_ = true;
    cons_ = (cons_ + 1) & index_mask_;
    if (command.opcode == Opcode::kCmdSync) registers_.Store(Register::kCons, cons_);
  }
  return fetched == count ? ConsError::kNone : ConsError::kFetchAbort;
}

void Lvcmdq::Fail(ConsError error) {
  error_ = error;
  ++(error == ConsError::kFetchAbort   ? counters_.fetch_errors
     : error == ConsError::kAtcTimeout ? counters_.atc_timeouts
                                       : counters_.command_errors);
  // CONS first: software reads it after it has seen GERROR.
  registers_.Store(Register::kCons, cons_register());
  RaiseGerror(kGerrorCmdqError);
}

LvcmdqSnapshot Lvcmdq::Snapshot() const {
  LvcmdqSnapshot snapshot;
  snapshot.mapped = attached();
  snapshot.enabled = enabled_;
  snapshot.log2size = log2size_;
  snapshot.cons = cons_register();
  snapshot.gerror = gerror_;
  snapshot.counters = counters_;
  snapshot.prod = registers_.Load(Register::kProd);
  if (executed_any_) snapshot.last = commands_[last_];
  return snapshot;
}

}  // namespace berth::emulator
