// SPDX-License-Identifier: Apache-2.0
//
// What is asked of the engine: device requests, constraints across them, and conditions on the
// host.
#ifndef BERTH_LIB_PLACEMENT_REQUEST_H_
#define BERTH_LIB_PLACEMENT_REQUEST_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "lib/base/ids.h"
#include "lib/placement/model.h"

namespace berth::placement {

enum class Operator : uint8_t { kIn, kNotIn, kExists, kDoesNotExist, kGt, kLt };

// One condition on a label of a host or an attribute of a device. Values are text and are read as
// the attribute's type: "80" equals the integer 80, "true" the boolean. kNotIn also holds where the
// key does not exist. kGt and kLt compare whole numbers, also those that a label spells.
struct Requirement {
  std::string key;
  Operator op = Operator::kExists;
  std::vector<std::string> values;  // kIn, kNotIn: 1-64; kGt, kLt: exactly 1; else none

  bool operator==(const Requirement&) const = default;
};

// Does `value` (nullptr: the key does not exist) meet the requirement?
bool Meets(const Requirement& requirement, const AttributeValue* value);
bool Meets(const std::vector<Requirement>& requirements, const AttributeMap& attributes);
bool Meets(const std::vector<Requirement>& requirements,
           const std::map<std::string, std::string>& labels);

enum class QueueNeed : uint8_t {
  kPreferred,  // a unit without queues will do
  kRequired,   // only units whose VINTFs have `count` queues
  kNone,       // a plain vIOMMU, even where there are queues
};

// vCMDQs wanted in the VINTF of each unit that the devices are behind.
struct QueueRequest {
  QueueNeed need = QueueNeed::kPreferred;
  uint32_t count = 0;  // 0: as many as a VINTF has

  bool operator==(const QueueRequest&) const = default;
};

struct DeviceSpec {
  std::string device_class;
  uint32_t count = 1;  // 1-128
  std::vector<Requirement> requirements;
  QueueRequest queues;

  bool operator==(const DeviceSpec&) const = default;
};

struct DeviceRequest {
  std::string name;  // unique in the request
  // 1-8 ways to satisfy it, in order of preference. A later one is taken only when nothing in the
  // fleet fits an earlier one; with several requests, the first request's preference goes first.
  std::vector<DeviceSpec> alternatives;

  bool operator==(const DeviceRequest&) const = default;
};

// Conditions on the devices of the named requests. Co-travellers are not bound by them.
struct Constraint {
  enum class Kind : uint8_t {
    kSameUnit,
    kSameNumaNode,   // a device without a node (-1) is on the same node as none
    kSameAttribute,  // all have the attribute, with equal values
    kDistinctUnits,  // no two behind one unit
  };
  Kind kind = Kind::kSameUnit;
  std::vector<std::string> requests;  // empty: all
  std::string attribute;              // kSameAttribute only

  bool operator==(const Constraint&) const = default;
};

// Empty fields tolerate everything.
struct Toleration {
  std::string key;
  std::string value;
  enum class Effect : uint8_t { kAny, kNoNew, kEvict } effect = Effect::kAny;

  bool operator==(const Toleration&) const = default;
};

bool Tolerates(const std::vector<Toleration>& tolerations, const std::vector<Taint>& taints);

enum class Policy : uint8_t {
  kPack,    // the fullest unit that fits, so that large free units stay whole
  kSpread,  // the emptiest
};

struct Request {
  std::vector<DeviceRequest> devices;   // 1-16
  std::vector<Constraint> constraints;  // at most 16
  std::vector<Requirement> host_selector;
  std::vector<Toleration> tolerations;
  std::vector<HugePages> huge_pages;
  std::vector<AntiAffinity> anti_affinity;  // at most 8
  Policy policy = Policy::kPack;
  // Decides between hosts that are equally good. Equal seeds choose equally, so that assignments
  // with the same seed fill one host before the next.
  uint64_t seed = 0;

  bool operator==(const Request&) const = default;
};

inline constexpr size_t kMaxDeviceRequests = 16;
inline constexpr size_t kMaxAlternatives = 8;
inline constexpr size_t kMaxConstraints = 16;
inline constexpr size_t kMaxRequirements = 16;
inline constexpr size_t kMaxTolerations = 16;
inline constexpr size_t kMaxValues = 64;
inline constexpr size_t kMaxHugePageSizes = 8;
inline constexpr size_t kMaxAntiAffinity = 8;
inline constexpr uint32_t kMaxDeviceCount = 128;

// INVALID_FIELD or MISSING_FIELD, with metadata "field" ("devices[0].count").
absl::Status ValidateRequest(const Request& request);

// Hosts that are not to be taken, e.g. because preparing there has failed.
using ExcludedHosts = absl::flat_hash_set<HostId>;

}  // namespace berth::placement

#endif  // BERTH_LIB_PLACEMENT_REQUEST_H_
