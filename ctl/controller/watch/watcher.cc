// SPDX-License-Identifier: Apache-2.0
#include "ctl/controller/watch/watcher.h"

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "ctl/controller/book/convert.h"
#include "ctl/controller/book/fleet.h"
#include "lib/base/status.h"
#include "lib/rpc/limits.h"

namespace berth {
namespace {

// How much of the change log is read at a time.
constexpr size_t kReadLimit = 1000;
// Of changes in one message, well below what gRPC lets pass.
constexpr size_t kMaxBatchBytes = kMaxRpcMessageBytes / 2;
// Less than any sequence.
constexpr int64_t kEverything = -1;

// A stored version. The present one is shown with what agents say of it; of older ones that is not
// kept.
std::shared_ptr<const google::protobuf::Message> FromRecord(Fleet* fleet, WatchKind kind,
                                                            const std::string& id,
                                                            const std::string& payload,
                                                            Revision revision) {
  absl::MutexLock lock(&fleet->mu);
  if (kind == WatchKind::kAssignments) {
    const auto present = fleet->assignments.find(id);
    if (present != fleet->assignments.end() && present->second.committed != nullptr &&
        present->second.revision == revision) {
      return std::make_shared<v1::Assignment>(fleet->Render(present->second));
    }
    auto record = std::make_shared<internal::v1::AssignmentRecord>();
    if (!record->ParseFromString(payload)) return nullptr;
    AssignmentEntry entry;
    entry.committed = record;
    entry.revision = revision;
    return std::make_shared<v1::Assignment>(fleet->Render(entry));
  }
  const auto present = fleet->hosts.find(id);
  if (present != fleet->hosts.end() && present->second.committed != nullptr &&
      present->second.revision == revision) {
    return std::make_shared<v1::Host>(fleet->Render(id, present->second, v1::FULL));
  }
  auto record = std::make_shared<internal::v1::HostRecord>();
  if (!record->ParseFromString(payload)) return nullptr;
  HostEntry entry;
  entry.committed = record;
  entry.revision = revision;
  return std::make_shared<v1::Host>(fleet->Render(id, entry, v1::FULL));
}

std::shared_ptr<const google::protobuf::Message> Gone(WatchKind kind, const std::string& name) {
  if (kind == WatchKind::kAssignments) {
    auto gone = std::make_shared<v1::Assignment>();
    gone->set_name(name);
    return gone;
  }
  auto gone = std::make_shared<v1::Host>();
  gone->set_name(name);
  return gone;
}

// Present resources of a kind whose observed state has changed after `sequence`; -1: all of them.
std::vector<WatchChange> Present(Fleet* fleet, WatchKind kind, int64_t sequence)
    ABSL_EXCLUSIVE_LOCKS_REQUIRED(fleet->mu) {
  std::vector<WatchChange> changes;
  const auto add = [&](std::string name,
                       std::shared_ptr<const google::protobuf::Message> resource) {
    changes.push_back(
        {.kind = kind, .name = std::move(name), .deleted = false, .resource = std::move(resource)});
  };
  if (kind == WatchKind::kAssignments) {
    for (const auto& [id, entry] : fleet->assignments) {
      if (entry.committed == nullptr || entry.observed_sequence <= sequence) continue;
      add(AssignmentName(id), std::make_shared<v1::Assignment>(fleet->Render(entry)));
    }
  } else {
    for (const auto& [id, entry] : fleet->hosts) {
      if (entry.committed == nullptr || entry.observed_sequence <= sequence) continue;
      add(HostName(id), std::make_shared<v1::Host>(fleet->Render(id, entry, v1::FULL)));
    }
  }
  return changes;
}

// What is broken of the log is as good as forgotten: who lists anew has missed nothing.
absl::Status Unreadable() {
  return Error(Reason::kRevisionCompacted,
               "what has changed since the watch_token cannot be read; list, and watch from there");
}

}  // namespace

Watch::~Watch() {
  if (subscription_ != nullptr) fleet_->hub().Unsubscribe(subscription_);
}

bool Watch::IsWanted(const WatchChange& change) const {
  return change.kind == KindOf(request_.view) &&
         (request_.name.empty() || request_.name == change.name);
}

absl::Status Watch::CheckPosition(const WatchPosition& from, const WatchPosition& now) const {
  const bool same = from.store_uid == now.store_uid && from.restore_count == now.restore_count;
  if (same && from.revision <= now.revision) return absl::OkStatus();
  return Error(Reason::kRevisionUnknown,
               "the watch_token is of another store, or of its future; list, and watch from there");
}

absl::Status Watch::Start(std::function<void()> wake) {
  WatchPosition from;
  const bool resume = !request_.token.empty();
  if (resume) {
    BERTH_ASSIGN_OR_RETURN(from, WatchPosition::FromToken(request_.token));
  }
  std::vector<WatchChange> present;
  {
    absl::MutexLock lock(&fleet_->mu);
    position_ = fleet_->Position();
    if (resume) BERTH_RETURN_IF_ERROR(CheckPosition(from, position_));
    // From here on nothing is missed: later changes wait in the subscription.
    BERTH_ASSIGN_OR_RETURN(subscription_,
                           fleet_->hub().Subscribe(request_.view, request_.name, std::move(wake)));
    // Reports of another term were counted, and are forgotten, by somebody else: everything may be
    // news.
    const int64_t sequence =
        resume && from.term == position_.term ? from.observed_sequence : kEverything;
    present = Present(fleet_, KindOf(request_.view), sequence);
  }
  if (resume) BERTH_RETURN_IF_ERROR(ReadMissed(from, position_));
  AddPresent(std::move(present), from);
  return absl::OkStatus();
}

void Watch::AddFirst(const WatchBatch& batch) {
  auto message = std::make_shared<std::string>(EncodeEvents(batch, request_.view, request_.name));
  message->append(EncodeToken(batch.position));
  first_.push_back(std::move(message));
}

void Watch::AddPresent(std::vector<WatchChange> present, const WatchPosition& from) {
  // In messages that gRPC lets pass. Who resumes from one that is not the last is told all of it
  // again.
  WatchPosition part = position_;
  part.term = from.term;
  part.observed_sequence = from.observed_sequence;
  WatchBatch batch;
  size_t bytes = 0;
  for (WatchChange& change : present) {
    if (!IsWanted(change)) continue;
    const size_t size = change.resource->ByteSizeLong();
    if (bytes > 0 && bytes + size > kMaxBatchBytes) {
      batch.position = part;
      AddFirst(std::exchange(batch, WatchBatch()));
      bytes = 0;
    }
    bytes += size;
    batch.changes.push_back(std::move(change));
  }
  batch.position = position_;
  // Also when it is empty: a bookmark says that the watch is up to date.
  AddFirst(batch);
}

absl::Status Watch::ReadMissed(const WatchPosition& from, const WatchPosition& now) {
  const WatchKind wanted = KindOf(request_.view);
  const std::string kind = wanted == WatchKind::kAssignments ? kAssignmentKind : kHostKind;
  Revision after = from.revision;
  while (after < now.revision) {
    const absl::StatusOr<ChangeLog> log = fleet_->store().ReadChanges(after, kReadLimit);
    if (ReasonOf(log.status()) == Reason::kStoreCorrupt) return Unreadable();
    BERTH_RETURN_IF_ERROR(log.status());
    for (const RevisionChanges& revision : log->revisions) {
      if (revision.revision > now.revision) break;
      WatchBatch batch;
      batch.position = now;
      batch.position.revision = revision.revision;
      batch.position.term = from.term;
      batch.position.observed_sequence = from.observed_sequence;
      for (const Change& change : revision.changes) {
        if (change.key.kind != kind) continue;
        WatchChange seen{.kind = wanted,
                         .name = wanted == WatchKind::kAssignments ? AssignmentName(change.key.id)
                                                                   : HostName(change.key.id),
                         .deleted = !change.payload.has_value(),
                         .resource = nullptr};
        if (!IsWanted(seen)) continue;
        seen.resource = seen.deleted ? Gone(wanted, seen.name)
                                     : FromRecord(fleet_, wanted, change.key.id, *change.payload,
                                                  revision.revision);
        if (seen.resource == nullptr) return Unreadable();
        batch.changes.push_back(std::move(seen));
      }
      if (!batch.changes.empty()) AddFirst(batch);
    }
    if (log->up_to <= after) break;
    after = log->up_to;
  }
  return absl::OkStatus();
}

absl::StatusOr<WatchMessage> Watch::Next() {
  if (first_.empty()) return fleet_->hub().Take(subscription_);
  WatchMessage message = std::move(first_.front());
  first_.pop_front();
  return message;
}

}  // namespace berth
