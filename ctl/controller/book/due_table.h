// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_CTL_CONTROLLER_BOOK_DUE_TABLE_H_
#define BERTH_CTL_CONTROLLER_BOOK_DUE_TABLE_H_

#include <cstddef>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/time/time.h"

namespace berth {

// Who is to be looked at, and when at the latest. What is put off meanwhile need not be said here:
// who is taken finds out, and is added again. One entry for each id. Not thread-safe.
class DueTable {
 public:
  // The earlier of two times counts. InfiniteFuture() adds nothing.
  void Add(const std::string& id, absl::Time at);
  // Removes and returns those whose time has come, earliest first, `limit` at most.
  std::vector<std::string> Take(absl::Time now, size_t limit);

 private:
  std::set<std::pair<absl::Time, std::string>> order_;
  absl::flat_hash_map<std::string, absl::Time> times_;
};

}  // namespace berth

#endif  // BERTH_CTL_CONTROLLER_BOOK_DUE_TABLE_H_
