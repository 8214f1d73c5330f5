// SPDX-License-Identifier: Apache-2.0
//
// The part of PreparedContext that outlives the agent: into the journal, and back.
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "agent/grants/grant_record.h"
#include "agent/grants/prepared_context.h"
#include "lib/base/status.h"
#include "lib/iommufd/uapi/smmuv3.h"

namespace berth {
namespace {

using internal::v1::JournaledGrant;
using internal::v1::JournaledUnit;
using internal::v1::JournaledVeventq;

std::string DeviceRole(size_t device) { return absl::StrCat("device", device); }
std::string EventsRole(size_t unit, size_t queue) {
  return absl::StrCat("events", unit, "-", queue);
}

absl::StatusOr<UniqueFd> TakeFd(const std::string& role, std::map<std::string, UniqueFd>* fds) {
  const auto known = fds->find(role);
  if (known != fds->end()) return std::move(known->second);
  return Error(Reason::kNotFound, absl::StrCat("the service manager has not kept the fd ", role),
               {{"step", "adopt"}, {"fd", role}});
}

absl::Status CheckObjects(const JournaledGrant& record) {
  bool complete = record.ioas() != 0;
  for (const auto& device : record.devices()) complete = complete && device.object() != 0;
  for (const JournaledUnit& unit : record.units()) {
    complete = complete && unit.nesting_parent() != 0 && unit.viommu() != 0 &&
               unit.abort_hwpt() != 0 && unit.bypass_hwpt() != 0;
  }
  if (complete) return absl::OkStatus();
  return Error(Reason::kStoreCorrupt, "the journal lacks an object of the context");
}

}  // namespace

void PreparedContext::WriteTo(JournaledGrant* record) const {
  record->set_ioas(ioas_->id());
  for (size_t i = 0; i < devices().size(); ++i) {
    auto* device = record->add_devices();
    WriteDevice(facts_[i], device);
    device->set_object(devices()[i].id());
  }
  for (const Unit& unit : units_) {
    JournaledUnit* written = record->add_units();
    WriteUnit(unit.facts, written);
    written->set_vcmdqs(unit.queues);
    for (const size_t device : unit.devices) written->add_devices(static_cast<uint32_t>(device));
    written->set_nesting_parent(unit.parent->id());
    written->set_viommu(unit.viommu->id());
    written->set_page0_offset(unit.viommu->page0().offset);
    written->set_page0_length(unit.viommu->page0().length);
    written->set_abort_hwpt(unit.abort->id());
    written->set_bypass_hwpt(unit.bypass->id());
    for (const Veventq& events : unit.events) {
      JournaledVeventq* queue = written->add_veventqs();
      queue->set_object(events.id());
      queue->set_type(static_cast<uint32_t>(events.type()));
    }
  }
}

std::vector<Keeper::Fd> PreparedContext::Fds() const {
  std::vector<Keeper::Fd> fds = {{kContextRole, bound_->context.fd()}};
  for (size_t i = 0; i < devices().size(); ++i) fds.push_back({DeviceRole(i), devices()[i].fd()});
  for (size_t unit = 0; unit < units_.size(); ++unit) {
    for (size_t queue = 0; queue < units_[unit].events.size(); ++queue) {
      fds.push_back({EventsRole(unit, queue), units_[unit].events[queue].fd()});
    }
  }
  return fds;
}

absl::StatusOr<std::unique_ptr<PreparedContext>> PreparedContext::Adopt(
    KernelApi* kernel, const JournaledGrant& record, std::map<std::string, UniqueFd>* fds) {
  BERTH_ASSIGN_OR_RETURN(const GrantPlan plan, ReadPlan(record));
  BERTH_RETURN_IF_ERROR(CheckObjects(record));
  BERTH_ASSIGN_OR_RETURN(UniqueFd context, TakeFd(kContextRole, fds));
  BoundContext bound{Context::Adopt(kernel, std::move(context)), {}, plan.devices};
  for (size_t i = 0; i < plan.devices.size(); ++i) {
    BERTH_ASSIGN_OR_RETURN(UniqueFd cdev, TakeFd(DeviceRole(i), fds));
    const auto number = static_cast<int>(i);
    bound.devices.push_back(Device::Adopt(bound.context, std::move(cdev),
                                          record.devices(number).object(), plan.devices[i].cdev));
  }
  std::unique_ptr<PreparedContext> adopted(new PreparedContext(std::move(bound), plan));
  absl::Status status = adopted->AdoptObjects(record, fds);
  // What is not ours to destroy after all.
  if (!status.ok()) {
    adopted->Abandon();
    return status;
  }
  return adopted;
}

absl::Status PreparedContext::AdoptObjects(const JournaledGrant& record,
                                           std::map<std::string, UniqueFd>* fds) {
  const Context& context = bound_->context;
  ioas_.emplace(Ioas::Adopt(context, record.ioas()));
  for (size_t i = 0; i < units_.size(); ++i) {
    const JournaledUnit& known = record.units(static_cast<int>(i));
    Unit& unit = units_[i];
    unit.parent.emplace(Hwpt::Adopt(context, known.nesting_parent()));
    unit.viommu.emplace(Viommu::Adopt(
        context, known.viommu(), {.offset = known.page0_offset(), .length = known.page0_length()}));
    unit.abort.emplace(Hwpt::Adopt(context, known.abort_hwpt()));
    unit.bypass.emplace(Hwpt::Adopt(context, known.bypass_hwpt()));
    for (int queue = 0; queue < known.veventqs_size(); ++queue) {
      const JournaledVeventq& events = known.veventqs(queue);
      BERTH_ASSIGN_OR_RETURN(UniqueFd fd, TakeFd(EventsRole(i, static_cast<size_t>(queue)), fds));
      unit.events.push_back(Veventq::Adopt(context, events.object(), std::move(fd),
                                           static_cast<Veventq::Type>(events.type())));
    }
  }
  for (Unit& unit : units_) BERTH_RETURN_IF_ERROR(AskUnit(unit));
  BERTH_ASSIGN_OR_RETURN(iova_ranges_, ioas_->GetIovaRanges());
  return absl::OkStatus();
}

}  // namespace berth
