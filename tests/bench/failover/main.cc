// SPDX-License-Identifier: Apache-2.0
//
// How long nobody creates anything when the controller that leads is killed.
#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <iostream>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "ctl/cli/client.h"
#include "lib/base/clock.h"
#include "tests/bench/report.h"
#include "tests/integration/cluster.h"
#include "tests/integration/controllers.h"

namespace berth::bench {
namespace {

using testing::Controllers;

// A create that needs no host: it waits for one, durably.
absl::Status Create(const std::vector<std::string>& addresses, const std::string& id) {
  v1::CreateAssignmentRequest request =
      testing::MakeRequest(id, "when_unavailable: QUEUE " + testing::OneOf("gpu"));
  request.set_request_id(id);
  const auto client = cli::Client::Make({.addresses = addresses,
                                         .deadline = absl::Now() + absl::Seconds(1),
                                         .first_backoff = absl::Milliseconds(10),
                                         .clock = &Clock::Real()});
  return client.ok() ? (*client)->CreateAssignment(request).status() : client.status();
}

int Run(int kills) {
  std::string folder = "/tmp/berth-bench.XXXXXX";
  if (::mkdtemp(folder.data()) == nullptr) return 1;
  std::vector<double> seconds;
  size_t controllers_count = 0;
  {
    Controllers controllers(folder, 3);
    controllers_count = controllers.size();
    for (int i = 0; i < kills; ++i) {
      const size_t leader = controllers.AwaitLeader();
      const absl::Time start = absl::Now();
      controllers.process(leader).Signal(SIGKILL);
      while (!Create(controllers.apis(), absl::StrCat("vm-", i)).ok()) {
      }
      seconds.push_back(absl::ToDoubleSeconds(absl::Now() - start));
      std::cerr << "failover " << i << ": " << seconds.back() << " s" << std::endl;
      controllers.process(leader).Wait();
      controllers.Start(leader);
      controllers.AwaitStandingBy(leader);
    }
  }
  std::filesystem::remove_all(folder);
  if (::testing::Test::HasFailure()) return 1;
  const Quantiles of = QuantilesOf(seconds);
  PrintMeasure("failover", "s", of.p50, of,
               {{"kills", JsonNumber(kills)},
                {"controllers", JsonNumber(static_cast<double>(controllers_count))},
                {"etcd_members", "3"},
                {"lease_ttl_s", "2"},
                {"etcd_fsync", "false"}});
  return 0;
}

}  // namespace
}  // namespace berth::bench

int main(int argc, char** argv) {
  CLI::App app("The time from the death of the leading controller to the first Create");
  int kills = 20;
  app.add_option("--kills", kills, "How often")->check(CLI::Range(1, 1000));
  CLI11_PARSE(app, argc, argv);
  // The helpers of tests report to it.
  ::testing::InitGoogleTest();
  return berth::bench::Run(kills);
}
