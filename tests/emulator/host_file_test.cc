// SPDX-License-Identifier: Apache-2.0
#include "lib/emulator/host_file.h"

#include <gtest/gtest.h>

#include "berth/internal/v1/emulated_host.pb.h"
#include "lib/base/status.h"
#include "lib/config/config.h"

namespace berth::emulator {
namespace {

absl::StatusOr<HostSpec> Parse(const std::string& yaml) {
  berth::internal::v1::EmulatedHost proto;
  if (absl::Status status = ParseYaml(yaml, "host.yaml", &proto); !status.ok()) return status;
  return HostFromProto(proto);
}

constexpr char kUnit[] = "units: [{id: smmu3.0}]\n";

TEST(HostFile, FillsInAGraceUnit) {
  const auto host = Parse(kUnit);
  ASSERT_TRUE(host.ok()) << host.status();
  EXPECT_EQ(host->units[0].vintfs, 64);
  EXPECT_EQ(host->units[0].vcmdqs, 128);
  EXPECT_EQ(host->units[0].sid_slots, 16);
  EXPECT_TRUE(host->units[0].ats);
  EXPECT_FALSE(host->units[0].httu);
}

TEST(HostFile, AUnitMayLackOrHaveFeatures) {
  const auto host = Parse("units: [{id: smmu3.0, no_ats: true, httu: true}]\n");
  ASSERT_TRUE(host.ok()) << host.status();
  EXPECT_FALSE(host->units[0].ats);
  EXPECT_TRUE(host->units[0].httu);
}

TEST(HostFile, SaysWhatIsNotKnownOfTheHardware) {
  const auto plain = Parse(kUnit);
  ASSERT_TRUE(plain.ok()) << plain.status();
  EXPECT_EQ(plain->units[0].forbidden_opcode, Refusal::kIllegal);
  EXPECT_EQ(plain->units[0].unmatched_vsid, Refusal::kIllegal);
  EXPECT_EQ(plain->units[0].reserved_bits, ReservedBits::kRefuse);
  EXPECT_EQ(plain->units[0].prod_overrun, ProdOverrun::kIllegal);
  const auto other = Parse(R"(
units:
- {id: a, forbidden_command: ILLEGAL_ACCESS, ignores_reserved_bits: true}
- {id: b, unmatched_vsid: ILLEGAL_ACCESS, ignores_prod_overrun: true, forbidden_command: ILLEGAL}
)");
  ASSERT_TRUE(other.ok()) << other.status();
  EXPECT_EQ(other->units[0].forbidden_opcode, Refusal::kIllegalAccess);
  EXPECT_EQ(other->units[0].unmatched_vsid, Refusal::kIllegal);
  EXPECT_EQ(other->units[0].reserved_bits, ReservedBits::kIgnore);
  EXPECT_EQ(other->units[1].forbidden_opcode, Refusal::kIllegal);
  EXPECT_EQ(other->units[1].unmatched_vsid, Refusal::kIllegalAccess);
  EXPECT_EQ(other->units[1].reserved_bits, ReservedBits::kRefuse);
  EXPECT_EQ(other->units[1].prod_overrun, ProdOverrun::kIgnore);
  for (const char* choice : {"forbidden_command: ILLEGAL", "unmatched_vsid: ILLEGAL_ACCESS",
                             "ignores_reserved_bits: true", "ignores_prod_overrun: true"}) {
    const auto plain_smmu =
        Parse(std::string("units: [{id: a, profile: ARM_SMMUV3, ") + choice + "}]\n");
    EXPECT_EQ(ReasonOf(plain_smmu.status()), Reason::kInvalidField) << choice;
  }
}

TEST(HostFile, ExpandsARangeOfFunctions) {
  const auto host = Parse(std::string(kUnit) + R"(
devices:
- {count: 10, first_address: "0000:01:00.6", vendor: "10de", device: "2342", class_code: "030200",
   first_serial: "ff", unit: smmu3.0, devices_per_group: 2}
- {first_address: "0000:02:00.0", vendor: "15b3", device: "1021", class_code: "020000",
   unit: smmu3.0, first_iommu_group: 1, first_vfio: 3, numa_node: 1, reset_method: ""}
)");
  ASSERT_TRUE(host.ok()) << host.status();
  ASSERT_EQ(host->devices.size(), 11U);
  EXPECT_EQ(host->devices[1].address.ToString(), "0000:01:00.7");
  EXPECT_EQ(host->devices[2].address.ToString(), "0000:01:01.0");
  EXPECT_EQ(host->devices[2].serial, 0x101U);
  EXPECT_EQ(host->devices[0].iommu_group, 0U);
  EXPECT_EQ(host->devices[1].iommu_group, 0U);
  EXPECT_EQ(host->devices[2].iommu_group, 2U) << "1 belongs to the other range";
  EXPECT_EQ(host->devices[2].vfio_name, "vfio2");
  EXPECT_EQ(host->devices[3].vfio_name, "vfio4") << "3 belongs to the other range";
  EXPECT_EQ(host->devices[0].reset_method, "flr bus");
  EXPECT_EQ(host->devices[10].reset_method, "");
  EXPECT_EQ(host->devices[10].vfio_name, "vfio3");
  EXPECT_FALSE(host->devices[10].serial.has_value());
}

TEST(HostFile, HasAsManyHardwareThreadsAsItSays) {
  EXPECT_EQ(Parse(kUnit)->hardware_threads, 1);
  EXPECT_EQ(Parse(std::string(kUnit) + "hardware_threads: 4\n")->hardware_threads, 4);
  const auto many = Parse(std::string(kUnit) + "hardware_threads: 65\n");
  EXPECT_EQ(ReasonOf(many.status()), Reason::kInvalidField) << many.status();
}

TEST(HostFile, FunctionsCopyMemoryWhereAskedFor) {
  const auto host = Parse(std::string(kUnit) + R"(
devices:
- {first_address: "0000:01:00.0", vendor: "10de", device: "2342", class_code: "030200",
   unit: smmu3.0, model: DMA_TEST, msi_vectors: 0, msix_vectors: 5, intx: true}
- {first_address: "0000:02:00.0", vendor: "15b3", device: "1021", class_code: "020000",
   unit: smmu3.0}
)");
  ASSERT_TRUE(host.ok()) << host.status();
  EXPECT_EQ(host->devices[0].model, DeviceModel::kDmaTest);
  EXPECT_EQ(host->devices[1].model, DeviceModel::kPlain);
  EXPECT_EQ(host->devices[0].msi_vectors, 0);
  EXPECT_EQ(host->devices[0].msix_vectors, 5);
  EXPECT_TRUE(host->devices[0].intx);
  EXPECT_EQ(host->devices[1].msi_vectors, 1);
  EXPECT_EQ(host->devices[1].msix_vectors, 0);
  EXPECT_FALSE(host->devices[1].intx);
}

std::string Device(const std::string& changed) {
  return std::string(kUnit) +
         "devices: [{vendor: \"10de\", device: \"2342\", class_code: "
         "\"030200\", unit: smmu3.0, " +
         changed + "}]";
}

TEST(HostFile, RefusesWhatIsWrongByField) {
  EXPECT_TRUE(Parse(Device("first_address: \"0000:01:00.0\"")).ok());
  for (const char* wrong : {
           "first_address: \"01:00.0\"",
           "first_address: \"0000:01:00.0\", vendor: \"xyz\"",
           "first_address: \"0000:ff:1f.7\", count: 2",
           "first_address: \"0000:01:00.0\", first_serial: \"11112222333344445\"",
       }) {
    std::string yaml = Device(wrong);
    if (std::string(wrong).find("vendor") != std::string::npos) {
      yaml.erase(yaml.find("vendor: \"10de\", "), std::string("vendor: \"10de\", ").size());
    }
    EXPECT_EQ(ReasonOf(Parse(yaml).status()), Reason::kInvalidField) << wrong;
  }
  EXPECT_EQ(ReasonOf(Parse(Device("first_address: \"0000:01:00.0\", count: 5000")).status()),
            Reason::kTooLarge);
  EXPECT_EQ(ReasonOf(Parse("units: [{id: a, colour: red}]").status()), Reason::kUnknownField);
  EXPECT_EQ(ReasonOf(Parse("units: [{id: a, profile: arm_smmuv3, vintfs: 4}]").status()),
            Reason::kInvalidField);
}

}  // namespace
}  // namespace berth::emulator
