// SPDX-License-Identifier: Apache-2.0
//
// The controller's state in memory: every assignment and host as it is stored, what agents report
// of them, and the placement engine, all behind one mutex. The book (assignment_book.h), the grant
// tracker and the host registry work on it.
#ifndef BERTH_CTL_CONTROLLER_BOOK_FLEET_H_
#define BERTH_CTL_CONTROLLER_BOOK_FLEET_H_

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "berth/agent/v1/agent_link.pb.h"
#include "berth/agent/v1/grant.pb.h"
#include "berth/internal/v1/records.pb.h"
#include "berth/v1/assignment.pb.h"
#include "berth/v1/host.pb.h"
#include "ctl/controller/book/due_table.h"
#include "ctl/controller/book/fence_counts.h"
#include "ctl/controller/book/link_health.h"
#include "ctl/controller/book/quota_table.h"
#include "ctl/controller/book/request_table.h"
#include "ctl/controller/book/waiting.h"
#include "ctl/controller/watch/watch_hub.h"
#include "lib/base/clock.h"
#include "lib/base/lifecycle.h"
#include "lib/placement/engine.h"
#include "lib/store/store.h"

namespace berth {

// Kinds of records.
inline constexpr char kAssignmentKind[] = "assignment";
inline constexpr char kHostKind[] = "host";
inline constexpr char kRequestKind[] = "request";
inline constexpr char kQuotaKind[] = "quota";

using AssignmentRecordPtr = std::shared_ptr<const internal::v1::AssignmentRecord>;
using HostRecordPtr = std::shared_ptr<const internal::v1::HostRecord>;

// A connected agent, as the fleet speaks to it. The methods never block; calls come from the
// store's thread only, so that an agent hears of commits in their order.
class HostSession {
 public:
  virtual ~HostSession() = default;
  // False: the stream has ended meanwhile, and nobody will say so again.
  [[nodiscard]] virtual bool Welcome(agent::v1::Welcome welcome) = 0;
  virtual void Upsert(agent::v1::DesiredGrant grant) = 0;
  virtual void Forget(const std::string& assignment_uid) = 0;
  // Asks what is there, after everything that it was told before. Any thread may call it. False: as
  // Welcome(). A request that waits to be sent is replaced by the next one.
  [[nodiscard]] virtual bool Audit(agent::v1::AuditRequest request) = 0;
  // Ends the session. Any thread may call it.
  virtual void Close(const absl::Status& status) = 0;

  // Notes a sign of life, and returns when the one before was; never: InfinitePast. Any thread, and
  // without a lock: every agent gives one every second.
  absl::Time Hear(absl::Time now) {
    return FromNanos(heard_nanos_.exchange(absl::ToUnixNanos(now)));
  }
  absl::Time heard() const { return FromNanos(heard_nanos_.load()); }

 private:
  static constexpr int64_t kNever = std::numeric_limits<int64_t>::min();
  static absl::Time FromNanos(int64_t nanos) {
    return nanos == kNever ? absl::InfinitePast() : absl::FromUnixNanos(nanos);
  }

  std::atomic<int64_t> heard_nanos_ = kNever;
};

// A record has two states at most: the one that is durable, which everybody sees, and the one that
// was handed to the store last, on which the next change builds.
struct AssignmentEntry {
  AssignmentRecordPtr committed;  // null: its creation is not durable yet
  AssignmentRecordPtr latest;     // null: its deletion has been handed to the store
  Revision revision = 0;          // of `committed`
  // The agent's last word about the current generation; observed NONE when there is none.
  agent::v1::GrantStatus report;
  int64_t observed_sequence = 0;  // of the last change of `report`
  // Since when this controller has heard nothing but PREPARED of it; InfiniteFuture: it is not.
  absl::Time prepared_since = absl::InfiniteFuture();
};

struct HostEntry {
  HostRecordPtr committed;
  HostRecordPtr latest;
  Revision revision = 0;
  v1::Host::State state = v1::Host::LOST;
  absl::Time state_since = absl::InfinitePast();
  int64_t observed_sequence = 0;
  // Of the last connection; BROKEN hosts say there why.
  std::vector<v1::Condition> conditions;
  LinkHealth link;
  std::shared_ptr<HostSession> session;  // null: not connected
  // What `session` has not heard itself.
  absl::Time heard_before = absl::InfinitePast();
  // By uid: grants that its agent holds and no assignment claims. Charged in the engine until the
  // agent says that they are GONE.
  std::map<std::string, agent::v1::GrantStatus> unclaimed;
  absl::Time unclaimed_since;  // when the first of them came

