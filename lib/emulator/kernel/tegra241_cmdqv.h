// SPDX-License-Identifier: Apache-2.0
//
// The part of an emulated kernel that drives a CMDQV: writes to its registers what Linux
// drivers/iommu/arm/arm-smmu-v3/tegra241-cmdqv.c writes, in that order.
#ifndef BERTH_LIB_EMULATOR_KERNEL_TEGRA241_CMDQV_H_
#define BERTH_LIB_EMULATOR_KERNEL_TEGRA241_CMDQV_H_

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "lib/base/clock.h"
#include "lib/emulator/hardware/cmdqv.h"
#include "lib/emulator/hardware/queue_memory.h"
#include "lib/emulator/kernel/pinned_memory.h"

namespace berth::emulator {

// What the interrupt handler found for one VINTF.
struct VintfError {
  int vintf = 0;
  // What AllocVintf() was given: tells this owner of the index from the next.
  uint64_t cookie = 0;
  // All queues of the VINTF that are in error and not acknowledged.
  LvcmdqErrorMap lvcmdq_err_map = {};
};

// One unit's CMDQV with its driver. Not thread-safe, but for `on_error`, which comes from a
// hardware thread. Methods that return int return 0 or what they say, or a negative errno: -ENOENT
// for a VINTF that is not allocated. Hardware that does not follow within a second is an error
// where something is to be enabled (-ETIMEDOUT), and otherwise only costs that second.
class Tegra241Cmdqv {
 public:
  // `config.memory` and `config.on_interrupt` are the driver's own to set. As Linux does, the
  // interrupt handler calls `on_error` for every VINTF that is in error, also when the new error is
  // another's; nothing is acknowledged here, that is the guest's. May be empty. `clock` outlives
  // it.
  Tegra241Cmdqv(CmdqvConfig config, std::function<void(const VintfError&)> on_error,
                Clock* clock = &Clock::Real());

  [[nodiscard]] Cmdqv& hardware() { return hardware_; }
  [[nodiscard]] const Cmdqv& hardware() const { return hardware_; }
  [[nodiscard]] int lvcmdqs_per_vintf() const { return hardware_.lvcmdqs_per_vintf(); }

  // Resets the block, and VINTF 0 to the hypervisor: what probing does. The constructor has done
  // it. -ETIMEDOUT.
  int Reset();

  // The lowest free VINTF from 1 on, enabled with `vmid`, with a page0 of its own. Errors: -ENOSPC;
  // -ETIMEDOUT; -ENOMEM, -EMFILE, -ENFILE when no page0 can be made. `cookie` comes back in
  // VintfError.
  int AllocVintf(uint64_t cookie, uint16_t vmid);
  // Ends the VINTF, queues (descending) and SID slots included.
  int FreeVintf(int vintf);
  // As Cmdqv's.
  [[nodiscard]] int Page0Fd(int vintf) const;
  int RetirePage0(int vintf);

  // The lowest free SID slot; both ids have 20 bits. -EINVAL, -ENOSPC, -EEXIST.
  int AddSid(int vintf, uint32_t vsid, uint32_t psid);
  int RemoveSid(int vintf, int slot);

  // Maps LVCMDQ `lvcmdq` (from 0) and sets its BASE to `memory`, which has 16 << log2size bytes;
  // the guest enables it. 1 <= log2size <= 19. Errors: -EINVAL; -EEXIST; -EIO when the one below is
  // not mapped (queues are mapped upward).
  int MapLvcmdq(int vintf, int lvcmdq, QueueMemory memory, uint32_t log2size);
  // Errors: -EINVAL; -ENXIO when not mapped; -EIO when the one above is still mapped.
  int UnmapLvcmdq(int vintf, int lvcmdq);

  // How long the calls since the last question would have waited for what goes_wrong() said never
  // comes: they return at once, so that nobody else waits.
  absl::Duration TakeStuckTime() { return std::exchange(stuck_for_, absl::ZeroDuration()); }

  [[nodiscard]] std::vector<int> AllocatedVintfs() const;
  [[nodiscard]] std::optional<VintfSnapshot> Snapshot(int vintf) const;
  [[nodiscard]] std::optional<LvcmdqCounters> Counters(int vintf, int lvcmdq) const;

 private:
  struct VintfUse {
    std::map<int, uint32_t> sids;    // slot -> vSID
    std::map<int, uint64_t> queues;  // LVCMDQ -> address of its memory
  };

  [[nodiscard]] VintfUse* Find(int vintf);
  [[nodiscard]] int VcmdqOf(int vintf, int lvcmdq) const {
    return vintf * lvcmdqs_per_vintf() + lvcmdq;
  }
  // Waits until STATUS at `offset` is `enabled`, for a second.
  int AwaitStatus(int vintf, size_t offset, uint32_t enabled);
  int EnableVintf(int vintf, uint32_t config);
  void DisableVintf(int vintf);
  void ResetLvcmdq(int vintf, int lvcmdq);
  void DoUnmap(int vintf, int lvcmdq, VintfUse* use);
  void HandleInterrupt();

  const std::function<void(const VintfError&)> on_error_;
  Clock* const clock_;
  PinnedMemory memory_;
  std::map<int, VintfUse> vintfs_;  // allocated ones
  absl::Duration stuck_for_;
  std::array<std::atomic<uint64_t>, kMaxVintfs> cookies_ = {};
  Cmdqv hardware_;  // last: its threads call HandleInterrupt()
};

}  // namespace berth::emulator

#endif  // BERTH_LIB_EMULATOR_KERNEL_TEGRA241_CMDQV_H_
