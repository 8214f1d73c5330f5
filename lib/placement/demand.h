// SPDX-License-Identifier: Apache-2.0
//
// A request as the search needs it: one alternative chosen for each device request, names resolved.
#ifndef BERTH_LIB_PLACEMENT_DEMAND_H_
#define BERTH_LIB_PLACEMENT_DEMAND_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "lib/placement/apart.h"
#include "lib/placement/kind_table.h"
#include "lib/placement/request.h"

namespace berth::placement {

// Bit i: items[i].
using ItemMask = uint32_t;
static_assert(kMaxDeviceRequests <= 32);

struct Demand {
  struct Item {
    size_t request = 0;  // index in Request::devices
    const DeviceSpec* spec = nullptr;
    std::optional<ClassNumber> device_class;  // nullopt: no device of the fleet has it
    std::vector<bool> kinds;                  // by KindNumber: meets the requirements
    uint64_t kind_bits = ~uint64_t{0};        // as ClassSummary::kinds

    [[nodiscard]] bool Takes(ClassNumber its_class, KindNumber kind) const {
      return device_class == its_class && (spec->requirements.empty() || kinds[kind]);
    }
  };
  struct Bond {
    Constraint::Kind kind = Constraint::Kind::kSameUnit;
    ItemMask items = 0;
    const std::string* attribute = nullptr;
  };
  struct ClassTotal {
    std::optional<ClassNumber> device_class;
    const std::string* name = nullptr;
    uint32_t devices = 0;    // in all items
    uint32_t same_unit = 0;  // the most that one kSameUnit constraint wants behind one unit
  };

  const Request* request = nullptr;
  std::vector<Item> items;  // those of the primary class first
  std::vector<Bond> bonds;
  std::vector<ClassTotal> classes;  // the primary class first
  uint32_t devices = 0;

  const Avoid* avoid = nullptr;  // borrowed; null: nothing

  // "gpu or nic"
  [[nodiscard]] std::string ClassText() const;
  [[nodiscard]] ItemMask AllItems() const { return (ItemMask{1} << items.size()) - 1; }
  [[nodiscard]] const ClassTotal& TotalOf(const Item& item) const;
};

// `choice[i]` is the alternative of request.devices[i]. `request` and `kinds` are borrowed.
Demand MakeDemand(const Request& request, absl::Span<const size_t> choice, const KindTable& kinds);

// Makes `choice` the next combination of alternatives, that of the last request changing first.
// False, and the first one, after the last.
bool NextChoice(const Request& request, std::vector<size_t>& choice);

// Makes classes[which] the primary class: the one whose hosts are walked.
void SetPrimary(size_t which, Demand& demand);

// vCMDQs that the item gets of a VINTF with `vcmdqs_per_vintf`, nullopt when it needs more.
std::optional<uint32_t> QueuesFor(const QueueRequest& queues, uint32_t vcmdqs_per_vintf);

}  // namespace berth::placement

#endif  // BERTH_LIB_PLACEMENT_DEMAND_H_
