// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_TESTS_EMULATOR_HARDWARE_FAKE_SINK_H_
#define BERTH_TESTS_EMULATOR_HARDWARE_FAKE_SINK_H_

#include <vector>

#include "lib/emulator/hardware/invalidation.h"

namespace berth::emulator::testing {

// Notes what it is told, and lets CMD_SYNCs time out on demand. Not thread-safe.
class FakeSink : public InvalidationSink {
 public:
  void Invalidate(const Command& command) override { invalidations.push_back(command); }
  ConsError Sync() override {
    ++syncs;
    if (timeouts == 0) return ConsError::kNone;
    --timeouts;
    return ConsError::kAtcTimeout;
  }

  std::vector<Command> invalidations;
  int syncs = 0;
  int timeouts = 0;  // of the next Sync()s
};

}  // namespace berth::emulator::testing

#endif  // BERTH_TESTS_EMULATOR_HARDWARE_FAKE_SINK_H_
