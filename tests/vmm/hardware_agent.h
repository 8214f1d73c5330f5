// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_TESTS_VMM_HARDWARE_AGENT_H_
#define BERTH_TESTS_VMM_HARDWARE_AGENT_H_

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "lib/emulator/hardware/cmdqv.h"

namespace berth {

// An agent with one grant and no kernel: one unit of emulated hardware, one device, and just enough
// of each call to let a VMM drive its queues. Free of lib/wire, because in C++ the messages hide
// behind the functions of berth_vmm.h that send them.
class HardwareAgent {
 public:
  // Of the unit's SMMU.
  enum class Ats : uint8_t { kYes, kNo };
  explicit HardwareAgent(const std::string& socket_path, Ats ats = Ats::kYes);
  ~HardwareAgent();

  [[nodiscard]] emulator::LvcmdqCounters Counters(int lvcmdq) const;
  // The trapped commands, in order.
  [[nodiscard]] std::vector<std::array<uint64_t, 2>> Trapped() const;
  [[nodiscard]] int attachments() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace berth

#endif  // BERTH_TESTS_VMM_HARDWARE_AGENT_H_
