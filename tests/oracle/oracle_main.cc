// SPDX-License-Identifier: Apache-2.0
//
// berth-oracle-replay: plays recorded answers of a real kernel to the emulator, or to the kernel of
// this machine (README.md).
#include <iostream>

#include "tests/oracle/command.h"

int main(int argc, char** argv) { return berth::oracle::RunCommand(argc, argv, std::cout); }
