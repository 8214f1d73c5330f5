// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_CTL_CONTROLLER_BOOK_CHECK_STORE_H_
#define BERTH_CTL_CONTROLLER_BOOK_CHECK_STORE_H_

#include <cstddef>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "lib/base/clock.h"
#include "lib/store/medium.h"

namespace berth {

// What a controller would find in a store.
struct StoreReport {
  StoreEpoch epoch;
  Revision revision = 0;
  size_t assignments = 0;
  size_t hosts = 0;
  size_t requests = 0;
  // One line each: a record that would be left out, with its kind and id, or what does not add up.
  std::vector<std::string> problems;
};

// Reads `medium` and loads it as a controller does, without becoming one: every record is parsed,
// every placement charged, and the sums are audited (no device twice, no unit beyond its VINTFs).
// Errors: those of StoreMedium::Read().
absl::StatusOr<StoreReport> CheckStore(StoreMedium& medium, Clock* clock);

}  // namespace berth

#endif  // BERTH_CTL_CONTROLLER_BOOK_CHECK_STORE_H_
