// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_LIB_EMULATOR_HARDWARE_MAIN_H_
#define BERTH_LIB_EMULATOR_HARDWARE_MAIN_H_

#include <cstdint>
#include <ostream>
#include <string>

#include "absl/status/status.h"

namespace CLI {
class App;
}  // namespace CLI

namespace berth::emulator {

// berth-emulator --hardware: one CMDQV alone, for a Linux kernel in a VM that has its registers as
// a device (hardware/README.md).
struct HardwareFlags {
  std::string registers;     // path of the shared file; empty: not asked for
  std::string guest_memory;  // path of the file that is the VM's RAM; empty: fetches fail
  uint64_t guest_memory_at = 0x40000000;  // its physical address; QEMU's machine virt has it there
  int vintfs = 4;
  int vcmdqs = 8;
  int sid_slots = 16;
  bool guest_only = false;  // HYP_OWN is wired to zero
};

void AddHardwareFlags(CLI::App& app, HardwareFlags* flags);

// Serves the registers until SIGTERM or SIGINT. Says "ready" on `out` when they are there, and at
// each SIGHUP and in the end what each queue executed since its VINTF was enabled last, by opcode:
// of VINTFs that are not enabled any more, as seen every 100 ms. Errors:
// INVALID_FIELD for counts that no CMDQV has and for a file that is too short; those of the files.
absl::Status ServeHardware(const HardwareFlags& flags, std::ostream& out);

}  // namespace berth::emulator

#endif  // BERTH_LIB_EMULATOR_HARDWARE_MAIN_H_
