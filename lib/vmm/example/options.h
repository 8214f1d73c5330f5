// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_LIB_VMM_EXAMPLE_OPTIONS_H_
#define BERTH_LIB_VMM_EXAMPLE_OPTIONS_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "lib/vmm/example/outcome.h"

namespace berth::example {

struct Options {
  std::string socket;
  std::string assignment;
  std::string token;
  std::string token_file;
  // DIRECTORY/NAME, or NAME in the installed folder; empty: all that are there.
  std::vector<std::string> traces;
  uint32_t repeat = 10;
  size_t memory = size_t{64} << 20;
  bool json = false;
  bool hold = false;
  bool provoke = true;  // an illegal command, and the recovery from it
  std::string bench;    // empty, "attach" or "continuity"
  uint32_t samples = 50;
};

// Fills `options` from the command line and reads the token file. Returns false with *exit_status
// set when the program is to end (help, mistakes).
bool ParseOptions(int argc, char** argv, Options* options, int* exit_status);

}  // namespace berth::example

#endif  // BERTH_LIB_VMM_EXAMPLE_OPTIONS_H_
