// SPDX-License-Identifier: Apache-2.0
#include "tests/integration/chaos/chaos_fleet.h"

#include <gmock/gmock.h>
#include <poll.h>
#include <signal.h>

#include <algorithm>
#include <optional>
#include <queue>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "ctl/cli/client.h"

namespace berth::testing {

using v1::Assignment;

namespace {

// One unit whose VINTFs run out before its devices do: VINTF 0 is the host's own.
constexpr char kUnit[] = "smmu3.0x20000000";
constexpr int kVintfs = 3;
constexpr char kHost[] = R"(# SPDX-License-Identifier: Apache-2.0
units:
  - {id: smmu3.0x20000000, vintfs: 4, vcmdqs: 8}
devices:
  - {count: 4, first_address: "0001:01:00.0", vendor: "15b3", device: "101e", class_code: "020000",
     first_serial: "b8cef60a00", unit: smmu3.0x20000000, numa_node: 0}
)";

// What the controller finds when it asks all hosts now; empty: they have answered, and nothing
// differs.
std::string Audit(const std::string& api, size_t hosts) {
  const auto client = cli::Client::Make({.addresses = {api},
                                         .deadline = absl::Now() + absl::Seconds(10),
                                         .first_backoff = absl::Milliseconds(50),
                                         .clock = &Clock::Real()});
  if (!client.ok()) return client.status().ToString();
  std::string text;
  size_t answered = 0;
  v1::AuditRequest request;
  do {
    const absl::StatusOr<v1::AuditResponse> page = (*client)->Audit(request);
    if (!page.ok()) return page.status().ToString();
    for (const v1::HostAudit& host : page->hosts()) {
      if (host.outcome() == v1::HostAudit::ANSWERED) ++answered;
      for (const v1::AuditDifference& difference : host.differences()) {
        absl::StrAppend(&text, difference.ShortDebugString(), "\n");
      }
    }
    request.set_page_token(page->next_page_token());
  } while (!request.page_token().empty());
  if (answered != hosts) absl::StrAppend(&text, answered, " of ", hosts, " hosts have answered");
  return text;
}

}  // namespace

ChaosFleet::ChaosFleet(size_t hosts, HostNetworks* networks)
    : networks_(networks),
      controllers_(cluster_.folder(), 3, 2, Controllers::Agents::kReachDoor,
                   networks == nullptr ? "127.0.0.1" : HostNetworks::kHere) {
  for (size_t i = 0; i < controllers_.size(); ++i) {
    middlemen_.push_back(
        std::make_unique<Middleman>(controllers_.door(i), controllers_.listener(i)));
  }
  cluster_.UseApi(controllers_.api(0));
  const std::string file = cluster_.folder() + "/host.yaml";
  WriteFile(file, kHost);
  std::vector<Host::Options> options;
  for (size_t i = 0; i < hosts; ++i) {
    names_.push_back(absl::StrCat("h", i));
    history_.HasVintfs(names_.back(), kUnit, kVintfs);
    options.push_back(
        {.id = names_.back(), .host_file = file, .emulator = Host::Emulator::kExternal});
    if (networks_ != nullptr) options.back().network = networks_->network(i);
  }
  cluster_.AddHosts(options, controllers_.links());
  for (const std::string& name : names_) cluster_.AwaitReady(name);
}

void ChaosFleet::Suffer(const std::vector<ScheduledFault>& round) {
  const absl::Time start = absl::Now();
  const auto later = [](const ScheduledFault* a, const ScheduledFault* b) {
    return a->at + a->lasts > b->at + b->lasts;
  };
  std::priority_queue<const ScheduledFault*, std::vector<const ScheduledFault*>, decltype(later)>
      lasting(later);
  for (auto next = round.begin(); next != round.end() || !lasting.empty();) {
    const absl::Duration now = absl::Now() - start;
    if (!lasting.empty() && lasting.top()->at + lasting.top()->lasts <= now) {
      Mend(*lasting.top());
      lasting.pop();
      continue;
    }
    if (next != round.end() && next->at <= now) {
      // Late, the one before may still last.
      if (!IsStruck(TargetOf(next->kind), next->target)) {
        Strike(*next);
        lasting.push(&*next);
      }
      ++next;
      continue;
    }
    KeepUp();
    LookAtNextHost();
    ::poll(nullptr, 0, 10);
  }
  mended_ = absl::Now();
}

