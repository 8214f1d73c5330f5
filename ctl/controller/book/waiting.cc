// SPDX-License-Identifier: Apache-2.0
#include "ctl/controller/book/waiting.h"

#include "lib/base/status.h"

namespace berth {

using internal::v1::AssignmentRecord;

bool MayWait(const absl::Status& status) {
  const Reason reason = ReasonOf(status);
  return reason == Reason::kNoCapacity || reason == Reason::kUnsatisfiable ||
         reason == Reason::kQuotaExceeded;
}

bool WaitsInGang(const AssignmentRecord& record) {
  return record.assignment().intent() == v1::Assignment::PENDING &&
         record.assignment().gang().waiting();
}

void WaitingTable::Update(const std::string& id, const RecordPtr& before, const RecordPtr& now) {
  if (before != nullptr && WaitsInGang(*before)) {
    const auto gang = gangs_.find(before->assignment().gang().uid());
    if (gang != gangs_.end()) {
      gang->second.erase(id);
      if (gang->second.empty()) gangs_.erase(gang);
    }
  }
  if (now == nullptr || now->assignment().intent() != v1::Assignment::PENDING) {
    ids_.erase(id);
    return;
  }
  ids_.insert(id);
  if (WaitsInGang(*now)) gangs_[now->assignment().gang().uid()].insert(id);
}

std::set<std::string> WaitingTable::Gang(const std::string& uid) const {
  const auto gang = gangs_.find(uid);
  return gang == gangs_.end() ? std::set<std::string>() : gang->second;
}

}  // namespace berth
