// SPDX-License-Identifier: Apache-2.0
#include "ctl/controller/book/fleet.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "ctl/controller/book/convert.h"
#include "lib/base/absl_view.h"
#include "lib/base/failpoint.h"
#include "lib/base/lifecycle.h"
#include "lib/base/status.h"

namespace berth {
namespace {

using internal::v1::AssignmentRecord;
using internal::v1::HostRecord;

placement::Schedulability SchedulabilityOf(const HostEntry& entry) {
  if (entry.state != v1::Host::READY) return placement::Schedulability::kNotReady;
  const HostRecord& record = *entry.committed;
  return record.cordoned() || record.draining() ? placement::Schedulability::kCordoned
                                                : placement::Schedulability::kReady;
}

Intent IntentOf(const AssignmentRecordPtr& record) {
  return record == nullptr ? Intent::kNone : static_cast<Intent>(record->assignment().intent());
}

WatchChange ChangeOf(v1::Assignment assignment) {
  auto resource = std::make_shared<v1::Assignment>(std::move(assignment));
  return {.kind = WatchKind::kAssignments,
          .name = resource->name(),
          .deleted = false,
          .resource = resource};
}

WatchChange ChangeOf(v1::Host host) {
  auto resource = std::make_shared<v1::Host>(std::move(host));
  return {
      .kind = WatchKind::kHosts, .name = resource->name(), .deleted = false, .resource = resource};
}

}  // namespace

std::string PlacedOn(const AssignmentRecordPtr& record) {
  if (record == nullptr || !record->assignment().has_placement()) return "";
  return HostIdOf(record->assignment().placement().host());
}

Observed ObservedOf(const AssignmentEntry& entry) {
  const v1::Assignment& assignment = entry.committed->assignment();
  if (entry.report.generation() != assignment.generation()) return Observed::kNone;
  return static_cast<Observed>(entry.report.observed());
}

std::string MakeEtag(Revision revision) { return absl::StrCat("r", revision); }

Fleet::Fleet(Options options) : options_(std::move(options)) {}

agent::v1::Epoch Fleet::epoch() const {
  const StoreEpoch from = options_.store->epoch();
  agent::v1::Epoch to;
  to.set_store_uid(from.uid);
  to.set_restore_count(from.restore_count);
  to.set_term(from.term);
  return to;
}

WatchPosition Fleet::Position() const {
  const StoreEpoch epoch = options_.store->epoch();
  return {.store_uid = epoch.uid,
          .restore_count = epoch.restore_count,
          .revision = revision_,
          .term = epoch.term,
          .observed_sequence = observed_sequence_};
}

Transaction Fleet::MakeTransaction(const ChangeSet& changes, int64_t term) {
  Transaction transaction;
  transaction.fence_term = term;
  const auto add = [&transaction](const char* kind, const std::string& id, const auto& record) {
    RecordKey key{.kind = kind, .id = id};
    if (record == nullptr) {
      transaction.deletes.push_back(std::move(key));
    } else {
      transaction.puts.push_back({.key = std::move(key), .payload = record->SerializeAsString()});
    }
  };
  for (const auto& [id, record] : changes.assignments) add(kAssignmentKind, id, record);
  for (const auto& [id, record] : changes.hosts) add(kHostKind, id, record);
  for (const auto& [id, record] : changes.quotas) add(kQuotaKind, id, record);
  transaction.puts.insert(transaction.puts.end(), changes.request_puts.begin(),
                          changes.request_puts.end());
  transaction.deletes.insert(transaction.deletes.end(), changes.request_deletes.begin(),
                             changes.request_deletes.end());
  return transaction;
}

absl::Status Fleet::CheckEdges(const ChangeSet& changes) const {
  for (const auto& [id, record] : changes.assignments) {
    const auto entry = assignments.find(id);
    const Intent from = entry == assignments.end() ? Intent::kNone : IntentOf(entry->second.latest);
    const Intent to = IntentOf(record);
    if (from == to || IsAllowed(from, to)) continue;
    return Error(Reason::kInternal,
                 absl::StrCat(AssignmentName(id), " cannot go from ", AbslView(ToString(from)),
                              " to ", AbslView(ToString(to))),
                 {{"name", AssignmentName(id)}});
  }
  return absl::OkStatus();
}

absl::Status Fleet::CheckWritable() const {
  if (!failed_) return absl::OkStatus();
  return Error(Reason::kStoreFailed, "the store has failed; the controller is restarting");
}

void Fleet::CountPlaced(const std::string& id, const AssignmentRecordPtr& record, int by) {
  const std::string host = PlacedOn(record);
  if (host.empty()) return;
  std::map<std::string, int>& ids = placed_[host];
  if ((ids[id] += by) <= 0) ids.erase(id);
  if (ids.empty()) placed_.erase(host);
}

absl::Status Fleet::Submit(ChangeSet changes, std::function<void(Revision)> done,
                           std::function<void(const absl::Status&)> failed) {
  BERTH_RETURN_IF_ERROR(CheckWritable());
  BERTH_RETURN_IF_ERROR(CheckEdges(changes));
  auto shared = std::make_shared<ChangeSet>(std::move(changes));
  auto committed = [this, shared, done = std::move(done),
                    failed = std::move(failed)](absl::StatusOr<Revision> revision) {
    bool first_failure = false;
    if (revision.ok()) CrashAt(Failpoint::kCommitPublish);
    {
      absl::MutexLock lock(&mu);
      if (revision.ok()) {
        Publish(*shared, *revision);
      } else {
        // What was handed over may be durable or not. Nobody is told that it is: the next start
        // reads back.
        first_failure = !std::exchange(failed_, true);
      }
    }
    if (revision.ok()) {
      CrashAt(Failpoint::kCommitPublished);
      if (done) done(*revision);
      return;
    }
    if (first_failure && options_.on_store_failed) options_.on_store_failed(revision.status());
    if (!failed) return;
    failed(Error(Reason::kStoreFailed,
                 "the store failed while this was written: it may have happened or not; repeat it "
                 "with the same request_id, or read again",
                 {{"outcome", "unknown"}}));
  };
  BERTH_RETURN_IF_ERROR(options_.store->Commit(
      MakeTransaction(*shared, options_.store->epoch().term), std::move(committed)));
  for (const auto& [id, record] : shared->assignments) {
    const AssignmentRecordPtr before = std::exchange(assignments[id].latest, record);
    if (record != nullptr) {
      if (before != nullptr)
        quotas.Remove(before->assignment().owner(), UseOf(before->assignment()));
      quotas.Add(record->assignment().owner(), UseOf(record->assignment()));
    }
    if (record != nullptr) ids_by_uid_[record->assignment().uid()] = id;
    CountPlaced(id, record, 1);
  }
  for (const auto& [id, record] : shared->hosts) hosts[id].latest = record;
  for (const auto& [id, record] : shared->quotas) quotas.entries[id].latest = record;
  return absl::OkStatus();
}

void Fleet::PublishAssignment(const std::string& id, const AssignmentRecordPtr& record,
                              Revision revision, WatchBatch* batch) {
  AssignmentEntry& entry = assignments[id];
  const AssignmentRecordPtr before = std::exchange(entry.committed, record);
  entry.revision = revision;
  CountPlaced(id, before, -1);
  waiting.Update(id, before, record);
  quarantined.erase(id);
  const std::string host = PlacedOn(record);
  if (record != nullptr) {
    due.Add(id, NextDeadline(entry).at);
    batch->changes.push_back(ChangeOf(Render(entry)));
    if (IntentOf(before) != IntentOf(record)) AddDraining(host, batch);
    if (PlacedOn(before) != host) AddDraining(PlacedOn(before), batch);
    return;
  }
  auto gone = std::make_shared<v1::Assignment>();
  gone->set_name(AssignmentName(id));
  if (before != nullptr) {
    gone->set_uid(before->assignment().uid());
    ids_by_uid_.erase(before->assignment().uid());
    quotas.Remove(before->assignment().owner(), UseOf(before->assignment()));
    // Charged until its end is durable, and free when anybody can know. NOT_FOUND: it was not.
    (void)engine.Release(AssignmentUid(before->assignment().uid()));
  }
  batch->changes.push_back(
      {.kind = WatchKind::kAssignments, .name = gone->name(), .deleted = true, .resource = gone});
  if (entry.latest == nullptr) assignments.erase(id);
  AddDraining(PlacedOn(before), batch);
}

void Fleet::PublishQuota(const std::string& id, const QuotaRecordPtr& record, Revision revision) {
  QuotaTable::Entry& entry = quotas.entries[id];
  entry.committed = record;
  entry.revision = revision;
  quotas.unreadable.erase(id);
  if (record == nullptr && entry.latest == nullptr) quotas.entries.erase(id);
}

void Fleet::PublishHost(const std::string& id, const HostRecordPtr& record, Revision revision,
                        WatchBatch* batch) {
  HostEntry& entry = hosts[id];
  const HostRecordPtr before = std::exchange(entry.committed, record);
  entry.revision = revision;
  if (record == nullptr) {
    auto gone = std::make_shared<v1::Host>();
    gone->set_name(HostName(id));
    if (before != nullptr) gone->set_uid(before->uid());
    batch->changes.push_back(
        {.kind = WatchKind::kHosts, .name = gone->name(), .deleted = true, .resource = gone});
    ForgetUnclaimed(id, &entry);
    (void)engine.RemoveHost(HostId(id));
    if (entry.latest == nullptr) hosts.erase(id);
    return;
  }
  (void)UpdateEngine(id, entry);
  batch->changes.push_back(ChangeOf(Render(id, entry, v1::FULL)));
  // What is there is asked to leave, or not any more.
  if (AskingToLeave(*record) != (before == nullptr ? "" : AskingToLeave(*before))) {
    AddOnHost(id, batch);
  }
}

void Fleet::AddDraining(const std::string& host_id, WatchBatch* batch) {
  const auto host = hosts.find(host_id);
  if (host == hosts.end() || host->second.committed == nullptr ||
      !host->second.committed->draining()) {
    return;
  }
  host->second.observed_sequence = ++observed_sequence_;
  batch->changes.push_back(ChangeOf(Render(host_id, host->second, v1::FULL)));
}

void Fleet::AddOnHost(const std::string& id, WatchBatch* batch) {
  ++observed_sequence_;
  for (AssignmentEntry* there : OnHost(id)) {
    there->observed_sequence = observed_sequence_;
    due.Add(AssignmentIdOf(there->committed->assignment().name()), NextDeadline(*there).at);
    batch->changes.push_back(ChangeOf(Render(*there)));
  }
}

void Fleet::Publish(const ChangeSet& changes, Revision revision) {
  revision_ = revision;
  auto batch = std::make_shared<WatchBatch>();
  for (const auto& [id, record] : changes.assignments) {
    PublishAssignment(id, record, revision, batch.get());
  }
  for (const auto& [id, record] : changes.hosts) PublishHost(id, record, revision, batch.get());
  for (const auto& [id, record] : changes.quotas) PublishQuota(id, record, revision);
  if (!batch->changes.empty()) PublishBatch(std::move(batch));
}

void Fleet::PublishBatch(std::shared_ptr<WatchBatch> batch) {
  batch->position = Position();
  options_.hub->Publish(std::move(batch));
}

void Fleet::PublishOne(WatchChange change) {
  auto batch = std::make_shared<WatchBatch>();
  batch->changes.push_back(std::move(change));
  PublishBatch(std::move(batch));
}

void Fleet::PublishObserved(AssignmentEntry* entry) {
  entry->observed_sequence = ++observed_sequence_;
  if (entry->committed != nullptr) PublishOne(ChangeOf(Render(*entry)));
}

void Fleet::PublishObserved(const std::string& id, HostEntry* entry) {
  entry->observed_sequence = ++observed_sequence_;
  if (entry->committed == nullptr) return;
  (void)engine.SetHostSchedulable(HostId(id), SchedulabilityOf(*entry));
  PublishOne(ChangeOf(Render(id, *entry, v1::FULL)));
}

void Fleet::SetHostState(const std::string& id, HostEntry* entry, v1::Host::State state) {
  const bool was_lost = entry->state == v1::Host::LOST;
  const bool was_silent = was_lost || entry->state == v1::Host::SUSPECT;
  if (was_silent && (state == v1::Host::READY || state == v1::Host::BROKEN)) {
    // A VMM may have come and gone meanwhile.
    for (AssignmentEntry* there : OnHost(id)) {
      if (there->prepared_since != absl::InfiniteFuture()) there->prepared_since = clock().Now();
    }
  }
  entry->state = state;
  entry->state_since = clock().Now();
  PublishObserved(id, entry);
  if (was_lost == (state == v1::Host::LOST)) return;
  auto batch = std::make_shared<WatchBatch>();
  AddOnHost(id, batch.get());
  if (!batch->changes.empty()) PublishBatch(std::move(batch));
}

absl::Status Fleet::UpdateEngine(const std::string& id, const HostEntry& entry) {
  placement::HostSnapshot snapshot = ToSnapshot(id, *entry.committed);
  if (const auto taint = entry.link.taint()) snapshot.taints.push_back(ToTaint(*taint));
  snapshot.schedulability = SchedulabilityOf(entry);
  return engine.UpsertHost(snapshot);
}

std::vector<std::string> Fleet::EndsWith(const std::string& id,
                                         const AssignmentRecord& record) const {
  if (!WaitsInGang(record)) return {id};
  const std::set<std::string> gang = waiting.Gang(record.assignment().gang().uid());
  return {gang.begin(), gang.end()};
}

AssignmentEntry* Fleet::FindByUid(const std::string& uid) {
  const auto id = ids_by_uid_.find(uid);
  if (id == ids_by_uid_.end()) return nullptr;
  const auto entry = assignments.find(id->second);
  return entry == assignments.end() ? nullptr : &entry->second;
}

size_t Fleet::CountOnHost(const std::string& host_id) const {
  const auto placed = placed_.find(host_id);
  return placed == placed_.end() ? 0 : placed->second.size();
}

std::vector<AssignmentEntry*> Fleet::OnHost(const std::string& host_id) {
  std::vector<AssignmentEntry*> entries;
  const auto placed = placed_.find(host_id);
  if (placed == placed_.end()) return entries;
  for (const auto& [id, count] : placed->second) {
    const auto entry = assignments.find(id);
    if (entry != assignments.end() && PlacedOn(entry->second.committed) == host_id) {
      entries.push_back(&entry->second);
    }
  }
  return entries;
}

}  // namespace berth
