// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_LIB_EMULATOR_HARDWARE_EXECUTOR_H_
#define BERTH_LIB_EMULATOR_HARDWARE_EXECUTOR_H_

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "lib/emulator/hardware/cmdqv.h"
#include "lib/emulator/hardware/command.h"
#include "lib/emulator/hardware/registers.h"

namespace berth::emulator {

// Does what the commands of one VINTF say, under that VINTF's identity: its VMID in place of the
// guest's, pSIDs in place of vSIDs. What the commands act on is the config's InvalidationSink.
// Not thread-safe.
class CommandExecutor {
 public:
  explicit CommandExecutor(const CmdqvConfig& config) : config_(config) {}

  // HYP_OWN: any command is executed, and under the names that it was written with.
  void SetHypOwn(bool hyp_own) { hyp_own_ = hyp_own; }
  void SetVmid(uint16_t vmid) { vmid_ = vmid; }
  [[nodiscard]] uint16_t vmid() const { return vmid_; }

  // See Cmdqv. -EINVAL, -EEXIST, -ENOSPC.
  int AddSid(uint32_t vsid, uint32_t psid);
  int RemoveSid(int slot);
  [[nodiscard]] std::vector<SidSlot> SidSlots() const;

  // Executes `raw`: kNone, the command as executed in `*command`, and counted; else `*command` is
  // unspecified, and nothing has happened but for the wait of a CMD_SYNC that ended with
  // kAtcTimeout.
  ConsError Execute(const RawCommand& raw, LvcmdqCounters* counters, Command* command) const;

 private:
  struct Slot {
    uint32_t vsid = 0;
    uint32_t psid = 0;
    bool enabled = false;
  };
  static constexpr int kMaxSlots = 16;

  // Puts this VINTF's names into a guest's command.
  ConsError Translate(Command* command) const;
  [[nodiscard]] const Slot* FindSid(uint32_t vsid) const;

  const CmdqvConfig& config_;
  bool hyp_own_ = false;
  uint16_t vmid_ = 0;
  std::array<Slot, kMaxSlots> slots_ = {};
};

}  // namespace berth::emulator

#endif  // BERTH_LIB_EMULATOR_HARDWARE_EXECUTOR_H_
