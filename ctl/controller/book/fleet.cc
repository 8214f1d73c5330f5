// SPDX-License-Identifier: Apache-2.0
#include "ctl/controller/book/fleet.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "ctl/controller/book/convert.h"
#include "lib/base/lifecycle.h"
#include "lib/base/status.h"

namespace berth {
namespace {

using internal::v1::AssignmentRecord;
using internal::v1::HostRecord;
using internal::v1::RequestRecord;

placement::Schedulability SchedulabilityOf(const HostEntry& entry) {
  if (entry.state != v1::Host::READY) return placement::Schedulability::kNotReady;
  const HostRecord& record = *entry.committed;
  return record.cordoned() || record.draining() ? placement::Schedulability::kCordoned
                                                : placement::Schedulability::kReady;
}

}  // namespace

std::string PlacedOn(const AssignmentRecordPtr& record) {
  if (record == nullptr || !record->assignment().has_placement()) return "";
  return HostIdOf(record->assignment().placement().host());
}

std::string MakeEtag(Revision revision) { return absl::StrCat("r", revision); }

google::protobuf::Timestamp ToTimestamp(absl::Time time) {
  google::protobuf::Timestamp timestamp;
  const int64_t seconds = absl::ToUnixSeconds(time);
  timestamp.set_seconds(seconds);
  timestamp.set_nanos(
      static_cast<int32_t>(absl::ToInt64Nanoseconds(time - absl::FromUnixSeconds(seconds))));
  return timestamp;
}

absl::Time FromTimestamp(const google::protobuf::Timestamp& timestamp) {
  return absl::FromUnixSeconds(timestamp.seconds()) + absl::Nanoseconds(timestamp.nanos());
}

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

absl::Status Fleet::Load() {
  absl::MutexLock lock(&mu);
  // The store promises one view, on this thread; the analysis does not see through the callback.
  const auto on_record = [this](Record record)
                             ABSL_NO_THREAD_SAFETY_ANALYSIS { LoadRecord(std::move(record)); };
  const auto on_broken = [this](const RecordKey& key, const absl::Status& status) {
    if (options_.on_broken_record) options_.on_broken_record(key, status);
  };
  BERTH_ASSIGN_OR_RETURN(revision_, options_.store->Load(on_record, on_broken));
  for (auto& [id, host] : hosts) {
    // A host that cannot be read by the engine is excluded there, and shown as BROKEN when it
    // connects.
    (void)UpdateEngine(id, host);
  }
  for (const auto& [id, entry] : assignments) {
    const v1::Assignment& assignment = entry.committed->assignment();
    if (!assignment.has_placement()) continue;
    const absl::Status restored = engine.Restore(
        AssignmentUid(assignment.uid()), FromProto(assignment.placement(), assignment.spec()));
    if (!restored.ok() && options_.on_broken_record) {
      options_.on_broken_record({.kind = kAssignmentKind, .id = id}, restored);
    }
  }
  return absl::OkStatus();
}

void Fleet::LoadRecord(Record record) {
  const auto broken = [&] {
    if (options_.on_broken_record) {
      options_.on_broken_record(record.key,
                                Error(Reason::kStoreCorrupt, "the payload cannot be parsed"));
    }
  };
  if (record.key.kind == kAssignmentKind) {
    auto parsed = std::make_shared<AssignmentRecord>();
    if (!parsed->ParseFromString(record.payload)) return broken();
    AssignmentEntry& entry = assignments[record.key.id];
    entry.committed = entry.latest = parsed;
    entry.revision = record.revision;
    ids_by_uid_[parsed->assignment().uid()] = record.key.id;
    if (const std::string host = PlacedOn(parsed); !host.empty()) ++placed_[host][record.key.id];
  } else if (record.key.kind == kHostKind) {
    auto parsed = std::make_shared<HostRecord>();
    if (!parsed->ParseFromString(record.payload)) return broken();
    HostEntry& entry = hosts[record.key.id];
    entry.committed = entry.latest = parsed;
    entry.revision = record.revision;
  } else if (record.key.kind == kRequestKind) {
    RequestRecord parsed;
    if (!parsed.ParseFromString(record.payload)) return broken();
    requests.Restore(record.key.id, std::move(parsed), record.revision);
  }
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
  transaction.puts.insert(transaction.puts.end(), changes.request_puts.begin(),
                          changes.request_puts.end());
  transaction.deletes.insert(transaction.deletes.end(), changes.request_deletes.begin(),
                             changes.request_deletes.end());
  return transaction;
}

absl::Status Fleet::Submit(ChangeSet changes, std::function<void(Revision)> done) {
  if (failed_)
    return Error(Reason::kStoreFailed, "the store has failed; the controller is restarting");
  auto shared = std::make_shared<ChangeSet>(std::move(changes));
  auto committed = [this, shared, done = std::move(done)](absl::StatusOr<Revision> revision) {
    {
      absl::MutexLock lock(&mu);
      if (!revision.ok()) {
        // What was handed over may be durable or not. Nobody is told anything: the next start reads
        // back.
        if (std::exchange(failed_, true)) return;
      } else {
        Publish(*shared, *revision);
      }
    }
    if (!revision.ok()) return options_.on_store_failed(revision.status());
    if (done) done(*revision);
  };
  BERTH_RETURN_IF_ERROR(options_.store->Commit(
      MakeTransaction(*shared, options_.store->epoch().term), std::move(committed)));
  for (const auto& [id, record] : shared->assignments) {
    assignments[id].latest = record;
    if (record != nullptr) ids_by_uid_[record->assignment().uid()] = id;
    if (const std::string host = PlacedOn(record); !host.empty()) ++placed_[host][id];
  }
  for (const auto& [id, record] : shared->hosts) hosts[id].latest = record;
  return absl::OkStatus();
}

void Fleet::Publish(const ChangeSet& changes, Revision revision) {
  revision_ = revision;
  auto batch = std::make_shared<WatchBatch>();
  for (const auto& [id, record] : changes.assignments) {
    AssignmentEntry& entry = assignments[id];
    WatchChange change{.kind = WatchKind::kAssignments,
                       .name = AssignmentName(id),
                       .deleted = record == nullptr,
                       .resource = nullptr};
    const AssignmentRecordPtr before = std::exchange(entry.committed, record);
    entry.revision = revision;
    if (const std::string host = PlacedOn(before); !host.empty()) {
      auto& ids = placed_[host];
      if (--ids[id] <= 0) ids.erase(id);
    }
    if (record == nullptr) {
      auto gone = std::make_shared<v1::Assignment>();
      gone->set_name(change.name);
      if (before != nullptr) {
        gone->set_uid(before->assignment().uid());
        ids_by_uid_.erase(before->assignment().uid());
      }
      change.resource = std::move(gone);
      if (entry.latest == nullptr) assignments.erase(id);
    } else {
      change.resource = std::make_shared<v1::Assignment>(Render(entry));
    }
    batch->changes.push_back(std::move(change));
  }
  for (const auto& [id, record] : changes.hosts) {
    HostEntry& entry = hosts[id];
    WatchChange change{.kind = WatchKind::kHosts,
                       .name = HostName(id),
                       .deleted = record == nullptr,
                       .resource = nullptr};
    const HostRecordPtr before = std::exchange(entry.committed, record);
    entry.revision = revision;
    if (record == nullptr) {
      auto gone = std::make_shared<v1::Host>();
      gone->set_name(change.name);
      if (before != nullptr) gone->set_uid(before->uid());
      change.resource = std::move(gone);
      (void)engine.RemoveHost(HostId(id));
      if (entry.latest == nullptr) hosts.erase(id);
    } else {
      (void)UpdateEngine(id, entry);
      change.resource = std::make_shared<v1::Host>(Render(id, entry, v1::FULL));
    }
    batch->changes.push_back(std::move(change));
  }
  if (batch->changes.empty()) return;
  batch->position = Position();
  options_.hub->Publish(std::move(batch));
}

void Fleet::PublishObserved(AssignmentEntry* entry) {
  entry->observed_sequence = ++observed_sequence_;
  if (entry->committed == nullptr) return;
  auto batch = std::make_shared<WatchBatch>();
  auto rendered = std::make_shared<v1::Assignment>(Render(*entry));
  batch->changes.push_back({.kind = WatchKind::kAssignments,
                            .name = rendered->name(),
                            .deleted = false,
                            .resource = rendered});
  batch->position = Position();
  options_.hub->Publish(std::move(batch));
}

void Fleet::PublishObserved(const std::string& id, HostEntry* entry) {
  entry->observed_sequence = ++observed_sequence_;
  if (entry->committed == nullptr) return;
  (void)engine.SetHostSchedulable(HostId(id), SchedulabilityOf(*entry));
  auto batch = std::make_shared<WatchBatch>();
  auto rendered = std::make_shared<v1::Host>(Render(id, *entry, v1::FULL));
  batch->changes.push_back({.kind = WatchKind::kHosts,
                            .name = rendered->name(),
                            .deleted = false,
                            .resource = rendered});
  batch->position = Position();
  options_.hub->Publish(std::move(batch));
}

absl::Status Fleet::UpdateEngine(const std::string& id, const HostEntry& entry) {
  placement::HostSnapshot snapshot = ToSnapshot(id, *entry.committed);
  snapshot.schedulability = SchedulabilityOf(entry);
  return engine.UpsertHost(snapshot);
}

AssignmentEntry* Fleet::FindByUid(const std::string& uid) {
  const auto id = ids_by_uid_.find(uid);
  if (id == ids_by_uid_.end()) return nullptr;
  const auto entry = assignments.find(id->second);
  return entry == assignments.end() ? nullptr : &entry->second;
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
