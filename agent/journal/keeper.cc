// SPDX-License-Identifier: Apache-2.0
#include "agent/journal/keeper.h"

#include <algorithm>
#include <fstream>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "lib/base/failpoint.h"
#include "lib/base/status.h"

namespace berth {
namespace {

using internal::v1::JournaledGrant;

constexpr char kPrefix[] = "grant";

// grant.UID.GENERATION.LIFE.ROLE
std::string NameOf(const AssignmentUid& uid, int64_t generation, const std::string& life,
                   const std::string& role) {
  return absl::StrCat(kPrefix, ".", uid.str(), ".", generation, ".", life, ".", role);
}

struct Parsed {
  AssignmentUid uid;
  int64_t generation = 0;
  std::string life;
  std::string role;
};

std::optional<Parsed> Parse(const std::string& name) {
  const std::vector<std::string> parts = absl::StrSplit(name, '.');
  Parsed parsed;
  if (parts.size() != 5 || parts[0] != kPrefix || parts[1].empty() ||
      !absl::SimpleAtoi(parts[2], &parsed.generation)) {
    return std::nullopt;
  }
  parsed.uid = AssignmentUid(parts[1]);
  parsed.life = parts[3];
  parsed.role = parts[4];
  return parsed;
}

AssignmentUid UidOf(const JournaledGrant& record) {
  return AssignmentUid(record.desired().assignment_uid());
}

}  // namespace

absl::StatusOr<std::unique_ptr<Keeper>> Keeper::Open(Options options) {
  absl::Status broken;
  BERTH_ASSIGN_OR_RETURN(std::unique_ptr<Journal> journal,
                         Journal::Open(options.path, options.boot_id, &broken));
  if (!broken.ok()) {
    options.log->Error("the journal was moved away, and a new one begun", {{"error", broken}});
  }
  return std::unique_ptr<Keeper>(new Keeper(std::move(options), std::move(journal)));
}

void Keeper::Warn(std::string_view what, const absl::Status& status) const {
  if (!status.ok()) options_.log->Warn(what, {{"error", status}});
}

void Keeper::Await() {
  Warn("the service manager may still hold fds", options_.store.Barrier(kPatience));
}

std::vector<KeptGrant> Keeper::Take(std::vector<StoredFd>* passed) {
  std::map<AssignmentUid, KeptGrant> kept;
  absl::StatusOr<std::vector<JournaledGrant>> records = journal_->Grants();
  Warn("the journal cannot be read", records.status());
  if (!records.ok()) records.emplace();
  for (JournaledGrant& record : *records) {
    const AssignmentUid uid = UidOf(record);
    const int64_t generation = record.desired().generation();
    std::string life = record.life();
    kept[uid] = {uid, generation, std::move(life), std::move(record), {}};
  }
  // Where there is no record, the life that was stored last.
  std::map<AssignmentUid, std::string> latest;
  for (const StoredFd& stored : *passed) {
    if (const std::optional<Parsed> name = Parse(stored.name)) latest[name->uid] = name->life;
  }
  for (const StoredFd& stored : *passed) {
    const std::optional<Parsed> name = Parse(stored.name);
    if (!name.has_value()) continue;
    const auto known = kept.find(name->uid);
    if (known != kept.end() && known->second.life == name->life) latest[name->uid] = name->life;
  }
  absl::MutexLock lock(&mu_);
  for (StoredFd& stored : *passed) {
    const std::optional<Parsed> name = Parse(stored.name);
    if (!name.has_value()) continue;
    UniqueFd fd = std::move(stored.fd);
    if (name->life != latest[name->uid]) {
      Warn("a stored fd stays with the service manager", options_.store.Remove(stored.name));
      continue;
    }
    KeptGrant& grant = kept[name->uid];
    if (grant.life != name->life) grant = {name->uid, name->generation, name->life, {}, {}};
    names_[name->uid].push_back(stored.name);
    grant.fds[name->role] = std::move(fd);
  }
  std::erase_if(*passed, [](const StoredFd& stored) { return Parse(stored.name).has_value(); });
  std::vector<KeptGrant> all;
  for (auto& [uid, grant] : kept) all.push_back(std::move(grant));
  return all;
}

absl::Status Keeper::Store(const AssignmentUid& uid, const std::string& name, const Fd& fd) {
  absl::MutexLock lock(&mu_);
  std::vector<std::string>& names = names_[uid];
  if (std::find(names.begin(), names.end(), name) != names.end()) {
    BERTH_RETURN_IF_ERROR(options_.store.Remove(name));
  } else {
    names.push_back(name);
  }
  return options_.store.Add(name, fd.fd);
}

absl::Status Keeper::StoreAll(const JournaledGrant& record, std::span<const Fd> fds) {
  const AssignmentUid uid = UidOf(record);
  for (const Fd& fd : fds) {
    BERTH_RETURN_IF_ERROR(
        Store(uid, NameOf(uid, record.desired().generation(), record.life(), fd.role), fd));
  }
  return options_.store.Barrier(kPatience);
}

absl::Status Keeper::Keep(const JournaledGrant& record, std::span<const Fd> fds) {
  const AssignmentUid uid = UidOf(record);
  // First the record: without its fds it is of a grant that nobody can hold yet, and soon proved
  // free. Fds without a record would wait for the end of a VMM that may never have had any.
  absl::Status status = HitFailpoint(Failpoint::kKeepWriteRecord);
  if (status.ok()) status = journal_->Put(record);
  if (status.ok()) status = HitFailpoint(Failpoint::kKeepStoreFds);
  if (status.ok()) status = StoreAll(record, fds);
  // Nobody reads its socket, or the file has been cleared away.
  const Reason reason = ReasonOf(status);
  if (reason == Reason::kUnavailable || reason == Reason::kNotFound) {
    // An agent whose parent was killed goes on alone, and so do its VMMs.
    Warn(
        "the service manager is gone: until there is one again, no next agent can take this grant "
        "up",
        status);
    absl::MutexLock lock(&mu_);
    names_.erase(uid);
    return absl::OkStatus();
  }
  if (!status.ok()) Drop(uid);
  return WithMetadata(status, "step", "keep");
}

absl::Status Keeper::Note(const JournaledGrant& record) { return journal_->Put(record); }

void Keeper::KeepFdsOnly(const JournaledGrant& record, const std::string& life,
                         std::span<const Fd> fds) {
  const AssignmentUid uid = UidOf(record);
  std::vector<std::string> before;
  {
    absl::MutexLock lock(&mu_);
    before = std::exchange(names_[uid], {});
  }
  for (const Fd& fd : fds) {
    Warn("an fd of a grant could not be stored",
         Store(uid, NameOf(uid, record.desired().generation(), life, fd.role), fd));
  }
  for (const std::string& name : before) {
    Warn("a stored fd stays with the service manager", options_.store.Remove(name));
  }
  journal_->Remove(uid).IgnoreError();
  Await();
}

void Keeper::StoreAgain(const AssignmentUid& uid, int64_t generation, const std::string& life,
                        std::span<const Fd> fds) {
  absl::Status status;
  for (const Fd& fd : fds) {
    const std::string name = NameOf(uid, generation, life, fd.role);
    {
      absl::MutexLock lock(&mu_);
      std::vector<std::string>& names = names_[uid];
      if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
    }
    // Not removed before: a manager that has it does not take it twice, and the fd is never gone.
    status.Update(options_.store.Add(name, fd.fd));
  }
  status.Update(options_.store.Barrier(kPatience));
  Warn("the service manager did not get all fds of a grant again", status);
  if (status.ok()) {
    options_.log->Info("stored a grant again",
                       {{"assignment_uid", uid.str()}, {"fds", fds.size()}});
  }
}

void Keeper::Drop(const AssignmentUid& uid) {
  CrashAt(Failpoint::kKeepDrop);
  Warn("a grant stays in the journal", journal_->Remove(uid));
  DropFds(uid);
}

void Keeper::DropFds(const AssignmentUid& uid) {
  std::vector<std::string> names;
  {
    absl::MutexLock lock(&mu_);
    const auto known = names_.find(uid);
    if (known == names_.end()) return;
    names = std::move(known->second);
    names_.erase(known);
  }
  for (const std::string& name : names) {
    Warn("a stored fd stays with the service manager", options_.store.Remove(name));
  }
  Await();
}

void Keeper::NoteUnit(const internal::v1::JournaledUnitFacts& unit) {
  Warn("the journal does not know of a unit", journal_->PutUnit(unit));
}

std::vector<internal::v1::JournaledUnitFacts> Keeper::Units() {
  absl::StatusOr<std::vector<internal::v1::JournaledUnitFacts>> units = journal_->Units();
  Warn("the journal cannot be read", units.status());
  return units.ok() ? *std::move(units) : std::vector<internal::v1::JournaledUnitFacts>();
}

std::map<AssignmentUid, std::vector<std::string>> Keeper::KeptRoles() const {
  absl::MutexLock lock(&mu_);
  std::map<AssignmentUid, std::vector<std::string>> roles;
  for (const auto& [uid, names] : names_) {
    for (const std::string& name : names) {
      if (const std::optional<Parsed> parsed = Parse(name)) roles[uid].push_back(parsed->role);
    }
  }
  return roles;
}

absl::StatusOr<std::string> ReadBootId() {
  std::ifstream file("/proc/sys/kernel/random/boot_id");
  std::string id;
  if (std::getline(file, id) && !id.empty()) return id;
  return Error(Reason::kSystemError, "/proc/sys/kernel/random/boot_id cannot be read");
}

}  // namespace berth
