// SPDX-License-Identifier: Apache-2.0
#include "lib/emulator/hardware/executor.h"

#include "lib/emulator/hardware/invalidation.h"

namespace berth::emulator {
namespace {

ConsError ToConsError(Refusal refusal) {
  return refusal == Refusal::kIllegal ? ConsError::kIllegal : ConsError::kIllegalAccess;
}

}  // namespace

std::vector<SidSlot> CommandExecutor::SidSlots() const {
  std::vector<SidSlot> result;
  for (int i = 0; i < config_.sid_slots; ++i) {
    const uint32_t match = vintf_.Load(vintf_config::SidMatch(i));
    if ((match & kSidMatchEnable) == 0) continue;
    result.push_back(
        {i, match >> kSidMatchShift & kMaxSid, vintf_.Load(vintf_config::SidReplace(i)) & kMaxSid});
  }
  return result;
}

// SID_REPLACE is written before SID_MATCH and cleared after it, so a slot that matches before and
// after its SID_REPLACE was read has given the right one.
std::optional<uint32_t> CommandExecutor::FindPsid(uint32_t vsid) const {
  if (vsid > kMaxSid) return std::nullopt;
  const uint32_t wanted = vsid << kSidMatchShift | kSidMatchEnable;
  constexpr uint32_t kBits = kMaxSid << kSidMatchShift | kSidMatchEnable;
  for (int i = 0; i < config_.sid_slots; ++i) {
    if ((vintf_.Load(vintf_config::SidMatch(i)) & kBits) != wanted) continue;
    const uint32_t psid = vintf_.Load(vintf_config::SidReplace(i)) & kMaxSid;
    if ((vintf_.Load(vintf_config::SidMatch(i)) & kBits) == wanted) return psid;
  }
  return std::nullopt;
}

ConsError CommandExecutor::Translate(Command* command) const {
  if (!IsForGuests(command->opcode)) return ToConsError(config_.forbidden_opcode);
  if (command->opcode != Opcode::kAtcInv) {
    command->vmid = vmid_;
    return ConsError::kNone;
  }
  const std::optional<uint32_t> psid = FindPsid(command->sid);
  if (!psid) return ToConsError(config_.unmatched_vsid);
  command->sid = *psid;
  return ConsError::kNone;
}

ConsError CommandExecutor::Execute(const RawCommand& raw, LvcmdqCounters* counters,
                                   Command* command) const {
  if (Decode(raw, config_.reserved_bits, command) != DecodeResult::kOk) return ConsError::kIllegal;
  if (command->opcode == Opcode::kCmdSync) {
    const ConsError error = config_.sink == nullptr ? ConsError::kNone : config_.sink->Sync();
    if (error == ConsError::kNone) ++counters->executed[Opcode::kCmdSync];
    return error;
  }
  if (!hyp_own_) {
    const ConsError error = Translate(command);
    if (error != ConsError::kNone) return error;
  }
  ++counters->executed[command->opcode];
  if (command->opcode == Opcode::kAtcInv && config_.goes_wrong &&
      config_.goes_wrong(HardwareFault::kAtcTimeout, command->sid)) {
    ++counters->unanswered;
    return ConsError::kNone;
  }
  if (config_.sink != nullptr) config_.sink->Invalidate(*command);
  return ConsError::kNone;
}

}  // namespace berth::emulator
