// SPDX-License-Identifier: Apache-2.0
#include "ctl/controller/book/deadline_keeper.h"

#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "ctl/controller/book/convert.h"
#include "lib/base/lifecycle.h"
#include "lib/base/status.h"
#include "lib/config/duration.h"
#include "lib/config/timestamp.h"

namespace berth {
namespace {

using internal::v1::AssignmentRecord;
using v1::Assignment;

// So that a fleet whose leases end together holds up nobody: the rest follows at the next tick.
constexpr size_t kMaxPerTick = 1000;

}  // namespace

DeadlineKeeper::DeadlineKeeper(Fleet* fleet, GrantTracker* tracker, Options options)
    : fleet_(fleet),
      tracker_(tracker),
      options_(std::move(options)),
      last_tick_(fleet->clock().Now()) {}

void DeadlineKeeper::Tick() {
  absl::MutexLock lock(&fleet_->mu);
  const absl::Time now = fleet_->clock().Now();
  if (now - last_tick_ > options_.longest_pause) fleet_->GrantAfresh(now);
  last_tick_ = now;
  for (const std::string& id : fleet_->due.Take(now, kMaxPerTick)) Look(id, now);
}

void DeadlineKeeper::Look(const std::string& id, absl::Time now) {
  const auto found = fleet_->assignments.find(id);
  if (found == fleet_->assignments.end()) return;
  const AssignmentEntry& entry = found->second;
  // A renewal, perhaps: what comes of it is published, or seen at the next tick.
  if (entry.latest != entry.committed) return fleet_->due.Add(id, now);
  const Fleet::Deadline deadline = fleet_->NextDeadline(entry);
  if (deadline.at > now) return fleet_->due.Add(id, deadline.at);
  const absl::Status why = Why(entry, deadline);
  const absl::Status released = Release(id, entry, why);
  if (released.ok()) {
    if (options_.on_release) options_.on_release(AssignmentName(id), why);
    return;
  }
  fleet_->due.Add(id, now);
  if (options_.on_error) {
    options_.on_error(Annotate(released, absl::StrCat("releasing ", AssignmentName(id)).c_str()));
  }
}

absl::Status DeadlineKeeper::Why(const AssignmentEntry& entry,
                                 const Fleet::Deadline& deadline) const {
  const Assignment& assignment = entry.committed->assignment();
  switch (deadline.kind) {
    case Fleet::Deadline::Kind::kLease:
      return Error(
          Reason::kDeadlineExceeded,
          absl::StrCat("its lease is over: it was not renewed for ",
                       absl::FormatDuration(FromProtoDuration(assignment.spec().lease_duration()))),
          {{"deadline", "lease"}});
    case Fleet::Deadline::Kind::kAttach:
      return Error(
          Reason::kDeadlineExceeded,
          absl::StrCat("no VMM has attached for ",
                       absl::FormatDuration(FromProtoDuration(assignment.spec().attach_timeout()))),
          {{"deadline", "attach"}});
    case Fleet::Deadline::Kind::kEviction:
      return Error(Reason::kHostNotReady, fleet_->EvictionOf(assignment).why,
                   {{"deadline", "eviction"}, {"host", assignment.placement().host()}});
  }
  return absl::OkStatus();
}

absl::Status DeadlineKeeper::Release(const std::string& id, const AssignmentEntry& entry,
                                     const absl::Status& why) {
  const auto intent = static_cast<Intent>(entry.committed->assignment().intent());
  std::shared_ptr<AssignmentRecord> record;
  if (IsCharged(intent, ObservedOf(entry))) {
    record = std::make_shared<AssignmentRecord>(*entry.committed);
    Assignment* next = record->mutable_assignment();
    next->set_intent(Assignment::RELEASING);
    *next->mutable_failure() = ToFailure(why, fleet_->clock().Now());
    *next->mutable_update_time() = ToTimestamp(fleet_->clock().Now());
  }
  ChangeSet changes;
  if (record != nullptr) {
    changes.assignments.emplace_back(id, record);
  } else {
    for (const std::string& ended : fleet_->EndsWith(id, *entry.committed)) {
      changes.assignments.emplace_back(ended, nullptr);
    }
  }
  return fleet_->Submit(std::move(changes), [this, record](Revision) {
    if (record != nullptr) tracker_->Tell(record);
  });
}

}  // namespace berth
