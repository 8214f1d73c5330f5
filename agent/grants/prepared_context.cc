// SPDX-License-Identifier: Apache-2.0
#include "agent/grants/prepared_context.h"

#include <algorithm>
#include <utility>

#include "lib/base/failpoint.h"
#include "lib/base/status.h"
#include "lib/iommufd/uapi/smmuv3.h"

namespace berth {
namespace {

template <typename T>
absl::Status Take(absl::StatusOr<T> made, std::string_view step, std::optional<T>* out) {
  if (!made.ok()) return WithMetadata(made.status(), "step", step);
  out->emplace(*std::move(made));
  return absl::OkStatus();
}

// What the kernel has no more needs no destroying.
absl::Status UnlessGone(absl::Status status) {
  const Reason reason = ReasonOf(status);
  if (reason == Reason::kNotFound || reason == Reason::kKernelGone) return absl::OkStatus();
  return status;
}

// What was pulled out cannot be reset, and nobody will meet it as it was left.
bool IsGone(const GrantDevice& device, const DeviceLookup& lookup) {
  return !lookup.FindDevice(device.id).has_value() && lookup.CheckKnown(device.unit).ok();
}

template <typename T>
absl::Status DestroyIfAny(std::optional<T>& object) {
  return object.has_value() ? UnlessGone(object->Destroy()) : absl::OkStatus();
}

}  // namespace

absl::StatusOr<BoundContext> BoundContext::Bind(KernelApi* kernel,
                                                std::span<const GrantDevice> devices,
                                                Context::LeakReporter on_leak) {
  BERTH_RETURN_IF_ERROR(HitFailpoint(Failpoint::kBindOpenContext));
  absl::StatusOr<Context> context = Context::Open(kernel, std::move(on_leak));
  if (!context.ok()) return WithMetadata(context.status(), "step", "open_context");
  BoundContext bound{*std::move(context), {}, {devices.begin(), devices.end()}};
  for (const GrantDevice& facts : devices) {
    BERTH_RETURN_IF_ERROR(HitFailpoint(Failpoint::kBindDevice));
    absl::StatusOr<Device> device = Device::Open(bound.context, facts.cdev);
    if (!device.ok()) {
      return WithMetadata(WithMetadata(device.status(), "step", "bind_device"), "device",
                          facts.id.str());
    }
    bound.devices.push_back(*std::move(device));
  }
  return bound;
}

absl::Status BoundContext::ResetDevices(const DeviceLookup& lookup) {
  for (size_t i = 0; i < devices.size(); ++i) {
    if (!facts[i].resettable) continue;
    const absl::Status status = UnlessGone(devices[i].Reset());
    if (!status.ok() && !IsGone(facts[i], lookup)) {
      return WithMetadata(WithMetadata(status, "step", "reset_device"), "device",
                          facts[i].id.str());
    }
  }
  return absl::OkStatus();
}

PreparedContext::PreparedContext(BoundContext bound, const GrantPlan& plan)
    : facts_(plan.devices), unit_of_(plan.devices.size()), bound_(std::move(bound)) {
  for (const GrantPlan::Unit& planned : plan.units) {
    Unit unit;
    unit.facts = planned.facts;
    unit.devices = planned.devices;
    unit.queues = planned.vcmdqs;
    for (const size_t device : planned.devices) unit_of_[device] = units_.size();
    units_.push_back(std::move(unit));
  }
}

PreparedContext::~PreparedContext() {
  // What is left after this goes with the last fd of the context.
  if (bound_.has_value()) Destroy().IgnoreError();
}

absl::StatusOr<std::unique_ptr<PreparedContext>> PreparedContext::Create(BoundContext bound,
                                                                         const GrantPlan& plan,
                                                                         uint32_t event_depth) {
  // The constructor is private: make_unique cannot call it.
  std::unique_ptr<PreparedContext> prepared(new PreparedContext(std::move(bound), plan));
  BERTH_RETURN_IF_ERROR(prepared->Build(event_depth));
  return prepared;
}

absl::Status PreparedContext::Build(uint32_t event_depth) {
  BERTH_RETURN_IF_ERROR(HitFailpoint(Failpoint::kPrepareAllocIoas));
  BERTH_RETURN_IF_ERROR(Take(Ioas::Create(bound_->context), "alloc_ioas", &ioas_));
  for (Unit& unit : units_) {
    if (absl::Status status = BuildUnit(unit, event_depth); !status.ok()) {
      return WithMetadata(status, "unit", unit.facts.id.str());
    }
  }
  BERTH_RETURN_IF_ERROR(HitFailpoint(Failpoint::kPrepareGetIovaRanges));
  absl::StatusOr<Ioas::IovaRanges> ranges = ioas_->GetIovaRanges();
  if (!ranges.ok()) return WithMetadata(ranges.status(), "step", "get_iova_ranges");
  iova_ranges_ = *std::move(ranges);
  return absl::OkStatus();
}

absl::Status PreparedContext::AskUnit(Unit& unit) {
  Device& first = devices()[unit.devices.front()];
  BERTH_RETURN_IF_ERROR(HitFailpoint(Failpoint::kPrepareGetHwInfo));
  absl::StatusOr<Device::SmmuInfo> smmu = first.GetSmmuInfo();
  if (!smmu.ok()) return WithMetadata(smmu.status(), "step", "get_hw_info");
  unit.smmu = *smmu;
  unit.max_queue_log2 = static_cast<uint32_t>(uapi::kIdr1Cmdqs.Get(smmu->smmu.idr[1]));
  if (unit.queues == 0) return absl::OkStatus();
  BERTH_RETURN_IF_ERROR(HitFailpoint(Failpoint::kPrepareGetCmdqvInfo));
  BERTH_RETURN_IF_ERROR(Take(first.GetCmdqvInfo(), "get_hw_info_cmdqv", &unit.cmdqv));
  unit.queues = std::min(unit.queues, 1U << std::min<unsigned>(unit.cmdqv->log2vcmdqs, 16));
  return absl::OkStatus();
}

absl::Status PreparedContext::BuildUnit(Unit& unit, uint32_t event_depth) {
  BERTH_RETURN_IF_ERROR(AskUnit(unit));
  Device& first = devices()[unit.devices.front()];
  const bool cmdqv = unit.queues > 0;
  BERTH_RETURN_IF_ERROR(HitFailpoint(Failpoint::kPrepareAllocParent));
  BERTH_RETURN_IF_ERROR(
      Take(Hwpt::CreateNestingParent(first, *ioas_), "alloc_nesting_parent", &unit.parent));
  const auto type = cmdqv ? Viommu::Type::kTegra241Cmdqv : Viommu::Type::kArmSmmuv3;
  BERTH_RETURN_IF_ERROR(HitFailpoint(Failpoint::kPrepareAllocViommu));
  BERTH_RETURN_IF_ERROR(
      Take(Viommu::Create(first, *unit.parent, type), "alloc_viommu", &unit.viommu));
  BERTH_RETURN_IF_ERROR(HitFailpoint(Failpoint::kPrepareAllocAbort));
  BERTH_RETURN_IF_ERROR(Take(Hwpt::CreateNested(first, *unit.viommu, uapi::kSteAbort),
                             "alloc_abort_hwpt", &unit.abort));
  BERTH_RETURN_IF_ERROR(HitFailpoint(Failpoint::kPrepareAllocBypass));
  BERTH_RETURN_IF_ERROR(Take(Hwpt::CreateNested(first, *unit.viommu, uapi::kSteBypass),
                             "alloc_bypass_hwpt", &unit.bypass));
  for (const auto events : {Veventq::Type::kArmSmmuv3, Veventq::Type::kTegra241Cmdqv}) {
    if (events == Veventq::Type::kTegra241Cmdqv && !cmdqv) continue;
    BERTH_RETURN_IF_ERROR(HitFailpoint(Failpoint::kPrepareAllocVeventq));
    absl::StatusOr<Veventq> queue = Veventq::Create(*unit.viommu, events, event_depth);
    if (!queue.ok()) return WithMetadata(queue.status(), "step", "alloc_veventq");
    unit.events.push_back(*std::move(queue));
  }
  for (const size_t device : unit.devices) {
    BERTH_RETURN_IF_ERROR(HitFailpoint(Failpoint::kPrepareAttachAbort));
    if (const auto attached = devices()[device].Attach(*unit.abort); !attached.ok()) {
      return WithMetadata(WithMetadata(attached.status(), "step", "attach_abort_hwpt"), "device",
                          facts_[device].id.str());
    }
  }
  return absl::OkStatus();
}

absl::Status PreparedContext::ResetDevices(const DeviceLookup& lookup) {
  BERTH_RETURN_IF_ERROR(HitFailpoint(Failpoint::kTeardownResetDevices));
  return bound_->ResetDevices(lookup);
}

absl::Status PreparedContext::DestroyUnit(Unit& unit) {
  BERTH_RETURN_IF_ERROR(HitFailpoint(Failpoint::kTeardownVeventqs));
  for (Veventq& queue : unit.events) BERTH_RETURN_IF_ERROR(UnlessGone(queue.Destroy()));
  BERTH_RETURN_IF_ERROR(HitFailpoint(Failpoint::kTeardownHwpts));
  BERTH_RETURN_IF_ERROR(DestroyIfAny(unit.bypass));
  BERTH_RETURN_IF_ERROR(DestroyIfAny(unit.abort));
  BERTH_RETURN_IF_ERROR(HitFailpoint(Failpoint::kTeardownViommu));
  return DestroyIfAny(unit.viommu);
}

absl::Status PreparedContext::Destroy() {
  if (!bound_.has_value()) return absl::OkStatus();
  BERTH_RETURN_IF_ERROR(HitFailpoint(Failpoint::kTeardownDetach));
  // Detached from everything a device is blocked (Linux drivers/vfio/iommufd.c), and the abort HWPT
  // is free to go.
  for (Device& device : devices()) BERTH_RETURN_IF_ERROR(UnlessGone(device.Detach()));
  for (Unit& unit : units_) {
    if (absl::Status status = DestroyUnit(unit); !status.ok()) {
      return WithMetadata(status, "unit", unit.facts.id.str());
    }
  }
  BERTH_RETURN_IF_ERROR(HitFailpoint(Failpoint::kTeardownClose));
  bound_->devices.clear();
  BERTH_RETURN_IF_ERROR(HitFailpoint(Failpoint::kTeardownParents));
  for (Unit& unit : units_) BERTH_RETURN_IF_ERROR(DestroyIfAny(unit.parent));
  BERTH_RETURN_IF_ERROR(HitFailpoint(Failpoint::kTeardownIoas));
  return DestroyIfAny(ioas_);
}

void PreparedContext::Abandon() {
  for (Unit& unit : units_) {
    for (Veventq& queue : unit.events) std::ignore = queue.Forget();
    for (auto* hwpt : {&unit.bypass, &unit.abort, &unit.parent}) {
      if (hwpt->has_value()) std::ignore = (*hwpt)->Forget();
    }
    if (unit.viommu.has_value()) std::ignore = unit.viommu->Forget();
  }
  units_.clear();
  if (ioas_.has_value()) std::ignore = ioas_->Forget();
  ioas_.reset();
  bound_.reset();
}

absl::Status PreparedContext::CheckAlive() const {
  const absl::Status status = ioas_->GetIovaRanges().status();
  return ReasonOf(status) == Reason::kKernelGone ? status : absl::OkStatus();
}

}  // namespace berth
