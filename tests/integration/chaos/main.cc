// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <iostream>
#include <random>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "tests/integration/chaos/chaos_fleet.h"
#include "tests/integration/chaos/schedule.h"
#include "tests/integration/chaos/users.h"

namespace berth::testing {
namespace {

struct Options {
  int seconds = 600;
  int round_seconds = 15;
  size_t hosts = 50;
  int users = 6;
  bool namespaces = false;  // found out
  uint32_t seed = std::random_device{}();
};
Options options;

// "to_NAME_p50_ms": ..., "to_NAME_p99_ms": ...
std::string Percentiles(const std::string& name, std::vector<absl::Duration> times) {
  std::sort(times.begin(), times.end());
  std::vector<std::string> entries;
  for (const size_t percent : {50, 99}) {
    const absl::Duration time =
        times.empty() ? absl::ZeroDuration() : times[(times.size() - 1) * percent / 100];
    entries.push_back(
        absl::StrCat("\"to_", name, "_p", percent, "_ms\": ", absl::ToInt64Milliseconds(time)));
  }
  return absl::StrJoin(entries, ", ");
}

std::string Json(ChaosFleet& fleet, const Users& users) {
  uint64_t faults = users.killed();
  std::vector<std::string> kinds = {absl::StrCat("\"kill_vmm\": ", users.killed())};
  for (const auto& [kind, count] : fleet.struck()) {
    faults += count;
    kinds.push_back(absl::StrCat("\"", kind, "\": ", count));
  }
  return absl::StrCat("{\"seed\": ", options.seed, ", \"hosts\": ", options.hosts,
                      ", \"namespaces\": ", options.namespaces ? "true" : "false",
                      ", \"operations\": ", users.operations(),
                      ", \"attached\": ", users.attached(), ", \"faults\": ", faults,
                      ", \"looks\": ", fleet.history().looks(),
                      ", \"recoveries\": ", fleet.recoveries().size(), ", ",
                      Percentiles("clean_audit", fleet.audits()), ", ",
                      Percentiles("agreement", fleet.recoveries()), ", \"by_kind\": {",
                      absl::StrJoin(kinds, ", "), "}}");
}

TEST(Chaos, PromisesHoldWhateverGoesWrong) {
  std::cout << "--seed " << options.seed << std::endl;
  std::mt19937 random(options.seed);
  const std::unique_ptr<HostNetworks> networks = HostNetworks::Make(options.hosts);
  options.namespaces = networks != nullptr;
  if (!options.namespaces)
    std::cout << "hosts have no network namespaces: it is not allowed here\n";
  ChaosFleet fleet(options.hosts, networks.get());
  Users users({.controllers = fleet.controllers(),
               .folder = fleet.folder(),
               .count = options.users,
               .seed = options.seed},
              &fleet.history());
  const absl::Time end = absl::Now() + absl::Seconds(options.seconds);
  while (absl::Now() < end && !::testing::Test::HasFailure()) {
    fleet.Suffer(MakeRound(random, {.hosts = options.hosts, .networks = options.namespaces},
                           absl::Seconds(options.round_seconds)));
    fleet.Check(users);
    std::cout << Json(fleet, users) << std::endl;
    users.Resume();
  }
  EXPECT_GT(users.attached(), 0U) << "nobody has ever attached";
}

}  // namespace
}  // namespace berth::testing

int main(int argc, char** argv) {
  using berth::testing::options;
  ::testing::InitGoogleTest(&argc, argv);
  CLI::App app("Lets everything go wrong in a fleet, and checks what Berth promises");
  app.add_option("--seconds", options.seconds, "to begin rounds for")->capture_default_str();
  app.add_option("--round-seconds", options.round_seconds, "of each round of faults")
      ->capture_default_str();
  app.add_option("--hosts", options.hosts)->capture_default_str()->check(CLI::Range(1, 100));
  app.add_option("--users", options.users)->capture_default_str()->check(CLI::Range(1, 100));
  app.add_option("--seed", options.seed, "of the schedule; random unless given");
  CLI11_PARSE(app, argc, argv);
  return RUN_ALL_TESTS();
}
