// SPDX-License-Identifier: Apache-2.0
//
// What the engine is told about hosts, and what it answers: plain values, copied in and out.
#ifndef BERTH_LIB_PLACEMENT_MODEL_H_
#define BERTH_LIB_PLACEMENT_MODEL_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "lib/base/ids.h"
#include "lib/capacity/unit_capacity.h"

namespace berth::placement {

using AttributeValue = std::variant<int64_t, std::string, bool>;
using AttributeMap = std::map<std::string, AttributeValue>;

// Attributes that every device has, from its ids (integers).
inline constexpr char kVendorIdAttribute[] = "vendor_id";
inline constexpr char kDeviceIdAttribute[] = "device_id";

enum class TaintEffect : uint8_t { kNoNew, kEvict };

// Both effects keep new assignments away, unless they tolerate it.
struct Taint {
  std::string key;
  std::string value;
  TaintEffect effect = TaintEffect::kNoNew;

  bool operator==(const Taint&) const = default;
};

struct UnitSnapshot {
  UnitId id;
  UnitCapacity capacity;
  // VINTFs that are held by something other than a reserved assignment (an orphan, say).
  uint32_t vintfs_held = 0;
  std::vector<Taint> taints;
};

// Whether a device may be handed out at all; said by its agent.
enum class Assignability : uint8_t {
  kAssignable,
  kNotAssignable,  // no reset method (and configuration does not waive it), no driver, not allowed
  kHeld,           // assignable, but now held by something other than a reserved assignment
};

struct DeviceSnapshot {
  DeviceId id;
  std::string device_class;
  uint32_t vendor_id = 0;
  uint32_t device_id = 0;
  AttributeMap attributes;
  int numa_node = -1;  // -1: none
  UnitId unit;
  int32_t iommu_group = 0;  // members of a group are behind one unit
  Assignability assignability = Assignability::kAssignable;
};

struct HugePages {
  int64_t page_size = 0;  // bytes
  // Pages for assignments: those reserved here are subtracted by the engine, so what assignments
  // use must not be subtracted before.
  int64_t count = 0;

  bool operator==(const HugePages&) const = default;
};

// An assignment keeps away from every other of the same group.
struct AntiAffinity {
  std::string group;
  // A host label: no two on hosts with the same value of it, and none on a host without it. Empty:
  // no two on one host. Where two of a group name different labels, both hold.
  std::string label;

  bool operator==(const AntiAffinity&) const = default;
};

// Whether new assignments may be placed. What is there already is not touched by it.
enum class Schedulability : uint8_t {
  kReady,
  kCordoned,  // also: draining
  kNotReady,  // suspect, lost or broken
};

struct HostSnapshot {
  HostId id;
  Schedulability schedulability = Schedulability::kReady;
  std::map<std::string, std::string> labels;
  std::vector<Taint> taints;
  std::vector<HugePages> huge_pages;
  std::vector<UnitSnapshot> units;
  std::vector<DeviceSnapshot> devices;
};

// Limits of a snapshot.
inline constexpr size_t kMaxUnits = 64;
inline constexpr size_t kMaxDevices = 4095;
inline constexpr size_t kMaxAttributes = 64;
inline constexpr size_t kMaxLabels = 64;
inline constexpr size_t kMaxTaints = 72;  // 64 of an operator, and Berth's own
inline constexpr size_t kMaxText = 256;   // bytes of any key, value or id

// BAD_INVENTORY, with metadata "host" and a message that names the culprit: an id that is empty or
// twice there, a device behind an unknown unit, a group that spans units, a number out of range,
// more of anything than the limits above.
absl::Status ValidateSnapshot(const HostSnapshot& snapshot);

// One device of a placement.
struct PlacedDevice {
  DeviceId device;
  UnitId unit;
  // Name of the device request that it satisfies; empty for a co-traveller, which only goes along
  // with its IOMMU group.
  std::string request;

  bool operator==(const PlacedDevice&) const = default;
};

// One unit of a placement: one VINTF, with so much in it.
struct PlacedUnit {
  UnitId unit;
  VintfClaim claim;

  bool operator==(const PlacedUnit&) const = default;
};

struct Placement {
  HostId host;
  std::vector<PlacedUnit> units;            // sorted by unit
  std::vector<PlacedDevice> devices;        // by request in the request's order, then by device
  std::vector<HugePages> huge_pages;        // promised of the host's
  std::vector<AntiAffinity> anti_affinity;  // as it was asked for

  bool operator==(const Placement&) const = default;
};

}  // namespace berth::placement

#endif  // BERTH_LIB_PLACEMENT_MODEL_H_
