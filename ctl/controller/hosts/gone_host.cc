// SPDX-License-Identifier: Apache-2.0
//
// The part of HostRegistry that ends a host of which an operator has said that it is gone.
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "ctl/controller/book/convert.h"
#include "ctl/controller/hosts/host_registry.h"
#include "lib/base/status.h"
#include "lib/config/timestamp.h"

namespace berth {
namespace {

using internal::v1::AssignmentRecord;
using v1::Assignment;

// Assignments of one commit, far below what a transaction takes.
constexpr size_t kAtOnce = 32;

// What becomes of an assignment whose host is gone; null: nothing is left of it.
AssignmentRecordPtr WithoutHost(const AssignmentRecord& before, absl::Time now) {
  if (before.assignment().intent() == Assignment::RELEASING) return nullptr;
  auto record = std::make_shared<AssignmentRecord>(before);
  Assignment* assignment = record->mutable_assignment();
  const std::string host = assignment->placement().host();
  *assignment->mutable_failure() = ToFailure(
      Error(Reason::kHostNotReady, absl::StrCat(host, ", where it was, is gone"), {{"host", host}}),
      now);
  assignment->set_intent(Assignment::FAILED);
  assignment->clear_placement();
  *assignment->mutable_update_time() = ToTimestamp(now);
  return record;
}

}  // namespace

void HostRegistry::EndGone(const std::string& id) {
  absl::MutexLock lock(&fleet_->mu);
  const auto found = fleet_->hosts.find(id);
  if (found == fleet_->hosts.end()) return;
  const HostEntry& host = found->second;
  if (host.latest != host.committed || host.committed == nullptr || !host.committed->gone()) return;
  ChangeSet changes;
  std::vector<std::string> uids;
  for (const AssignmentEntry* entry : fleet_->OnHost(id)) {
    if (changes.assignments.size() == kAtOnce) break;
    if (entry->latest != entry->committed) continue;
    const Assignment& assignment = entry->committed->assignment();
    uids.push_back(assignment.uid());
    changes.assignments.emplace_back(AssignmentIdOf(assignment.name()),
                                     WithoutHost(*entry->committed, fleet_->clock().Now()));
  }
  if (changes.assignments.empty()) {
    // What is on its way to the store is seen at the next Tick().
    if (fleet_->CountOnHost(id) > 0) return;
    changes.hosts.emplace_back(id, nullptr);
  }
  // Not OK: the next Tick() tries again.
  (void)fleet_->Submit(std::move(changes), [this, id, uids = std::move(uids)](Revision) {
    {
      absl::MutexLock done_lock(&fleet_->mu);
      for (const std::string& uid : uids) {
        // NOT_FOUND when it was deleted.
        (void)fleet_->engine.Release(AssignmentUid(uid));
        if (AssignmentEntry* failed = fleet_->FindByUid(uid)) failed->report.Clear();
      }
    }
    EndGone(id);
  });
}

}  // namespace berth
