// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_LIB_EMULATOR_FAULTS_FAULT_SERVICE_H_
#define BERTH_LIB_EMULATOR_FAULTS_FAULT_SERVICE_H_

#include <functional>

#include "absl/status/statusor.h"
#include "berth/internal/v1/emulator_faults.grpc.pb.h"
#include "lib/emulator/faults/fault_plan.h"
#include "lib/emulator/host_spec.h"

namespace berth::emulator {

// berth.internal.v1.EmulatorFaults over the plan of the emulated `host`; both must outlive it.
// `on_change` is called after each change of the plan, on any thread and on several at once; what
// it returns is the answer to who asked for the change. Thread-safe.
class FaultService : public berth::internal::v1::EmulatorFaults::CallbackService {
 public:
  FaultService(const HostSpec* host, FaultPlan* plan, std::function<absl::Status()> on_change)
      : host_(*host), plan_(*plan), on_change_(std::move(on_change)) {}

  grpc::ServerUnaryReactor* CreateFault(grpc::CallbackServerContext* context,
                                        const berth::internal::v1::CreateFaultRequest* request,
                                        berth::internal::v1::Fault* response) override;
  grpc::ServerUnaryReactor* ListFaults(grpc::CallbackServerContext* context,
                                       const berth::internal::v1::ListFaultsRequest* request,
                                       berth::internal::v1::ListFaultsResponse* response) override;
  grpc::ServerUnaryReactor* DeleteFault(grpc::CallbackServerContext* context,
                                        const berth::internal::v1::DeleteFaultRequest* request,
                                        google::protobuf::Empty* response) override;
  grpc::ServerUnaryReactor* ClearFaults(
      grpc::CallbackServerContext* context, const berth::internal::v1::ClearFaultsRequest* request,
      berth::internal::v1::ClearFaultsResponse* response) override;

 private:
  absl::Status Create(const berth::internal::v1::Fault& fault,
                      berth::internal::v1::Fault* response) const;
  // Whether the host has what the fault is for. INVALID_FIELD.
  [[nodiscard]] absl::Status CheckSubject(const FaultSpec& spec) const;

  const HostSpec& host_;
  FaultPlan& plan_;
  const std::function<absl::Status()> on_change_;
};

// INVALID_FIELD, MISSING_FIELD with metadata "field". FaultPlan::Add() checks the rest.
absl::StatusOr<FaultSpec> FaultFromProto(const berth::internal::v1::Fault& fault);
berth::internal::v1::Fault FaultToProto(const ArmedFault& fault);

}  // namespace berth::emulator

#endif  // BERTH_LIB_EMULATOR_FAULTS_FAULT_SERVICE_H_
