// SPDX-License-Identifier: Apache-2.0
#include "lib/placement/kind_table.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace berth::placement {
namespace {

// Lengths first, so that no text can imitate another.
void AppendText(std::string& key, const std::string& text) {
  absl::StrAppend(&key, text.size(), ":", text);
}

std::string Canonical(const std::string& device_class, const AttributeMap& attributes) {
  std::string key;
  AppendText(key, device_class);
  for (const auto& [name, value] : attributes) {
    AppendText(key, name);
    absl::StrAppend(&key, value.index(), "=");
    if (const auto* text = std::get_if<std::string>(&value)) {
      AppendText(key, *text);
    } else if (const auto* number = std::get_if<int64_t>(&value)) {
      absl::StrAppend(&key, *number, ";");
    } else {
      absl::StrAppend(&key, std::get<bool>(value) ? 1 : 0);
    }
  }
  return key;
}

// A number for a new entry of `table`: a free one, or the next.
template <typename Entry>
uint32_t Slot(std::vector<Entry>& table, std::vector<uint32_t>& free) {
  if (free.empty()) {
    table.emplace_back();
    return static_cast<uint32_t>(table.size() - 1);
  }
  const uint32_t number = free.back();
  free.pop_back();
  return number;
}

}  // namespace

ClassNumber KindTable::AcquireClass(const std::string& name) {
  const auto [it, is_new] = by_name_.try_emplace(name, 0);
  if (is_new) {
    it->second = Slot(classes_, free_classes_);
    classes_[it->second].name = name;
  }
  ++classes_[it->second].uses;
  return it->second;
}

KindNumber KindTable::Acquire(const DeviceSnapshot& device) {
  AttributeMap attributes = device.attributes;
  attributes.insert_or_assign(kVendorIdAttribute, static_cast<int64_t>(device.vendor_id));
  attributes.insert_or_assign(kDeviceIdAttribute, static_cast<int64_t>(device.device_id));
  std::string key = Canonical(device.device_class, attributes);
  const auto [it, is_new] = by_key_.try_emplace(key, 0);
  if (is_new) {
    it->second = Slot(kinds_, free_kinds_);
    const ClassNumber device_class = AcquireClass(device.device_class);
    kinds_[it->second] = {device_class, std::move(attributes), 0, std::move(key)};
  }
  ++kinds_[it->second].uses;
  return it->second;
}

void KindTable::Release(KindNumber number) {
  Kind& kind = kinds_[number];
  if (--kind.uses > 0) return;
  Class& device_class = classes_[kind.device_class];
  if (--device_class.uses == 0) {
    by_name_.erase(device_class.name);
    device_class.name.clear();
    free_classes_.push_back(kind.device_class);
  }
  by_key_.erase(kind.key);
  kind = Kind{};
  free_kinds_.push_back(number);
}

std::optional<ClassNumber> KindTable::FindClass(const std::string& name) const {
  const auto it = by_name_.find(name);
  if (it == by_name_.end()) return std::nullopt;
  return it->second;
}

}  // namespace berth::placement
