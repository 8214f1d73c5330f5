// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_LIB_EMULATOR_EMULATOR_MAIN_H_
#define BERTH_LIB_EMULATOR_EMULATOR_MAIN_H_

#include <ostream>

namespace berth::emulator {

// The berth-emulator program. In its runtime folder: emulator.sock (calls; there when everything is
// ready), control.sock (gRPC), sys/ (the emulated host's sysfs). Returns the exit code:
// 0 in order, 1 failed, 2 usage, 3 the host file is wrong.
int EmulatorMain(int argc, const char* const* argv, std::ostream& out, std::ostream& err);

}  // namespace berth::emulator

#endif  // BERTH_LIB_EMULATOR_EMULATOR_MAIN_H_
