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

// Taken apart by hand (field positions: Linux arm-smmu-v3.h).
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

// Written by hand after the layouts of IHI 0070.
INSTANTIATE_TEST_SUITE_P(
    FromTheManual, RecordedCommand,
    ::testing::Values(
        Recorded{"PrefetchConfig", {0x01, 0}, {.opcode = Opcode::kPrefetchConfig}},
        Recorded{"CfgiSte",
                 {0x0000004200000003, 1},
                 {.opcode = Opcode::kCfgiSte, .leaf = true, .sid = 0x42}},
        Recorded{"CfgiSteRange",
                 {0x0000004700000004, 2},
                 {.opcode = Opcode::kCfgiSteRange, .sid = 0x40, .sid_span_log2 = 3}},
        Recorded{"CfgiAll", {0x04, 31}, {.opcode = Opcode::kCfgiSteRange, .sid_span_log2 = 32}},
        Recorded{"CfgiCd",
                 {0x0000004200005005, 1},
                 {.opcode = Opcode::kCfgiCd, .leaf = true, .sid = 0x42, .ssid = 5}},
        Recorded{"CfgiCdAll", {0x0000004200000006, 0}, {.opcode = Opcode::kCfgiCdAll, .sid = 0x42}},
        Recorded{"TlbiNhAll", {0x0000000900000010, 0}, {.opcode = Opcode::kTlbiNhAll, .vmid = 9}},
        Recorded{
            "TlbiNhVaa",
            {0x0000000900000013, 0x5001},
            {.opcode = Opcode::kTlbiNhVaa, .leaf = true, .vmid = 9, .address = 0x5000, .pages = 1}},
        Recorded{"TlbiEl2Va",
                 {0x0007000000000022, 0x5000},
                 {.opcode = Opcode::kTlbiEl2Va, .asid = 7, .address = 0x5000, .pages = 1}},
        Recorded{"TlbiEl2Vaa",
                 {0x23, 0x5000},
                 {.opcode = Opcode::kTlbiEl2Vaa, .address = 0x5000, .pages = 1}},
        Recorded{"TlbiEl2All", {0x20, 0}, {.opcode = Opcode::kTlbiEl2All}},
        Recorded{
            "TlbiEl2Asid", {0x0007000000000021, 0}, {.opcode = Opcode::kTlbiEl2Asid, .asid = 7}},
        Recorded{
            "TlbiS12Vmall", {0x0000000900000028, 0}, {.opcode = Opcode::kTlbiS12Vmall, .vmid = 9}},
        Recorded{"TlbiS2Ipa",
                 {0x000000090000102a, 0x000f000000005601},
                 {.opcode = Opcode::kTlbiS2Ipa,
                  .leaf = true,
                  .ttl = 2,
                  .vmid = 9,
                  .address = 0x000f000000005000,
                  .pages = 2}},
        Recorded{"TlbiNsnhAll", {0x30, 0}, {.opcode = Opcode::kTlbiNsnhAll}},
        Recorded{"SixteenKib",
                 {0x0001000000000012, 0x40007a00},
                 {.opcode = kVa,
                  .ttl = 2,
                  .granule_log2 = 14,
                  .asid = 1,
                  .address = 0x40004000,
                  .pages = 1}},
        Recorded{"SixtyFourKib",
                 {0x0001000000000012, 0x4000fd00},
                 {.opcode = kVa,
                  .ttl = 1,
                  .granule_log2 = 16,
                  .asid = 1,
                  .address = 0x40000000,
                  .pages = 1}},
        Recorded{"TheLargestRange",
                 {0x000000000271f012, 0x400},
                 {.opcode = kVa, .pages = uint64_t{32} << 39}},
        Recorded{"AtcOfOnePasid",
                 {0x0000020000005840, 0xffc43003},
                 {.opcode = Opcode::kAtcInv,
                  .sid = 0x200,
                  .ssid = 5,
                  .has_ssid = true,
                  .address = 0xffc40000,
                  .pages = 8}},
        Recorded{"AtcOfAllPasids",
                 {0x0000020000000a40, 0x34},
                 {.opcode = Opcode::kAtcInv, .sid = 0x200, .has_ssid = true, .global = true}},
        Recorded{"AtcSizeJustBelowEverything",
                 {0x0000020000000040, 0xfffffffffffff033},
                 {.opcode = Opcode::kAtcInv,
                  .sid = 0x200,
                  .address = uint64_t{1} << 63,
                  .pages = uint64_t{1} << 51}},
        Recorded{
            "PriResp", {0x0000020000005841, 0x2007}, {.opcode = Opcode::kPriResp, .sid = 0x200}},
        Recorded{"Resume", {0x0000020000001044, 7}, {.opcode = Opcode::kResume, .sid = 0x200}},
        Recorded{
            "StallTerm", {0x0000020000000045, 0}, {.opcode = Opcode::kStallTerm, .sid = 0x200}}),
    [](const auto& test) { return test.param.name; });

