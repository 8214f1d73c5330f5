// SPDX-License-Identifier: Apache-2.0
#include "lib/emulator/faults/fault_service.h"

#include <gtest/gtest.h>

#include <cerrno>

#include "lib/base/status.h"
#include "lib/config/config.h"
#include "lib/iommufd/uapi/vfio.h"

namespace berth::emulator {
namespace {

namespace pb = berth::internal::v1;

pb::Fault FromYaml(std::string_view yaml) {
  pb::Fault fault;
  const absl::Status status = ParseYaml(yaml, "test", &fault);
  EXPECT_TRUE(status.ok()) << status;
  return fault;
}

absl::StatusOr<FaultSpec> Spec(std::string_view yaml) { return FaultFromProto(FromYaml(yaml)); }

TEST(FaultServiceTest, EveryKindSurvivesTheWayThereAndBack) {
  for (const char* yaml : {
           "ioctl: {request: HW_QUEUE_ALLOC, error: ENOSPC}\ncount: 1",
           "ioctl: {request: VFIO_DEVICE_RESET, error: ENOTTY, delay: 1.500s}\nskip: 3",
           "atc_timeout: {unit: smmu3.0}\ncount: 2",
           "stuck_status: {}",
           "lost_event: {unit: smmu3.1}\nskip: 1\ncount: 1",
           "non_contiguous: {unit: smmu3.0}",
           "device_gone: {device: \"0000:01:00.0\"}",
       }) {
    const auto spec = Spec(yaml);
    ASSERT_TRUE(spec.ok()) << yaml << spec.status();
    pb::Fault expected = FromYaml(yaml);
    expected.set_id(7);
    expected.set_met(5);
    expected.set_struck(4);
    EXPECT_EQ(FaultToProto({.id = 7, .spec = *spec, .met = 5, .struck = 4}).SerializeAsString(),
              expected.SerializeAsString())
        << yaml;
  }
}

TEST(FaultServiceTest, NamesOfIoctlsAndErrnosAreThoseOfTheKernel) {
  const auto spec = Spec("ioctl: {request: VFIO_DEVICE_BIND_IOMMUFD, error: EPERM}");
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_EQ(spec->request, uapi::kVfioDeviceBindIommufd);
  EXPECT_EQ(spec->error, EPERM);
}

TEST(FaultServiceTest, SaysWhichNameItDoesNotKnow) {
  const auto field = [](std::string_view yaml) { return MetadataOf(Spec(yaml).status())["field"]; };
  EXPECT_EQ(field("ioctl: {request: HW_QUEUE, error: ENOSPC}"), "ioctl.request");
  EXPECT_EQ(field("ioctl: {request: HW_QUEUE_ALLOC, error: ENOPE}"), "ioctl.error");
  EXPECT_EQ(field("count: 1"), "kind");
  EXPECT_EQ(ReasonOf(Spec("count: 1").status()), Reason::kMissingField);
}

}  // namespace
}  // namespace berth::emulator
