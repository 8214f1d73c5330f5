// SPDX-License-Identifier: Apache-2.0
#include <iostream>

#include "lib/emulator/emulator_main.h"

int main(int argc, char** argv) {
  return berth::emulator::EmulatorMain(argc, argv, std::cout, std::cerr);
}
