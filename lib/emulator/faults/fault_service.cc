// SPDX-License-Identifier: Apache-2.0
#include "lib/emulator/faults/fault_service.h"

#include <grpcpp/server_context.h>
#include <grpcpp/support/server_callback.h>

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "lib/base/status.h"
#include "lib/config/duration.h"
#include "lib/iommufd/uapi/ops.h"
#include "lib/rpc/error.h"

namespace berth::emulator {
namespace {

namespace pb = berth::internal::v1;

// The kinds that name a unit and nothing else.
struct UnitKind {
  FaultKind kind;
  pb::Fault::KindCase kind_case;
  const pb::UnitFault& (pb::Fault::*get)() const;
  pb::UnitFault* (pb::Fault::*mutable_get)();
};
constexpr UnitKind kUnitKinds[] = {
    {FaultKind::kAtcTimeout, pb::Fault::kAtcTimeout, &pb::Fault::atc_timeout,
     &pb::Fault::mutable_atc_timeout},
    {FaultKind::kStuckStatus, pb::Fault::kStuckStatus, &pb::Fault::stuck_status,
     &pb::Fault::mutable_stuck_status},
    {FaultKind::kLostEvent, pb::Fault::kLostEvent, &pb::Fault::lost_event,
     &pb::Fault::mutable_lost_event},
    {FaultKind::kNonContiguous, pb::Fault::kNonContiguous, &pb::Fault::non_contiguous,
     &pb::Fault::mutable_non_contiguous},
};

absl::Status Invalid(const char* field, const std::string& why) {
  return Error(Reason::kInvalidField, absl::StrCat(field, ": ", why), {{"field", field}});
}

template <size_t n>
uapi::Request RequestOf(const uapi::Op (&ops)[n], const std::string& name) {
  const auto* found = std::ranges::find(ops, name, &uapi::Op::name);
  return found != std::end(ops) ? found->request : 0;
}

absl::Status IoctlFromProto(const pb::IoctlFault& fault, FaultSpec* spec) {
  spec->request = RequestOf(uapi::kIommuOps, fault.request());
  if (spec->request == 0) spec->request = RequestOf(uapi::kVfioOps, fault.request());
  if (spec->request == 0) {
    return Invalid("ioctl.request", absl::StrCat("no ioctl has the name \"", fault.request(),
                                                 "\"; one is HW_QUEUE_ALLOC"));
  }
  if (!fault.error().empty()) {
    constexpr int kNamed = 134;  // as far as Linux gives names
    for (int error = 1; error < kNamed && spec->error == 0; ++error) {
      if (ErrnoName(error) == fault.error()) spec->error = error;
    }
    if (spec->error == 0) {
      return Invalid("ioctl.error",
                     absl::StrCat("no errno has the name \"", fault.error(), "\"; one is ENOSPC"));
    }
  }
  spec->delay = FromProtoDuration(fault.delay());
  return absl::OkStatus();
}

grpc::ServerUnaryReactor* Answer(grpc::CallbackServerContext* context, const absl::Status& status) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(ToGrpcStatus(status));
  return reactor;
}

}  // namespace

absl::StatusOr<FaultSpec> FaultFromProto(const pb::Fault& fault) {
  FaultSpec spec;
  spec.skip = fault.skip();
  spec.count = fault.count();
  switch (fault.kind_case()) {
    case pb::Fault::kIoctl:
      BERTH_RETURN_IF_ERROR(IoctlFromProto(fault.ioctl(), &spec));
      return spec;
    case pb::Fault::kDeviceGone:
      spec.kind = FaultKind::kDeviceGone;
      spec.subject = fault.device_gone().device();
      return spec;
    case pb::Fault::KIND_NOT_SET:
      return Error(Reason::kMissingField, "kind: say what goes wrong", {{"field", "kind"}});
    default:
      break;
  }
  for (const UnitKind& kind : kUnitKinds) {
    if (kind.kind_case != fault.kind_case()) continue;
    spec.kind = kind.kind;
    spec.subject = (fault.*kind.get)().unit();
  }
  return spec;
}

