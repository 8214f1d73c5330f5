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
  Group& group = GroupOf(device);
  if (group.bound > 0 && group.context != context) return -EPERM;
  group.context = context;
  ++group.bound;
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
  --GroupOf(device).bound;
  --contexts_.at(cdev.context).pins;
  Unpin(cdev.context);
}

// It is made to be where its group is; a vSTE that translates needs a vDEVICE of each device of
// the group, bound or not.
int ObjectModel::Refuses(int device, const Object& hwpt) {
  if (hwpt.unit != machine_.unit_of[device]) return -EINVAL;
  if (hwpt.type != Type::kNested || hwpt.vste != Vste::kTranslate) return 0;
  const int context = cdevs_.at(device).context;
  std::set<int> known;
  for (const auto& [vsid, id] : FindAny(context, hwpt.pins[0])->vdevices) {
    known.insert(FindAny(context, id)->device);
  }
  for (size_t other = 0; other < machine_.group_of.size(); ++other) {
    if (machine_.group_of[other] != machine_.group_of[device]) continue;
    if (!known.contains(static_cast<int>(other))) return -ENOENT;
  }
  return 0;
}

// Attached devices are users; an automatic page table goes with the last of them.
void ObjectModel::DropUsers(int context, Id hwpt, int users) {
  Object* object = FindAny(context, hwpt);
  object->users -= users;
  if (object->users == 0 && object->paging == PagingKind::kAutomatic) {
    Remove(context, hwpt, false);
  }
}

int ObjectModel::AttachHwpt(int device, Id hwpt) {
  Group& group = GroupOf(device);
  const bool replaces = group.attached.contains(device);
  if (!replaces && group.hwpt != 0 && group.hwpt != hwpt) return -EINVAL;
  Object* target = FindAny(group.context, hwpt);
  if (group.hwpt != hwpt) {
    if (const int rc = Refuses(device, *target); rc != 0) return rc;
  }
  const Id old = std::exchange(group.hwpt, hwpt);
  if (!replaces) {
    ++target->users;
    group.attached.insert(device);
  } else if (old != hwpt) {
    const int moved = static_cast<int>(group.attached.size());
    target->users += moved;
    DropUsers(group.context, old, moved);
  }
  return 0;
}

int ObjectModel::AttachIoas(int device, Id ioas) {
  const int context = cdevs_.at(device).context;
  for (const Id hwpt : IdsOf(context, Type::kPaging)) {
    const Object* candidate = FindAny(context, hwpt);
    if (candidate->paging != PagingKind::kAutomatic || candidate->pins[0] != ioas) continue;
    const int rc = AttachHwpt(device, hwpt);
    if (rc == -EINVAL) continue;
    return rc != 0 ? rc : static_cast<int>(hwpt);
  }
  const Id made = Add(context, {.type = Type::kPaging,
                                .pins = {ioas},
                                .unit = machine_.unit_of[device],
                                .paging = PagingKind::kAutomatic});
  const int rc = AttachHwpt(device, made);
  if (rc == 0) return static_cast<int>(made);
  Remove(context, made, false);
  return rc;
}

int ObjectModel::Attach(int device, Id page_table) {
  if (!cdevs_.contains(device)) return -EINVAL;
  const Object* target = FindAny(cdevs_.at(device).context, page_table);
  if (target == nullptr) return -ENOENT;
  if (target->type == Type::kIoas) return AttachIoas(device, page_table);
  if (target->type != Type::kPaging && target->type != Type::kNested) return -EINVAL;
  const int rc = AttachHwpt(device, page_table);
  return rc != 0 ? rc : static_cast<int>(page_table);
}

int ObjectModel::Detach(int device) {
  if (!cdevs_.contains(device)) return -EINVAL;
  Group& group = GroupOf(device);
  if (group.attached.erase(device) == 0) return 0;
  const Id hwpt = group.hwpt;
  if (group.attached.empty()) group.hwpt = 0;
  DropUsers(group.context, hwpt, 1);
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

int ObjectModel::AllocFault(int context) {
  // Its open fd keeps it, and its context.
  ++contexts_.at(context).pins;
  return static_cast<int>(Add(context, {.type = Type::kFault, .users = 1}));
}

int ObjectModel::AllocPaging(int context, Id device, Id ioas, PagingKind kind,
                             std::optional<Id> fault) {
  const Object* on = Find(context, device, Type::kDevice);
  if (on == nullptr) return -ENOENT;
  const Object* below = FindAny(context, ioas);
  if (below == nullptr) return -EINVAL;
  // Without data nothing nests, neither on a page table, which SMMUv3 does not offer, nor on a
  // vIOMMU.
  if (below->type == Type::kPaging) return -EOPNOTSUPP;
  if (below->type == Type::kViommu) return below->unit != UnitOf(*on) ? -EINVAL : -EOPNOTSUPP;
  if (below->type != Type::kIoas) return -EINVAL;
  if (kind == PagingKind::kNestParent && fault) return -EOPNOTSUPP;
  // The fault queue is looked for last.
  if (fault && Find(context, *fault, Type::kFault) == nullptr) return -ENOENT;
  Object made = {.type = Type::kPaging, .pins = {ioas}, .unit = UnitOf(*on), .paging = kind};
  if (fault) made.pins.push_back(*fault);
  return static_cast<int>(Add(context, std::move(made)));
}

int ObjectModel::AllocViommu(int context, Id device, Id parent, ViommuKind kind) {
  const Object* on = Find(context, device, Type::kDevice);
  if (on == nullptr) return -ENOENT;
  const Object* below = Find(context, parent, Type::kPaging);
  if (below == nullptr) return -ENOENT;
  const int unit = UnitOf(*on);
  if (below->paging != PagingKind::kNestParent || below->unit != unit) return -EINVAL;
  if (kind == ViommuKind::kCmdqv) {
    if (vintfs_used_.at(unit) == machine_.vintfs[unit]) return -ENOSPC;
    ++vintfs_used_.at(unit);
  }
  return static_cast<int>(
      Add(context, {.type = Type::kViommu, .pins = {parent}, .unit = unit, .kind = kind}));
}

int ObjectModel::AllocNested(int context, Id device, Id viommu, Vste vste,
                             std::optional<Id> fault) {
  const Object* on = Find(context, device, Type::kDevice);
  if (on == nullptr) return -ENOENT;
  const Object* below = Find(context, viommu, Type::kViommu);
  if (below == nullptr || below->unit != UnitOf(*on)) return -EINVAL;
  if (fault && Find(context, *fault, Type::kFault) == nullptr) return -ENOENT;
  Object made = {.type = Type::kNested, .pins = {viommu}, .unit = UnitOf(*on), .vste = vste};
  if (fault) made.pins.push_back(*fault);
  return static_cast<int>(Add(context, std::move(made)));
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
  const Id id =
      Add(context, {.type = Type::kVdevice, .pins = {viommu}, .key = vsid, .device = on->device});
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

void ObjectModel::CloseEvents(int context, Id queue) {
  --FindAny(context, queue)->users;
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

bool ObjectModel::HasVintf(int context, Id viommu) const {
  const auto& objects = contexts_.at(context).objects;
  const auto found = objects.find(viommu);
  return found != objects.end() && found->second.type == Type::kViommu &&
         found->second.kind == ViommuKind::kCmdqv;
}

}  // namespace berth::emulator
