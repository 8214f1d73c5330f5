// SPDX-License-Identifier: Apache-2.0
#include <iostream>

#include "lib/vmm/handoff/options.h"
#include "lib/vmm/handoff/run.h"

int main(int argc, char** argv) {
  berth::handoff::Options options;
  int status = 0;
  if (!berth::handoff::ParseOptions({argv + 1, argv + argc}, &options, &status)) return status;
  return berth::handoff::Run(options, std::cerr);
}
