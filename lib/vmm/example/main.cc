// SPDX-License-Identifier: Apache-2.0
#include <iostream>

#include "lib/vmm/example/options.h"
#include "lib/vmm/example/run.h"

int main(int argc, char** argv) {
  berth::example::Options options;
  int status = 0;
  if (!berth::example::ParseOptions(argc, argv, &options, &status)) return status;
  return berth::example::Run(options, std::cout, std::cerr);
}
