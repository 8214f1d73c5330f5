// SPDX-License-Identifier: Apache-2.0
#include "lib/vmm/example/command_queue.h"

#include <atomic>
#include <cstring>
#include <string>

#include "lib/vmm/example/spin.h"

namespace berth::example {
namespace {

constexpr size_t kLvcmdqStride = 0x80;
constexpr uint32_t kEnable = 1;
constexpr uint32_t kGerrorCmdqError = 1;
constexpr int kConsErrorShift = 24;
constexpr uint32_t kConsErrorMask = 0x7f;

}  // namespace

void Counts::Add(const Command& command) {
  switch (OpcodeOf(command)) {
    case Opcode::kTlbiNhAsid:
      ++tlbi_nh_asid;
      break;
    case Opcode::kTlbiNhVa:
      ++tlbi_nh_va;
      break;
    case Opcode::kAtcInv:
      ++atc_inv;
      break;
    case Opcode::kCmdSync:
      ++cmd_sync;
      break;
    default:  // the hardware does not execute it
      break;
  }
}

void Counts::Add(const Counts& other) {
  tlbi_nh_asid += other.tlbi_nh_asid;
  tlbi_nh_va += other.tlbi_nh_va;
  atc_inv += other.atc_inv;
  cmd_sync += other.cmd_sync;
}

CommandQueue::CommandQueue(std::byte* page0, uint32_t index, std::byte* ring, uint32_t log2size)
    : registers_(page0 + index * kLvcmdqStride),
      ring_(ring),
      index_(index),
      log2size_(log2size),
      wrap_mask_((2u << log2size) - 1) {}

uint32_t CommandQueue::Load(Register reg) const {
  auto* address = reinterpret_cast<uint32_t*>(registers_ + static_cast<size_t>(reg));
  return std::atomic_ref<uint32_t>(*address).load(std::memory_order_acquire);
}

void CommandQueue::Store(Register reg, uint32_t value) {
  auto* address = reinterpret_cast<uint32_t*>(registers_ + static_cast<size_t>(reg));
  std::atomic_ref<uint32_t>(*address).store(value, std::memory_order_release);
}

Outcome CommandQueue::Enable() {
  prod_ = Cons();
  Store(Register::kProd, prod_);
  Store(Register::kConfig, kEnable);
  Spinner spinner(kPatience);
  while (!enabled()) {
    if (!spinner.Pause()) {
      return {ExitCode::kHardware, "vCMDQ " + std::to_string(index_) + " was not enabled"};
    }
  }
  return {};
}

bool CommandQueue::enabled() const { return (Load(Register::kStatus) & kEnable) != 0; }

uint32_t CommandQueue::space() const { return (1u << log2size_) - ((prod_ - Cons()) & wrap_mask_); }

void CommandQueue::Write(uint32_t position, const Command& command) {
  std::memcpy(ring_ + (position & (wrap_mask_ >> 1)) * sizeof(command), command.data(),
              sizeof(command));
}

void CommandQueue::Submit(std::span<const Command> commands) {
  for (const Command& command : commands) {
    Write(prod_++, command);
    counts_.Add(command);
  }
  prod_ &= wrap_mask_;
  Store(Register::kProd, prod_);
}

bool CommandQueue::drained() const { return Cons() == prod_; }

Outcome CommandQueue::Drain() {
  Spinner spinner(kPatience);
  while (!drained()) {
    if (in_error()) {
      return {ExitCode::kHardware, "vCMDQ " + std::to_string(index_) + " stopped with CONS.ERR " +
                                       std::to_string(error_code())};
    }
    if (!spinner.Pause()) {
      return {ExitCode::kHardware, "CMD_SYNC timeout on vCMDQ " + std::to_string(index_)};
    }
  }
  return {};
}

bool CommandQueue::in_error() const {
  return ((Load(Register::kGerror) ^ Load(Register::kGerrorn)) & kGerrorCmdqError) != 0;
}

uint32_t CommandQueue::error_code() const {
  return (Load(Register::kCons) >> kConsErrorShift) & kConsErrorMask;
}

void CommandQueue::SkipBadCommand() {
  Write(Cons(), kCmdSync);
  counts_.Add(kCmdSync);
  Store(Register::kGerrorn, Load(Register::kGerror));
}

}  // namespace berth::example
