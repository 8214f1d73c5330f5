// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_LIB_EMULATOR_HARDWARE_UNIT_STATE_H_
#define BERTH_LIB_EMULATOR_HARDWARE_UNIT_STATE_H_

#include <array>
#include <atomic>
#include <cstdint>
#include <mutex>

#include "lib/emulator/hardware/cmdqv.h"
#include "lib/emulator/hardware/registers.h"

namespace berth::emulator {

// Registers of a CMDQV as private copies: words that software may not write.
template <size_t kWords>
class ReadOnlyBits {
 public:
  void Set(int bit, bool value) {
    const uint32_t mask = 1u << (bit % 32);
    uint32_t& word = words_[static_cast<size_t>(bit) / 32];
    word = value ? word | mask : word & ~mask;
  }
  void Reassert(RegisterView at) const {
    for (size_t i = 0; i < kWords; ++i) at.Reassert(4 * i, words_[i]);
  }

 private:
  std::array<uint32_t, kWords> words_ = {};
};

// What the VINTFs of one CMDQV share. Thread-safe.
class UnitState {
 public:
  // Both outlive it.
  UnitState(const CmdqvConfig& config, RegisterView registers)
      : config_(config), registers_(registers) {}

  [[nodiscard]] const CmdqvConfig& config() const { return config_; }
  [[nodiscard]] RegisterView registers() const { return registers_; }

  // STATUS.CMDQV_ENABLED.
  [[nodiscard]] bool enabled() const { return enabled_.load(); }
  // Follows CONFIG; puts back PARAM, STATUS and the error maps. Returns whether STATUS changed.
  bool Look();

  void SetVcmdqError(int vcmdq, bool error);
  void SetVintfError(int vintf, bool error);

  // The VINTFs that are enabled, a bit for each.
  void SetActive(int vintf, bool active);
  [[nodiscard]] uint64_t active() const { return active_.load(std::memory_order_relaxed); }

  // A new error on `vintf`: an interrupt unless INT_MASK masks it.
  void RaiseInterrupt(int vintf);
  [[nodiscard]] bool interrupt_pending() const {
    return interrupt_.load(std::memory_order_relaxed);
  }
  [[nodiscard]] bool TakeInterrupt() { return interrupt_.exchange(false); }

 private:
  const CmdqvConfig& config_;
  const RegisterView registers_;
  std::atomic<bool> enabled_ = false;
  std::atomic<uint64_t> active_ = 0;
  std::atomic<bool> interrupt_ = false;
  std::mutex mu_;  // of the error maps
  ReadOnlyBits<2> vintf_errors_;
  ReadOnlyBits<4> vcmdq_errors_;
};

// The PARAM register of a CMDQV with `config`.
uint32_t ParamOf(const CmdqvConfig& config);

}  // namespace berth::emulator

#endif  // BERTH_LIB_EMULATOR_HARDWARE_UNIT_STATE_H_
