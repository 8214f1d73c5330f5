// SPDX-License-Identifier: Apache-2.0
#include "agent/grants/grant_manager.h"

#include <atomic>
#include <map>
#include <set>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "agent/grants/fd_poller.h"
#include "agent/grants/grant.h"
#include "agent/grants/grant_plan.h"
#include "agent/grants/idle_devices.h"
#include "agent/grants/timer_queue.h"
#include "agent/grants/vintf_use.h"
#include "agent/journal/keeper.h"
#include "lib/base/failpoint.h"
#include "lib/base/status.h"

namespace berth {

class GrantManager::Impl {
 public:
  explicit Impl(Options options) : timers_(options.clock) {
    environment_.options = std::move(options);
    environment_.timers = &timers_;
    environment_.poller = &poller_;
    environment_.claims = &claims_;
    environment_.vintfs = &vintfs_;
    // A grant cannot be destroyed on its own executor, so it is left to the timers' thread.
    environment_.on_forgotten = [this](const AssignmentUid& uid) {
      timers_.After(absl::ZeroDuration(), [this, uid] { Remove(uid); });
    };
  }
  ~Impl() { Stop(); }

  absl::Status Upsert(const agent::v1::DesiredGrant& desired, Grant::Past past) {
    BERTH_RETURN_IF_ERROR(CheckDesired(desired, environment_.options.limits));
    const AssignmentUid uid(desired.assignment_uid());
    absl::MutexLock lock(&mu_);
    if (stopping_) return Error(Reason::kShuttingDown, "the agent is stopping");
    auto it = grants_.find(uid);
    if (it == grants_.end()) {
      if (grants_.size() >= environment_.options.limits.grants) {
        return Error(Reason::kOverloaded, absl::StrCat("the host has ", grants_.size(), " grants"));
      }
      it = grants_.emplace(uid, std::make_shared<Grant>(uid, &environment_, past)).first;
    }
    absl::Status status = it->second->Want(desired);
    const auto& on_fenced = environment_.options.on_fenced;
    if (ReasonOf(status) == Reason::kFenced && on_fenced) on_fenced();
    return status;
  }

  absl::Status Apply(const std::vector<agent::v1::DesiredGrant>& desired) {
    absl::Status first;
    std::set<AssignmentUid> known;
    for (const agent::v1::DesiredGrant& grant : desired) {
      known.insert(AssignmentUid(grant.assignment_uid()));
      first.Update(Upsert(grant, Grant::Past::kUnknown));
    }
    absl::MutexLock lock(&mu_);
    for (const auto& [uid, grant] : grants_) {
      if (!known.contains(uid)) grant->Disclaim();
    }
    applied_ = true;
    return first;
  }

  std::vector<AdoptedSession> Adopt(std::vector<KeptGrant> kept) {
    std::vector<AdoptedSession> sessions;
    for (KeptGrant& one : kept) {
      const AssignmentUid uid = one.uid;
      auto grant = std::make_shared<Grant>(uid, &environment_, Grant::Past::kUnknown);
      auto session = grant->Adopt(std::move(one));
      // The kernel behind it has ended, and all that was kept with it.
      if (!session.ok()) {
        environment_.options.keeper->Drop(uid);
        continue;
      }
      if (session->has_value()) sessions.push_back(*std::move(*session));
      absl::MutexLock lock(&mu_);
      grants_.emplace(uid, std::move(grant));
    }
    CrashAt(Failpoint::kAdoptDone);
    return sessions;
  }

  std::shared_ptr<Grant> Find(const AssignmentUid& uid) const {
    absl::MutexLock lock(&mu_);
    const auto it = grants_.find(uid);
    return it == grants_.end() ? nullptr : it->second;
  }

  // In the order of uids.
  std::vector<std::shared_ptr<Grant>> All() const {
    absl::MutexLock lock(&mu_);
    std::vector<std::shared_ptr<Grant>> all;
    all.reserve(grants_.size());
    for (const auto& [uid, grant] : grants_) all.push_back(grant);
    return all;
  }

