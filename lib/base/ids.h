// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_LIB_BASE_IDS_H_
#define BERTH_LIB_BASE_IDS_H_

#include <compare>
#include <cstdint>
#include <string>
#include <utility>

namespace berth {

// A string that means one kind of thing. `Tag` keeps the kinds apart; hashable and ordered.
template <typename Tag>
class StringId {
 public:
  StringId() = default;
  explicit StringId(std::string value) : value_(std::move(value)) {}
  [[nodiscard]] const std::string& str() const { return value_; }
  [[nodiscard]] bool empty() const { return value_.empty(); }
  auto operator<=>(const StringId&) const = default;
  template <typename H>
  friend H AbslHashValue(H h, const StringId& id) {
    return H::combine(std::move(h), id.value_);
  }

 private:
  std::string value_;
};

// The last part of hosts/{host}.
using HostId = StringId<struct HostIdTag>;
// The name under /sys/class/iommu; unique within a host.
using UnitId = StringId<struct UnitIdTag>;
// Address + vendor + device + serial of a PCI function (agent/inventory); unique within a host.
using DeviceId = StringId<struct DeviceIdTag>;
// The uid (not the name) of an assignment.
using AssignmentUid = StringId<struct AssignmentUidTag>;

// A random RFC 4122 version 4 UUID in lower case, from getrandom(2).
std::string NewUuid();
// 64 random bits from getrandom(2), never 0.
uint64_t NewRandomId();

}  // namespace berth

#endif  // BERTH_LIB_BASE_IDS_H_
