// SPDX-License-Identifier: Apache-2.0
//
// The durable book's seam: records keyed (kind, id), changed by transactions, each with a revision
// of its own. One behavioural suite (tests/store/store_suite.h) runs on every implementation.
#ifndef BERTH_LIB_STORE_STORE_H_
#define BERTH_LIB_STORE_STORE_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace berth {

// Position in the history of a store: 0 is empty, and every committed transaction is one more than
// the one before. Revisions of stores with different epochs are not comparable.
using Revision = int64_t;

// Limits of one transaction. They let an implementation carry it, its fence and its bookkeeping in
// one etcd Txn (at most 128 compares and 128 operations: etcd's --max-txn-ops).
inline constexpr size_t kMaxTransactionChanges = 100;  // puts + deletes
inline constexpr size_t kMaxTransactionPreconditions = 100;
inline constexpr size_t kMaxKindBytes = 64;
inline constexpr size_t kMaxIdBytes = 512;
inline constexpr size_t kMaxPayloadBytes = size_t{1} << 20;
inline constexpr size_t kMaxTransactionBytes = size_t{1} << 21;  // all payloads together

struct RecordKey {
  std::string kind;  // [a-z0-9_-], 1 to kMaxKindBytes; "assignment"
  std::string id;    // printable ASCII, 1 to kMaxIdBytes

  auto operator<=>(const RecordKey&) const = default;
};

struct Record {
  RecordKey key;
  Revision revision = 0;  // of the transaction that put it last
  std::string payload;    // opaque to the store
};

struct Precondition {
  RecordKey key;
  Revision revision = 0;  // kAbsent, or the revision that the record must have

  static constexpr Revision kAbsent = 0;
};

struct Put {
  RecordKey key;
  std::string payload;
};

// All or nothing. A key may be put or deleted once. Deleting what is not there is no error and no
// change. One without changes is allowed: it proves that its preconditions hold at its revision.
struct Transaction {
  // When set, the term that the writer believes to hold (Store::epoch().term).
  std::optional<int64_t> fence_term;
  std::vector<Precondition> preconditions;
  std::vector<Put> puts;
  std::vector<RecordKey> deletes;
};

// Which history the revisions belong to, and who may write it. Ordered by (restore_count, term)
// where the uid is equal.
struct StoreEpoch {
  std::string uid;            // made once, with the store
  int64_t restore_count = 0;  // raised by each restore from a backup
  int64_t term = 0;           // raised by each process that becomes the writer

  bool operator==(const StoreEpoch&) const = default;
};

// What a revision did to one record.
struct Change {
  RecordKey key;
  // The new payload; nothing when the record was deleted.
  std::optional<std::string> payload;
};

struct RevisionChanges {
  Revision revision = 0;
  std::vector<Change> changes;  // in the order of the transaction: puts, then deletes
};

struct ChangeLog {
  // Ascending; revisions without logged changes are left out.
  std::vector<RevisionChanges> revisions;
  // Everything up to and including this revision has been said: where to read on.
  Revision up_to = 0;
};

struct CommitStats {
  size_t transactions = 0;  // that shared the commit
  absl::Duration duration;  // from taking them up to durable or failed
};

struct StoreOptions {
  // Transactions that may wait; one more is refused with kOverloaded.
  size_t max_waiting = 4096;
  // Transactions that share one commit, at most.
  size_t max_batch = 256;
  // The change log keeps this many revisions; older ones are compacted by the way.
  Revision max_logged_revisions = 65536;
  // Kinds whose changes nobody watches (request ids): they stay out of the change log.
  std::vector<std::string> unlogged_kinds;
  // Called on the store's thread after each commit. May be empty.
  std::function<void(const CommitStats&)> on_commit;
};

// Thread-safe, all of it. Errors of any method, beside those named:
//   kStoreFailed   the medium failed. Metadata "outcome": "not_committed", or "unknown": then the
//                  store refuses all further commits, and the owner reopens it and reads back.
//   kStoreCorrupt  what is stored cannot be read; metadata "kind" and "id" when one record is
//   meant.
class Store {
 public:
  using CommitCallback = std::function<void(absl::StatusOr<Revision>)>;
  using OnRecord = std::function<void(Record)>;
  using OnBroken = std::function<void(const RecordKey&, const absl::Status&)>;

  // Commits everything that was accepted and runs the callbacks, then closes.
  virtual ~Store() = default;

  // Fixed while the store is open.
  virtual StoreEpoch epoch() const = 0;

  // Of the last durable transaction.
  virtual Revision CurrentRevision() const = 0;

  // Hands `transaction` over and returns at once. Not OK: it was not accepted, nothing happened and
  // `done` is never called:
  //   kInvalidField, kMissingField, kTooLarge   it breaks a rule above
  //   kOverloaded                               max_waiting transactions wait already
  //   kShuttingDown                             the store is closing
  // OK: `done` is called exactly once, on the store's thread, when the outcome is durable, with the
  // transaction's revision or:
  //   kAlreadyExists   a record that had to be absent exists; metadata "kind", "id", "revision"
  //   kEtagMismatch    a record is not at the revision given; metadata "kind", "id", "revision"
  //                    (the one it has, 0: absent)
  //   kFenced          another term holds; metadata "term"
  //   kStoreFailed, kStoreCorrupt
  // Transactions take effect in the order in which they were accepted, and callbacks run in that
  // order, which is the order of revisions. Those that wait share one durable commit; each
  // has its own outcome. A callback delays all that follow, so it is short; it may call Commit()
  // and the reading methods, never CommitSync() or the destructor.
  [[nodiscard]] virtual absl::Status Commit(Transaction transaction, CommitCallback done) = 0;

  // One consistent view of all records, by kind and id, on the caller's thread; returns its
  // revision. A record that cannot be read goes to `on_broken` and the rest is still delivered. The
  // callbacks must not call the store.
  virtual absl::StatusOr<Revision> Load(const OnRecord& on_record, const OnBroken& on_broken) = 0;

  // The durable state of one record: what reads back an unknown outcome. kNotFound when absent.
  virtual absl::StatusOr<Record> Get(const RecordKey& key) = 0;

  // The changes after `after`, oldest first. A revision is never split: reading stops before the
  // revision that would exceed `limit` changes, except that at least one is returned.
  //   kRevisionCompacted  older than what is kept; metadata "oldest_revision": the oldest one kept
  //   kRevisionUnknown    `after` is negative or in the future; metadata "revision": the newest
  virtual absl::StatusOr<ChangeLog> ReadChanges(Revision after, size_t limit) = 0;

  // Forgets the changes up to and including `up_to` (clipped to the current revision); records
  // stay.
  virtual absl::Status Compact(Revision up_to) = 0;
};

// Commits and waits. Never on the store's thread.
absl::StatusOr<Revision> CommitSync(Store& store, Transaction transaction);

}  // namespace berth

#endif  // BERTH_LIB_STORE_STORE_H_