void ChaosFleet::Strike(const ScheduledFault& fault) {
  ++struck_[std::string(NameOf(fault.kind))];
  ill_.insert({TargetOf(fault.kind), fault.target});
  const size_t i = fault.target;
  switch (fault.kind) {
    case FaultKind::kKillController:
      return controllers_.process(i).Kill();
    case FaultKind::kPauseController:
      return controllers_.process(i).Signal(SIGSTOP);
    case FaultKind::kCutFromEtcd:
      return controllers_.CutFromEtcd(i);
    case FaultKind::kCutFromAgents:
      return controllers_.CutFromAgents(i);
    case FaultKind::kHoldMessages:
      return middlemen_.at(i)->Do(Middleman::Harm::kHold);
    case FaultKind::kRepeatMessages:
      return middlemen_.at(i)->Do(Middleman::Harm::kRepeat);
    case FaultKind::kSwapMessages:
      return middlemen_.at(i)->Do(Middleman::Harm::kSwap);
    case FaultKind::kJumpController:
      controllers_.process(i).Kill();
      return controllers_.Start(i, {fault.setting});
    case FaultKind::kCrashControllerAt:
      controllers_.process(i).Kill();
      return controllers_.Start(i, {"--failpoint", fault.setting});
    case FaultKind::kKillEtcd:
      return controllers_.etcd().member(i).Kill();
    case FaultKind::kPauseEtcd:
      return controllers_.etcd().member(i).Pause();
    case FaultKind::kCutHost:
      return networks_->Cut(i);
    default:
      return StrikeHost(fault, host(i));
  }
}

void ChaosFleet::StrikeHost(const ScheduledFault& fault, Host& host) {
  switch (fault.kind) {
    case FaultKind::kPauseAgent:
      return host.agent().Signal(SIGSTOP);
    case FaultKind::kKillKernel:
      return host.KillEmulator();
    case FaultKind::kJumpAgent:
      host.agent().Kill();
      return host.StartAgent({fault.setting});
    case FaultKind::kCrashAgentAt:
    case FaultKind::kFailAgentAt:
      host.agent().Kill();
      return host.StartAgent({"--failpoint", fault.setting});
    default:
      return host.agent().Kill();
  }
}

void ChaosFleet::Mend(const ScheduledFault& fault) {
  const size_t i = fault.target;
  switch (fault.kind) {
    case FaultKind::kKillController:
      controllers_.Start(i);
      break;
    case FaultKind::kPauseController:
      controllers_.process(i).Signal(SIGCONT);
      break;
    case FaultKind::kCutFromEtcd:
      controllers_.HealToEtcd(i);
      break;
    case FaultKind::kCutFromAgents:
      controllers_.HealToAgents(i);
      break;
    case FaultKind::kHoldMessages:
    case FaultKind::kRepeatMessages:
    case FaultKind::kSwapMessages:
      middlemen_.at(i)->Do(Middleman::Harm::kNone);
      break;
    case FaultKind::kJumpController:
    case FaultKind::kCrashControllerAt:
      controllers_.process(i).Kill();
      controllers_.Start(i);
      break;
    case FaultKind::kKillEtcd:
      controllers_.etcd().member(i).Launch();
      break;
    case FaultKind::kPauseEtcd:
      controllers_.etcd().member(i).Resume();
      break;
    case FaultKind::kCutHost:
      networks_->Heal(i);
      break;
    default:
      MendHost(fault, host(i));
  }
  ill_.erase({TargetOf(fault.kind), i});
}

