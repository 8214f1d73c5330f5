// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_LIB_EMULATOR_HARDWARE_QUEUE_H_
#define BERTH_LIB_EMULATOR_HARDWARE_QUEUE_H_

#include <array>
#include <cstdint>
#include <optional>

#include "lib/emulator/hardware/cmdqv.h"
#include "lib/emulator/hardware/executor.h"
#include "lib/emulator/hardware/queue_memory.h"
#include "lib/emulator/hardware/queue_watch.h"
#include "lib/emulator/hardware/registers.h"

namespace berth::emulator {

// What BASE of a queue says.
struct RingMemory {
  QueueMemory memory;
  uint32_t log2size = 0;
};

// One logical vCMDQ: watches its registers and consumes its ring. What software may not write is
// kept in private copies and put back when it was. Not thread-safe.
class Lvcmdq {
 public:
  // What one look at the registers came to.
  struct Sighting {
    bool worked = false;        // something had changed; look again soon
    bool new_error = false;     // GERROR.CMDQ_ERR became active
    bool acknowledged = false;  // it is no longer
  };

  // `watch` is told when there is nothing to do; null: nobody wants to know.
  Lvcmdq(const CmdqvConfig& config, LvcmdqRegisters registers, QueueWatch* watch = nullptr)
      : config_(config), registers_(registers), watch_(watch) {}

  // Its VINTF was enabled: the registers stay, errors and counts of before are gone.
  void Start();
  // Its VINTF was disabled, or has no vCMDQ for it any more. The memory is not touched any more.
  void Stop();

  // The registers of its vCMDQ, which are these once more (as long as it is attached, what is
  // written there appears here, and the other way). What stands here at that moment wins.
  void Attach(LvcmdqRegisters direct);
  void Detach();
  [[nodiscard]] bool attached() const { return direct_.valid(); }

  // CONFIG.CMDQ_EN was set since the last look: Enable() has to follow before the next Look().
  [[nodiscard]] bool WantsEnable() const {
    return !enable_seen_ && (registers_.Load(Register::kConfig) & kConfigEnable) != 0;
  }
  // nullopt: there is no vCMDQ or no valid BASE, which is GERROR.CMDQ_INIT_ERR.
  void Enable(std::optional<RingMemory> ring);
  // Follows CONFIG.CMDQ_EN when it was cleared. Returns whether it was.
  bool FollowDisable();

  // Carries writes from one page to the other. Cheap, but not done at each Look() before there was
  // such a write.
  void FollowDirect();
  // Executes at most some hundred commands.
  Sighting Look(const CommandExecutor& executor);

  // CONS.ERR is set and the error is not acknowledged: the queue's bit in LVCMDQ_ERR_MAP.
  [[nodiscard]] bool in_error() const { return error_ != ConsError::kNone; }
  [[nodiscard]] const LvcmdqCounters& counters() const { return counters_; }
  [[nodiscard]] LvcmdqSnapshot Snapshot() const;

 private:
  // What software may write: PROD, CONFIG, GERRORN, and CONS of a disabled queue.
  static constexpr std::array kWritable = {Register::kProd, Register::kConfig, Register::kGerrorn,
                                           Register::kCons};

  // Puts back what software may not write.
  void Reassert(const LvcmdqRegisters& registers) const;
  // A look found nothing to do: the registers stand as they should, but for what software may write
  // at any time, which the look has read as given.
  void TellQuiet(uint32_t prod, uint32_t config, uint32_t gerrorn);
  void RaiseGerror(uint32_t bit);
  [[nodiscard]] uint32_t cons_register() const {
    return cons_ | static_cast<uint32_t>(error_) << kConsErrorShift;
  }
  [[nodiscard]] uint32_t Distance(uint32_t prod) const { return (prod - cons_) & index_mask_; }
  // Executes up to `prod`. Returns why it stopped before.
  ConsError Consume(uint32_t prod, const CommandExecutor& executor);
  ConsError ConsumeChunk(size_t count, const CommandExecutor& executor);
  void Fail(ConsError error);

  const CmdqvConfig& config_;
  LvcmdqRegisters registers_;
  QueueWatch* watch_;
  LvcmdqRegisters direct_;
  std::array<uint32_t, kWritable.size()> common_ = {};  // what both pages last had
  bool direct_used_ = false;
  QueueMemory memory_;
  bool enable_seen_ = false;  // CONFIG.CMDQ_EN at the last look
  bool enabled_ = false;      // STATUS.CMDQ_EN_OK
  bool executed_any_ = false;
  bool atc_unanswered_ = false;  // the next CMD_SYNC is to say so
  ConsError error_ = ConsError::kNone;
  uint32_t log2size_ = 0;
  uint32_t index_mask_ = 0;  // index and wrap bit
  uint32_t cons_ = 0;
  uint32_t prod_seen_ = 0;
  uint32_t gerror_ = 0;
  LvcmdqCounters counters_;
  std::array<Command, 2> commands_;  // the last one executed, and the one being executed
  size_t last_ = 0;
};

}  // namespace berth::emulator

#endif  // BERTH_LIB_EMULATOR_HARDWARE_QUEUE_H_
