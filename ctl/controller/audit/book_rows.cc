// SPDX-License-Identifier: Apache-2.0
#include "ctl/controller/audit/book_rows.h"

#include <algorithm>
#include <utility>

namespace berth {
namespace {

using v1::Assignment;

template <typename Units>
void PutDevices(const Units& units, v1::AuditBook* book) {
  for (const v1::UnitPlacement& unit : units) {
    for (const v1::DevicePlacement& device : unit.devices()) book->add_devices(device.device());
  }
  std::sort(book->mutable_devices()->begin(), book->mutable_devices()->end());
}

}  // namespace

std::vector<BookRow> BookRowsOf(Fleet* fleet, const std::string& host_id) {
  std::vector<BookRow> rows;
  for (const AssignmentEntry* entry : fleet->OnHost(host_id)) {
    const Assignment& assignment = entry->committed->assignment();
    BookRow row;
    row.uid = assignment.uid();
    row.assignment = assignment.name();
    row.book.set_intent(assignment.intent());
    row.book.set_generation(assignment.generation());
    PutDevices(assignment.placement().units(), &row.book);
    // What was said of an earlier placement says nothing of this one.
    if (entry->report.generation() == assignment.generation()) {
      row.book.set_observed(entry->report.observed());
      row.failed = entry->report.observed() == Assignment::GONE && entry->report.has_failure();
    }
    row.hand_off = assignment.spec().attach_mode() == v1::AssignmentSpec::HAND_OFF;
    rows.push_back(std::move(row));
  }
  const auto host = fleet->hosts.find(host_id);
  if (host == fleet->hosts.end()) return rows;
  for (const auto& [uid, grant] : host->second.unclaimed) {
    BookRow row;
    row.uid = uid;
    row.book.set_observed(grant.observed());
    row.book.set_unclaimed(true);
    PutDevices(grant.units(), &row.book);
    rows.push_back(std::move(row));
  }
  return rows;
}

}  // namespace berth
