// SPDX-License-Identifier: Apache-2.0
#include "ctl/controller/book/due_table.h"

namespace berth {

void DueTable::Add(const std::string& id, absl::Time at) {
  if (at == absl::InfiniteFuture()) return;
  const auto [known, added] = times_.try_emplace(id, at);
  if (!added) {
    if (known->second <= at) return;
    order_.erase({known->second, id});
    known->second = at;
  }
  order_.emplace(at, id);
}

std::vector<std::string> DueTable::Take(absl::Time now, size_t limit) {
  std::vector<std::string> taken;
  while (!order_.empty() && order_.begin()->first <= now && taken.size() < limit) {
    taken.push_back(order_.begin()->second);
    times_.erase(taken.back());
    order_.erase(order_.begin());
  }
  return taken;
}

}  // namespace berth
