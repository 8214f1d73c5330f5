// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_LIB_EMULATOR_HARDWARE_VINTF_H_
#define BERTH_LIB_EMULATOR_HARDWARE_VINTF_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "lib/base/mapping.h"
#include "lib/base/unique_fd.h"
#include "lib/emulator/hardware/cmdqv.h"
#include "lib/emulator/hardware/executor.h"
#include "lib/emulator/hardware/queue.h"

namespace berth::emulator {

// One allocated VINTF: its page0, its identity (VMID, SID slots) and its queues. The methods are
// those of Cmdqv, which describes them. Not thread-safe.
class Vintf {
 public:
  // Sets `*error` to a negative errno and returns null when no page0 can be made. `config` must
  // outlive the VINTF.
  static std::unique_ptr<Vintf> Create(const CmdqvConfig& config, int index, uint64_t cookie,
                                       int* error);

  [[nodiscard]] const std::shared_ptr<const UniqueFd>& page0_fd() const { return fd_; }
  // The model's own mapping of page0: without it the queues stand still. RestorePage0() is 0 or a
  // negative errno.
  void DropPage0();
  int RestorePage0();

  [[nodiscard]] CommandExecutor& executor() { return executor_; }
  int MapLvcmdq(int lvcmdq, QueueMemory memory, uint32_t log2size);
  int UnmapLvcmdq(int lvcmdq);

  // Looks at every queue, mapped or not (enabling an unmapped one is an error of its own). Appends
  // to `errors` for each new error. Returns whether anything was done.
  bool Look(std::vector<VintfError>* errors);

  [[nodiscard]] VintfSnapshot Snapshot() const;
  // Null when there is no such LVCMDQ.
  [[nodiscard]] const Lvcmdq* lvcmdq(int index) const;

 private:
  Vintf(const CmdqvConfig& config, int index, uint64_t cookie);
  [[nodiscard]] LvcmdqErrorMap ErrorMap() const;

  const int index_;
  const uint64_t cookie_;
  std::shared_ptr<const UniqueFd> fd_;
  Mapping page0_;
  CommandExecutor executor_;
  std::vector<Lvcmdq> lvcmdqs_;
};

}  // namespace berth::emulator

#endif  // BERTH_LIB_EMULATOR_HARDWARE_VINTF_H_
