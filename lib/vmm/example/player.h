// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_LIB_VMM_EXAMPLE_PLAYER_H_
#define BERTH_LIB_VMM_EXAMPLE_PLAYER_H_

#include <chrono>
#include <cstdint>
#include <vector>

#include "lib/vmm/example/guest.h"
#include "lib/vmm/example/outcome.h"
#include "lib/vmm/example/trace.h"

namespace berth::example {

struct PlayResult {
  uint64_t commands = 0;
  uint64_t doorbells = 0;
  uint64_t full_waits = 0;  // batches that had to wait for room in the ring
  std::chrono::nanoseconds elapsed{0};
  std::vector<uint64_t> sync_ns;  // from PROD written to CONS seen behind the CMD_SYNC
};

// Plays the streams of `trace` `repeat` times into the queues of every unit at once, as the driver
// did: one write of PROD for each batch, waiting for room when the ring is full, and for completion
// after each CMD_SYNC. Adds to `result`. Streams of queues that a unit does not have go to another.
Outcome Play(const Trace& trace, uint32_t repeat, Guest* guest, PlayResult* result);

}  // namespace berth::example

#endif  // BERTH_LIB_VMM_EXAMPLE_PLAYER_H_
