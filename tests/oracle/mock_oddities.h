// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_TESTS_ORACLE_MOCK_ODDITIES_H_
#define BERTH_TESTS_ORACLE_MOCK_ODDITIES_H_

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "tests/oracle/recording.h"

namespace berth::oracle {

// Finds the recorded steps that show what only the kernel's mock driver does (Linux
// drivers/iommu/iommufd/selftest.c), so that nobody takes their agreement for a statement about
// hardware. Is to see all steps of a recording of level A, in order.
class MockOddities {
 public:
  // The name of the oddity, or null.
  const char* Look(const Step& step);

 private:
  using Id = std::pair<uint64_t, uint64_t>;  // context slot, object
  struct Queue {
    uint64_t viommu = 0;
    uint64_t index = 0;
  };
  // Whose events those of a mock device are, and by which number, as its first attach to a nested
  // HWPT of that vIOMMU has noted it.
  struct EventsOf {
    uint64_t viommu = 0;
    std::optional<uint64_t> virt_id;
  };
  struct MockDevice {
    uint64_t stdev = 0;
    std::optional<EventsOf> events;
  };
  struct Vdevice {
    uint64_t viommu = 0;
    uint64_t device = 0;
    uint64_t virt_id = 0;
  };

  [[nodiscard]] bool HasQueue(Id viommu, uint64_t index) const;
  const char* LookAtQueue(const Step& step);
  [[nodiscard]] const char* LookAtInvalidation(const Step& step) const;
  [[nodiscard]] const char* LookAtEvents(const Step& step) const;
  void FollowAlloc(const Step& step, uint64_t context);
  void FollowAttach(const Step& step, uint64_t context);
  void FollowTrigger(Id device);
  void FollowDestroy(Id id);
  void FollowClose(uint64_t context);
  [[nodiscard]] std::optional<uint64_t> VirtIdOf(Id device, uint64_t viommu) const;

  // What lives.
  std::map<Id, Queue> queues_;
  std::set<Id> ioas_;
  std::map<Id, uint64_t> nested_;  // HWPTs, with what they were made from
  std::map<Id, MockDevice> devices_;
  std::map<Id, Vdevice> vdevices_;
  std::map<uint64_t, Id> event_queues_;              // by event fd, with the vIOMMU
  std::map<Id, std::set<uint32_t>> stale_virt_ids_;  // in events of a vIOMMU
};

}  // namespace berth::oracle

#endif  // BERTH_TESTS_ORACLE_MOCK_ODDITIES_H_
