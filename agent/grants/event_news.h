// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_AGENT_GRANTS_EVENT_NEWS_H_
#define BERTH_AGENT_GRANTS_EVENT_NEWS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "lib/base/ids.h"

namespace berth {

// What the vEVENTQs of a grant's context say of the health of its unit and devices.
struct EventNews {
  // All but kUnreadable a guest can cause at will: it sets up its own page tables and stream table
  // entries, writes its own commands, and faults faster than its VMM reads.
  enum class Kind : uint8_t {
    kFault,       // SMMUv3: DMA of a device faulted, or its stream is set up wrong
    kLost,        // events were dropped before they could be read
    kQueueError,  // CMDQV: command queues of the guest have stopped
    kUnreadable,  // the kernel's records could not be read; nothing more comes of that queue
  };
  Kind kind = Kind::kFault;
  UnitId unit;
  // kFault: whose DMA; kLost: those whose events may be among them. Else empty: it is the unit's.
  std::vector<DeviceId> devices;
  uint64_t count = 0;  // at least 1
  std::string last;    // the last of them, for people
};

}  // namespace berth

#endif  // BERTH_AGENT_GRANTS_EVENT_NEWS_H_
