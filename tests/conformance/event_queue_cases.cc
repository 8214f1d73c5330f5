// SPDX-License-Identifier: Apache-2.0
//
// Event queues. Linux drivers/iommu/iommufd/eventq.c.
#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cerrno>

#include "tests/conformance/kernel_api_suite.h"

namespace berth::conformance {
namespace {

// From now on this process, which has all numbers below the next one in use, can open nothing.
void CloseTheFdTable() {
  const UniqueFd next(::dup(STDERR_FILENO));
  const rlimit limit = {static_cast<rlim_t>(next.get()), static_cast<rlim_t>(next.get())};
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

}  // namespace

// eventq.c, iommufd_veventq_alloc().
TEST_P(KernelApiSuite, VeventqAllocChecksInOrder) {
  BERTH_NEEDS(Need::kViommus);
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
  const NewEventQueue own = NewVeventq(vm, viommu, types().veventq);
  const NewEventQueue other = NewVeventq(vm, viommu, uapi::kVeventqTypeTegra241Cmdqv);
  auto arg = valid;
  EXPECT_EQ(Call(vm.context, uapi::kIommuVeventqAlloc, arg), -EEXIST) << "one of a type";
}

// eventq.c, iommufd_veventq_fops_read(), iommufd_eventq_fops_poll().
TEST_P(KernelApiSuite, EmptyEventQueueReadsNothing) {
  BERTH_NEEDS(Need::kViommus);
  const Vm vm = NewVm();
  const NewEventQueue queue = NewVeventq(vm, NewViommu(vm), types().veventq);
  EXPECT_EQ(::fcntl(queue.fd.get(), F_GETFD), FD_CLOEXEC);
  char buffer[64];
  EXPECT_EQ(kernel().ReadEvents(queue.fd.get(), buffer, sizeof(buffer)), 0);
  EXPECT_EQ(kernel().ReadEvents(queue.fd.get(), buffer, 7), -EINVAL) << "less than a header";
  pollfd poll = {queue.fd.get(), POLLIN, 0};
  EXPECT_EQ(::poll(&poll, 1, 0), 0) << poll.revents;
}

// eventq.c, iommufd_eventq_init() takes a reference for the file, iommufd_eventq_fops_release()
// gives it back.
TEST_P(KernelApiSuite, OpenEventFdIsEbusy) {
  BERTH_NEEDS(Need::kViommus);
  const Vm vm = NewVm();
  NewEventQueue queue = NewVeventq(vm, NewViommu(vm), types().veventq);
  UniqueFd dup(::fcntl(queue.fd.get(), F_DUPFD_CLOEXEC, 0));
  EXPECT_EQ(Destroy(vm.context, queue.id), -EBUSY);
  queue.fd.Reset();
  EXPECT_EQ(Destroy(vm.context, queue.id), -EBUSY) << "a dup is open";
  dup.Reset();
  EXPECT_EQ(Destroy(vm.context, queue.id), 0);
}

// eventq.c, iommufd_veventq_alloc(): the driver is not asked about the type.
TEST_P(KernelApiSuite, VeventqTypesAreNotChecked) {
  BERTH_NEEDS(Need::kViommus);
  const Vm vm = NewVm();
  const uint32_t first = NewViommu(vm);
  const uint32_t second = NewViommu(vm);
  const NewEventQueue unknown = NewVeventq(vm, first, 0x12345678);
  auto again = VeventqArg(first, 0x12345678);
  EXPECT_EQ(Call(vm.context, uapi::kIommuVeventqAlloc, again), -EEXIST);
  const NewEventQueue elsewhere = NewVeventq(vm, second, 0x12345678);
  auto deepest = VeventqArg(second, types().veventq);
  deepest.veventq_depth = uapi::kVeventqMaxDepth;
  EXPECT_EQ(Call(vm.context, uapi::kIommuVeventqAlloc, deepest), 0);
  const UniqueFd fd(deepest.out_veventq_fd);
}

// eventq.c, iommufd_veventq_abort().
TEST_P(KernelApiSuite, DestroyedVeventqFreesItsType) {
  BERTH_NEEDS(Need::kViommus);
  const Vm vm = NewVm();
  const uint32_t viommu = NewViommu(vm);
  for (int i = 0; i < 3; ++i) {
    NewEventQueue queue = NewVeventq(vm, viommu, types().veventq);
    EXPECT_EQ(queue.id, viommu + 1);
    queue.fd.Reset();
    EXPECT_EQ(Destroy(vm.context, queue.id), 0);
  }
}

// eventq.c, iommufd_veventq_fops_read(), iommufd_eventq_fops_poll().
TEST_P(KernelApiSuite, EventFdIsNoOrdinaryFile) {
  BERTH_NEEDS(Need::kViommus);
  const Vm vm = NewVm();
  const NewEventQueue queue = NewVeventq(vm, NewViommu(vm), types().veventq);
  std::vector<char> large(1 << 20);
  EXPECT_EQ(kernel().ReadEvents(queue.fd.get(), large.data(), large.size()), 0);
  EXPECT_EQ(kernel().ReadEvents(queue.fd.get(), large.data(), 8), 0);
  EXPECT_EQ(kernel().ReadEvents(queue.fd.get(), large.data(), 1), -EINVAL);
  for (const uint64_t at : {0, 8}) {
    EXPECT_EQ(kernel().ReadRegion(queue.fd.get(), large.data(), 64, at), -ESPIPE);
    EXPECT_EQ(kernel().WriteRegion(queue.fd.get(), large.data(), 64, at), -ESPIPE);
  }
  pollfd poll = {queue.fd.get(), POLLIN | POLLOUT, 0};
  EXPECT_EQ(::poll(&poll, 1, 0), 0) << poll.revents;
}

// eventq.c, iommufd_eventq_init(): where its fd finds no number, the queue goes again.
TEST_P(KernelApiSuite, EventQueueNeedsRoomForItsFd) {
  BERTH_NEEDS(Need::kViommus);
  const Vm vm = NewVm();
  auto events = Sized<uapi::IommuVeventqAlloc>();
  events.viommu_id = NewViommu(vm);
  events.type = types().veventq;
  events.veventq_depth = 1;
  const uint32_t next = NewIoas(vm.context);
  ASSERT_EQ(Destroy(vm.context, next), 0);
  const auto without_room = [&](uapi::Request request, auto arg) {
    return InAChild([&] {
      // What carries the call may need an fd once.
      auto first = Sized<uapi::IommuDestroy>();
      first.id = kStaleId;
      (void)kernel().Ioctl(vm.context.get(), uapi::kIommuDestroy, &first);
      CloseTheFdTable();
      return kernel().Ioctl(vm.context.get(), request, &arg);
    });
  };
  EXPECT_EQ(without_room(uapi::kIommuVeventqAlloc, events), -EMFILE);
  EXPECT_EQ(without_room(uapi::kIommuFaultQueueAlloc, Sized<uapi::IommuFaultAlloc>()), -EMFILE);
  EXPECT_EQ(NewVeventq(vm, events.viommu_id, events.type).id, next) << "nothing is left";
}

// eventq.c, iommufd_veventq_alloc(), iommufd_veventq_destroy(): each type has a queue, an id and
// an fd of its own, and each pins the vIOMMU.
TEST_P(KernelApiSuite, EventQueuesGoInAnyOrder) {
  BERTH_NEEDS(Need::kViommus);
  const Vm vm = NewVm();
  const uint32_t viommu = NewViommu(vm);
  NewEventQueue first = NewVeventq(vm, viommu, types().veventq);
  NewEventQueue second = NewVeventq(vm, viommu, uapi::kVeventqTypeTegra241Cmdqv);
  EXPECT_EQ(second.id, first.id + 1);
  first.fd.Reset();
  EXPECT_EQ(Destroy(vm.context, first.id), 0);
  EXPECT_EQ(Destroy(vm.context, second.id), -EBUSY);
  EXPECT_EQ(Destroy(vm.context, viommu), -EBUSY);
  second.fd.Reset();
  EXPECT_EQ(Destroy(vm.context, viommu), -EBUSY) << "the queue itself";
  EXPECT_EQ(Destroy(vm.context, second.id), 0);
  EXPECT_EQ(Destroy(vm.context, viommu), 0);
}

}  // namespace berth::conformance
