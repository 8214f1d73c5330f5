// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_TESTS_ORACLE_MOCK_ODDITIES_H_
#define BERTH_TESTS_ORACLE_MOCK_ODDITIES_H_

#include <cstdint>
#include <map>
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
  struct Queue {
    uint32_t viommu = 0;
    uint32_t index = 0;
  };
  using Id = std::pair<uint64_t, uint64_t>;  // context slot, object

  [[nodiscard]] bool HasQueue(const Step& step, uint32_t index) const;
  const char* LookAtQueue(const Step& step);

  std::map<Id, Queue> queues_;  // that live
};

}  // namespace berth::oracle

#endif  // BERTH_TESTS_ORACLE_MOCK_ODDITIES_H_
