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
  size_t hosts = 8;
  int users = 6;
  uint32_t seed = std::random_device{}();
};
Options options;

std::string Json(ChaosFleet& fleet, const Users& users) {
  std::vector<absl::Duration> recoveries = fleet.recoveries();
  std::sort(recoveries.begin(), recoveries.end());
  const auto ms = [&](size_t percent) {
    return recoveries.empty()
               ? 0
               : absl::ToInt64Milliseconds(recoveries[(recoveries.size() - 1) * percent / 100]);
  };
  uint64_t faults = users.killed();
  std::vector<std::string> kinds = {absl::StrCat("\"kill_vmm\": ", users.killed())};
  for (const auto& [kind, count] : fleet.struck()) {
    faults += count;
    kinds.push_back(absl::StrCat("\"", kind, "\": ", count));
  }
  return absl::StrCat("{\"seed\": ", options.seed, ", \"operations\": ", users.operations(),
                      ", \"attached\": ", users.attached(), ", \"faults\": ", faults,
                      ", \"looks\": ", fleet.history().looks(),
                      ", \"recoveries\": ", recoveries.size(),
                      ", \"to_agreement_p50_ms\": ", ms(50), ", \"to_agreement_p99_ms\": ", ms(99),
                      ", \"by_kind\": {", absl::StrJoin(kinds, ", "), "}}");
}

TEST(Chaos, PromisesHoldWhateverGoesWrong) {
  std::cout << "--seed " << options.seed << std::endl;
  std::mt19937 random(options.seed);
  ChaosFleet fleet(options.hosts);
  Users users({.controllers = fleet.controllers(),
               .folder = fleet.folder(),
               .count = options.users,
               .seed = options.seed},
              &fleet.history());
  const absl::Time end = absl::Now() + absl::Seconds(options.seconds);
  while (absl::Now() < end && !::testing::Test::HasFailure()) {
    fleet.Suffer(MakeRound(random, {.hosts = options.hosts}, absl::Seconds(options.round_seconds)));
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
