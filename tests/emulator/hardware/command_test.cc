// SPDX-License-Identifier: Apache-2.0
#include "lib/emulator/hardware/command.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ostream>
#include <string>

namespace berth::emulator {

void PrintTo(const Command& c, std::ostream* os) {
  *os << std::hex << "op " << static_cast<int>(c.opcode) << " asid " << c.asid << " sid " << c.sid
      << " address " << c.address << std::dec << " pages " << c.pages << " leaf " << c.leaf
      << " ttl " << int{c.ttl} << " granule " << int{c.granule_log2};
}

namespace {

// Written by a Linux 7.3 guest, taken apart by hand (field positions: Linux arm-smmu-v3.h).
struct Recorded {
  std::string name;
  RawCommand raw;
  Command command;
};

class RecordedCommand : public ::testing::TestWithParam<Recorded> {};

TEST_P(RecordedCommand, IsTakenApart) {
  Command command;
  ASSERT_EQ(Decode(GetParam().raw, ReservedBits::kRefuse, &command), DecodeResult::kOk);
  EXPECT_EQ(command, GetParam().command);
}

constexpr Opcode kVa = Opcode::kTlbiNhVa;

INSTANTIATE_TEST_SUITE_P(
    FromLinux, RecordedCommand,
    ::testing::Values(
        Recorded{
            "OnePage",
            {0x0007000000000012, 0x00000000ffe4d701},
            {.opcode = kVa, .leaf = true, .ttl = 3, .asid = 7, .address = 0xffe4d000, .pages = 1}},
        Recorded{
            "SixtyFourPages",
            {0x0006000000600012, 0x00000000fff80701},
            {.opcode = kVa, .leaf = true, .ttl = 3, .asid = 6, .address = 0xfff80000, .pages = 64}},
        Recorded{
            "SixtyTwoPages",
            {0x000700000011e012, 0x00000000ffb00701},
            {.opcode = kVa, .leaf = true, .ttl = 3, .asid = 7, .address = 0xffb00000, .pages = 62}},
        Recorded{"TwoMegabyteBlock",
                 {0x0007000000900012, 0x00000000ff800601},
                 {.opcode = kVa,
                  .leaf = true,
                  .ttl = 2,
                  .asid = 7,
                  .address = 0xff800000,
                  .pages = 512}},
        Recorded{"FreedPageTable",
                 {0x0007000000900012, 0x00000000ff800400},
                 {.opcode = kVa, .asid = 7, .address = 0xff800000, .pages = 512}},
        Recorded{"WithoutRange",
                 {0x0004000000000012, 0x00000000ff9e5001},
                 {.opcode = kVa, .leaf = true, .asid = 4, .address = 0xff9e5000, .pages = 1}},
        Recorded{"TwentyNineTimesEight",
                 {0x000600000031c012, 0x00000000ffe00701},
                 {.opcode = kVa,
                  .leaf = true,
                  .ttl = 3,
                  .asid = 6,
                  .address = 0xffe00000,
                  .pages = 232}},
        Recorded{
            "ElevenTimesFour",
            {0x000700000020a012, 0x00000000ffe00701},
            {.opcode = kVa, .leaf = true, .ttl = 3, .asid = 7, .address = 0xffe00000, .pages = 44}},
        Recorded{"FourMegabytes",
                 {0x0005000000a00012, 0x00000000ff800601},
                 {.opcode = kVa,
                  .leaf = true,
                  .ttl = 2,
                  .asid = 5,
                  .address = 0xff800000,
                  .pages = 1024}},
        Recorded{"Asid", {0x0006000000000011, 0}, {.opcode = Opcode::kTlbiNhAsid, .asid = 6}},
        Recorded{"AtcOnePage",
                 {0x0000020000000040, 0x00000000ffe4d000},
                 {.opcode = Opcode::kAtcInv, .sid = 0x200, .address = 0xffe4d000, .pages = 1}},
        Recorded{"AtcSixtyFourPages",
                 {0x0000020000000040, 0x00000000ffc40006},
                 {.opcode = Opcode::kAtcInv, .sid = 0x200, .address = 0xffc40000, .pages = 64}},
        Recorded{"AtcEverything",
                 {0x0000010000000040, 0x34},
                 {.opcode = Opcode::kAtcInv, .sid = 0x100, .address = 0, .pages = 0}},
        Recorded{"Sync", {0x000000000fc00046, 0}, {.opcode = Opcode::kCmdSync}}),
    [](const auto& test) { return test.param.name; });

TEST(CommandTest, GranulesOf16And64KibAndThePasidAreUnderstood) {
  Command command;
  ASSERT_EQ(Decode({0x12, 0x40000000 | 2 << 10}, ReservedBits::kRefuse, &command),
            DecodeResult::kOk);
  EXPECT_EQ(command.granule_log2, 14);
  ASSERT_EQ(Decode({0x12, 0x40000000 | 3 << 10}, ReservedBits::kRefuse, &command),
            DecodeResult::kOk);
  EXPECT_EQ(command.granule_log2, 16);
  ASSERT_EQ(Decode({0x40 | 1 << 11 | 0x5 << 12, 0}, ReservedBits::kRefuse, &command),
            DecodeResult::kOk);
  EXPECT_TRUE(command.has_ssid);
  EXPECT_EQ(command.ssid, 5u);
}

TEST(CommandTest, AnAtcRangeIsAlignedToItsSize) {
  Command command;
  ASSERT_EQ(Decode({0x40, 0xffc43003}, ReservedBits::kRefuse, &command), DecodeResult::kOk);
  EXPECT_EQ(command.address, 0xffc40000u);
  EXPECT_EQ(command.pages, 8u);
}

TEST(CommandTest, OnlyFourOpcodesAreForGuests) {
  int allowed = 0;
  Command command;
  for (uint64_t opcode = 0; opcode < 256; ++opcode) {
    if (Decode({opcode, 0}, ReservedBits::kRefuse, &command) != DecodeResult::kForbidden) ++allowed;
  }
  EXPECT_EQ(allowed, 4);
  EXPECT_EQ(Decode({0x03, 1}, ReservedBits::kRefuse, &command), DecodeResult::kForbidden);  // STE
  EXPECT_EQ(Decode({0x05, 1}, ReservedBits::kRefuse, &command), DecodeResult::kForbidden);  // CD
  EXPECT_EQ(Decode({0x01, 0}, ReservedBits::kRefuse, &command), DecodeResult::kForbidden);
}

TEST(CommandTest, ReservedValuesAreMalformed) {
  Command command;
  for (const RawCommand& raw : {
           RawCommand{0x46 | 1 << 12, 0},           // CMD_SYNC that wants an MSI
           RawCommand{0x46 | 2 << 12, 0},           // CMD_SYNC that wants an event
           RawCommand{0x40, 53},                    // ATC_INV of more than everything
           RawCommand{0x12 | 40 << 20, 0xfff00401}  // TLBI range beyond the address space
       }) {
    EXPECT_EQ(Decode(raw, ReservedBits::kIgnore, &command), DecodeResult::kMalformed)
        << std::hex << raw.dword0;
  }
}

TEST(CommandTest, ReservedBitsAreMalformedUnlessIgnored) {
  Command command;
  for (const RawCommand& raw :
       {RawCommand{0x11 | 1 << 8, 0}, RawCommand{0x11, 1}, RawCommand{0x12 | 1 << 17, 0},
        RawCommand{0x12, 1 << 7}, RawCommand{0x40 | 1 << 10, 0}, RawCommand{0x40, 1 << 6},
        RawCommand{0x46 | 1 << 8, 0}, RawCommand{0x46, uint64_t{1} << 63}}) {
    EXPECT_EQ(Decode(raw, ReservedBits::kRefuse, &command), DecodeResult::kMalformed)
        << std::hex << raw.dword0;
    EXPECT_EQ(Decode(raw, ReservedBits::kIgnore, &command), DecodeResult::kOk)
        << std::hex << raw.dword0;
  }
}

}  // namespace
}  // namespace berth::emulator