  absl::Time LastHeard() const {
    return session == nullptr ? heard_before : std::max(heard_before, session->heard());
  }
};

// Changes of one commit. A null record is a deletion.
struct ChangeSet {
  std::vector<std::pair<std::string, AssignmentRecordPtr>> assignments;
  std::vector<std::pair<std::string, HostRecordPtr>> hosts;
  std::vector<std::pair<std::string, QuotaRecordPtr>> quotas;
  std::vector<Put> request_puts;
  std::vector<RecordKey> request_deletes;
};

class Fleet {
 public:
  struct Options {
    Store* store = nullptr;   // outlives the fleet
    Clock* clock = nullptr;   // outlives the fleet
    WatchHub* hub = nullptr;  // outlives the fleet
    // Where what agents are refused is counted; null: nowhere. Outlives the fleet.
    FenceCounts* fences = nullptr;
    // The store does not take commits any more: the process must end and read back at its next
    // start. Called once, on the store's thread.
    std::function<void(const absl::Status&)> on_store_failed;
    // A record that cannot be read or contradicts another is left out (see `quarantined`) and named
    // here. Named too, but not left out, are an assignment whose placement cannot be charged, and
    // what waits with a gang of which another member was left out: it is never placed.
    std::function<void(const RecordKey&, const absl::Status&)> on_broken_record;
  };

  // Why and since when an assignment is asked to leave its host.
  struct Eviction {
    absl::Time since;
    absl::Time at = absl::InfiniteFuture();  // when it is released for it
    std::string why;                         // empty: it is not asked
  };
  // When an assignment goes back by itself, and what for.
  struct Deadline {
    enum class Kind { kLease, kAttach, kEviction };
    absl::Time at = absl::InfiniteFuture();
    Kind kind = Kind::kLease;
  };

  explicit Fleet(Options options);

  // Reads the store. Hosts are LOST until their agents come back, unless `clock` says otherwise;
  // charged assignments are reserved in the engine. Errors: those of Store::Load().
  absl::Status Load() ABSL_LOCKS_EXCLUDED(mu);

  // Hands the changes to the store. Not OK: nothing has changed and no callback is called; INTERNAL
  // when an intent changes as lib/base/lifecycle.h does not allow. OK: `latest` of each record is
  // what was given, and when it is durable, `committed` is too, watchers are told, and `done` is
  // called on the store's thread without the mutex, in the order of commits. When the store fails,
  // `failed` (if any) is called instead, in the same way: nobody knows whether it happened.
  absl::Status Submit(ChangeSet changes, std::function<void(Revision)> done,
                      std::function<void(const absl::Status&)> failed = nullptr)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);

  // STORE_FAILED once a commit has failed: what is decided from then on would build on what perhaps
  // never happened.
  absl::Status CheckWritable() const ABSL_SHARED_LOCKS_REQUIRED(mu);

  // STORE_CORRUPT, with the reason, for an assignment in `quarantined`.
  absl::Status CheckReadable(const std::string& assignment_id) const ABSL_SHARED_LOCKS_REQUIRED(mu);

  // As the API shows them. The entry must be committed.
  v1::Assignment Render(const AssignmentEntry& entry) const ABSL_SHARED_LOCKS_REQUIRED(mu);
  v1::Host Render(const std::string& id, const HostEntry& entry, v1::View view) const
      ABSL_SHARED_LOCKS_REQUIRED(mu);

  // InfiniteFuture where there is no such deadline.
  absl::Time LeaseEnd(const v1::Assignment& assignment) const ABSL_SHARED_LOCKS_REQUIRED(mu);
  absl::Time AttachEnd(const AssignmentEntry& entry) const ABSL_SHARED_LOCKS_REQUIRED(mu);
  Eviction EvictionOf(const v1::Assignment& assignment) const ABSL_SHARED_LOCKS_REQUIRED(mu);
  // The first of them, of what is committed. An attach time-out that is over while the host is not
  // heard is put off a little.
  Deadline NextDeadline(const AssignmentEntry& entry) const ABSL_SHARED_LOCKS_REQUIRED(mu);
  // Leases and attach time-outs begin again at `now`.
  void GrantAfresh(absl::Time now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);

