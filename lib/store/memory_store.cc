// SPDX-License-Identifier: Apache-2.0
#include "lib/store/memory_store.h"

#include <algorithm>
#include <deque>
#include <map>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_set.h"
#include "absl/synchronization/mutex.h"
#include "lib/base/ids.h"
#include "lib/base/status.h"
#include "lib/store/commit_queue.h"
#include "lib/store/transaction.h"

namespace berth {

struct MemoryMedium::State {
  struct Row {
    Revision revision = 0;
    std::string payload;
    bool damaged = false;

    absl::StatusOr<Record> Read(const RecordKey& key) const {
      if (!damaged) return Record{key, revision, payload};
      return Error(Reason::kStoreCorrupt, "the record is damaged",
                   {{"kind", key.kind}, {"id", key.id}});
    }
  };

  mutable absl::Mutex mu;
  bool open ABSL_GUARDED_BY(mu) = false;
  StoreEpoch epoch ABSL_GUARDED_BY(mu);
  Revision revision ABSL_GUARDED_BY(mu) = 0;
  Revision compacted ABSL_GUARDED_BY(mu) = 0;
  std::map<RecordKey, Row> records ABSL_GUARDED_BY(mu);
  std::deque<RevisionChanges> log ABSL_GUARDED_BY(mu);

  void CompactTo(Revision up_to) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu) {
    compacted = std::max(compacted, std::min(up_to, revision));
    while (!log.empty() && log.front().revision <= compacted) log.pop_front();
  }
};

MemoryMedium::MemoryMedium() : state_(std::make_unique<State>()) {
  absl::MutexLock lock(&state_->mu);
  state_->epoch.uid = NewUuid();
}

MemoryMedium::~MemoryMedium() = default;

absl::StatusOr<StoreSnapshot> MemoryMedium::Read(const Store::OnBroken& on_broken) {
  absl::MutexLock lock(&state_->mu);
  StoreSnapshot snapshot{state_->epoch, state_->revision, {}};
  for (const auto& [key, row] : state_->records) {
    absl::StatusOr<Record> record = row.Read(key);
    if (record.ok()) {
      snapshot.records.push_back(*std::move(record));
    } else {
      on_broken(key, record.status());
    }
  }
  return snapshot;
}

absl::StatusOr<std::shared_ptr<const void>> MemoryMedium::Hold() {
  absl::MutexLock lock(&state_->mu);
  if (state_->open) return Error(Reason::kStoreLocked, "a store is open on this medium");
  state_->open = true;
  return std::shared_ptr<const void>(state_.get(), [state = state_.get()](const void*) {
    absl::MutexLock closing(&state->mu);
    state->open = false;
  });
}

absl::Status MemoryMedium::Write(const StoreSnapshot& snapshot, IfExists if_exists) {
  absl::MutexLock lock(&state_->mu);
  if (state_->open) return Error(Reason::kStoreLocked, "a store is open on this medium");
  if (if_exists == IfExists::kRefuse && state_->revision > 0) {
    return Error(Reason::kAlreadyExists, "the store in memory is not empty");
  }
  state_->epoch = snapshot.epoch;
  state_->revision = state_->compacted = snapshot.revision;
  state_->log.clear();
  state_->records.clear();
  for (const Record& record : snapshot.records) {
    state_->records[record.key] = {record.revision, record.payload};
  }
  return absl::OkStatus();
}

bool MemoryMedium::Damage(const RecordKey& key) {
  absl::MutexLock lock(&state_->mu);
  const auto it = state_->records.find(key);
  if (it == state_->records.end()) return false;
  it->second.damaged = true;
  return true;
}

class MemoryStore : public Store {
 public:
  static absl::StatusOr<std::unique_ptr<Store>> Open(std::shared_ptr<MemoryMedium> medium,
                                                     const StoreOptions& options) {
    MemoryMedium::State& state = *medium->state_;
    {
      absl::MutexLock lock(&state.mu);
      if (state.open) return Error(Reason::kStoreLocked, "another store is open on this medium");
      state.open = true;
      ++state.epoch.term;
    }
    return std::make_unique<MemoryStore>(std::move(medium), options);
  }

  MemoryStore(std::shared_ptr<MemoryMedium> medium, const StoreOptions& options)
      : medium_(std::move(medium)),
        state_(*medium_->state_),
        max_logged_revisions_(options.max_logged_revisions),
        unlogged_kinds_(options.unlogged_kinds.begin(), options.unlogged_kinds.end()),
        queue_(options, [this](absl::Span<CommitQueue::Item> batch) { CommitBatch(batch); }) {}

