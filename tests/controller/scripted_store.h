// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_TESTS_CONTROLLER_SCRIPTED_STORE_H_
#define BERTH_TESTS_CONTROLLER_SCRIPTED_STORE_H_

#include <memory>
#include <utility>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "lib/base/status.h"
#include "lib/store/store.h"

namespace berth::controller_test {

// What a test wants of the stores that are opened with it; outlives them.
class StoreScript {
 public:
  enum class Commits { kPass, kAreHeld, kFail, kAreRefused };

  void Set(Commits commits) {
    absl::MutexLock lock(&mu_);
    commits_ = commits;
  }
  // Waits until one is held.
  void AwaitHeld() {
    absl::MutexLock lock(&mu_);
    const auto some = [this]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return !held_.empty(); };
    mu_.Await(absl::Condition(&some));
  }
  // Lets those that are held, and all later ones, do `now`.
  void Let(Commits now) {
    std::vector<std::function<void()>> held;
    {
      absl::MutexLock lock(&mu_);
      commits_ = now;
      held.swap(held_);
    }
    for (const auto& commit : held) commit();
  }

 private:
  friend class ScriptedStore;
  absl::Mutex mu_;
  Commits commits_ ABSL_GUARDED_BY(mu_) = Commits::kPass;
  std::vector<std::function<void()>> held_ ABSL_GUARDED_BY(mu_);
};

// Another store, whose commits do what a script says.
class ScriptedStore : public Store {
 public:
  ScriptedStore(StoreScript* script, std::unique_ptr<Store> inner)
      : script_(script), inner_(std::move(inner)) {}

  absl::Status Commit(Transaction transaction, CommitCallback done) override {
    StoreScript::Commits what = StoreScript::Commits::kPass;
    {
      absl::MutexLock lock(&script_->mu_);
      what = script_->commits_;
      if (what == StoreScript::Commits::kAreHeld) {
        script_->held_.push_back([this, transaction, done] { (void)Commit(transaction, done); });
        return absl::OkStatus();
      }
    }
    if (what == StoreScript::Commits::kPass) {
      return inner_->Commit(std::move(transaction), std::move(done));
    }
    if (what == StoreScript::Commits::kAreRefused) {
      return Error(Reason::kOverloaded, "the store is behind");
    }
    // On the store's thread, in turn, and nothing is kept.
    return inner_->Commit({}, [done = std::move(done)](const absl::StatusOr<Revision>&) {
      done(Error(Reason::kStoreFailed, "the disk is gone", {{"outcome", "unknown"}}));
    });
  }

  StoreEpoch epoch() const override { return inner_->epoch(); }
  Revision CurrentRevision() const override { return inner_->CurrentRevision(); }
  absl::StatusOr<Revision> Load(const OnRecord& on_record, const OnBroken& on_broken) override {
    return inner_->Load(on_record, on_broken);
  }
  absl::StatusOr<Record> Get(const RecordKey& key) override { return inner_->Get(key); }
  absl::StatusOr<ChangeLog> ReadChanges(Revision after, size_t limit) override {
    return inner_->ReadChanges(after, limit);
  }
  absl::Status Compact(Revision up_to) override { return inner_->Compact(up_to); }

 private:
  StoreScript* const script_;
  const std::unique_ptr<Store> inner_;
};

}  // namespace berth::controller_test

#endif  // BERTH_TESTS_CONTROLLER_SCRIPTED_STORE_H_
