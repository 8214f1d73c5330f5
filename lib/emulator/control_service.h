// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_LIB_EMULATOR_CONTROL_SERVICE_H_
#define BERTH_LIB_EMULATOR_CONTROL_SERVICE_H_

#include "berth/internal/v1/emulator_control.grpc.pb.h"
#include "lib/emulator/kernel/kernel.h"

namespace berth::emulator {

berth::internal::v1::EmulatorStats StatsToProto(const Snapshot& snapshot);

// berth.internal.v1.EmulatorControl over a kernel, which must outlive it. Thread-safe.
class ControlService : public berth::internal::v1::EmulatorControl::CallbackService {
 public:
  explicit ControlService(const Kernel* kernel) : kernel_(*kernel) {}
  grpc::ServerUnaryReactor* GetStats(grpc::CallbackServerContext* context,
                                     const berth::internal::v1::GetStatsRequest* request,
                                     berth::internal::v1::EmulatorStats* response) override;

 private:
  const Kernel& kernel_;
};

}  // namespace berth::emulator

#endif  // BERTH_LIB_EMULATOR_CONTROL_SERVICE_H_
