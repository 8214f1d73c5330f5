// SPDX-License-Identifier: Apache-2.0
#include "lib/emulator/host_spec.h"

#include "lib/base/status.h"
#include "tests/emulator/emulator_fixture.h"

namespace berth::emulator {
namespace {

TEST(PciAddress, ReadsBackWhatItWrites) {
  const auto address = PciAddress::Parse("0001:3B:1f.7");
  ASSERT_TRUE(address.ok());
  EXPECT_EQ(address->segment, 1);
  EXPECT_EQ(address->routing_id, 0x3bff);
  EXPECT_EQ(address->ToString(), "0001:3b:1f.7");
}

TEST(PciAddress, RefusesEverythingElse) {
  for (const char* text : {"", "3b:00.0", "0000:3b:00.8", "0000:3b:20.0", "0000:3b:00:0",
                           "0000:zz:00.0", "0000:3b:00.0 ", "+000:3b:00.0"}) {
    EXPECT_EQ(ReasonOf(PciAddress::Parse(text).status()), Reason::kInvalidField) << text;
  }
}

struct Case {
  const char* name;
  std::function<void(HostSpec&)> spoil;
  Reason reason;
};

class ValidateTest : public ::testing::TestWithParam<Case> {};

TEST_P(ValidateTest, IsRefusedWithItsReason) {
  HostSpec host = SmallHost();
  ASSERT_TRUE(Validate(host).ok()) << Validate(host);
  GetParam().spoil(host);
  const absl::Status status = Validate(host);
  EXPECT_EQ(ReasonOf(status), GetParam().reason) << status;
  EXPECT_FALSE(MetadataOf(status)["field"].empty());
}

const Case kCases[] = {
    {"NoUnits", [](HostSpec& h) { h.units.clear(); }, Reason::kMissingField},
    {"NamelessUnit", [](HostSpec& h) { h.units[0].id = ""; }, Reason::kMissingField},
    {"UnitIdIsAPath", [](HostSpec& h) { h.units[0].id = "../x"; }, Reason::kInvalidField},
    {"UnitTwice", [](HostSpec& h) { h.units[1].id = h.units[0].id; }, Reason::kAlreadyExists},
    {"OddVintfs", [](HostSpec& h) { h.units[0].vintfs = 5; }, Reason::kInvalidField},
    {"FewerVcmdqs", [](HostSpec& h) { h.units[0].vcmdqs = 2; }, Reason::kInvalidField},
    {"ManySlots", [](HostSpec& h) { h.units[0].sid_slots = 32; }, Reason::kInvalidField},
    {"Version0", [](HostSpec& h) { h.units[0].version = 0; }, Reason::kInvalidField},
    {"HugeQueue", [](HostSpec& h) { h.units[0].log2_max_commands = 20; }, Reason::kInvalidField},
    {"OddAddress", [](HostSpec& h) { h.units[0].address_bits = 43; }, Reason::kInvalidField},
    {"UnknownUnit", [](HostSpec& h) { h.devices[0].unit = "x"; }, Reason::kInvalidField},
    {"AddressTwice", [](HostSpec& h) { h.devices[0].address = h.devices[1].address; },
     Reason::kAlreadyExists},
    {"CdevTwice", [](HostSpec& h) { h.devices[0].vfio_name = "vfio1"; }, Reason::kAlreadyExists},
    {"GroupOfTwoUnits", [](HostSpec& h) { h.devices[3].iommu_group = 0; }, Reason::kInvalidField},
    {"WideClass", [](HostSpec& h) { h.devices[0].class_code = 1U << 24; }, Reason::kInvalidField},
    {"NumaNode", [](HostSpec& h) { h.devices[0].numa_node = -2; }, Reason::kInvalidField},
    {"ManyDevices", [](HostSpec& h) { h.devices.resize(kMaxDevices + 1); }, Reason::kTooLarge},
    {"ThreeMsis", [](HostSpec& h) { h.devices[0].msi_vectors = 3; }, Reason::kInvalidField},
    {"ManyMsis", [](HostSpec& h) { h.devices[0].msi_vectors = 16; }, Reason::kInvalidField},
    {"ManyMsixVectors",
     [](HostSpec& h) {
       h.devices[0].model = DeviceModel::kDmaTest;
       h.devices[0].msix_vectors = 9;
     },
     Reason::kInvalidField},
    {"MsixWithoutABar", [](HostSpec& h) { h.devices[0].msix_vectors = 1; }, Reason::kInvalidField},
    {"IntxOfNothing", [](HostSpec& h) { h.devices[0].intx = true; }, Reason::kInvalidField},
    {"NoHardware", [](HostSpec& h) { h.hardware_threads = 0; }, Reason::kInvalidField},
    {"MuchHardware", [](HostSpec& h) { h.hardware_threads = 65; }, Reason::kInvalidField},
    {"HugePages", [](HostSpec& h) { h.huge_pages_free = 1; }, Reason::kInvalidField},
};
INSTANTIATE_TEST_SUITE_P(Hosts, ValidateTest, ::testing::ValuesIn(kCases),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace berth::emulator