void ChaosFleet::MendHost(const ScheduledFault& fault, Host& host) {
  switch (fault.kind) {
    case FaultKind::kPauseAgent:
      return host.agent().Signal(SIGCONT);
    case FaultKind::kKillKernel:
      return host.StartEmulator();
    case FaultKind::kKillAgent:
      return host.StartAgent();
    default:
      host.agent().Kill();
      return host.StartAgent();
  }
}

void ChaosFleet::KeepUp() {
  for (size_t i = 0; i < controllers_.size(); ++i) {
    Process& process = controllers_.process(i);
    if (IsStruck(Target::kController, i) || process.running()) continue;
    EXPECT_EQ(process.Wait(), 1) << "controller " << i
                                 << " has ended, but not for want of the lead";
    controllers_.Start(i);
  }
  for (size_t i = 0; i < names_.size(); ++i) {
    if (IsStruck(Target::kHost, i) || host(i).agent().running()) continue;
    ADD_FAILURE() << "the agent of " << names_[i] << " has ended with " << host(i).agent().Wait();
    host(i).StartAgent();
  }
}

void ChaosFleet::LookAtNextHost() {
  const size_t i = next_look_++ % names_.size();
  if (IsStruck(Target::kHost, i)) return;
  history_.Saw(names_[i], host(i).Grants(), host(i).Status().epoch());
}

bool ChaosFleet::IsInOrder() {
  KeepUp();
  size_t leading = 0;
  size_t standing_by = 0;
  for (size_t i = 0; i < controllers_.size(); ++i) {
    if (controllers_.Leads(i)) {
      ++leading;
      cluster_.UseApi(controllers_.api(i));
    } else if (controllers_.StandsBy(i)) {
      ++standing_by;
    }
  }
  return leading == 1 && standing_by == controllers_.size() - 1;
}

void ChaosFleet::Check(Users& users) {
  users.Pause();
  WaitFor(
      "users have their answers",
      [&] {
        KeepUp();
        LookAtNextHost();
        return users.paused();
      },
      3 * kPatience);
  WaitFor("one controller leads and the others stand by", [&] { return IsInOrder(); });
  AwaitCleanAudit();
  for (const std::string& name : names_) cluster_.AwaitReady(name);
  CheckBook();
  EXPECT_THAT(history_.Violations(), ::testing::IsEmpty());
}

void ChaosFleet::AwaitCleanAudit() {
  std::string found;
  const bool clean = WaitFor("an audit of all hosts is clean", [&] {
    KeepUp();
    found = Audit(cluster_.api_address(), names_.size());
    return found.empty();
  });
  EXPECT_TRUE(clean) << found;
  audits_.push_back(absl::Now() - mended_);
}

void ChaosFleet::CheckBook() {
  int placed = 0;
  std::map<std::string, std::optional<Assignment>> book;
  const std::map<std::string, History::Told> kept = history_.Kept();
  for (const auto& entry : kept) {
    const std::string& id = entry.first;
    absl::StatusOr<Assignment> now;
    WaitFor(id + " is PREPARED, or has FAILED", [&] {
      now = cluster_.Get(id);
      return !now.ok() || now->intent() == Assignment::FAILED ||
             now->observed() == Assignment::PREPARED;
    });
    book[id] = now.ok() ? std::optional<Assignment>(*now) : std::nullopt;
    if (now.ok() && now->intent() != Assignment::FAILED) ++placed;
  }
  history_.Found(book);
  // No grant and no VINTF is left that nobody was told of.
  cluster_.ExpectRecordsAgree(placed);
  recoveries_.push_back(absl::Now() - mended_);
  std::map<std::string, std::optional<Assignment>> ended;
  for (const std::string& id : history_.Gone()) {
    if (!checked_gone_.insert(id).second) continue;
    const absl::StatusOr<Assignment> now = cluster_.Get(id);
    ended[id] = now.ok() ? std::optional<Assignment>(*now) : std::nullopt;
  }
  history_.Found(ended);
  for (const auto& [id, told] : kept) {
    const absl::StatusOr<Assignment> again = cluster_.Create(told.request);
    ASSERT_TRUE(again.ok()) << again.status();
    history_.Created(told.request, *again);
  }
}

}  // namespace berth::testing
