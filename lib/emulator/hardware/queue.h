// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_LIB_EMULATOR_HARDWARE_QUEUE_H_
#define BERTH_LIB_EMULATOR_HARDWARE_QUEUE_H_

#include <cstdint>

#include "lib/emulator/hardware/cmdqv.h"
#include "lib/emulator/hardware/executor.h"
#include "lib/emulator/hardware/queue_memory.h"
#include "lib/emulator/hardware/registers.h"

namespace berth::emulator {

// One logical vCMDQ: watches its registers and consumes its ring. What software may not write is
// kept in private copies and put back when it was. Not thread-safe.
class Lvcmdq {
 public:
  // What one look at the registers came to.
  struct Sighting {
    bool worked = false;     // something had changed; look again soon
    bool new_error = false;  // GERROR.CMDQ_ERR became active
  };

  explicit Lvcmdq(const CmdqvConfig& config) : config_(config) {}

  // Where page0 is mapped from now on; an invalid view stops the queue until there is one again.
  void SetRegisters(LvcmdqRegisters registers) { registers_ = registers; }

  // The driver's part of the life of a queue; needs registers, but for Unmap().
  void Map(QueueMemory memory, uint32_t log2size);
  void Unmap();
  [[nodiscard]] bool mapped() const { return mapped_; }

  // Executes at most some thousand commands.
  Sighting Look(const CommandExecutor& executor);

  // CONS.ERR is set and the error is not acknowledged: the queue's bit in LVCMDQ_ERR_MAP.
  [[nodiscard]] bool in_error() const { return error_ != ConsError::kNone; }
  [[nodiscard]] const LvcmdqCounters& counters() const { return counters_; }
  [[nodiscard]] LvcmdqSnapshot Snapshot() const;

 private:
  void Reset();
  void FollowEnable(bool enable);
  void RaiseGerror(uint32_t bit);
  [[nodiscard]] uint32_t cons_register() const {
    return cons_ | static_cast<uint32_t>(error_) << kConsErrorShift;
  }
  [[nodiscard]] uint32_t Distance(uint32_t prod) const { return (prod - cons_) & index_mask_; }
  // Executes up to `prod`. Returns why it stopped before.
  ConsError Consume(uint32_t prod, const CommandExecutor& executor);
  ConsError ConsumeChunk(size_t count, const CommandExecutor& executor);
  void Stop(ConsError error);

  const CmdqvConfig& config_;
  LvcmdqRegisters registers_;
  QueueMemory memory_;
  bool mapped_ = false;
  bool enable_seen_ = false;  // CONFIG.CMDQ_EN at the last look
  bool enabled_ = false;      // STATUS.CMDQ_EN_OK
  bool executed_any_ = false;
  ConsError error_ = ConsError::kNone;
  uint32_t log2size_ = 0;
  uint32_t index_mask_ = 0;  // index and wrap bit
  uint32_t cons_ = 0;
  uint32_t prod_seen_ = 0;
  uint32_t gerror_ = 0;
  LvcmdqCounters counters_;
  Command last_;
};

}  // namespace berth::emulator

#endif  // BERTH_LIB_EMULATOR_HARDWARE_QUEUE_H_
