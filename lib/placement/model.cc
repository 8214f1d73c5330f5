// SPDX-License-Identifier: Apache-2.0
#include "lib/placement/model.h"

#include <string_view>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "lib/base/status.h"

namespace berth::placement {
namespace {

// Bytes of a text that are quoted in an error.
constexpr size_t kQuoted = 64;

std::string Quote(const std::string& text) {
  return absl::StrCat("\"", text.substr(0, kQuoted), "\"");
}

class Validator {
 public:
  explicit Validator(const HostSnapshot& snapshot) : snapshot_(snapshot) {}

  absl::Status Run() {
    BERTH_RETURN_IF_ERROR(Text(snapshot_.id.str(), "the host's id"));
    BERTH_RETURN_IF_ERROR(Size(snapshot_.units.size(), kMaxUnits, "units"));
    BERTH_RETURN_IF_ERROR(Size(snapshot_.devices.size(), kMaxDevices, "devices"));
    BERTH_RETURN_IF_ERROR(Size(snapshot_.labels.size(), kMaxLabels, "labels"));
    BERTH_RETURN_IF_ERROR(Size(snapshot_.huge_pages.size(), kMaxLabels, "huge page sizes"));
    BERTH_RETURN_IF_ERROR(Taints(snapshot_.taints));
    for (const auto& [key, value] : snapshot_.labels) {
      if (key.empty() || key.size() > kMaxText || value.size() > kMaxText) {
        return Bad(absl::StrCat("label ", Quote(key), " is empty or too long"));
      }
    }
    for (const HugePages& pages : snapshot_.huge_pages) {
      if (pages.page_size <= 0 || pages.count < 0) {
        return Bad(absl::StrCat(pages.count, " huge pages of ", pages.page_size, " bytes"));
      }
    }
    for (const UnitSnapshot& unit : snapshot_.units) BERTH_RETURN_IF_ERROR(CheckUnit(unit));
    for (const DeviceSnapshot& device : snapshot_.devices) {
      BERTH_RETURN_IF_ERROR(CheckDevice(device));
    }
    return absl::OkStatus();
  }

 private:
  absl::Status Bad(std::string_view what) const {
    const std::string host = snapshot_.id.str().substr(0, kQuoted);
    return Error(Reason::kBadInventory, absl::StrCat("host ", host, ": ", std::string(what)),
                 {{"host", host}});
  }

  absl::Status Text(const std::string& text, std::string_view what) const {
    if (!text.empty() && text.size() <= kMaxText) return absl::OkStatus();
    return Bad(absl::StrCat(std::string(what), " has ", text.size(), " bytes; 1 to ", kMaxText));
  }

  absl::Status Size(size_t size, size_t limit, std::string_view what) const {
    if (size <= limit) return absl::OkStatus();
    return Bad(absl::StrCat(size, " ", std::string(what), "; at most ", limit));
  }

  absl::Status Taints(const std::vector<Taint>& taints) const {
    BERTH_RETURN_IF_ERROR(Size(taints.size(), kMaxTaints, "taints"));
    for (const Taint& taint : taints) {
      BERTH_RETURN_IF_ERROR(Text(taint.key, "a taint's key"));
      BERTH_RETURN_IF_ERROR(Size(taint.value.size(), kMaxText, "bytes in a taint's value"));
    }
    return absl::OkStatus();
  }

  absl::Status CheckUnit(const UnitSnapshot& unit) {
    BERTH_RETURN_IF_ERROR(Text(unit.id.str(), "a unit's id"));
    if (!units_.insert(unit.id).second) {
      return Bad(absl::StrCat("unit ", Quote(unit.id.str()), " is listed twice"));
    }
    BERTH_RETURN_IF_ERROR(Taints(unit.taints));
    const absl::Status capacity = ValidateCapacity(unit.capacity);
    if (!capacity.ok()) {
      return Bad(absl::StrCat("unit ", Quote(unit.id.str()), ": ", capacity.message()));
    }
    if (CountsVintfs(unit.capacity.profile) && unit.vintfs_held > unit.capacity.vintfs) {
      return Bad(absl::StrCat("unit ", Quote(unit.id.str()), " holds ", unit.vintfs_held,
                              " VINTFs of ", unit.capacity.vintfs));
    }
    return absl::OkStatus();
  }

  absl::Status CheckDevice(const DeviceSnapshot& device) {
    BERTH_RETURN_IF_ERROR(Text(device.id.str(), "a device's id"));
    const std::string name = absl::StrCat("device ", Quote(device.id.str()));
    if (!devices_.insert(device.id).second) return Bad(absl::StrCat(name, " is listed twice"));
    BERTH_RETURN_IF_ERROR(Text(device.device_class, absl::StrCat("the class of ", name)));
    if (!units_.contains(device.unit)) {
      return Bad(absl::StrCat(name, " is behind unknown unit ", Quote(device.unit.str())));
    }
    if (device.vendor_id > 0xffff || device.device_id > 0xffff) {
      return Bad(absl::StrCat(name, ": PCI ids have 16 bits"));
    }
    if (device.numa_node < -1 || device.numa_node > INT16_MAX) {
      return Bad(absl::StrCat(name, " is on NUMA node ", device.numa_node));
    }
    if (device.iommu_group < 0) {
      return Bad(absl::StrCat(name, " is in IOMMU group ", device.iommu_group));
    }
    const auto [group, is_new] = group_units_.emplace(device.iommu_group, &device.unit);
    if (!is_new && *group->second != device.unit) {
      return Bad(absl::StrCat("IOMMU group ", device.iommu_group, " spans units ",
                              Quote(group->second->str()), " and ", Quote(device.unit.str())));
    }
    return CheckAttributes(device.attributes, name);
  }

  absl::Status CheckAttributes(const AttributeMap& attributes, const std::string& name) const {
    BERTH_RETURN_IF_ERROR(
        Size(attributes.size(), kMaxAttributes, absl::StrCat("attributes of ", name)));
    for (const auto& [key, value] : attributes) {
      BERTH_RETURN_IF_ERROR(Text(key, absl::StrCat("an attribute's key of ", name)));
      const auto* text = std::get_if<std::string>(&value);
      if (text != nullptr && text->size() > kMaxText) {
        return Bad(absl::StrCat(name, ": attribute ", Quote(key), " is too long"));
      }
    }
    return absl::OkStatus();
  }

  const HostSnapshot& snapshot_;
  absl::flat_hash_set<UnitId> units_;
  absl::flat_hash_set<DeviceId> devices_;
  absl::flat_hash_map<int32_t, const UnitId*> group_units_;
};

}  // namespace

absl::Status ValidateSnapshot(const HostSnapshot& snapshot) { return Validator(snapshot).Run(); }

}  // namespace berth::placement
