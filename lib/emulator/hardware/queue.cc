// SPDX-License-Identifier: Apache-2.0
#include "lib/emulator/hardware/queue.h"

#include <algorithm>
#include <array>
#include <utility>

namespace berth::emulator {
namespace {

// Commands of one look: about 0.1 ms, so that neither other queues nor Cmdqv's methods wait long.
constexpr uint32_t kLookBudget = 4096;
constexpr size_t kChunk = 64;

}  // namespace

void Lvcmdq::Map(QueueMemory memory, uint32_t log2size) {
  memory_ = std::move(memory);
  log2size_ = log2size;
  index_mask_ = (2u << log2size) - 1;
  mapped_ = true;
  Reset();
}

void Lvcmdq::Unmap() {
  Reset();
  mapped_ = false;
  memory_ = {};
  log2size_ = index_mask_ = 0;
}

// tegra241_vcmdq_hw_deinit() in Linux.
void Lvcmdq::Reset() {
  enable_seen_ = enabled_ = false;
  error_ = ConsError::kNone;
  cons_ = prod_seen_ = 0;
  if (!registers_.valid()) return;
  registers_.Store(Register::kConfig, 0);
  registers_.Store(Register::kStatus, 0);
  registers_.Store(Register::kProd, 0);
  registers_.Store(Register::kCons, 0);
  registers_.Store(Register::kGerror, gerror_);
  registers_.Store(Register::kGerrorn, gerror_);
}

Lvcmdq::Sighting Lvcmdq::Look(const CommandExecutor& executor) {
  Sighting sighting;
  if (!registers_.valid()) return sighting;
  const bool enable = (registers_.Load(Register::kConfig) & kConfigEnable) != 0;
  if (enable != enable_seen_) {
    FollowEnable(enable);
    sighting.worked = true;
  }
  if (in_error() && ((registers_.Load(Register::kGerrorn) ^ gerror_) & kGerrorCmdqError) == 0) {
    error_ = ConsError::kNone;
    sighting.worked = true;
  }
  if (enabled_) registers_.Reassert(Register::kCons, cons_register());
  registers_.Reassert(Register::kGerror, gerror_);
  registers_.Reassert(Register::kStatus, enabled_ ? kStatusEnabled : 0);
  if (!enabled_ || in_error()) return sighting;

  const uint32_t prod = registers_.Load(Register::kProd) & index_mask_;
  const uint32_t size = 1u << log2size_;
  const uint32_t distance = Distance(prod);
  if (distance == 0) return sighting;
  if (distance > size && config_.prod_overrun == ProdOverrun::kIgnore) return sighting;
  sighting.worked = true;
  if (prod != std::exchange(prod_seen_, prod)) {
    ++counters_.doorbells;
    if (distance == size) ++counters_.full_rings;
  }
  const ConsError error = distance > size ? ConsError::kIllegal : Consume(prod, executor);
  if (error != ConsError::kNone) {
    Stop(error);
    sighting.new_error = true;
  }
  return sighting;
}

void Lvcmdq::FollowEnable(bool enable) {
  enable_seen_ = enable;
  if (!enable) {
    enabled_ = false;
  } else if (mapped_) {
    enabled_ = true;
    cons_ = prod_seen_ = registers_.Load(Register::kCons) & index_mask_;
  } else {
    ++counters_.init_errors;
    RaiseGerror(kGerrorInitError);
  }
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
  Command command;
  for (size_t i = 0; i < fetched; ++i) {
    const ConsError error = executor.Execute(chunk[i], &counters_, &command);
    if (error != ConsError::kNone) return error;
    last_ = command;
    executed_any_ = true;
    cons_ = (cons_ + 1) & index_mask_;
    if (command.opcode == Opcode::kCmdSync) registers_.Store(Register::kCons, cons_);
  }
  return fetched == count ? ConsError::kNone : ConsError::kFetchAbort;
}

void Lvcmdq::Stop(ConsError error) {
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
  snapshot.mapped = mapped_;
  snapshot.enabled = enabled_ && registers_.valid();
  snapshot.log2size = log2size_;
  snapshot.cons = cons_register();
  snapshot.gerror = gerror_;
  snapshot.counters = counters_;
  if (registers_.valid()) snapshot.prod = registers_.Load(Register::kProd);
  if (executed_any_) snapshot.last = last_;
  return snapshot;
}

}  // namespace berth::emulator
