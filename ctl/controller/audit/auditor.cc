// SPDX-License-Identifier: Apache-2.0
#include "ctl/controller/audit/auditor.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "ctl/controller/audit/book_rows.h"
#include "ctl/controller/audit/compare.h"
#include "ctl/controller/book/convert.h"
#include "ctl/controller/book/list_page.h"
#include "lib/base/status.h"
#include "lib/config/timestamp.h"

namespace berth {

using v1::AuditDifference;
using v1::HostAudit;

// Collects what hosts answer.
class Auditor::Call {
 public:
  Call(size_t hosts, std::string next_page_token, Answer answer)
      : waiting_(hosts), answer_(std::move(answer)) {
    response_.set_next_page_token(std::move(next_page_token));
  }

  // Whether that was the last one.
  bool Put(HostAudit audit) {
    absl::MutexLock lock(&mu_);
    *response_.add_hosts() = std::move(audit);
    return --waiting_ == 0;
  }

  // Once; what comes later is ignored.
  void End(const absl::Status& status) {
    Answer answer;
    v1::AuditResponse response;
    {
      absl::MutexLock lock(&mu_);
      answer = std::exchange(answer_, nullptr);
      response = response_;
    }
    if (!answer) return;
    if (!status.ok()) return answer(status);
    std::sort(response.mutable_hosts()->begin(), response.mutable_hosts()->end(),
              [](const HostAudit& a, const HostAudit& b) { return a.host() < b.host(); });
    answer(std::move(response));
  }