pb::Fault FaultToProto(const ArmedFault& fault) {
  pb::Fault proto;
  proto.set_id(fault.id);
  proto.set_skip(fault.spec.skip);
  proto.set_count(fault.spec.count);
  proto.set_met(fault.met);
  proto.set_struck(fault.struck);
  if (fault.spec.kind == FaultKind::kIoctl) {
    pb::IoctlFault* ioctl = proto.mutable_ioctl();
    ioctl->set_request(std::string(uapi::RequestName(fault.spec.request)));
    if (fault.spec.error != 0) ioctl->set_error(ErrnoName(fault.spec.error));
    if (fault.spec.delay > absl::ZeroDuration()) {
      *ioctl->mutable_delay() = ToProtoDuration(fault.spec.delay);
    }
  }
  if (fault.spec.kind == FaultKind::kDeviceGone) {
    proto.mutable_device_gone()->set_device(fault.spec.subject);
  }
  for (const UnitKind& kind : kUnitKinds) {
    if (kind.kind == fault.spec.kind) (proto.*kind.mutable_get)()->set_unit(fault.spec.subject);
  }
  return proto;
}

absl::Status FaultService::CheckSubject(const FaultSpec& spec) const {
  if (spec.subject.empty()) return absl::OkStatus();
  if (spec.kind == FaultKind::kDeviceGone) {
    const bool known = std::ranges::any_of(host_.devices, [&](const DeviceSpec& device) {
      return device.address.ToString() == spec.subject;
    });
    return known ? absl::OkStatus()
                 : Invalid("device_gone.device",
                           absl::StrCat("the host has no device \"", spec.subject, "\""));
  }
  const bool known = std::ranges::any_of(
      host_.units, [&](const UnitSpec& unit) { return unit.id == spec.subject; });
  return known ? absl::OkStatus()
               : Invalid("unit", absl::StrCat("the host has no unit \"", spec.subject, "\""));
}

absl::Status FaultService::Create(const pb::Fault& fault, pb::Fault* response) const {
  BERTH_ASSIGN_OR_RETURN(const FaultSpec spec, FaultFromProto(fault));
  BERTH_RETURN_IF_ERROR(CheckSubject(spec));
  BERTH_ASSIGN_OR_RETURN(const uint64_t id, plan_.Add(spec));
  *response = FaultToProto({.id = id, .spec = spec});
  return on_change_();
}

grpc::ServerUnaryReactor* FaultService::CreateFault(grpc::CallbackServerContext* context,
                                                    const pb::CreateFaultRequest* request,
                                                    pb::Fault* response) {
  return Answer(context, Create(request->fault(), response));
}

grpc::ServerUnaryReactor* FaultService::ListFaults(grpc::CallbackServerContext* context,
                                                   const pb::ListFaultsRequest* /*request*/,
                                                   pb::ListFaultsResponse* response) {
  for (const ArmedFault& fault : plan_.List()) *response->add_faults() = FaultToProto(fault);
  return Answer(context, absl::OkStatus());
}

grpc::ServerUnaryReactor* FaultService::DeleteFault(grpc::CallbackServerContext* context,
                                                    const pb::DeleteFaultRequest* request,
                                                    google::protobuf::Empty* /*response*/) {
  absl::Status status = plan_.Remove(request->id());
  if (status.ok()) status = on_change_();
  return Answer(context, status);
}

grpc::ServerUnaryReactor* FaultService::ClearFaults(grpc::CallbackServerContext* context,
                                                    const pb::ClearFaultsRequest* /*request*/,
                                                    pb::ClearFaultsResponse* response) {
  response->set_cleared(static_cast<uint32_t>(plan_.Clear()));
  return Answer(context, on_change_());
}

}  // namespace berth::emulator
