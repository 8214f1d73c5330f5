// SPDX-License-Identifier: Apache-2.0
//
// Event queues. Linux drivers/iommu/iommufd/eventq.c.
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <cerrno>

#include "tests/conformance/kernel_api_suite.h"

namespace berth::conformance {

TEST_P(KernelApiSuite, VeventqAllocChecksInOrder) {
  const Vm vm = NewVm();
  const uint32_t viommu = NewViommu(vm);
  auto valid = Sized<uapi::IommuVeventqAlloc>();
  valid.viommu_id = viommu;
  valid.type = uapi::kVeventqTypeTegra241Cmdqv;
  valid.veventq_depth = 1;
  using Arg = uapi::IommuVeventqAlloc;
  ExpectPrecedence<Arg>(
      vm.context, uapi::kIommuVeventqAlloc, valid,
      {{"flags", [](Arg& a) { a.flags = 1; }, EOPNOTSUPP},
       {"reserved", [](Arg& a) { a.reserved = 1; }, EOPNOTSUPP},
       {"type 0", [](Arg& a) { a.type = uapi::kVeventqTypeDefault; }, EOPNOTSUPP},
       {"depth 0", [](Arg& a) { a.veventq_depth = 0; }, EINVAL},
       {"too deep", [](Arg& a) { a.veventq_depth = uapi::kVeventqMaxDepth + 1; }, EINVAL},
       {"no such vIOMMU", [](Arg& a) { a.viommu_id = kStaleId; }, ENOENT},
       {"not a vIOMMU", [&](Arg& a) { a.viommu_id = vm.parent; }, ENOENT}});
  const NewEventQueue smmu = NewVeventq(vm, viommu, uapi::kVeventqTypeArmSmmuv3);
  const NewEventQueue cmdqv = NewVeventq(vm, viommu, uapi::kVeventqTypeTegra241Cmdqv);
  auto arg = valid;
  EXPECT_EQ(Call(vm.context, uapi::kIommuVeventqAlloc, arg), -EEXIST) << "one of a type";
}

TEST_P(KernelApiSuite, EmptyEventQueueReadsNothing) {
  const Vm vm = NewVm();
  const NewEventQueue queue = NewVeventq(vm, NewViommu(vm), uapi::kVeventqTypeTegra241Cmdqv);
  EXPECT_EQ(::fcntl(queue.fd.get(), F_GETFD), FD_CLOEXEC);
  char buffer[64];
  EXPECT_EQ(kernel().ReadEvents(queue.fd.get(), buffer, sizeof(buffer)), 0);
  EXPECT_EQ(kernel().ReadEvents(queue.fd.get(), buffer, 7), -EINVAL) << "less than a header";
  pollfd poll = {queue.fd.get(), POLLIN, 0};
  EXPECT_EQ(::poll(&poll, 1, 0), 0) << poll.revents;
}

TEST_P(KernelApiSuite, OpenEventFdIsEbusy) {
  const Vm vm = NewVm();
  NewEventQueue queue = NewVeventq(vm, NewViommu(vm), uapi::kVeventqTypeArmSmmuv3);
  UniqueFd dup(::fcntl(queue.fd.get(), F_DUPFD_CLOEXEC, 0));
  EXPECT_EQ(Destroy(vm.context, queue.id), -EBUSY);
  queue.fd.Reset();
  EXPECT_EQ(Destroy(vm.context, queue.id), -EBUSY) << "a dup is open";
  dup.Reset();
  EXPECT_EQ(Destroy(vm.context, queue.id), 0);
}

// iommufd_veventq_alloc(): the driver is not asked about the type.
TEST_P(KernelApiSuite, VeventqTypesAreNotChecked) {
  const Vm vm = NewVm();
  const uint32_t first = NewViommu(vm);
  const uint32_t second = NewPlainViommu(vm);
  const NewEventQueue unknown = NewVeventq(vm, first, 0xdeadbeef);
  auto again = VeventqArg(first, 0xdeadbeef);
  EXPECT_EQ(Call(vm.context, uapi::kIommuVeventqAlloc, again), -EEXIST);
  const NewEventQueue elsewhere = NewVeventq(vm, second, 0xdeadbeef);
  auto deepest = VeventqArg(second, uapi::kVeventqTypeArmSmmuv3);
  deepest.veventq_depth = uapi::kVeventqMaxDepth;
  EXPECT_EQ(Call(vm.context, uapi::kIommuVeventqAlloc, deepest), 0);
  const UniqueFd fd(deepest.out_veventq_fd);
}

TEST_P(KernelApiSuite, DestroyedVeventqFreesItsType) {
  const Vm vm = NewVm();
  const uint32_t viommu = NewViommu(vm);
  for (int i = 0; i < 3; ++i) {
    NewEventQueue queue = NewVeventq(vm, viommu, uapi::kVeventqTypeArmSmmuv3);
    EXPECT_EQ(queue.id, viommu + 1);
    queue.fd.Reset();
    EXPECT_EQ(Destroy(vm.context, queue.id), 0);
  }
}

// iommufd_veventq_fops_read(), iommufd_eventq_fops_poll().
TEST_P(KernelApiSuite, EventFdIsNoOrdinaryFile) {
  const Vm vm = NewVm();
  const NewEventQueue queue = NewVeventq(vm, NewViommu(vm), uapi::kVeventqTypeArmSmmuv3);
  std::vector<char> large(1 << 20);
  EXPECT_EQ(kernel().ReadEvents(queue.fd.get(), large.data(), large.size()), 0);
  EXPECT_EQ(kernel().ReadEvents(queue.fd.get(), large.data(), 8), 0);
  EXPECT_EQ(kernel().ReadEvents(queue.fd.get(), large.data(), 1), -EINVAL);
  EXPECT_EQ(::pread(queue.fd.get(), large.data(), 64, 8), -1);
  EXPECT_EQ(errno, ESPIPE);
  pollfd poll = {queue.fd.get(), POLLIN | POLLOUT, 0};
  EXPECT_EQ(::poll(&poll, 1, 0), 0) << poll.revents;
}

// Each type has a queue, an id and an fd of its own.
TEST_P(KernelApiSuite, EventQueuesGoInAnyOrder) {
  const Vm vm = NewVm();
  const uint32_t viommu = NewViommu(vm);
  NewEventQueue smmu = NewVeventq(vm, viommu, uapi::kVeventqTypeArmSmmuv3);
  NewEventQueue cmdqv = NewVeventq(vm, viommu, uapi::kVeventqTypeTegra241Cmdqv);
  EXPECT_EQ(cmdqv.id, smmu.id + 1);
  smmu.fd.Reset();
  EXPECT_EQ(Destroy(vm.context, smmu.id), 0);
  EXPECT_EQ(Destroy(vm.context, cmdqv.id), -EBUSY);
  EXPECT_EQ(Destroy(vm.context, viommu), -EBUSY);
  cmdqv.fd.Reset();
  EXPECT_EQ(Destroy(vm.context, viommu), -EBUSY) << "the queue itself";
  EXPECT_EQ(Destroy(vm.context, cmdqv.id), 0);
  EXPECT_EQ(Destroy(vm.context, viommu), 0);
}

}  // namespace berth::conformance
