// SPDX-License-Identifier: Apache-2.0
#include "lib/emulator/hardware/peek_gate.h"

#include <sched.h>

namespace berth::emulator {

PeekGate::Closed::Closed(PeekGate* gate, int vintf) : gate_(*gate), bit_(uint64_t{1} << vintf) {
  gate_.closed_.fetch_or(bit_);
  for (const std::atomic<uint64_t>& round : gate_.rounds_) {
    const uint64_t before = round.load();
    if (before % 2 == 0) continue;
    while (round.load() == before) ::sched_yield();
  }
}

}  // namespace berth::emulator