  StoreEpoch epoch() const override {
    absl::MutexLock lock(&state_.mu);
    return state_.epoch;
  }

  Revision CurrentRevision() const override {
    absl::MutexLock lock(&state_.mu);
    return state_.revision;
  }

  absl::Status Commit(Transaction transaction, CommitCallback done) override {
    return queue_.Add(std::move(transaction), std::move(done));
  }

  absl::StatusOr<Revision> Load(const OnRecord& on_record, const OnBroken& on_broken) override {
    absl::MutexLock lock(&state_.mu);
    for (const auto& [key, row] : state_.records) {
      absl::StatusOr<Record> record = row.Read(key);
      record.ok() ? on_record(*std::move(record)) : on_broken(key, record.status());
    }
    return state_.revision;
  }

  absl::StatusOr<Record> Get(const RecordKey& key) override {
    absl::MutexLock lock(&state_.mu);
    const auto it = state_.records.find(key);
    if (it == state_.records.end()) return RecordNotFound(key);
    return it->second.Read(key);
  }

  absl::StatusOr<ChangeLog> ReadChanges(Revision after, size_t limit) override {
    absl::MutexLock lock(&state_.mu);
    BERTH_RETURN_IF_ERROR(CheckReadPosition(after, state_.compacted, state_.revision));
    ChangeLog out;
    size_t count = 0;
    const auto begin =
        std::upper_bound(state_.log.begin(), state_.log.end(), after,
                         [](Revision r, const RevisionChanges& c) { return r < c.revision; });
    for (auto it = begin; it != state_.log.end(); ++it) {
      count += it->changes.size();
      if (count > limit && !out.revisions.empty()) {
        out.up_to = it->revision - 1;
        return out;
      }
      out.revisions.push_back(*it);
    }
    out.up_to = state_.revision;
    return out;
  }

  absl::Status Compact(Revision up_to) override {
    absl::MutexLock lock(&state_.mu);
    state_.CompactTo(up_to);
    return absl::OkStatus();
  }

 private:
  struct Closer {
    MemoryMedium::State& state;
    ~Closer() {
      absl::MutexLock lock(&state.mu);
      state.open = false;
    }
  };

  void CommitBatch(absl::Span<CommitQueue::Item> batch) {
    absl::MutexLock lock(&state_.mu);
    for (CommitQueue::Item& item : batch) item.outcome = Apply(item.transaction);
    state_.CompactTo(state_.revision - max_logged_revisions_);
  }

  absl::StatusOr<Revision> Apply(const Transaction& transaction)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(state_.mu) {
    const auto& records = state_.records;
    BERTH_RETURN_IF_ERROR(CheckPreconditions(
        transaction, state_.epoch.term,
        [&](const RecordKey& key) ABSL_NO_THREAD_SAFETY_ANALYSIS -> absl::StatusOr<Revision> {
          const auto it = records.find(key);
          return it == records.end() ? Precondition::kAbsent : it->second.revision;
        }));
    RevisionChanges changes{++state_.revision, {}};
    for (const Put& put : transaction.puts) {
      state_.records[put.key] = {state_.revision, put.payload};
      Note({put.key, put.payload}, changes);
    }
    for (const RecordKey& key : transaction.deletes) {
      if (state_.records.erase(key) > 0) Note({key, std::nullopt}, changes);
    }
    if (!changes.changes.empty()) state_.log.push_back(std::move(changes));
    return state_.revision;
  }

  void Note(Change change, RevisionChanges& changes) const {
    if (unlogged_kinds_.contains(change.key.kind)) return;
    changes.changes.push_back(std::move(change));
  }

  const std::shared_ptr<MemoryMedium> medium_;
  MemoryMedium::State& state_;
  const Revision max_logged_revisions_;
  const absl::flat_hash_set<std::string> unlogged_kinds_;
  // In this order: the queue commits its rest before the medium counts as closed.
  const Closer closer_{state_};
  CommitQueue queue_;
};

absl::StatusOr<std::unique_ptr<Store>> OpenMemoryStore(std::shared_ptr<MemoryMedium> medium,
                                                       const StoreOptions& options) {
  return MemoryStore::Open(std::move(medium), options);
}

}  // namespace berth
