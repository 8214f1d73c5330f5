// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_CTL_CONTROLLER_AUDIT_AUDITOR_H_
#define BERTH_CTL_CONTROLLER_AUDIT_AUDITOR_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "berth/agent/v1/audit.pb.h"
#include "berth/v1/audit_service.pb.h"
#include "ctl/controller/book/fleet.h"
#include "lib/daemon/logging.h"
#include "lib/daemon/metrics.h"

namespace berth {

// Asks agents what is there and holds it against the book: each READY host once in an interval,
// and any host when somebody asks. Thread-safe; takes the fleet's mutex, and must be called without
// it.
class Auditor {
 public:
  using Answer = std::function<void(absl::StatusOr<v1::AuditResponse>)>;

  struct Options {
    absl::Duration interval = absl::Minutes(1);
    // After that an agent is taken not to answer audits.
    absl::Duration answer_timeout = absl::Seconds(10);
    // Hosts that are asked at once, by itself.
    size_t max_in_flight = 64;
    // Of Audit() at once; one more is refused (OVERLOADED).
    size_t max_calls = 16;
    Metrics* metrics = nullptr;  // may be null; else outlives the auditor
    Logger* log = nullptr;       // may be null; else outlives the auditor
  };
  // Two audits so far apart that find the same have not met a message on its way: records agree
  // within 5 s after any crash.
  static constexpr absl::Duration kSettle = absl::Seconds(5);
  // Hosts of one answer.
  static constexpr int kMaxPage = 16;

  // `fleet` outlives the auditor.
  Auditor(Fleet* fleet, Options options);

  // Asks whose turn it is, and gives up who does not answer. Call it every heartbeat interval.
  void Tick();

  // The agent's answer to its last request; others are ignored.
  void Report(const std::string& host_id, const HostSession* session,
              const agent::v1::AuditReport& report);
  // The session has ended: no answer comes.
  void Disconnected(const std::string& host_id, const HostSession* session);

  // Asks now. `answer` is called once, on any thread, when all have answered or were given up.
  void Audit(const v1::AuditRequest& request, Answer answer);

  // Ends what waits with SHUTTING_DOWN, and takes no more.
  void Close();

 private:
  // Audit() for some hosts.
  class Call;
  // An answer that is waited for.
  struct Pending {
    int64_t sequence = 0;
    std::shared_ptr<HostSession> session;
    absl::Time asked;
    std::vector<std::shared_ptr<Call>> calls;
  };
  // A difference, from the audit that found it first to the first one that does not find it.
  struct Seen {
    absl::Time first;
    bool drift = false;
    bool tried = false;  // to heal it
  };
  using SeenByIdentity = std::map<std::string, Seen>;
  struct Target {
    std::string host_id;
    std::shared_ptr<HostSession> session;  // null: not connected
  };
  struct Series {
    Gauge drift;
    Counter answered;
    Counter unanswered;
    Counter healed;
  };
  enum class TryDevices { kNo, kYes };

  absl::StatusOr<std::vector<Target>> TargetsOf(const v1::AuditRequest& request,
                                                std::string* next_page_token);
  // At each tick, and when an answer makes room: a large fleet has more than one round of answers
  // in a tick.
  void AskWhoseTurnItIs();
  std::vector<Target> NextTargets(absl::Time now);
  void Ask(const Target& target, TryDevices try_devices, const std::shared_ptr<Call>& call);
  // Compares when there is a report, notes what it found, tells those who wait.
  void Finish(const std::string& host_id, const Pending& pending, v1::HostAudit::Outcome outcome,
              const agent::v1::AuditReport* report);
  // Completes the differences from what was seen before. Whether the session is to begin anew.
  bool Note(const std::string& host_id, v1::HostAudit* audit) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void NoteUnanswered(const std::string& host_id) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void LogDrift(const v1::AuditDifference& difference) const;
  void CountHealed(const std::string& host_id, const SeenByIdentity& before,
                   const SeenByIdentity& now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void ShowDrift() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void ForgetDeletedHosts();

  Fleet* const fleet_;
  const Options options_;

  absl::Mutex mu_;
  std::optional<Series> series_ ABSL_GUARDED_BY(mu_);
  bool closed_ ABSL_GUARDED_BY(mu_) = false;
  int64_t sequence_ ABSL_GUARDED_BY(mu_) = 0;
  std::map<std::string, Pending> pending_ ABSL_GUARDED_BY(mu_);  // by host
  std::set<std::shared_ptr<Call>> calls_ ABSL_GUARDED_BY(mu_);
  // By host; only hosts at which something differed last time.
  std::map<std::string, SeenByIdentity> seen_ ABSL_GUARDED_BY(mu_);
  std::set<std::string> silent_ ABSL_GUARDED_BY(mu_);  // said in the log already
  // Whose turn was last; hosts go round in the order of their ids.
  std::string cursor_ ABSL_GUARDED_BY(mu_);
  // Time times hosts that have passed since: an interval of it is one host's turn.
  absl::Duration credit_ ABSL_GUARDED_BY(mu_);
  absl::Time last_tick_ ABSL_GUARDED_BY(mu_);
};

}  // namespace berth

#endif  // BERTH_CTL_CONTROLLER_AUDIT_AUDITOR_H_
