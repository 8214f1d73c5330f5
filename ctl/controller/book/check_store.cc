// SPDX-License-Identifier: Apache-2.0
#include "ctl/controller/book/check_store.h"

#include <algorithm>
#include <map>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "ctl/controller/book/fleet.h"
#include "ctl/controller/watch/watch_hub.h"
#include "lib/base/status.h"
#include "lib/store/memory_store.h"

namespace berth {

namespace {

// "hosts/h device d: in a and in b" for each device that is in two grants, whether or not its host
// is known.
std::vector<std::string> DoubleGrants(const Fleet& fleet) ABSL_SHARED_LOCKS_REQUIRED(fleet.mu) {
  std::vector<std::string> found;
  std::map<std::pair<std::string, std::string>, std::string> owners;
  for (const auto& [id, entry] : fleet.assignments) {
    const v1::Placement& placement = entry.committed->assignment().placement();
    for (const v1::UnitPlacement& unit : placement.units()) {
      for (const v1::DevicePlacement& device : unit.devices()) {
        const auto [owner, first] =
            owners.emplace(std::pair(placement.host(), device.device()), id);
        if (first) continue;
        found.push_back(absl::StrCat(placement.host(), " device ", device.device(),
                                     ": in assignment ", owner->second, " and in ", id));
      }
    }
  }
  return found;
}

}  // namespace

absl::StatusOr<StoreReport> CheckStore(StoreMedium& medium, Clock* clock) {
  StoreReport report;
  const auto on_problem = [&report](const RecordKey& key, const absl::Status& why) {
    report.problems.push_back(
        absl::StrCat(key.kind, " ", key.id, ": ", std::string(why.message())));
  };
  BERTH_ASSIGN_OR_RETURN(const StoreSnapshot snapshot, medium.Read(on_problem));
  report.epoch = snapshot.epoch;
  report.revision = snapshot.revision;
  for (const Record& record : snapshot.records) {
    report.requests += record.key.kind == kRequestKind ? 1 : 0;
  }
  const auto copy = std::make_shared<MemoryMedium>();
  BERTH_RETURN_IF_ERROR(copy->Write(snapshot, StoreMedium::IfExists::kReplace));
  BERTH_ASSIGN_OR_RETURN(const std::unique_ptr<Store> store, OpenMemoryStore(copy));
  WatchHub hub({.watchers = 0, .buffered_changes = 0});
  Fleet fleet({.store = store.get(),
               .clock = clock,
               .hub = &hub,
               .on_store_failed = nullptr,
               .on_broken_record = on_problem});
  BERTH_RETURN_IF_ERROR(fleet.Load());
  absl::MutexLock lock(&fleet.mu);
  report.assignments = fleet.assignments.size();
  report.hosts = static_cast<size_t>(
      std::count_if(fleet.hosts.begin(), fleet.hosts.end(),
                    [](const auto& host) { return host.second.conditions.empty(); }));
  for (std::string& twice : DoubleGrants(fleet)) report.problems.push_back(std::move(twice));
  const absl::Status sums = fleet.engine.Check();
  if (!sums.ok()) report.problems.emplace_back(sums.message());
  return report;
}

}  // namespace berth
