// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_LIB_EMULATOR_HARDWARE_EXECUTOR_H_
#define BERTH_LIB_EMULATOR_HARDWARE_EXECUTOR_H_

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
  // `vintf` are the registers of the VINTF in the configuration page: SIDs are looked up there.
  CommandExecutor(const CmdqvConfig& config, RegisterView vintf) : config_(config), vintf_(vintf) {}

  // HYP_OWN: any command is executed, and under the names that it was written with.
  void SetHypOwn(bool hyp_own) { hyp_own_ = hyp_own; }
  void SetVmid(uint16_t vmid) { vmid_ = vmid; }
  [[nodiscard]] uint16_t vmid() const { return vmid_; }
  [[nodiscard]] bool hyp_own() const { return hyp_own_; }

  // Enabled SID slots, ascending.
  [[nodiscard]] std::vector<SidSlot> SidSlots() const;

  // Executes `raw`: kNone, the command as executed in `*command`, and counted, as `unanswered`,
  // too, where a device did not answer; else `*command` is unspecified, and nothing has happened
  // but for the wait of a CMD_SYNC that ended with kAtcTimeout.
  ConsError Execute(const RawCommand& raw, LvcmdqCounters* counters, Command* command) const;

 private:
  // Puts this VINTF's names into a guest's command.
  ConsError Translate(Command* command) const;
  [[nodiscard]] std::optional<uint32_t> FindPsid(uint32_t vsid) const;

  const CmdqvConfig& config_;
  const RegisterView vintf_;
  bool hyp_own_ = false;
  uint16_t vmid_ = 0;
};

}  // namespace berth::emulator

#endif  // BERTH_LIB_EMULATOR_HARDWARE_EXECUTOR_H_
