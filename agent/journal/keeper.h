// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_AGENT_JOURNAL_KEEPER_H_
#define BERTH_AGENT_JOURNAL_KEEPER_H_

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "agent/journal/journal.h"
#include "berth/internal/v1/journal.pb.h"
#include "lib/base/ids.h"
#include "lib/base/unique_fd.h"
#include "lib/daemon/fd_store.h"
#include "lib/daemon/logging.h"

namespace berth {

// What is found at the start of a grant that a VMM was attached to.
struct KeptGrant {
  AssignmentUid uid;
  int64_t generation = 0;
  std::string life;
  // Absent: the journal was lost, or could not be written any more.
  std::optional<internal::v1::JournaledGrant> record;
  // By role. Empty: the fd store was lost.
  std::map<std::string, UniqueFd> fds;
};

// Keeps grants over a restart of the agent: their fds with the service manager, what is behind them
// in the journal. Without a manager only the journal is written, so that the agent after this one
// knows at least who may hold what. Thread-safe; calls wait for the manager, at most kPatience.
class Keeper {
 public:
  struct Options {
    std::string path;     // of the journal
    std::string boot_id;  // /proc/sys/kernel/random/boot_id
    FdStore store = {};
    Logger* log = nullptr;  // outlives the keeper
  };
  struct Fd {
    std::string role;  // letters, digits, '-'
    int fd = -1;
  };
  // A manager that takes longer is ill, and the agent must not wait for it.
  static constexpr absl::Duration kPatience = absl::Seconds(5);

  // Errors: Journal::Open().
  static absl::StatusOr<std::unique_ptr<Keeper>> Open(Options options);

  // What the agent before this one has left, sorted by uid; call once. Takes the fds that it knows
  // out of `passed`. Fds of a life that a newer one has replaced are dropped.
  std::vector<KeptGrant> Take(std::vector<StoredFd>* passed);

  // From now on `record` and `fds` outlive this process, also when this is called for the same life
  // again: with other fds of some roles. Where the manager is gone only the record is. Errors:
  // those of the journal, and others of FdStore; nothing is kept then.
  absl::Status Keep(const internal::v1::JournaledGrant& record, std::span<const Fd> fds);

  // The record has changed. Errors: Journal::Put(): the one of before stands.
  absl::Status Note(const internal::v1::JournaledGrant& record);

  // What is in the journal of this grant is wrong and cannot be mended. From now on only `fds` are
  // kept, as `life`, of which there is no record.
  void KeepFdsOnly(const internal::v1::JournaledGrant& record, const std::string& life,
                   std::span<const Fd> fds);

  // The manager may be another one, which knows nothing of what is kept: it gets all of it again.
  // `fds` are those that are kept as `life`.
  void StoreAgain(const AssignmentUid& uid, int64_t generation, const std::string& life,
                  std::span<const Fd> fds);

  // Keeps nothing of the grant any more. When it returns the manager has closed its fds, unless it
  // took too long.
  void Drop(const AssignmentUid& uid);
  // As Drop(), but the journal goes on telling of it.
  void DropFds(const AssignmentUid& uid);

  // Units.
  void NoteUnit(const internal::v1::JournaledUnitFacts& unit);
  std::vector<internal::v1::JournaledUnitFacts> Units();

  // Whether there is a service manager to keep fds.
  [[nodiscard]] bool has_manager() const { return options_.store.present(); }
  // What is kept now, for an audit: names of fds by grant, and grants that are in the journal.
  [[nodiscard]] std::map<AssignmentUid, std::vector<std::string>> KeptRoles() const;
  absl::StatusOr<std::vector<internal::v1::JournaledGrant>> Records() { return journal_->Grants(); }

 private:
  Keeper(Options options, std::unique_ptr<Journal> journal)
      : options_(std::move(options)), journal_(std::move(journal)) {}
  absl::Status Store(const AssignmentUid& uid, const std::string& name, const Fd& fd);
  absl::Status StoreAll(const internal::v1::JournaledGrant& record, std::span<const Fd> fds);
  void Warn(std::string_view what, const absl::Status& status) const;
  void Await();

  const Options options_;
  const std::unique_ptr<Journal> journal_;
  mutable absl::Mutex mu_;
  // Of each grant: names in the store.
  std::map<AssignmentUid, std::vector<std::string>> names_ ABSL_GUARDED_BY(mu_);
};

// This boot, as the kernel names it. Errors: SYSTEM_ERROR.
absl::StatusOr<std::string> ReadBootId();

}  // namespace berth

#endif  // BERTH_AGENT_JOURNAL_KEEPER_H_
