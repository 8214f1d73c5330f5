// SPDX-License-Identifier: Apache-2.0
#include "agent/grants/grant_view.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "lib/base/status.h"
#include "lib/config/timestamp.h"

namespace berth {
namespace {

class Lister {
 public:
  void Add(std::string_view type, uint32_t id, const std::string& owner, std::string detail = "") {
    agent::v1::KernelObject& object = objects_.emplace_back();
    object.set_type(std::string(type));
    object.set_id(id);
    object.set_owner(owner);
    object.set_detail(std::move(detail));
  }
  template <typename T>
  void Add(std::string_view type, const std::optional<T>& made, const std::string& owner,
           std::string detail = "") {
    if (made.has_value() && made->valid()) Add(type, made->id(), owner, std::move(detail));
  }
  std::vector<agent::v1::KernelObject> Take() { return std::move(objects_); }

 private:
  std::vector<agent::v1::KernelObject> objects_;
};

void ListUnit(const PreparedContext::Unit& unit, Lister* list) {
  const std::string& owner = unit.facts.id.str();
  list->Add("hwpt", unit.parent, owner, "nesting parent");
  list->Add("viommu", unit.viommu, owner,
            unit.queues > 0 ? absl::StrCat(unit.queues, " queues") : "no queues");
  list->Add("hwpt", unit.abort, owner, "abort");
  list->Add("hwpt", unit.bypass, owner, "bypass");
  for (const Veventq& events : unit.events) {
    if (!events.valid()) continue;
    list->Add("veventq", events.id(), owner,
              events.type() == Veventq::Type::kArmSmmuv3 ? "SMMUv3 events" : "CMDQV errors");
  }
}

}  // namespace

v1::Failure ToFailure(const absl::Status& status, absl::Time now) {
  v1::Failure failure;
  failure.set_reason(std::string(ReasonName(ReasonOf(status))));
  failure.set_message(std::string(status.message()));
  for (const auto& [key, value] : MetadataOf(status)) (*failure.mutable_metadata())[key] = value;
  *failure.mutable_time() = ToTimestamp(now);
  return failure;
}

v1::Condition ToCondition(std::string_view type, bool holds, const absl::Status& status,
                          absl::Time now) {
  v1::Condition condition;
  condition.set_type(std::string(type));
  condition.set_status(holds);
  condition.set_reason(std::string(ReasonName(ReasonOf(status))));
  condition.set_message(std::string(status.message()));
  *condition.mutable_last_transition_time() = ToTimestamp(now);
  return condition;
}

std::vector<agent::v1::KernelObject> ListObjects(const PreparedContext& context,
                                                 const Guest& guest) {
  Lister list;
  for (size_t i = 0; i < context.devices().size(); ++i) {
    list.Add("device", context.devices()[i].id(), context.facts(i).id.str(),
             context.facts(i).address);
  }
  list.Add("ioas", context.ioas().id(), "", absl::StrCat(guest.memory().bytes(), " bytes mapped"));
  for (const PreparedContext::Unit& unit : context.units()) ListUnit(unit, &list);
  for (size_t i = 0; i < guest.streams().size(); ++i) {
    const Guest::StreamObjects& stream = guest.streams()[i];
    const std::string& owner = context.facts(i).id.str();
    list.Add("vdevice", stream.vdevice, owner, absl::StrCat("vSID 0x", absl::Hex(stream.vsid)));
    list.Add("hwpt", stream.nested, owner, "nested");
  }
  for (size_t unit = 0; unit < guest.queues().size(); ++unit) {
    for (size_t index = 0; index < guest.queues()[unit].size(); ++index) {
      const Guest::Queue& queue = guest.queues()[unit][index];
      list.Add(
          "hw_queue", queue.object.id(), context.units()[unit].facts.id.str(),
          absl::StrCat("index ", index, ", ", queue.length, " bytes at 0x", absl::Hex(queue.iova)));
    }
  }
  return list.Take();
}

}  // namespace berth
