// SPDX-License-Identifier: Apache-2.0
#include "tests/integration/continuous_guest.h"

#include <gtest/gtest.h>

#include <iostream>

namespace berth::testing {
namespace {

// Commands that vCMDQs have executed, by opcode.
std::map<std::string, uint64_t> Executed(Host& host) {
  std::map<std::string, uint64_t> executed;
  const internal::v1::EmulatorStats stats = host.Stats();
  for (const auto& unit : stats.units()) {
    for (const auto& [opcode, count] : unit.vcmdq_commands()) executed[opcode] += count;
  }
  return executed;
}

uint64_t NumberIn(const std::string& json, const std::string& name) {
  const size_t at = json.find("\"" + name + "\":");
  return at == std::string::npos ? 0 : std::stoull(json.substr(at + name.size() + 3));
}

}  // namespace

ContinuousGuest::ContinuousGuest(Cluster& cluster, Host& host, const v1::Assignment& assignment)
    : cluster_(cluster),
      host_(host),
      before_(Executed(host)),
      vmm_(cluster.StartVmm("continuous", assignment, {"--bench", "continuity"})) {
  WaitFor("the guest invalidates",
          [&] { return cluster.OutputOf("continuous").find("holding") != std::string::npos; });
}

void ContinuousGuest::EndWithNothingLost() {
  ASSERT_EQ(vmm_->Stop(), 0) << ReadFile(cluster_.folder() + "/continuous.err");
  const std::string printed = cluster_.OutputOf("continuous");
  std::cout << printed << std::endl;
  std::map<std::string, uint64_t> after = Executed(host_);
  EXPECT_GT(NumberIn(printed, "tlbi_nh_asid"), 0);
  EXPECT_GT(NumberIn(printed, "calls"), 0);
  EXPECT_EQ(after["TLBI_NH_ASID"] - before_["TLBI_NH_ASID"], NumberIn(printed, "tlbi_nh_asid"));
  EXPECT_EQ(after["CMD_SYNC"] - before_["CMD_SYNC"], NumberIn(printed, "cmd_sync"));
}

}  // namespace berth::testing
