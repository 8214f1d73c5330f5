// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_LIB_EMULATOR_HARDWARE_VINTF_H_
#define BERTH_LIB_EMULATOR_HARDWARE_VINTF_H_

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "lib/emulator/hardware/cmdqv.h"
#include "lib/emulator/hardware/executor.h"
#include "lib/emulator/hardware/queue.h"
#include "lib/emulator/hardware/unit_state.h"

namespace berth::emulator {

// One VINTF: follows its part of the configuration page, and looks after its queues. Not
// thread-safe.
class Vintf {
 public:
  // `unit` outlives it, as do `watches`: one for each queue that it has by the static partition.
  Vintf(UnitState* unit, int index, std::span<QueueWatch> watches);

  // Looks at everything of it outside page0: CONFIG, which vCMDQs are its queues, the pages of the
  // vCMDQs. Returns whether anything had changed.
  bool LookAtConfig();
  // Looks at CONFIG of its queues, but executes nothing.
  void Settle();
  // Looks at its queues.
  bool Look();

  // Whether page0 is mapped, to be said before it goes and after it came: without it the queues
  // stand still.
  void SetPage0(bool there);

  [[nodiscard]] bool enabled() const { return enabled_; }
  // Has queues that no QueueWatch watches.
  [[nodiscard]] bool has_unwatched() const { return slots_.size() > watches_.size(); }
  [[nodiscard]] VintfSnapshot Snapshot() const;
  // Null when there is no such LVCMDQ.
  [[nodiscard]] const Lvcmdq* lvcmdq(int index) const;

 private:
  struct Slot {
    Lvcmdq queue;
    int vcmdq = -1;  // what CMDQ_ALLOC maps it to
    // page1 as both pages last had it.
    std::array<uint32_t, 4> page1 = {};
  };

  void Enable(uint32_t config);
  void Disable();
  void AddSlots(int count);
  // Follows CMDQ_ALLOC.
  bool ReadAllocations();
  void Attach(int lvcmdq, int vcmdq);
  void Detach(Slot* slot);
  void FollowPage1(int lvcmdq);
  [[nodiscard]] std::optional<RingMemory> OpenRing(int lvcmdq);
  void EnableQueues();
  [[nodiscard]] RegisterView Page1(int lvcmdq) const;
  [[nodiscard]] LvcmdqErrorMap ErrorMap() const;
  void PublishErrors();

  UnitState* const unit_;
  const int index_;
  const RegisterView registers_;  // in the configuration page
  const std::span<QueueWatch> watches_;
  CommandExecutor executor_;
  std::vector<Slot> slots_;
  bool enabled_ = false;
  bool page0_there_ = true;
};

}  // namespace berth::emulator

#endif  // BERTH_LIB_EMULATOR_HARDWARE_VINTF_H_
