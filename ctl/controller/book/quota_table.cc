// SPDX-License-Identifier: Apache-2.0
#include "ctl/controller/book/quota_table.h"

#include "absl/strings/str_cat.h"
#include "ctl/controller/book/request_table.h"
#include "lib/base/status.h"

namespace berth {
namespace {

// Records of before devices said their class have the request's.
std::string ClassOf(const v1::DevicePlacement& device, const v1::AssignmentSpec& spec) {
  if (!device.class_().empty()) return device.class_();
  for (const v1::DeviceRequest& request : spec.device_requests()) {
    if (request.name() == device.request()) return request.class_();
  }
  return "";
}

struct Limit {
  std::string name;
  int64_t max = 0;
  int64_t used = 0;
  int64_t wanted = 0;
};

absl::Status CheckLimit(const std::string& owner, const Limit& limit) {
  if (limit.wanted <= 0 || limit.used + limit.wanted <= limit.max) return absl::OkStatus();
  return Error(Reason::kQuotaExceeded,
               absl::StrCat("the quota of ", owner, " has ", limit.max, " ", limit.name,
                            ", of which ", limit.used, " are used; this takes ", limit.wanted),
               {{"owner", owner},
                {"limit", limit.name},
                {"max", std::to_string(limit.max)},
                {"used", std::to_string(limit.used)},
                {"wanted", std::to_string(limit.wanted)}});
}

int64_t CountOf(const QuotaUse& use, const std::string& device_class) {
  const auto it = use.devices.find(device_class);
  return it == use.devices.end() ? 0 : it->second;
}

}  // namespace

QuotaUse& QuotaUse::operator+=(const QuotaUse& other) {
  vintfs += other.vintfs;
  for (const auto& [device_class, count] : other.devices) devices[device_class] += count;
  return *this;
}

QuotaUse& QuotaUse::operator-=(const QuotaUse& other) {
  vintfs -= other.vintfs;
  for (const auto& [device_class, count] : other.devices) {
    if ((devices[device_class] -= count) == 0) devices.erase(device_class);
  }
  return *this;
}

QuotaUse UseOf(const v1::Assignment& assignment) {
  QuotaUse use;
  for (const v1::UnitPlacement& unit : assignment.placement().units()) {
    ++use.vintfs;
    for (const v1::DevicePlacement& device : unit.devices()) {
      ++use.devices[ClassOf(device, assignment.spec())];
    }
  }
  return use;
}

void QuotaTable::Add(const std::string& owner, const QuotaUse& use) {
  if (use.vintfs > 0) used_[owner] += use;
}

void QuotaTable::Remove(const std::string& owner, const QuotaUse& use) {
  const auto it = used_.find(owner);
  if (it == used_.end()) return;
  it->second -= use;
  if (it->second.vintfs == 0) used_.erase(it);
}

QuotaUse QuotaTable::UsedBy(const std::string& owner) const {
  const auto it = used_.find(owner);
  return it == used_.end() ? QuotaUse() : it->second;
}

absl::Status QuotaTable::Check(const std::string& owner, const QuotaUse& more) const {
  const std::string id = OwnerElement(owner);
  const bool grows = more.vintfs > 0;
  if (grows && unreadable.count(id) > 0) {
    return Error(Reason::kQuotaExceeded,
                 absl::StrCat("the quota of ", owner,
                              " cannot be read from the store: set it again, or delete it"),
                 {{"owner", owner}});
  }
  const auto entry = entries.find(id);
  if (entry == entries.end() || entry->second.latest == nullptr) return absl::OkStatus();
  const v1::Quota& quota = entry->second.latest->quota();
  const QuotaUse used = UsedBy(owner);
  if (quota.has_max_vintfs()) {
    BERTH_RETURN_IF_ERROR(
        CheckLimit(owner, {"vintfs", quota.max_vintfs(), used.vintfs, more.vintfs}));
  }
  for (const auto& [device_class, max] : quota.max_devices()) {
    BERTH_RETURN_IF_ERROR(
        CheckLimit(owner, {absl::StrCat("devices/", device_class), max, CountOf(used, device_class),
                           CountOf(more, device_class)}));
  }
  return absl::OkStatus();
}

}  // namespace berth
