// SPDX-License-Identifier: Apache-2.0
//
// Linux drivers/iommu/iommufd/eventq.c: the allocation of event queues.
#include <cerrno>

#include "lib/emulator/kernel/ops.h"

namespace berth::emulator {
namespace {

// iommufd_eventq_init(): get_unused_fd_flags().
bool HasNoFd(const Ucmd& ucmd) { return (ucmd.user.flags() & kNoFdLeft) != 0; }

}  // namespace

int VeventqAlloc(Ucmd& ucmd) {
  auto& cmd = ucmd.As<uapi::IommuVeventqAlloc>();
  if (cmd.flags != 0 || cmd.reserved != 0 || cmd.type == uapi::kVeventqTypeDefault) {
    return -EOPNOTSUPP;
  }
  if (cmd.veventq_depth == 0 || cmd.veventq_depth > uapi::kVeventqMaxDepth) return -EINVAL;
  Viommu* viommu = ucmd.context.Find<Viommu>(cmd.viommu_id);
  if (viommu == nullptr) return -ENOENT;
  if (viommu->veventqs.contains(cmd.type)) return -EEXIST;
  NewObject<Veventq> queue(&ucmd.context);
  if (queue.error() != 0) return queue.error();
  queue->viommu = Pin<Viommu>(viommu);
  queue->event_type = cmd.type;
  queue->depth = cmd.veventq_depth;
  viommu->veventqs[cmd.type] = queue.get();
  if (HasNoFd(ucmd)) return -EMFILE;
  cmd.out_veventq_id = queue->id;
  if (int rc = ucmd.user.Respond(); rc != 0) return rc;
  UniqueFd fd;
  if (int rc = ucmd.open_events(queue.get(), &fd); rc != 0) return rc;
  ucmd.user.ReturnFd(std::move(fd), offsetof(uapi::IommuVeventqAlloc, out_veventq_fd));
  queue.Install();
  return 0;
}

int FaultQueueAlloc(Ucmd& ucmd) {
  auto& cmd = ucmd.As<uapi::IommuFaultAlloc>();
  if (cmd.flags != 0) return -EOPNOTSUPP;
  NewObject<Fault> fault(&ucmd.context);
  if (fault.error() != 0) return fault.error();
  if (HasNoFd(ucmd)) return -EMFILE;
  cmd.out_fault_id = fault->id;
  if (int rc = ucmd.user.Respond(); rc != 0) return rc;
  UniqueFd fd;
  if (int rc = ucmd.open_events(fault.get(), &fd); rc != 0) return rc;
  ucmd.user.ReturnFd(std::move(fd), offsetof(uapi::IommuFaultAlloc, out_fault_fd));
  fault.Install();
  return 0;
}

}  // namespace berth::emulator
