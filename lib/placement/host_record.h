// SPDX-License-Identifier: Apache-2.0
//
// One host as the engine keeps it: compact, with counts per class that follow every change.
#ifndef BERTH_LIB_PLACEMENT_HOST_RECORD_H_
#define BERTH_LIB_PLACEMENT_HOST_RECORD_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "lib/placement/kind_table.h"
#include "lib/placement/model.h"

namespace berth::placement {

// How far the devices of a class come on a host. Each level is part of the one before, so the first
// level with too few devices says what is lacking.
enum Level : size_t {
  kInstalled,
  kAssignable,  // they may be handed out at all
  kFree,        // nobody has them
  kWholeGroup,  // the whole IOMMU group is free, and no larger than a VINTF
  kPlaceable,   // their unit has a free VINTF
  kLevels,
};

// Units are told apart by their number of devices up to this; more count as this many.
inline constexpr uint32_t kMaxUnitSize = 63;
constexpr uint32_t ClampUnitSize(uint32_t devices) {
  return devices < kMaxUnitSize ? devices : kMaxUnitSize;
}

struct ClassSummary {
  ClassNumber device_class = 0;
  std::array<uint16_t, kLevels> devices{};
  // The same for an empty host: devices that are placeable when nothing is reserved or held, and
  // the most of them behind one unit (no more than a VINTF has SID slots).
  uint16_t potential = 0;
  uint16_t potential_unit = 0;
  // Bit n: there is a unit with ClampUnitSize(n) placeable devices, n <= its SID slots; n > 0.
  uint64_t unit_sizes = 0;
  // Bit k % 64: there is a placeable device of kind k.
  uint64_t kinds = 0;

  bool operator==(const ClassSummary&) const = default;
};

// Which state of a host a question is about.
enum class View : uint8_t {
  kNow,
  kEmpty,  // as if nothing were reserved, held, cordoned or tainted
};

struct HostRecord {
  struct Unit {
    UnitId id;
    UnitCapacity capacity;
    uint32_t held = 0;
    UnitUsage usage;  // of reservations
    std::vector<Taint> taints;

    [[nodiscard]] uint32_t FreeVintfs() const;
  };
  struct Group {
    uint16_t first = 0;  // devices [first, first + size)
    uint16_t size = 0;
  };
  struct Device {
    DeviceId id;
    KindNumber kind = 0;
    ClassNumber device_class = 0;
    uint16_t group = 0;
    int16_t numa_node = -1;
    uint8_t unit = 0;
    Assignability assignability = Assignability::kAssignable;
    uint8_t reserved = 0;  // reservations that have it; more than 1 is a broken invariant
    std::array<bool, 2> placeable{};  // by View
  };

  HostId id;
  uint64_t hash = 0;
  Schedulability schedulability = Schedulability::kReady;
  // Why the last snapshot was not taken. While it is there the host gets nothing new.
  std::string defect;
  std::map<std::string, std::string> labels;
  std::vector<Taint> taints;
  std::vector<HugePages> huge_pages;      // that exist
  std::vector<HugePages> promised_pages;  // to reservations
  std::vector<Unit> units;                // sorted by id
  std::vector<Group> groups;              // in the order of `devices`
  std::vector<Device> devices;            // sorted by unit, group, id
  std::vector<ClassSummary> classes;

  // Nothing new is placed on a host that is not.
  [[nodiscard]] bool schedulable() const {
    return schedulability == Schedulability::kReady && defect.empty();
  }
  [[nodiscard]] const ClassSummary* FindClass(ClassNumber number) const;
  [[nodiscard]] Unit* FindUnit(const UnitId& unit_id);
  [[nodiscard]] Device* FindDevice(const DeviceId& device_id);
  // Pages of one size that exist (kEmpty) or are not promised (kNow); may be negative.
  [[nodiscard]] int64_t Pages(int64_t page_size, View view) const;
};

// A record of a snapshot that ValidateSnapshot() has passed, with nothing reserved.
HostRecord MakeRecord(const HostSnapshot& snapshot, KindTable& kinds);
void ReleaseKinds(const HostRecord& record, KindTable& kinds);

// Counts `placement` in, or out again, whatever stands in the way: what the host does not have (any
// more) is left out. Summarize() is due afterwards.
enum class Direction : uint8_t { kIn, kOut };
void Count(const Placement& placement, Direction direction, HostRecord& record);

// Derives Device::placeable and `classes` from the rest.
void Summarize(HostRecord& record);

}  // namespace berth::placement

#endif  // BERTH_LIB_PLACEMENT_HOST_RECORD_H_
