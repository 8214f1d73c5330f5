// SPDX-License-Identifier: Apache-2.0
#include "lib/emulator/hardware/unit_state.h"

#include <bit>

namespace berth::emulator {
namespace {

uint32_t Log2(int power) {
  return static_cast<uint32_t>(std::countr_zero(static_cast<unsigned>(power)));
}

}  // namespace

uint32_t ParamOf(const CmdqvConfig& config) {
  return static_cast<uint32_t>(config.version) | Log2(config.vcmdqs) << 4 |
         Log2(config.vintfs) << 8 | Log2(config.sid_slots) << 12;
}

bool UnitState::Look() {
  const std::lock_guard lock(mu_);
  const bool enable = (registers_.Load(config_page::kConfig) & kEnable) != 0;
  const bool changed = enabled_.exchange(enable) != enable;
  registers_.Reassert(config_page::kParam, ParamOf(config_));
  registers_.Reassert(config_page::kStatus, enable ? kEnable : 0);
  vintf_errors_.Reassert(registers_.At(config_page::kVintfErrMap));
  vcmdq_errors_.Reassert(registers_.At(config_page::kCmdqErrMap));
  return changed;
}

void UnitState::SetVcmdqError(int vcmdq, bool error) {
  const std::lock_guard lock(mu_);
  vcmdq_errors_.Set(vcmdq, error);
  vcmdq_errors_.Reassert(registers_.At(config_page::kCmdqErrMap));
}

void UnitState::SetVintfError(int vintf, bool error) {
  const std::lock_guard lock(mu_);
  vintf_errors_.Set(vintf, error);
  vintf_errors_.Reassert(registers_.At(config_page::kVintfErrMap));
}

void UnitState::SetActive(int vintf, bool active) {
  const uint64_t bit = uint64_t{1} << vintf;
  if (active) {
    active_.fetch_or(bit);
  } else {
    active_.fetch_and(~bit);
  }
}

void UnitState::RaiseInterrupt(int vintf) {
  const auto word = static_cast<size_t>(vintf) / 32;
  const uint32_t mask = registers_.Load(config_page::kVintfIntMask + 4 * word);
  if ((mask >> (vintf % 32) & 1) == 0) interrupt_.store(true);
}

}  // namespace berth::emulator
