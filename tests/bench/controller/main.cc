// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>
#include <iostream>

#include "tests/bench/controller/create_bench.h"
#include "tests/bench/controller/echo_server.h"

int main(int argc, char** argv) {
  CLI::App app("Measures a running controller. tests/bench/run starts it, and one.");
  app.require_subcommand(1);
  const CLI::App* echo =
      app.add_subcommand("echo", "answer as a controller would, until stdin ends");
  CLI::App* create = app.add_subcommand("create", "create latency and rates");
  berth::bench::CreateBenchOptions options;
  create->add_option("--api", options.api)->required();
  create->add_option("--agents", options.agents)->required();
  create->add_option("--echo", options.echo)->required();
  create->add_option("--folder", options.folder)->required();
  create->add_option("--hosts", options.shape.hosts)->check(CLI::Range(1, 50000));
  create->add_option("--callers", options.callers)->check(CLI::Range(1, 1024));
  CLI11_PARSE(app, argc, argv);
  if (echo->parsed()) return berth::bench::ServeEcho();
  const absl::Status status = berth::bench::BenchCreate(options);
  if (!status.ok()) std::cerr << "controller_bench: " << status << "\n";
  return status.ok() ? 0 : 1;
}
