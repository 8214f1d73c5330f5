// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <cstddef>
#include <cstdlib>
#include <cstring>

#include "lib/emulator/hardware/command.h"
#include "lib/emulator/hardware/executor.h"
#include "lib/emulator/hardware/registers.h"

namespace berth::emulator {
namespace {

void Require(bool holds) {
  if (!holds) std::abort();
}

void CheckFields(const Command& command) {
  Require(command.granule_log2 == 12 || command.granule_log2 == 14 || command.granule_log2 == 16);
  Require(command.ttl <= 3);
  Require(command.sid_span_log2 <= 32);
  Require(command.ssid < 1U << 20);
}

void CheckDecoder(const RawCommand& raw) {
  Command strict;
  Command lax;
  const DecodeResult refused = Decode(raw, ReservedBits::kRefuse, &strict);
  const DecodeResult ignored = Decode(raw, ReservedBits::kIgnore, &lax);
  if (ignored == DecodeResult::kOk) CheckFields(lax);
  if (refused != DecodeResult::kOk) return;
  // What is fine without a look at reserved bits is what it was with one.
  Require(ignored == DecodeResult::kOk && strict == lax);
}

class Guest {
 public:
  Guest() {
    executor_.SetVmid(7);
    vintf_.Store(vintf_config::SidReplace(0), 0x100);
    vintf_.Store(vintf_config::SidMatch(0), 0x42U << kSidMatchShift | kSidMatchEnable);
  }

  void Check(const RawCommand& raw) {
    Command command;
    const uint64_t before = counters_.executed.total();
    const ConsError error = executor_.Execute(raw, &counters_, &command);
    Require(counters_.executed.total() == before + (error == ConsError::kNone ? 1 : 0));
    if (error != ConsError::kNone) return;
    // A guest reaches nothing but itself.
    Require(IsForGuests(command.opcode));
    Require(command.opcode != Opcode::kAtcInv || command.sid == 0x100);
    const bool tlbi = command.opcode == Opcode::kTlbiNhAsid || command.opcode == Opcode::kTlbiNhVa;
    Require(!tlbi || command.vmid == 7);
  }

 private:
  const CmdqvConfig config_;
  alignas(4) std::array<std::byte, kVintfStride> registers_ = {};
  const RegisterView vintf_{registers_.data()};
  CommandExecutor executor_{config_, vintf_};
  LvcmdqCounters counters_;
};

}  // namespace
}  // namespace berth::emulator

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using berth::emulator::RawCommand;
  berth::emulator::Guest guest;
  for (; size >= sizeof(RawCommand); data += sizeof(RawCommand), size -= sizeof(RawCommand)) {
    RawCommand raw;
    std::memcpy(&raw, data, sizeof(raw));
    berth::emulator::CheckDecoder(raw);
    guest.Check(raw);
  }
  return 0;
}
