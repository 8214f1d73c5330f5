// SPDX-License-Identifier: Apache-2.0
#include "lib/placement/demand.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace berth::placement {
namespace {

void ResolveKinds(const KindTable& kinds, Demand::Item& item) {
  if (item.spec->requirements.empty() || !item.device_class.has_value()) return;
  item.kinds.resize(kinds.size());
  item.kind_bits = 0;
  for (KindNumber number = 0; number < kinds.size(); ++number) {
    const KindTable::Kind& kind = kinds[number];
    if (kind.uses == 0 || kind.device_class != item.device_class) continue;
    if (!Meets(item.spec->requirements, kind.attributes)) continue;
    item.kinds[number] = true;
    item.kind_bits |= uint64_t{1} << (number % 64);
  }
}

ItemMask Named(const Constraint& constraint, const Demand& demand) {
  if (constraint.requests.empty()) return demand.AllItems();
  ItemMask mask = 0;
  for (size_t i = 0; i < demand.items.size(); ++i) {
    const std::string& name = demand.request->devices[demand.items[i].request].name;
    const auto& names = constraint.requests;
    if (std::find(names.begin(), names.end(), name) != names.end()) mask |= ItemMask{1} << i;
  }
  return mask;
}

Demand::ClassTotal& TotalOf(Demand& demand, const Demand::Item& item) {
  for (Demand::ClassTotal& total : demand.classes) {
    if (*total.name == item.spec->device_class) return total;
  }
  return demand.classes.emplace_back(
      Demand::ClassTotal{item.device_class, &item.spec->device_class, 0, 0});
}

void ResolveBonds(Demand& demand) {
  demand.bonds.clear();
  for (const Constraint& constraint : demand.request->constraints) {
    demand.bonds.push_back({constraint.kind, Named(constraint, demand), &constraint.attribute});
  }
}

void CountClasses(Demand& demand) {
  for (const Demand::Item& item : demand.items) {
    TotalOf(demand, item).devices += item.spec->count;
    demand.devices += item.spec->count;
  }
  for (const Demand::Bond& bond : demand.bonds) {
    if (bond.kind != Constraint::Kind::kSameUnit) continue;
    for (Demand::ClassTotal& total : demand.classes) {
      uint32_t together = 0;
      for (size_t i = 0; i < demand.items.size(); ++i) {
        const DeviceSpec& spec = *demand.items[i].spec;
        if ((bond.items >> i & 1) != 0 && spec.device_class == *total.name) together += spec.count;
      }
      total.same_unit = std::max(total.same_unit, together);
    }
  }
}

}  // namespace

std::string Demand::ClassText() const {
  std::string text;
  for (const ClassTotal& total : classes) {
    absl::StrAppend(&text, text.empty() ? "" : " or ", *total.name);
  }
  return text;
}

const Demand::ClassTotal& Demand::TotalOf(const Item& item) const {
  return *std::find_if(classes.begin(), classes.end(), [&](const ClassTotal& total) {
    return *total.name == item.spec->device_class;
  });
}

Demand MakeDemand(const Request& request, absl::Span<const size_t> choice, const KindTable& kinds) {
  Demand demand;
  demand.request = &request;
  demand.items.resize(request.devices.size());
  for (size_t i = 0; i < demand.items.size(); ++i) {
    Demand::Item& item = demand.items[i];
    item.request = i;
    item.spec = &request.devices[i].alternatives[choice[i]];
    item.device_class = kinds.FindClass(item.spec->device_class);
    ResolveKinds(kinds, item);
  }
  ResolveBonds(demand);
  CountClasses(demand);
  return demand;
}

bool NextChoice(const Request& request, std::vector<size_t>& choice) {
  for (size_t i = choice.size(); i-- > 0;) {
    if (++choice[i] < request.devices[i].alternatives.size()) return true;
    choice[i] = 0;
  }
  return false;
}

void SetPrimary(size_t which, Demand& demand) {
  std::swap(demand.classes[0], demand.classes[which]);
  const std::string& primary = *demand.classes[0].name;
  std::stable_partition(demand.items.begin(), demand.items.end(), [&](const Demand::Item& item) {
    return item.spec->device_class == primary;
  });
  ResolveBonds(demand);
}

std::optional<uint32_t> QueuesFor(const QueueRequest& queues, uint32_t vcmdqs_per_vintf) {
  if (queues.need == QueueNeed::kNone) return 0;
  const uint32_t wanted = queues.count == 0 ? vcmdqs_per_vintf : queues.count;
  if (queues.need == QueueNeed::kRequired && (wanted == 0 || wanted > vcmdqs_per_vintf)) {
    return std::nullopt;
  }
  return std::min(wanted, vcmdqs_per_vintf);
}

}  // namespace berth::placement