 private:
  absl::Mutex mu_;
  size_t waiting_ ABSL_GUARDED_BY(mu_);
  v1::AuditResponse response_ ABSL_GUARDED_BY(mu_);
  Answer answer_ ABSL_GUARDED_BY(mu_);
};

Auditor::Auditor(Fleet* fleet, Options options)
    : fleet_(fleet), options_(options), last_tick_(fleet->clock().Now()) {
  if (options_.metrics == nullptr) return;
  Metrics& metrics = *options_.metrics;
  constexpr char kDone[] = "berth_audit_hosts_total";
  constexpr char kDoneHelp[] = "Audits of hosts, by whether the agent answered";
  series_ = Series{
      .drift = metrics.AddGauge("berth_audit_drift",
                                "Differences between the book and the hosts that were found in two "
                                "audits of a host"),
      .answered = metrics.AddCounter(kDone, kDoneHelp, {{"outcome", "answered"}}),
      .unanswered = metrics.AddCounter(kDone, kDoneHelp, {{"outcome", "unanswered"}}),
      .healed = metrics.AddCounter("berth_audit_healed_total",
                                   "Differences that were gone after a fresh exchange with the "
                                   "agent")};
  ShowDrift();
}

void Auditor::Tick() {
  const absl::Time now = fleet_->clock().Now();
  std::vector<std::pair<std::string, Pending>> silent;
  {
    absl::MutexLock lock(&mu_);
    if (closed_) return;
    for (auto it = pending_.begin(); it != pending_.end();) {
      if (now - it->second.asked < options_.answer_timeout) {
        ++it;
        continue;
      }
      silent.emplace_back(it->first, std::move(it->second));
      it = pending_.erase(it);
    }
  }
  for (const auto& [host_id, pending] : silent) {
    Finish(host_id, pending, HostAudit::NO_ANSWER, nullptr);
  }
  AskWhoseTurnItIs();
}

void Auditor::AskWhoseTurnItIs() {
  for (const Target& target : NextTargets(fleet_->clock().Now())) {
    Ask(target, TryDevices::kNo, nullptr);
  }
}

std::vector<Auditor::Target> Auditor::NextTargets(absl::Time now) {
  std::vector<Target> targets;
  bool wrapped = false;
  {
    absl::MutexLock fleet_lock(&fleet_->mu);
    absl::MutexLock lock(&mu_);
    if (closed_) return targets;
    const auto hosts = static_cast<int64_t>(fleet_->hosts.size());
    // After a pause nobody is asked twice.
    const absl::Duration round = options_.interval * hosts;
    credit_ = std::min(credit_ + (now - std::exchange(last_tick_, now)) * hosts, round);
    for (; hosts > 0 && credit_ >= options_.interval; credit_ -= options_.interval) {
      if (pending_.size() + targets.size() >= options_.max_in_flight) break;
      auto next = fleet_->hosts.upper_bound(cursor_);
      if (next == fleet_->hosts.end()) {
        next = fleet_->hosts.begin();
        wrapped = true;
      }
      cursor_ = next->first;
      const HostEntry& host = next->second;
      if (host.session == nullptr || host.state != v1::Host::READY) continue;
      targets.push_back({next->first, host.session});
    }
  }
  if (wrapped) ForgetDeletedHosts();
  return targets;
}

void Auditor::ForgetDeletedHosts() {
  absl::MutexLock fleet_lock(&fleet_->mu);
  absl::MutexLock lock(&mu_);
  const auto deleted = [this](const std::string& host_id) ABSL_NO_THREAD_SAFETY_ANALYSIS {
    return fleet_->hosts.count(host_id) == 0;
  };
  std::erase_if(seen_, [&](const auto& entry) { return deleted(entry.first); });
  std::erase_if(silent_, deleted);
  ShowDrift();
}

void Auditor::Ask(const Target& target, TryDevices try_devices, const std::shared_ptr<Call>& call) {
  agent::v1::AuditRequest request;
  *request.mutable_epoch() = fleet_->epoch();
  request.set_try_devices(try_devices == TryDevices::kYes);
  bool asked = false;
  {
    absl::MutexLock lock(&mu_);
    if (closed_) return;
    Pending& pending = pending_[target.host_id];
    const bool waits = pending.session == target.session;
    if (waits && call == nullptr) return;
    // The last request counts: those who wait for one before it get the same answer.
    pending.sequence = ++sequence_;
    pending.session = target.session;
    pending.asked = fleet_->clock().Now();
    if (call != nullptr) pending.calls.push_back(call);
    request.set_sequence(pending.sequence);
    // With the mutex: the last request that the agent gets is the one that is waited for.
    asked = target.session->Audit(std::move(request));
  }
  if (!asked) Disconnected(target.host_id, target.session.get());
}

void Auditor::Report(const std::string& host_id, const HostSession* session,
                     const agent::v1::AuditReport& report) {
  Pending pending;
  {
    absl::MutexLock lock(&mu_);
    const auto found = pending_.find(host_id);
    if (found == pending_.end() || found->second.session.get() != session ||
        found->second.sequence != report.sequence()) {
      return;
    }
    pending = std::move(found->second);
    pending_.erase(found);
  }
  Finish(host_id, pending, HostAudit::ANSWERED, &report);
  AskWhoseTurnItIs();
}

void Auditor::Disconnected(const std::string& host_id, const HostSession* session) {
  Pending pending;
  {
    absl::MutexLock lock(&mu_);
    const auto found = pending_.find(host_id);
    if (found == pending_.end() || found->second.session.get() != session) return;
    pending = std::move(found->second);
    pending_.erase(found);
  }
  Finish(host_id, pending, HostAudit::NOT_CONNECTED, nullptr);
}

void Auditor::Finish(const std::string& host_id, const Pending& pending, HostAudit::Outcome outcome,
                     const agent::v1::AuditReport* report) {
  std::vector<BookRow> book;
  {
    absl::MutexLock lock(&fleet_->mu);
    book = BookRowsOf(fleet_, host_id);
    const auto host = fleet_->hosts.find(host_id);
    // What the agent of an ended session said is about another time than the book.
    if (host == fleet_->hosts.end() || host->second.session != pending.session) {
      outcome = HostAudit::NOT_CONNECTED;
    }
  }
  const std::string name = HostName(host_id);
  HostAudit audit =
      outcome == HostAudit::ANSWERED ? Compare(name, book, *report) : RowsOf(name, book);
  audit.set_outcome(outcome);
  *audit.mutable_time() = ToTimestamp(fleet_->clock().Now());
  bool heal = false;
  std::vector<std::shared_ptr<Call>> complete;
  {
    absl::MutexLock lock(&mu_);
    if (outcome == HostAudit::ANSWERED) {
      heal = Note(host_id, &audit);
    } else if (outcome == HostAudit::NO_ANSWER) {
      NoteUnanswered(host_id);
    }
    for (const std::shared_ptr<Call>& call : pending.calls) {
      if (!call->Put(audit)) continue;
      calls_.erase(call);
      complete.push_back(call);
    }
  }
  for (const std::shared_ptr<Call>& call : complete) call->End(absl::OkStatus());
  if (heal) {
    pending.session->Close(Error(Reason::kUnavailable,
                                 absl::StrCat("an audit has found that the book and ", name,
                                              " do not agree; dial again, and tell everything")));
  }
}

bool Auditor::Note(const std::string& host_id, HostAudit* audit) {
  silent_.erase(host_id);
  if (series_.has_value()) series_->answered.Increment();
  const absl::Time now = fleet_->clock().Now();
  SeenByIdentity before;
  if (const auto found = seen_.find(host_id); found != seen_.end()) before = found->second;
  SeenByIdentity after;
  bool heal = false;
  for (AuditDifference& difference : *audit->mutable_differences()) {
    const std::string identity = IdentityOf(difference);
    const auto known = before.find(identity);
    Seen& seen = after[identity];
    seen = known == before.end() ? Seen{.first = now} : known->second;
    if (!seen.drift && now - seen.first >= kSettle) {
      seen.drift = true;
      LogDrift(difference);
    }
    if (difference.healing() == AuditDifference::PLANNED) {
      if (seen.drift && !seen.tried) heal = seen.tried = true;
      if (seen.tried) difference.set_healing(AuditDifference::TRIED);
    }
    difference.set_drift(seen.drift);
    *difference.mutable_first_seen_time() = ToTimestamp(seen.first);
  }
  CountHealed(host_id, before, after);
  if (after.empty()) {
    seen_.erase(host_id);
  } else {
    seen_[host_id] = std::move(after);
  }
  ShowDrift();
  return heal;
}

void Auditor::NoteUnanswered(const std::string& host_id) {
  if (series_.has_value()) series_->unanswered.Increment();
  if (!silent_.insert(host_id).second || options_.log == nullptr) return;
  options_.log->Warn("agent does not answer audits", {{"host", host_id}});
}

void Auditor::LogDrift(const AuditDifference& difference) const {
  if (options_.log == nullptr) return;
  options_.log->Warn("drift", {{"host", difference.host()},
                               {"kind", AuditDifference::Kind_Name(difference.kind())},
                               {"assignment", difference.assignment()},
                               {"assignment_uid", difference.assignment_uid()},
                               {"message", difference.message()}});
}

void Auditor::CountHealed(const std::string& host_id, const SeenByIdentity& before,
                          const SeenByIdentity& now) {
  for (const auto& [identity, seen] : before) {
    if (!seen.tried || now.count(identity) > 0) continue;
    if (series_.has_value()) series_->healed.Increment();
    if (options_.log != nullptr) {
      options_.log->Info("drift healed", {{"host", host_id}, {"difference", identity}});
    }
  }
}

void Auditor::ShowDrift() {
  if (!series_.has_value()) return;
  int64_t drift = 0;
  for (const auto& [host_id, seen] : seen_) {
    drift += std::count_if(seen.begin(), seen.end(),
                           [](const auto& entry) { return entry.second.drift; });
  }
  series_->drift.Set(static_cast<double>(drift));
}

absl::StatusOr<std::vector<Auditor::Target>> Auditor::TargetsOf(const v1::AuditRequest& request,
                                                                std::string* next_page_token) {
  std::vector<Target> targets;
  absl::MutexLock lock(&fleet_->mu);
  if (!request.host().empty()) {
    const std::string id = HostIdOf(request.host());
    if (id.empty()) {
      return Error(
          Reason::kInvalidField,
          absl::StrCat("host: \"", request.host().substr(0, 80), "\" is not \"hosts/...\""),
          {{"field", "host"}});
    }
    const auto found = fleet_->hosts.find(id);
    if (found == fleet_->hosts.end() || found->second.committed == nullptr) {
      return Error(Reason::kNotFound, absl::StrCat(request.host().substr(0, 80), " does not exist"),
                   {{"name", request.host().substr(0, 80)}});
    }
    targets.push_back({id, found->second.session});
    return targets;
  }
  const int size = request.page_size() == 0 ? kMaxPage : std::min(request.page_size(), kMaxPage);
  BERTH_ASSIGN_OR_RETURN(ListPage page, ListPage::Start("audit", size, request.page_token(),
                                                        fleet_->Position().ToToken()));
  for (auto it = fleet_->hosts.upper_bound(page.after()); it != fleet_->hosts.end(); ++it) {
    if (it->second.committed == nullptr) continue;
    if (!page.Take(it->first, 0)) {
      *next_page_token = page.NextToken();
      break;
    }
    targets.push_back({it->first, it->second.session});
  }
  return targets;
}

void Auditor::Audit(const v1::AuditRequest& request, Answer answer) {
  std::string next_page_token;
  absl::StatusOr<std::vector<Target>> targets = TargetsOf(request, &next_page_token);
  if (!targets.ok()) return answer(targets.status());
  if (targets->empty()) return answer(v1::AuditResponse());
  const auto call = std::make_shared<Call>(targets->size(), next_page_token, std::move(answer));
  absl::Status refused;
  {
    absl::MutexLock lock(&mu_);
    if (closed_) {
      refused = Error(Reason::kShuttingDown, "the controller is stopping");
    } else if (calls_.size() >= options_.max_calls) {
      refused =
          Error(Reason::kOverloaded, absl::StrCat(calls_.size(), " audits are running already"));
    } else {
      calls_.insert(call);
    }
  }
  if (!refused.ok()) return call->End(refused);
  const TryDevices try_devices = request.try_devices() ? TryDevices::kYes : TryDevices::kNo;
  for (const Target& target : *targets) {
    if (target.session != nullptr) {
      Ask(target, try_devices, call);
    } else {
      Pending nobody;
      nobody.calls.push_back(call);
      Finish(target.host_id, nobody, HostAudit::NOT_CONNECTED, nullptr);
    }
  }
}

void Auditor::Close() {
  std::set<std::shared_ptr<Call>> calls;
  {
    absl::MutexLock lock(&mu_);
    closed_ = true;
    pending_.clear();
    calls.swap(calls_);
  }
  for (const std::shared_ptr<Call>& call : calls) {
    call->End(Error(Reason::kShuttingDown, "the controller is stopping"));
  }
}

}  // namespace berth
