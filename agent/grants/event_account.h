// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_AGENT_GRANTS_EVENT_ACCOUNT_H_
#define BERTH_AGENT_GRANTS_EVENT_ACCOUNT_H_

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "agent/grants/event_news.h"
#include "lib/iommufd/veventq.h"

namespace berth {

// Draws from the records of a context's vEVENTQs what they say of devices and units. Looks at
// records only, changes none. Not thread-safe.
class EventAccount {
 public:
  // A queue, and who is behind its unit.
  struct Source {
    UnitId unit;
    Veventq::Type type = Veventq::Type::kArmSmmuv3;
    struct Stream {
      DeviceId device;
      std::optional<uint32_t> vsid;  // as the guest has named it; none: it has no stream yet
    };
    std::vector<Stream> streams;
  };

  // One read of a queue, in its order: at most one news for each device, and one for the unit. A
  // record of an unknown vSID is the unit's devices' all together.
  std::vector<EventNews> OnRead(const Source& source, std::span<const Vevent> records);

  // The queue could not be read.
  static EventNews OnUnreadable(const Source& source, const absl::Status& status);

 private:
  // How many events are missing before `record`, which is the next of its queue.
  uint64_t LostBefore(const Source& source, const Vevent& record);

  // Sequence number of the last record of each queue; nothing of one that was not read yet, also
  // when an agent before this one has read it.
  std::map<std::pair<UnitId, Veventq::Type>, uint32_t> last_;
};

}  // namespace berth

#endif  // BERTH_AGENT_GRANTS_EVENT_ACCOUNT_H_
