// SPDX-License-Identifier: Apache-2.0
//
// What is read from an event queue that is not empty. Linux
// drivers/iommu/iommufd/{eventq,driver}.c.
#include <poll.h>

#include <cerrno>

#include "tests/conformance/kernel_api_suite.h"

namespace berth::conformance {
namespace {

constexpr uint64_t kVsid = 0x99;

// A normal record of the mock driver, and how much is read of a lost-events record.
struct Record {
  uapi::IommufdVeventHeader header;
  uapi::IommuVeventSelftest event;
};
static_assert(sizeof(Record) == 12);
constexpr size_t kHeader = sizeof(uapi::IommufdVeventHeader);

}  // namespace

KernelApiSuite::EventSource KernelApiSuite::NewEventSource(uint32_t depth) {
  EventSource source;
  source.vm = NewVm();
  source.viommu = NewViommu(source.vm);
  NewVdevice(source.vm, source.viommu, kVsid);
  EXPECT_EQ(Attach(source.vm, NewNested(source.vm, source.viommu)), 0);
  auto arg = VeventqArg(source.viommu, types().veventq);
  arg.veventq_depth = depth;
  EXPECT_EQ(Call(source.vm.context, uapi::kIommuVeventqAlloc, arg), 0);
  source.events.Reset(arg.out_veventq_fd);
  return source;
}

// eventq.c, iommufd_veventq_fops_read(); driver.c, iommufd_viommu_report_event().
TEST_P(KernelApiSuite, EventsAreReadInOrder) {
  BERTH_NEEDS(Need::kEventsOnDemand);
  const EventSource source = NewEventSource(8);
  pollfd poll = {source.events.get(), POLLIN, 0};
  for (int i = 0; i < 3; ++i) EXPECT_EQ(MakeEvent(source.vm), 0);
  EXPECT_EQ(::poll(&poll, 1, 0), 1);
  EXPECT_EQ(poll.revents, POLLIN);
  Record records[4] = {};
  EXPECT_EQ(kernel().ReadEvents(source.events.get(), records, sizeof(Record)),
            static_cast<ssize_t>(sizeof(Record)));
  EXPECT_EQ(kernel().ReadEvents(source.events.get(), &records[1], 3 * sizeof(Record)),
            static_cast<ssize_t>(2 * sizeof(Record)));
  for (uint32_t i = 0; i < 3; ++i) {
    EXPECT_EQ(records[i].header.flags, 0U);
    EXPECT_EQ(records[i].header.sequence, i);
    EXPECT_EQ(records[i].event.virt_id, kVsid);
  }
  EXPECT_EQ(::poll(&poll, 1, 0), 0);
  EXPECT_EQ(kernel().ReadEvents(source.events.get(), records, sizeof(records)), 0);
}

// eventq.c, iommufd_veventq_fops_read().
TEST_P(KernelApiSuite, OnlyWholeEventsAreRead) {
  BERTH_NEEDS(Need::kEventsOnDemand);
  const EventSource source = NewEventSource(8);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(MakeEvent(source.vm), 0);
  Record records[4] = {};
  for (const size_t size : {size_t{0}, kHeader - 1, kHeader, sizeof(Record) - 1}) {
    EXPECT_EQ(kernel().ReadEvents(source.events.get(), records, size), -EINVAL) << size;
  }
  EXPECT_EQ(kernel().ReadEvents(source.events.get(), records, 3 * sizeof(Record) - 1),
            static_cast<ssize_t>(2 * sizeof(Record)));
  EXPECT_EQ(kernel().ReadEvents(source.events.get(), records, sizeof(Record)),
            static_cast<ssize_t>(sizeof(Record)));
  EXPECT_EQ(records[0].header.sequence, 2U);
}

// driver.c, iommufd_viommu_report_event(); iommufd_private.h, iommufd_vevent_handler(): one header
// stands for all that a full queue has lost, with the last one's number.
TEST_P(KernelApiSuite, LostEventsAreTold) {
  BERTH_NEEDS(Need::kEventsOnDemand);
  const EventSource source = NewEventSource(2);
  for (int i = 0; i < 5; ++i) EXPECT_EQ(MakeEvent(source.vm), 0) << "also for what is lost";
  Record records[4] = {};
  EXPECT_EQ(kernel().ReadEvents(source.events.get(), records, sizeof(records)),
            static_cast<ssize_t>(2 * sizeof(Record) + kHeader));
  EXPECT_EQ(records[1].header.sequence, 1U);
  EXPECT_EQ(records[2].header.flags, uapi::kVeventLostEvents);
  EXPECT_EQ(records[2].header.sequence, 4U);
  EXPECT_EQ(MakeEvent(source.vm), 0);
  EXPECT_EQ(kernel().ReadEvents(source.events.get(), records, sizeof(records)),
            static_cast<ssize_t>(sizeof(Record)));
  EXPECT_EQ(records[0].header.flags, 0U);
  EXPECT_EQ(records[0].header.sequence, 5U);
}

// iommufd_private.h, iommufd_vevent_handler(): the header is only ever the last record.
TEST_P(KernelApiSuite, RoomAgainTakesTheLostEventsHeaderAway) {
  BERTH_NEEDS(Need::kEventsOnDemand);
  const EventSource source = NewEventSource(2);
  for (int i = 0; i < 4; ++i) EXPECT_EQ(MakeEvent(source.vm), 0);
  Record records[4] = {};
  EXPECT_EQ(kernel().ReadEvents(source.events.get(), records, sizeof(Record)),
            static_cast<ssize_t>(sizeof(Record)));
  EXPECT_EQ(MakeEvent(source.vm), 0);
  EXPECT_EQ(kernel().ReadEvents(source.events.get(), records, sizeof(records)),
            static_cast<ssize_t>(2 * sizeof(Record)));
  EXPECT_EQ(records[0].header.sequence, 1U);
  EXPECT_EQ(records[1].header.sequence, 4U) << "the gap is what tells";
}

// driver.c, iommufd_viommu_report_event(): without a queue of its type an event goes nowhere.
TEST_P(KernelApiSuite, EventsNeedAQueueOfTheirType) {
  BERTH_NEEDS(Need::kEventsOnDemand);
  const Vm vm = NewVm();
  const uint32_t viommu = NewViommu(vm);
  NewVdevice(vm, viommu, kVsid);
  EXPECT_EQ(Attach(vm, NewNested(vm, viommu)), 0);
  const NewEventQueue other = NewVeventq(vm, viommu, uapi::kVeventqTypeTegra241Cmdqv);
  EXPECT_EQ(MakeEvent(vm), -EOPNOTSUPP);
  const NewEventQueue own = NewVeventq(vm, viommu, types().veventq);
  EXPECT_EQ(MakeEvent(vm), 0);
  Record records[2] = {};
  EXPECT_EQ(kernel().ReadEvents(other.fd.get(), records, sizeof(records)), 0);
  EXPECT_EQ(kernel().ReadEvents(own.fd.get(), records, sizeof(records)),
            static_cast<ssize_t>(sizeof(Record)));
  EXPECT_EQ(records[0].header.sequence, 0U) << "the one before took no number";
}

}  // namespace berth::conformance
