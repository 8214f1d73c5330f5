// SPDX-License-Identifier: Apache-2.0
#include "agent/link/agent_state.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <limits>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "lib/base/failpoint.h"
#include "lib/base/ids.h"
#include "lib/base/status.h"
#include "lib/base/unique_fd.h"
#include "lib/config/config.h"

namespace berth {
namespace {

using agent::v1::Epoch;
using StateProto = internal::v1::AgentState;

absl::Status WriteAndSync(const std::string& path, const std::string& text) {
  UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (!fd.valid()) return ErrnoToStatus(errno, absl::StrCat("opening ", path));
  size_t done = 0;
  while (done < text.size()) {
    const ssize_t n = ::write(fd.get(), text.data() + done, text.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return ErrnoToStatus(errno, absl::StrCat("writing ", path));
    done += static_cast<size_t>(n);
  }
  if (::fsync(fd.get()) != 0) return ErrnoToStatus(errno, absl::StrCat("syncing ", path));
  return absl::OkStatus();
}

absl::Status SyncFolder(const std::string& path) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.valid() || ::fsync(fd.get()) != 0) {
    return ErrnoToStatus(errno, absl::StrCat("syncing ", path));
  }
  return absl::OkStatus();
}

auto Order(const Epoch& epoch) { return std::make_tuple(epoch.restore_count(), epoch.term()); }

std::string Describe(const Epoch& epoch) {
  return absl::StrCat("store ", epoch.store_uid(), ", restore ", epoch.restore_count(), ", term ",
                      epoch.term());
}

absl::Status Save(const std::string& path, const StateProto& state) {
  BERTH_RETURN_IF_ERROR(HitFailpoint(Failpoint::kStateSave));
  const std::string fresh = absl::StrCat(path, ".new");
  BERTH_RETURN_IF_ERROR(WriteAndSync(fresh, ToJson(state, JsonStyle::kPretty)));
  if (std::rename(fresh.c_str(), path.c_str()) != 0) {
    return ErrnoToStatus(errno, absl::StrCat("renaming ", fresh));
  }
  BERTH_RETURN_IF_ERROR(SyncFolder(std::filesystem::path(path).parent_path().string()));
  return HitFailpoint(Failpoint::kStateSaved);
}

std::string StatePath(const std::string& state_dir) {
  return absl::StrCat(state_dir, "/agent.json");
}

// The folder, and the lock that keeps others out of it as long as the fd is open.
absl::StatusOr<UniqueFd> LockFolder(const std::string& state_dir) {
  std::error_code error;
  if (std::filesystem::create_directories(state_dir, error)) {
    std::filesystem::permissions(state_dir, std::filesystem::perms::owner_all, error);
  }
  if (error)
    return ErrnoToStatus(error.value(), absl::StrCat("making the state folder ", state_dir));
  const std::string path = AgentState::LockPath(state_dir);
  UniqueFd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!fd.valid()) return ErrnoToStatus(errno, absl::StrCat("opening ", path));
  if (::flock(fd.get(), LOCK_EX | LOCK_NB) == 0) {
    // The number in it is of a process that has ended.
    if (::ftruncate(fd.get(), 0) == 0) return fd;
    return ErrnoToStatus(errno, absl::StrCat("emptying ", path));
  }
  if (errno != EWOULDBLOCK) return ErrnoToStatus(errno, absl::StrCat("locking ", path));
  return Error(Reason::kStateConflict,
               absl::StrCat("a berth-agent is running on ", state_dir, "; stop it first"));
}

// What is kept in `path`; empty where there is no such file.
absl::StatusOr<StateProto> Load(const std::string& path) {
  StateProto proto;
  if (::access(path.c_str(), F_OK) != 0) {
    if (errno == ENOENT) return proto;
    return ErrnoToStatus(errno, absl::StrCat("reading ", path));
  }
  BERTH_RETURN_IF_ERROR(Annotate(LoadYamlFile(path, &proto), "reading the agent's state"));
  if (proto.host_uid().empty() || proto.incarnation() < 1 ||
      proto.incarnation() == std::numeric_limits<int64_t>::max()) {
    return Error(Reason::kInvalidField,
                 absl::StrCat(path,
                              " has no host_uid or no incarnation: it is not an agent's state; "
                              "move it away to start as a new host"));
  }
  return proto;
}

}  // namespace

AgentState::AgentState(UniqueFd lock, std::string path, StateProto state)
    : lock_(std::move(lock)),
      path_(std::move(path)),
      host_uid_(state.host_uid()),
      incarnation_(state.incarnation()),
      state_(std::move(state)) {}

std::string AgentState::LockPath(const std::string& state_dir) {
  return absl::StrCat(state_dir, "/agent.lock");
}

absl::StatusOr<std::unique_ptr<AgentState>> AgentState::Open(const std::string& state_dir) {
  BERTH_ASSIGN_OR_RETURN(UniqueFd lock, LockFolder(state_dir));
  const std::string number = absl::StrCat(::getpid(), "\n");
  if (::write(lock.get(), number.data(), number.size()) != static_cast<ssize_t>(number.size())) {
    return ErrnoToStatus(errno, absl::StrCat("writing ", LockPath(state_dir)));
  }
  const std::string path = StatePath(state_dir);
  BERTH_ASSIGN_OR_RETURN(StateProto proto, Load(path));
  if (proto.host_uid().empty()) proto.set_host_uid(NewUuid());
  proto.set_incarnation(proto.incarnation() + 1);
  BERTH_RETURN_IF_ERROR(Save(path, proto));
  return std::unique_ptr<AgentState>(new AgentState(std::move(lock), path, std::move(proto)));
}

absl::StatusOr<std::optional<Epoch>> AgentState::ForgetStore(const std::string& state_dir) {
  BERTH_ASSIGN_OR_RETURN(const UniqueFd lock, LockFolder(state_dir));
  const std::string path = StatePath(state_dir);
  BERTH_ASSIGN_OR_RETURN(StateProto proto, Load(path));
  if (!proto.has_highest_epoch()) return std::nullopt;
  const Epoch forgotten = proto.highest_epoch();
  proto.clear_highest_epoch();
  BERTH_RETURN_IF_ERROR(Save(path, proto));
  return forgotten;
}

StateProto AgentState::Snapshot() const {
  absl::MutexLock lock(&mu_);
  return state_;
}

absl::Status AgentState::Accept(const Epoch& epoch) {
  absl::MutexLock lock(&mu_);
  if (state_.has_highest_epoch()) {
    const Epoch& highest = state_.highest_epoch();
    const ErrorMetadata metadata = {{"store_uid", highest.store_uid()},
                                    {"restore_count", absl::StrCat(highest.restore_count())},
                                    {"term", absl::StrCat(highest.term())}};
    if (epoch.store_uid() != highest.store_uid()) {
      return Error(
          Reason::kFenced,
          absl::StrCat("the controller has another store (", Describe(epoch),
                       ") than the one this host belongs to (", Describe(highest),
                       "); if that is meant, stop this agent, run berth-agent accept-store, "
                       "and start it again"),
          metadata);
    }
    if (Order(epoch) < Order(highest)) {
      return Error(Reason::kFenced,
                   absl::StrCat("the controller (", Describe(epoch),
                                ") is older than the one seen last (", Describe(highest), ")"),
                   metadata);
    }
    if (Order(epoch) == Order(highest)) return absl::OkStatus();
  }
  StateProto next = state_;
  *next.mutable_highest_epoch() = epoch;
  BERTH_RETURN_IF_ERROR(Save(path_, next));
  state_ = std::move(next);
  return absl::OkStatus();
}

}  // namespace berth
