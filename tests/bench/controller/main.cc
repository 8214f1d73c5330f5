// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>
#include <iostream>

#include "tests/bench/controller/commit_bench.h"
#include "tests/bench/controller/create_bench.h"
#include "tests/bench/controller/echo_server.h"
#include "tests/bench/controller/link_bench.h"
#include "tests/bench/controller/watch_bench.h"

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
  create->add_option("--store", options.store, "what the controller keeps its book in")->required();
  create->add_option("--controller-pid", options.controller_pid)->required();
  create->add_option("--hosts", options.shape.hosts)->check(CLI::Range(1, 50000));
  create->add_option("--units", options.shape.units_per_host)->check(CLI::Range(1, 64));
  create->add_option("--functions", options.shape.gpus_per_unit, "behind each unit")
      ->check(CLI::Range(1, 1024));
  create->add_option("--callers", options.callers)->check(CLI::Range(1, 1024));
  CLI::App* commit = app.add_subcommand("commit", "a store alone");
  berth::bench::CommitBenchOptions commit_options;
  commit->add_option("--folder", commit_options.folder, "for a store of its own in SQLite");
  commit->add_option("--etcd", commit_options.etcd, "or the members of a cluster");
  CLI::App* link = app.add_subcommand("link", "what agents cost, in two runs: before and after");
  berth::bench::LinkBenchOptions link_options;
  link->add_option("--api", link_options.api)->required();
  link->add_option("--agents", link_options.agents)->required();
  link->add_option("--controller-pid", link_options.controller_pid)->required();
  link->add_option("--hosts", link_options.shape.hosts)->check(CLI::Range(1, 50000));
  link->add_flag("--after-restart", link_options.after_restart, "The controller has started anew");
  CLI::App* watch = app.add_subcommand("watch", "many watchers");
  berth::bench::WatchBenchOptions watch_options;
  watch->add_option("--api", watch_options.api)->required();
  watch->add_option("--controller-pid", watch_options.controller_pid)->required();
  watch->add_option("--watchers", watch_options.watchers)->check(CLI::Range(1, 10000));
  CLI11_PARSE(app, argc, argv);
  if (echo->parsed()) return berth::bench::ServeEcho();
  absl::Status status;
  if (create->parsed()) status = berth::bench::BenchCreate(options);
  if (commit->parsed()) status = berth::bench::BenchCommit(commit_options);
  if (link->parsed()) status = berth::bench::BenchLink(link_options);
  if (watch->parsed()) status = berth::bench::BenchWatch(watch_options);
  if (!status.ok()) std::cerr << "controller_bench: " << status << "\n";
  return status.ok() ? 0 : 1;
}
