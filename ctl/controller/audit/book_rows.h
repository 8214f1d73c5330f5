// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_CTL_CONTROLLER_AUDIT_BOOK_ROWS_H_
#define BERTH_CTL_CONTROLLER_AUDIT_BOOK_ROWS_H_

#include <string>
#include <vector>

#include "ctl/controller/audit/compare.h"
#include "ctl/controller/book/fleet.h"

namespace berth {

// What the book has on a host now: what is placed there and what is charged there without an
// assignment.
std::vector<BookRow> BookRowsOf(Fleet* fleet, const std::string& host_id)
    ABSL_EXCLUSIVE_LOCKS_REQUIRED(fleet->mu);

}  // namespace berth

#endif  // BERTH_CTL_CONTROLLER_AUDIT_BOOK_ROWS_H_
