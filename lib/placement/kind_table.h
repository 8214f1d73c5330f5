// SPDX-License-Identifier: Apache-2.0
//
// Device kinds: what devices of one model have in common, kept once for the whole fleet. Requests
// are matched against kinds, not against devices.
#ifndef BERTH_LIB_PLACEMENT_KIND_TABLE_H_
#define BERTH_LIB_PLACEMENT_KIND_TABLE_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "lib/placement/model.h"

namespace berth::placement {

using ClassNumber = uint32_t;
using KindNumber = uint32_t;

// Numbers of kinds and classes are given again when nothing uses them any more, so the table is
// never larger than the fleet's variety. Thread-compatible.
class KindTable {
 public:
  struct Kind {
    ClassNumber device_class = 0;
    AttributeMap attributes;  // with vendor_id and device_id
    uint32_t uses = 0;
    std::string key;  // canonical text of class and attributes
  };

  // Counts one more device of this kind.
  KindNumber Acquire(const DeviceSnapshot& device);
  void Release(KindNumber number);

  [[nodiscard]] const Kind& operator[](KindNumber number) const { return kinds_[number]; }
  // All numbers are below this; unused ones have `uses` 0.
  [[nodiscard]] size_t size() const { return kinds_.size(); }
  // nullopt when no device of the fleet has this class.
  [[nodiscard]] std::optional<ClassNumber> FindClass(const std::string& name) const;
  [[nodiscard]] const std::string& ClassName(ClassNumber number) const {
    return classes_[number].name;
  }

 private:
  struct Class {
    std::string name;
    uint32_t uses = 0;  // kinds
  };
  ClassNumber AcquireClass(const std::string& name);

  std::vector<Kind> kinds_;
  std::vector<KindNumber> free_kinds_;
  absl::flat_hash_map<std::string, KindNumber> by_key_;
  std::vector<Class> classes_;
  std::vector<ClassNumber> free_classes_;
  absl::flat_hash_map<std::string, ClassNumber> by_name_;
};

}  // namespace berth::placement

#endif  // BERTH_LIB_PLACEMENT_KIND_TABLE_H_
