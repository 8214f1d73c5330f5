// SPDX-License-Identifier: Apache-2.0
#include "tests/emulator/kernel/object_model.h"

#include <cerrno>
#include <utility>

namespace berth::emulator {

ObjectModel::Object* ObjectModel::FindAny(int context, Id id) {
  auto& objects = contexts_.at(context).objects;
  const auto found = objects.find(id);
  return found != objects.end() ? &found->second : nullptr;
}

ObjectModel::Object* ObjectModel::Find(int context, Id id, Type type) {
  Object* object = FindAny(context, id);
  return object != nullptr && object->type == type ? object : nullptr;
}

// The lowest id that is free; those of tombstones never are.
ObjectModel::Id ObjectModel::Add(int context, Object object) {
  Context& in = contexts_.at(context);
  Id id = 1;
  while (in.objects.contains(id) || in.tombstones.contains(id)) ++id;
  for (const Id pinned : object.pins) ++in.objects.at(pinned).users;
  in.objects.emplace(id, std::move(object));
  return id;
}

void ObjectModel::Remove(int context, Id id, bool to_tombstone) {
  Context& in = contexts_.at(context);
  const Object object = in.objects.at(id);
  for (const Id pinned : object.pins) --in.objects.at(pinned).users;
  in.objects.erase(id);
  if (to_tombstone) in.tombstones.insert(id);
  switch (object.type) {
    case Type::kViommu:
      if (object.kind == ViommuKind::kCmdqv) --vintfs_used_.at(object.unit);
      break;
    case Type::kVdevice:
      in.objects.at(object.pins[0]).vdevices.erase(object.key);
      for (auto& [unused, other] : in.objects) {
        if (other.vdevice == id) other.vdevice = 0;
      }
      break;
    case Type::kVeventq:
      in.objects.at(object.pins[0]).veventqs.erase(static_cast<uint32_t>(object.key));
      break;
    case Type::kQueue:
      in.objects.at(object.pins[0]).queues.erase(static_cast<uint32_t>(object.key));
      --in.objects.at(object.pins[1]).locks;
      in.objects.erase(object.access);
      break;
    default:
      break;
  }
}

// With nothing that keeps it, a context takes all it has with it.
void ObjectModel::Unpin(int context) {
  const Context& gone = contexts_.at(context);
  if (gone.open || gone.pins > 0) return;
  for (const auto& [id, object] : gone.objects) {
    if (object.type == Type::kViommu && object.kind == ViommuKind::kCmdqv) {
      --vintfs_used_.at(object.unit);
    }
  }
  contexts_.erase(context);
}

int ObjectModel::OpenContext() {
  contexts_[next_context_];
  return next_context_++;
}

void ObjectModel::CloseContext(int context) {
  contexts_.at(context).open = false;
  Unpin(context);
}

int ObjectModel::Bind(int device, int context) {
  if (cdevs_.contains(device)) return -EINVAL;
  const Id id = Add(context, {.type = Type::kDevice, .device = device});
  ++contexts_.at(context).pins;
  cdevs_[device] = {.context = context, .id = id};
  return static_cast<int>(id);
}

void ObjectModel::CloseCdev(int device) {
  if (!cdevs_.contains(device)) return;
  const Cdev cdev = cdevs_.at(device);
  Detach(device);
  if (const Id vdevice = FindAny(cdev.context, cdev.id)->vdevice; vdevice != 0) {
    Remove(cdev.context, vdevice, true);
  }
  Remove(cdev.context, cdev.id, false);
  cdevs_.erase(device);
  --contexts_.at(cdev.context).pins;
  Unpin(cdev.context);
}

int ObjectModel::Attach(int device, Id hwpt) {
  if (!cdevs_.contains(device)) return -EINVAL;
  Cdev& cdev = cdevs_.at(device);
  Object* target = FindAny(cdev.context, hwpt);
  if (target == nullptr) return -ENOENT;
  if (target->type != Type::kPaging && target->type != Type::kNested) return -EINVAL;
  if (target->unit != machine_.unit_of[device]) return -EINVAL;
  ++target->users;
  if (cdev.hwpt != 0) --FindAny(cdev.context, cdev.hwpt)->users;
  cdev.hwpt = hwpt;
  return 0;
}

int ObjectModel::Detach(int device) {
  if (!cdevs_.contains(device)) return -EINVAL;
  Cdev& cdev = cdevs_.at(device);
  if (cdev.hwpt != 0) --FindAny(cdev.context, cdev.hwpt)->users;
  cdev.hwpt = 0;
  return 0;
}

int ObjectModel::AllocIoas(int context) {
  return static_cast<int>(Add(context, {.type = Type::kIoas}));
}

int ObjectModel::UnmapIoas(int context, Id ioas) {
  Object* object = Find(context, ioas, Type::kIoas);
  if (object == nullptr || !object->mapped) return -ENOENT;
  if (object->locks > 0) return -EBUSY;
  object->mapped = false;
  return 0;
}

int ObjectModel::AllocParent(int context, Id device, Id ioas) {
  const Object* on = Find(context, device, Type::kDevice);
  if (on == nullptr) return -ENOENT;
  const Object* below = FindAny(context, ioas);
  if (below == nullptr) return -EINVAL;
  // Nesting on a page table directly is not offered by SMMUv3; on a vIOMMU not with this flag.
  if (below->type == Type::kPaging) return -EOPNOTSUPP;
  if (below->type == Type::kViommu) return below->unit != UnitOf(*on) ? -EINVAL : -EOPNOTSUPP;
  if (below->type != Type::kIoas) return -EINVAL;
  return static_cast<int>(
      Add(context, {.type = Type::kPaging, .pins = {ioas}, .unit = UnitOf(*on)}));
}

int ObjectModel::AllocViommu(int context, Id device, Id parent, ViommuKind kind) {
  const Object* on = Find(context, device, Type::kDevice);
  if (on == nullptr) return -ENOENT;
  const Object* below = Find(context, parent, Type::kPaging);
  if (below == nullptr) return -ENOENT;
  const int unit = UnitOf(*on);
  if (below->unit != unit) return -EINVAL;
  if (kind == ViommuKind::kCmdqv) {
    if (vintfs_used_.at(unit) == machine_.vintfs[unit]) return -ENOSPC;
    ++vintfs_used_.at(unit);
  }
  return static_cast<int>(
      Add(context, {.type = Type::kViommu, .pins = {parent}, .unit = unit, .kind = kind}));
}

int ObjectModel::AllocNested(int context, Id device, Id viommu) {
  const Object* on = Find(context, device, Type::kDevice);
  if (on == nullptr) return -ENOENT;
  const Object* below = Find(context, viommu, Type::kViommu);
  if (below == nullptr || below->unit != UnitOf(*on)) return -EINVAL;
  return static_cast<int>(
      Add(context, {.type = Type::kNested, .pins = {viommu}, .unit = UnitOf(*on)}));
}

int ObjectModel::AllocVdevice(int context, Id viommu, Id device, uint64_t vsid) {
  Object* below = Find(context, viommu, Type::kViommu);
  if (below == nullptr) return -ENOENT;
  Object* on = Find(context, device, Type::kDevice);
  if (on == nullptr) return -ENOENT;
  if (below->unit != UnitOf(*on)) return -EINVAL;
  if (on->vdevice != 0 || below->vdevices.contains(vsid)) return -EEXIST;
  if (below->kind == ViommuKind::kCmdqv &&
      static_cast<int>(below->vdevices.size()) == machine_.sid_slots) {
    return -ENOSPC;
  }
  const Id id = Add(context, {.type = Type::kVdevice, .pins = {viommu}, .key = vsid});
  below->vdevices[vsid] = id;
  on->vdevice = id;
  return static_cast<int>(id);
}

int ObjectModel::AllocVeventq(int context, Id viommu, uint32_t type) {
  Object* below = Find(context, viommu, Type::kViommu);
  if (below == nullptr) return -ENOENT;
  if (below->veventqs.contains(type)) return -EEXIST;
  // Its open fd keeps it, and its context.
  const Id id = Add(context, {.type = Type::kVeventq, .pins = {viommu}, .users = 1, .key = type});
  below->veventqs[type] = id;
  ++contexts_.at(context).pins;
  return static_cast<int>(id);
}

void ObjectModel::CloseEvents(int context, Id veventq) {
  --FindAny(context, veventq)->users;
  --contexts_.at(context).pins;
  Unpin(context);
}

int ObjectModel::AllocQueue(int context, Id viommu, uint32_t index) {
  Object* below = Find(context, viommu, Type::kViommu);
  if (below == nullptr) return -ENOENT;
  if (below->kind != ViommuKind::kCmdqv) return -EOPNOTSUPP;
  const Id ioas = FindAny(context, below->pins[0])->pins[0];
  // Memory is looked at before the index.
  if (!FindAny(context, ioas)->mapped) return -ENOENT;
  if (static_cast<int>(index) >= machine_.queues_per_vintf) return -EINVAL;
  if (below->queues.contains(index)) return -EEXIST;
  if (index > 0 && !below->queues.contains(index - 1)) return -EIO;
  Object queue = {.type = Type::kQueue, .pins = {viommu, ioas}, .key = index};
  if (index > 0) queue.pins.push_back(below->queues.at(index - 1));
  const Id id = Add(context, std::move(queue));
  below->queues[index] = id;
  ++FindAny(context, ioas)->locks;
  // The hidden object that holds the memory; its maker keeps it.
  const Id access = Add(context, {.type = Type::kAccess, .users = 1});
  FindAny(context, id)->access = access;
  return static_cast<int>(id);
}

void ObjectModel::MapPage0(int context, Id viommu) {
  ++FindAny(context, viommu)->users;
  ++contexts_.at(context).pins;
}

void ObjectModel::UnmapPage0(int context, Id viommu) {
  --FindAny(context, viommu)->users;
  --contexts_.at(context).pins;
  Unpin(context);
}

int ObjectModel::Destroy(int context, Id id) {
  const Object* object = FindAny(context, id);
  if (object == nullptr) return -ENOENT;
  if (object->users > 0 || object->type == Type::kDevice) return -EBUSY;
  Remove(context, id, false);
  return 0;
}

int ObjectModel::objects() const {
  size_t count = 0;
  for (const auto& [number, context] : contexts_) count += context.objects.size();
  return static_cast<int>(count);
}

std::vector<ObjectModel::Id> ObjectModel::IdsOf(int context, Type type) const {
  std::vector<Id> ids;
  for (const auto& [id, object] : contexts_.at(context).objects) {
    if (object.type == type) ids.push_back(id);
  }
  return ids;
}

bool ObjectModel::NamesIoas(int device, Id id) const {
  if (!cdevs_.contains(device)) return false;
  const auto& objects = contexts_.at(cdevs_.at(device).context).objects;
  const auto found = objects.find(id);
  return found != objects.end() && found->second.type == Type::kIoas;
}

bool ObjectModel::HasVintf(int context, Id viommu) const {
  const auto& objects = contexts_.at(context).objects;
  const auto found = objects.find(viommu);
  return found != objects.end() && found->second.type == Type::kViommu &&
         found->second.kind == ViommuKind::kCmdqv;
}

}  // namespace berth::emulator
