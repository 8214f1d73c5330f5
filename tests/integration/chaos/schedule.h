// SPDX-License-Identifier: Apache-2.0
//
// What goes wrong when, as a seed has it. Pure.
#ifndef BERTH_TESTS_INTEGRATION_CHAOS_SCHEDULE_H_
#define BERTH_TESTS_INTEGRATION_CHAOS_SCHEDULE_H_

#include <cstddef>
#include <cstdint>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "absl/time/time.h"

namespace berth::testing {

enum class FaultKind : uint8_t {
  // Of a controller.
  kKillController,
  kPauseController,
  kCutFromEtcd,
  kCutFromAgents,
  kHoldMessages,  // of its agents, and to them
  kRepeatMessages,
  kSwapMessages,
  kJumpController,     // the clock of it: killed, and started with another time
  kCrashControllerAt,  // a failpoint
  // Of a member of etcd.
  kKillEtcd,
  kPauseEtcd,
  // Of a host.
  kKillAgent,
  kPauseAgent,
  kCutHost,       // its link is down; only where hosts have networks of their own
  kJumpAgent,     // as kJumpController
  kCrashAgentAt,  // a failpoint
  kFailAgentAt,   // the same, with an errno
  kKillKernel,
};
inline constexpr size_t kFaultKinds = 18;

enum class Target : uint8_t { kController, kEtcd, kHost };

std::string_view NameOf(FaultKind kind);
Target TargetOf(FaultKind kind);

struct ScheduledFault {
  FaultKind kind;
  size_t target = 0;  // an index
  absl::Duration at;  // from the beginning of the round
  absl::Duration lasts;
  std::string setting = {};  // of a failpoint or the clock, as the command line takes it
};

struct ScheduleSize {
  size_t controllers = 3;
  size_t etcd_members = 3;
  size_t hosts = 0;
  bool networks = false;  // of each host
};

// The faults of a round, ordered by their beginning; all end before `length`. A target has one at a
// time, and etcd as a whole one at a time: it does not answer without a majority.
std::vector<ScheduledFault> MakeRound(std::mt19937& random, const ScheduleSize& size,
                                      absl::Duration length);

}  // namespace berth::testing

#endif  // BERTH_TESTS_INTEGRATION_CHAOS_SCHEDULE_H_
