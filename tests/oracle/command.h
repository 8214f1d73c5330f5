// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_TESTS_ORACLE_COMMAND_H_
#define BERTH_TESTS_ORACLE_COMMAND_H_

#include <iosfwd>

namespace berth::oracle {

// berth-oracle-replay (README.md). Prints to `out`, errors too. Returns the exit code: 0 every
// compared step agrees, 1 one does not, 2 and above: could not be played, wrong usage.
int RunCommand(int argc, const char* const* argv, std::ostream& out);

}  // namespace berth::oracle

#endif  // BERTH_TESTS_ORACLE_COMMAND_H_
