// SPDX-License-Identifier: Apache-2.0
#include "tests/integration/chaos/schedule.h"

#include <algorithm>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "lib/base/absl_view.h"
#include "lib/base/failpoint.h"

namespace berth::testing {
namespace {

// As std::uniform_int_distribution, but the same with every library.
uint32_t Below(std::mt19937& random, size_t limit) {
  return static_cast<uint32_t>(random() % limit);
}

absl::Duration Between(std::mt19937& random, absl::Duration least, absl::Duration most) {
  const auto range = static_cast<size_t>((most - least) / absl::Milliseconds(1));
  return least + absl::Milliseconds(Below(random, range + 1));
}

// Up to an hour to and fro: a request is remembered for a day.
std::string ClockOffset(std::mt19937& random) {
  const int minutes = static_cast<int>(Below(random, 120)) - 60;
  return absl::StrCat("--clock-offset=", minutes, "m");
}

std::string Setting(std::mt19937& random, FaultKind kind) {
  const bool fails = kind == FaultKind::kFailAgentAt;
  const auto home = kind == FaultKind::kCrashControllerAt ? FailpointInfo::Home::kController
                                                          : FailpointInfo::Home::kAgent;
  std::vector<std::string> names;
  for (const FailpointInfo& info : Failpoints()) {
    if (info.home != home || (fails && info.can != FailpointInfo::Can::kError)) continue;
    names.emplace_back(info.name);
  }
  const std::string& name = names[Below(random, names.size())];
  constexpr const char* kErrnos[] = {"EIO", "ENOMEM", "EBUSY", "ENOSPC"};
  const uint32_t errno_index = Below(random, std::size(kErrnos));
  const uint32_t hit = 1 + Below(random, 4);
  return absl::StrCat(name, fails ? absl::StrCat("=error:", kErrnos[errno_index]) : "=crash", "@",
                      hit);
}

}  // namespace

std::string_view NameOf(FaultKind kind) {
  constexpr std::string_view kNames[kFaultKinds] = {
      "kill_controller",     "pause_controller", "cut_from_etcd", "cut_from_agents",
      "hold_messages",       "repeat_messages",  "swap_messages", "jump_controller",
      "crash_controller_at", "kill_etcd",        "pause_etcd",    "kill_agent",
      "pause_agent",         "cut_host",         "jump_agent",    "crash_agent_at",
      "fail_agent_at",       "kill_kernel"};
  return kNames[static_cast<size_t>(kind)];
}

Target TargetOf(FaultKind kind) {
  if (kind <= FaultKind::kCrashControllerAt) return Target::kController;
  return kind <= FaultKind::kPauseEtcd ? Target::kEtcd : Target::kHost;
}

std::vector<ScheduledFault> MakeRound(std::mt19937& random, const ScheduleSize& size,
                                      absl::Duration length) {
  constexpr absl::Duration kMost = absl::Seconds(4);
  std::vector<ScheduledFault> faults;
  std::map<std::pair<Target, size_t>, absl::Duration> busy;  // until when
  absl::Duration now = absl::ZeroDuration();
  for (;;) {
    now += Between(random, absl::Milliseconds(100), absl::Milliseconds(900));
    const auto kind = static_cast<FaultKind>(Below(random, kFaultKinds));
    if (kind == FaultKind::kCutHost && !size.networks) continue;
    const Target target = TargetOf(kind);
    const size_t count = target == Target::kController ? size.controllers
                         : target == Target::kEtcd     ? size.etcd_members
                                                       : size.hosts;
    ScheduledFault fault = {.kind = kind,
                            .target = Below(random, count),
                            .at = now,
                            .lasts = Between(random, absl::Milliseconds(50), kMost)};
    if (kind == FaultKind::kCrashControllerAt || kind == FaultKind::kCrashAgentAt ||
        kind == FaultKind::kFailAgentAt) {
      fault.setting = Setting(random, kind);
    } else if (kind == FaultKind::kJumpController || kind == FaultKind::kJumpAgent) {
      fault.setting = ClockOffset(random);
    }
    if (now + fault.lasts >= length) return faults;
    absl::Duration& until = busy[{target, target == Target::kEtcd ? 0 : fault.target}];
    if (until > now) continue;
    until = now + fault.lasts;
    faults.push_back(std::move(fault));
  }
}

}  // namespace berth::testing