TEST(CommandTest, OpcodesAreThoseOfTheManualAndFourAreForGuests) {
  int known = 0;
  int for_guests = 0;
  Command command;
  for (uint64_t opcode = 0; opcode < 256; ++opcode) {
    if (Decode({opcode, 0}, ReservedBits::kRefuse, &command) == DecodeResult::kUnknown) continue;
    ++known;
    if (IsForGuests(static_cast<Opcode>(opcode))) ++for_guests;
  }
  EXPECT_EQ(known, 22);
  EXPECT_EQ(for_guests, 4);
}

TEST(CommandTest, ReservedValuesAreMalformed) {
  Command command;
  for (const RawCommand& raw : {
           RawCommand{0x46 | 1 << 12, 0},            // CMD_SYNC that wants an MSI
           RawCommand{0x46 | 2 << 12, 0},            // CMD_SYNC that wants an event
           RawCommand{0x40, 53},                     // ATC_INV of more than everything
           RawCommand{0x12 | 40 << 20, 0xfff00401},  // TLBI range beyond the address space
           RawCommand{0x12, 0xfff00400},             // granule without range or level
           RawCommand{0x12 | 1 << 12, 0xfff00900},   // 16 KiB, level 1
           RawCommand{0x41, 3 << 12},                // PRI_RESP with response 3
       }) {
    EXPECT_EQ(Decode(raw, ReservedBits::kIgnore, &command), DecodeResult::kMalformed)
        << std::hex << raw.dword0;
  }
}

TEST(CommandTest, WithoutAGranuleRangeAndLevelAreReserved) {
  Command command;
  for (const RawCommand& raw :
       {RawCommand{0x12 | 1 << 12, 0x5000}, RawCommand{0x12 | 1 << 20, 0x5000},
        RawCommand{0x12, 0x5000 | 3 << 8}}) {
    EXPECT_EQ(Decode(raw, ReservedBits::kRefuse, &command), DecodeResult::kMalformed);
    ASSERT_EQ(Decode(raw, ReservedBits::kIgnore, &command), DecodeResult::kOk);
    EXPECT_EQ(command.pages, 1u);
    EXPECT_EQ(command.ttl, 0);
  }
}

// For each opcode the bits that may be set, after the layouts of IHI 0070; found here bit by bit.
TEST(CommandTest, EveryOtherBitIsReservedUnlessIgnored) {
  struct Allowed {
    uint8_t opcode;
    uint64_t dword0;
    uint64_t dword1;
  };
  constexpr uint64_t kHigh = 0xffffffff00000000;
  constexpr uint64_t kAll = ~uint64_t{0};
  for (const Allowed& allowed : {
           Allowed{0x01, kHigh | 0xfffff800, kAll},
           Allowed{0x03, kHigh, 1},
           Allowed{0x04, kHigh, 0x1f},
           Allowed{0x05, kHigh | 0xfffff000, 1},
           Allowed{0x06, kHigh, 0},
           Allowed{0x10, 0xffff00000000, 0},
           Allowed{0x11, kHigh, 0},
           Allowed{0x20, 0, 0},
           Allowed{0x21, 0xffff000000000000, 0},
           Allowed{0x28, 0xffff00000000, 0},
           Allowed{0x30, 0, 0},
           Allowed{0x40, kHigh | 0xfffffa00, 0xfffffffffffff03f},
           Allowed{0x41, kHigh | 0xfffff800, 0x31ff},
           Allowed{0x44, kHigh | 0x3000, 0xffff},
           Allowed{0x45, kHigh, 0},
           Allowed{0x46, kHigh | 0x0fc03000, 0x00fffffffffffffc},
           // With granule 4 KiB and level 3, so that the range may be anything.
           Allowed{0x12, kHigh | 0x03f1f000, 0xffffffffffffff01},
           Allowed{0x13, 0x0000ffff03f1f000, 0xffffffffffffff01},
           Allowed{0x22, 0xffff000003f1f000, 0xffffffffffffff01},
           Allowed{0x23, 0x03f1f000, 0xffffffffffffff01},
           Allowed{0x2a, 0x0000ffff03f1f000, 0x000fffffffffff01},
       }) {
    const bool ranged = (allowed.dword1 & 0x300) == 0x300 && (allowed.dword0 & 0x1f000) != 0 &&
                        allowed.opcode >= 0x12 && allowed.opcode < 0x30;
    const RawCommand plain = {allowed.opcode, ranged ? uint64_t{0x700} : 0};
    for (int bit = 8; bit < 128; ++bit) {
      RawCommand raw = plain;
      const uint64_t value = uint64_t{1} << (bit % 64);
      (bit < 64 ? raw.dword0 : raw.dword1) |= value;
      const bool reserved = ((bit < 64 ? allowed.dword0 : allowed.dword1) & value) == 0;
      Command command;
      const DecodeResult strict = Decode(raw, ReservedBits::kRefuse, &command);
      const DecodeResult lenient = Decode(raw, ReservedBits::kIgnore, &command);
      if (reserved) {
        EXPECT_EQ(strict, DecodeResult::kMalformed) << int{allowed.opcode} << " bit " << bit;
        EXPECT_EQ(lenient, DecodeResult::kOk) << int{allowed.opcode} << " bit " << bit;
      } else {
        EXPECT_EQ(strict, lenient) << int{allowed.opcode} << " bit " << bit;
      }
    }
  }
}

}  // namespace
}  // namespace berth::emulator
