// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "berth/v1/capacity_service.grpc.pb.h"
#include "ctl/controller/api/services.h"
#include "ctl/controller/api/unary.h"
#include "ctl/controller/book/convert.h"

namespace berth {
namespace {

// Adds hosts up.
class Sum {
 public:
  explicit Sum(bool include_units) : include_units_(include_units) {}

  void Add(const v1::Host& host) {
    const bool open = host.state() == v1::Host::READY && !host.cordoned() && !host.draining();
    Count(capacity_.mutable_hosts(), 1, open ? 1 : 0);
    std::set<std::string> with_vintf;
    std::map<std::string, v1::UnitCapacity> units;
    for (const v1::Unit& unit : host.units()) {
      const int64_t free = std::max(0, unit.vintfs() - unit.used_vintfs());
      if (unit.profile() == v1::Unit::TEGRA241_CMDQV) {
        Count(capacity_.mutable_vintfs(), unit.vintfs(), open ? free : 0);
      }
      // Units without VINTFs are limited by their devices alone.
      if (free > 0 || unit.profile() == v1::Unit::VTD) with_vintf.insert(unit.id());
      v1::UnitCapacity& shown = units[unit.id()];
      shown.set_host(host.name());
      shown.set_unit(unit.id());
      Count(shown.mutable_vintfs(), unit.vintfs(), open ? free : 0);
    }
    for (const v1::Device& device : host.devices()) {
      const bool free = open && device.assignable() && device.assignment().empty();
      const bool reachable = free && with_vintf.count(device.unit()) > 0;
      v1::ClassCapacity& of_class = classes_[device.class_()];
      of_class.set_class_(device.class_());
      Count(of_class.mutable_devices(), 1, free ? 1 : 0);
      of_class.set_reachable(of_class.reachable() + (reachable ? 1 : 0));
      free_ += free ? 1 : 0;
      stranded_ += free && !reachable ? 1 : 0;
      const auto unit = units.find(device.unit());
      if (unit != units.end()) Count(unit->second.mutable_devices(), 1, free ? 1 : 0);
    }
    if (!include_units_) return;
    for (auto& [id, unit] : units) *capacity_.add_units() = std::move(unit);
  }

  v1::Capacity Take() {
    for (auto& [name, of_class] : classes_) *capacity_.add_classes() = std::move(of_class);
    if (free_ > 0) capacity_.set_stranded_device_ratio(static_cast<double>(stranded_) / free_);
    return std::move(capacity_);
  }

 private:
  static void Count(v1::Amount* amount, int64_t total, int64_t free) {
    amount->set_total(amount->total() + total);
    amount->set_free(amount->free() + free);
  }

  const bool include_units_;
  v1::Capacity capacity_;
  std::map<std::string, v1::ClassCapacity> classes_;
  double free_ = 0;
  double stranded_ = 0;
};

class CapacityService : public v1::CapacityService::CallbackService {
 public:
  CapacityService(const Authoriser* authoriser, Fleet* fleet)
      : authoriser_(*authoriser), fleet_(fleet) {}

  grpc::ServerUnaryReactor* GetCapacity(grpc::CallbackServerContext* context,
                                        const v1::GetCapacityRequest* request,
                                        v1::Capacity* response) override {
    return RunUnaryNow<v1::Capacity>(context, authoriser_, "/berth.v1.CapacityService/GetCapacity",
                                     response, [&] { return Count(*request); });
  }

 private:
  absl::StatusOr<v1::Capacity> Count(const v1::GetCapacityRequest& request) {
    Sum sum(request.include_units());
    bool found = request.host().empty();
    absl::MutexLock lock(&fleet_->mu);
    for (const auto& [id, host] : fleet_->hosts) {
      if (host.committed == nullptr) continue;
      if (!request.host().empty() && HostName(id) != request.host()) continue;
      found = true;
      sum.Add(fleet_->Render(id, host, v1::FULL));
    }
    if (!found) {
      return Error(Reason::kNotFound, absl::StrCat(request.host().substr(0, 80), " does not exist"),
                   {{"name", request.host().substr(0, 80)}});
    }
    return sum.Take();
  }

  const Authoriser& authoriser_;
  Fleet* const fleet_;
};

}  // namespace

std::unique_ptr<grpc::Service> MakeCapacityService(const Authoriser* authoriser, Fleet* fleet) {
  return std::make_unique<CapacityService>(authoriser, fleet);
}

}  // namespace berth