  // What an agent says of a grant; tells watchers.
  void SetReport(AssignmentEntry* entry, agent::v1::GrantStatus report)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);

  // What an agent says of a grant that no assignment claims there. INVALID_FIELD: nothing that
  // could be charged.
  absl::Status SetUnclaimed(const std::string& host_id, const agent::v1::GrantStatus& status)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);

  // After a change of `report` or `state`, which are not stored: tells watchers.
  void PublishObserved(AssignmentEntry* entry) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);
  void PublishObserved(const std::string& id, HostEntry* entry) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);
  // Tells watchers, also of the assignments there when the host is lost or back. The host must be
  // committed.
  void SetHostState(const std::string& id, HostEntry* entry, v1::Host::State state)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);

  // What the engine is to know of a host now.
  absl::Status UpdateEngine(const std::string& id, const HostEntry& entry)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);

  // Ids of what ends with the assignment `id`, itself included: a gang that waits ends as a whole.
  std::vector<std::string> EndsWith(const std::string& id,
                                    const internal::v1::AssignmentRecord& record) const
      ABSL_SHARED_LOCKS_REQUIRED(mu);
  AssignmentEntry* FindByUid(const std::string& uid) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);
  // Committed assignments placed on a host, in order of their ids.
  std::vector<AssignmentEntry*> OnHost(const std::string& host_id)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);
  // How many are placed there, those included whose commit is still on its way.
  size_t CountOnHost(const std::string& host_id) const ABSL_SHARED_LOCKS_REQUIRED(mu);

  // Where a watch would start now.
  WatchPosition Position() const ABSL_SHARED_LOCKS_REQUIRED(mu);

  agent::v1::Epoch epoch() const;
  Clock& clock() const { return *options_.clock; }
  Store& store() const { return *options_.store; }
  WatchHub& hub() const { return *options_.hub; }
  void CountFenced(Fence what) const {
    if (options_.fences != nullptr) options_.fences->Count(what);
  }

  absl::Mutex mu;
  // By id: the last part of the name.
  std::map<std::string, AssignmentEntry> assignments ABSL_GUARDED_BY(mu);
  std::map<std::string, HostEntry> hosts ABSL_GUARDED_BY(mu);
  WaitingTable waiting ABSL_GUARDED_BY(mu);
  // Ids of assignments with a deadline.
  DueTable due ABSL_GUARDED_BY(mu);
  placement::Engine engine ABSL_GUARDED_BY(mu);
  RequestTable requests ABSL_GUARDED_BY(mu);
  // By id, why: assignments whose records were left out. Nobody can take their ids; to delete one
  // deletes its record. What else is left out is not quietly replaced either: a host is cordoned,
  // the owner of a quota gets no more, and a request_id is used up.
  std::map<std::string, std::string> quarantined ABSL_GUARDED_BY(mu);
  // What is used is counted from when a placement is handed to the store until its end is durable.
  QuotaTable quotas ABSL_GUARDED_BY(mu);

 private:
  // STORE_CORRUPT for a record that is left out.
  absl::Status LoadRecord(const Record& record) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);
  absl::Status LoadAssignment(const Record& record) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);
  // Leaves the record out and names it.
  void Quarantine(const RecordKey& key, const absl::Status& why) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);
  // Names the members of waiting gangs of which others were left out.
  void NameBrokenGangs() const ABSL_SHARED_LOCKS_REQUIRED(mu);
  absl::Status LoadQuota(const Record& record) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);
  absl::Status CheckEdges(const ChangeSet& changes) const ABSL_SHARED_LOCKS_REQUIRED(mu);
  void Publish(const ChangeSet& changes, Revision revision) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);
  void PublishAssignment(const std::string& id, const AssignmentRecordPtr& record,
                         Revision revision, WatchBatch* batch) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);
  void PublishQuota(const std::string& id, const QuotaRecordPtr& record, Revision revision)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);
  void PublishHost(const std::string& id, const HostRecordPtr& record, Revision revision,
                   WatchBatch* batch) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);
  // Adds or removes `record` to what placed_ counts.
  void CountPlaced(const std::string& id, const AssignmentRecordPtr& record, int by)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);
  // Adds what is placed on a host, whose part of it has changed. Counted as observed, because no
  // record of theirs says so: a watch that resumes finds it.
  void AddOnHost(const std::string& id, WatchBatch* batch) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);
  void PublishBatch(std::shared_ptr<WatchBatch> batch) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);
  // The part of Render() that tells who holds what.
  void RenderUse(const std::string& id, const HostEntry& entry, v1::View view, v1::Host* host) const
      ABSL_SHARED_LOCKS_REQUIRED(mu);
  v1::Drain RenderDrain(const std::string& id, const internal::v1::HostRecord& record) const
      ABSL_SHARED_LOCKS_REQUIRED(mu);
  // The part of Render() that tells when it goes back by itself.
  void RenderDeadlines(const AssignmentEntry& entry, v1::Assignment* assignment) const
      ABSL_SHARED_LOCKS_REQUIRED(mu);
  void ForgetUnclaimed(const std::string& host_id, HostEntry* host)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);
  // What of a host decides whether assignments are asked to leave it, to be compared.
  static std::string AskingToLeave(const internal::v1::HostRecord& host);
  // Adds the host when it is being drained: what is left there has changed.
  void AddDraining(const std::string& host_id, WatchBatch* batch) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);
  // Hands `rendered` to watchers as the one change of a batch.
  void PublishOne(WatchChange change) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);
  static Transaction MakeTransaction(const ChangeSet& changes, int64_t term);

  const Options options_;
  absl::flat_hash_map<std::string, std::string> ids_by_uid_ ABSL_GUARDED_BY(mu);
  // host id -> ids of the assignments whose committed or latest record is placed there
  std::map<std::string, std::map<std::string, int>> placed_ ABSL_GUARDED_BY(mu);
  Revision revision_ ABSL_GUARDED_BY(mu) = 0;
  int64_t observed_sequence_ ABSL_GUARDED_BY(mu) = 0;
  bool failed_ ABSL_GUARDED_BY(mu) = false;
  // Nobody could renew before that.
  absl::Time granted_since_ ABSL_GUARDED_BY(mu) = absl::InfinitePast();
};

// What the agent has said last of the committed generation.
Observed ObservedOf(const AssignmentEntry& entry);

// Id of the host that a record is placed on; empty: nowhere, or no record.
std::string PlacedOn(const AssignmentRecordPtr& record);
// "r17": opaque to clients.
std::string MakeEtag(Revision revision);

}  // namespace berth

#endif  // BERTH_CTL_CONTROLLER_BOOK_FLEET_H_
