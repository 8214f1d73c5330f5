// SPDX-License-Identifier: Apache-2.0
#include "lib/emulator/hardware/executor.h"

#include <cerrno>

#include "lib/emulator/hardware/invalidation.h"

namespace berth::emulator {
namespace {

constexpr uint32_t kMaxSid = (1u << 20) - 1;  // SID_MATCH and SID_REPLACE hold 20 bits

ConsError ToConsError(Refusal refusal) {
  return refusal == Refusal::kIllegal ? ConsError::kIllegal : ConsError::kIllegalAccess;
}

}  // namespace

int CommandExecutor::AddSid(uint32_t vsid, uint32_t psid) {
  if (vsid > kMaxSid || psid > kMaxSid) return -EINVAL;
  if (FindSid(vsid) != nullptr) return -EEXIST;
  for (int i = 0; i < config_.sid_slots; ++i) {
    if (slots_[i].enabled) continue;
    slots_[i] = {.vsid = vsid, .psid = psid, .enabled = true};
    return i;
  }
  return -ENOSPC;
}

int CommandExecutor::RemoveSid(int slot) {
  if (slot < 0 || slot >= config_.sid_slots || !slots_[slot].enabled) return -EINVAL;
  slots_[slot] = {};
  return 0;
}

std::vector<SidSlot> CommandExecutor::SidSlots() const {
  std::vector<SidSlot> result;
  for (int i = 0; i < config_.sid_slots; ++i) {
    if (slots_[i].enabled) result.push_back({i, slots_[i].vsid, slots_[i].psid});
  }
  return result;
}

const CommandExecutor::Slot* CommandExecutor::FindSid(uint32_t vsid) const {
  for (const Slot& slot : slots_) {
    if (slot.enabled && slot.vsid == vsid) return &slot;
  }
  return nullptr;
}

ConsError CommandExecutor::Translate(Command* command) const {
  if (!IsForGuests(command->opcode)) return ToConsError(config_.forbidden_opcode);
  if (command->opcode != Opcode::kAtcInv) {
    command->vmid = vmid_;
    return ConsError::kNone;
  }
  const Slot* slot = FindSid(command->sid);
  if (slot == nullptr) return ToConsError(config_.unmatched_vsid);
  command->sid = slot->psid;
  return ConsError::kNone;
}

ConsError CommandExecutor::Execute(const RawCommand& raw, LvcmdqCounters* counters,
                                   Command* command) const {
  if (Decode(raw, config_.reserved_bits, command) != DecodeResult::kOk) return ConsError::kIllegal;
  if (command->opcode == Opcode::kCmdSync) {
    const ConsError error = config_.sink == nullptr ? ConsError::kNone : config_.sink->Sync();
    if (error == ConsError::kNone) ++counters->cmd_sync;
    return error;
  }
  if (!hyp_own_) {
    const ConsError error = Translate(command);
    if (error != ConsError::kNone) return error;
  }
  if (config_.sink != nullptr) config_.sink->Invalidate(*command);
  switch (command->opcode) {
    case Opcode::kTlbiNhAsid:
      ++counters->tlbi_nh_asid;
      break;
    case Opcode::kTlbiNhVa:
      ++counters->tlbi_nh_va;
      break;
    case Opcode::kAtcInv:
      ++counters->atc_inv;
      break;
    default:
      ++counters->other;
      break;
  }
  return ConsError::kNone;
}

}  // namespace berth::emulator
