// SPDX-License-Identifier: Apache-2.0
#include <cstdlib>
#include <iostream>
#include <string>

#include "absl/strings/str_split.h"
#include "ctl/cli/cli.h"

namespace {

std::string Variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

}  // namespace

int main(int argc, char** argv) {
  berth::cli::ExitOnInterrupt();
  // gRPC writes to stderr what berthctl says in its own words, or with -v.
  ::setenv("GRPC_VERBOSITY", "NONE", 0);
  berth::cli::CliEnvironment environment;
  environment.variables.servers = absl::StrSplit(Variable("BERTH_SERVER"), ',', absl::SkipEmpty());
  environment.variables.context = Variable("BERTH_CONTEXT");
  environment.variables.config_path = Variable("BERTH_CONFIG");
  environment.home = Variable("HOME");
  environment.in = &std::cin;
  environment.out = &std::cout;
  environment.err = &std::cerr;
  environment.clock = &berth::Clock::Real();
  return berth::cli::RunCli(argc, argv, environment);
}