  void Stop() {
    {
      absl::MutexLock lock(&mu_);
      if (std::exchange(stopping_, true)) return;
    }
    timers_.Stop();
    const std::vector<std::shared_ptr<Grant>> grants = All();
    for (const auto& grant : grants) grant->Shutdown();
    for (const auto& grant : grants) grant->Drain();
    poller_.Stop();
  }

  std::vector<std::pair<DeviceId, absl::Status>> TryIdleDevices(
      const std::vector<DeviceId>& devices) {
    const Options& options = environment_.options;
    return berth::TryIdleDevices(options.kernel, *options.devices, &claims_, devices);
  }

  bool awaits_desired() const { return environment_.options.awaits_desired && !applied_; }

 private:
  void Remove(const AssignmentUid& uid) {
    std::shared_ptr<Grant> removed;
    absl::MutexLock lock(&mu_);
    const auto it = grants_.find(uid);
    if (it == grants_.end() || !it->second->Removable()) return;
    removed = std::move(it->second);
    grants_.erase(it);
  }

  DeviceClaims claims_;
  VintfUse vintfs_;
  Grant::Environment environment_;
  std::atomic<bool> applied_ = false;
  FdPoller poller_;
  TimerQueue timers_;
  mutable absl::Mutex mu_;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  std::map<AssignmentUid, std::shared_ptr<Grant>> grants_ ABSL_GUARDED_BY(mu_);
};

GrantManager::GrantManager(Options options) : impl_(std::make_unique<Impl>(std::move(options))) {}
GrantManager::~GrantManager() = default;

std::vector<AdoptedSession> GrantManager::Adopt(std::vector<KeptGrant> kept) {
  return impl_->Adopt(std::move(kept));
}

absl::Status GrantManager::Apply(const std::vector<agent::v1::DesiredGrant>& desired) {
  return impl_->Apply(desired);
}

absl::Status GrantManager::Upsert(const agent::v1::DesiredGrant& desired) {
  return impl_->Upsert(desired, Grant::Past::kNone);
}

void GrantManager::Forget(const AssignmentUid& uid) {
  if (const std::shared_ptr<Grant> grant = impl_->Find(uid)) grant->Forget();
}

std::vector<agent::v1::GrantStatus> GrantManager::Statuses() const {
  std::vector<agent::v1::GrantStatus> statuses;
  for (const std::shared_ptr<Grant>& grant : impl_->All()) statuses.push_back(grant->status());
  return statuses;
}

std::vector<agent::v1::LocalGrant> GrantManager::LocalGrants() const {
  std::vector<agent::v1::LocalGrant> grants;
  for (const std::shared_ptr<Grant>& grant : impl_->All()) grants.push_back(grant->local());
  return grants;
}

absl::StatusOr<std::vector<agent::v1::KernelObject>> GrantManager::Objects(
    const AssignmentUid& uid) const {
  const std::shared_ptr<Grant> grant = impl_->Find(uid);
  if (grant == nullptr) {
    return Error(Reason::kNotFound, absl::StrCat("no grant for assignment uid ", uid.str()));
  }
  return grant->objects();
}

void GrantManager::KernelGone() {
  for (const std::shared_ptr<Grant>& grant : impl_->All()) grant->KernelGone();
}

void GrantManager::DevicesChanged() {
  for (const std::shared_ptr<Grant>& grant : impl_->All()) grant->DevicesChanged();
}

void GrantManager::StoreAgain() {
  for (const std::shared_ptr<Grant>& grant : impl_->All()) grant->StoreAgain();
}

std::vector<std::pair<DeviceId, absl::Status>> GrantManager::TryIdleDevices(
    const std::vector<DeviceId>& devices) {
  return impl_->TryIdleDevices(devices);
}

bool GrantManager::awaits_desired() const { return impl_->awaits_desired(); }

std::shared_ptr<Grant> GrantManager::Find(const AssignmentUid& uid) const {
  return impl_->Find(uid);
}

void GrantManager::Stop() { impl_->Stop(); }

}  // namespace berth
