// SPDX-License-Identifier: Apache-2.0
#include "lib/emulator/kernel/context.h"

#include <cerrno>

namespace berth::emulator {

Context::~Context() {
  // Leaves first: what has no users goes, which frees what it pinned.
  bool destroyed = true;
  while (destroyed) {
    destroyed = false;
    for (size_t i = 0; i < slots_.size(); ++i) {
      if (!slots_[i].object || slots_[i].object->users > 0) continue;
      Remove(slots_[i].object.get());
      destroyed = true;
    }
  }
}

int Context::Reserve(Object* object) {
  if (taken_ >= kMaxObjects) return -ENOMEM;
  uint32_t id = 0;
  if (!holes_.empty()) {
    id = *holes_.begin();
    holes_.erase(holes_.begin());
  } else {
    slots_.emplace_back();
    id = static_cast<uint32_t>(slots_.size());
  }
  slots_[id - 1].state = State::kReserved;
  ++taken_;
  object->id = id;
  return 0;
}

void Context::Install(std::unique_ptr<Object> object) {
  Slot& slot = slots_[object->id - 1];
  slot.state = State::kLive;
  slot.object = std::move(object);
}

void Context::Release(uint32_t id) {
  slots_[id - 1].state = State::kFree;
  holes_.insert(id);
  --taken_;
}

Object* Context::FindAny(uint32_t id) const {
  if (id == 0 || id > slots_.size()) return nullptr;
  return slots_[id - 1].object.get();
}

void Context::Remove(Object* object) {
  // The destructor may look other objects up, so the slot lets go of this one first.
  const uint32_t id = object->id;
  if (vfio_ioas == id) vfio_ioas = 0;
  const std::unique_ptr<Object> owned = std::move(slots_[id - 1].object);
  Release(id);
}

void Context::DestroyToTombstone(uint32_t id) {
  const std::unique_ptr<Object> owned = std::move(slots_[id - 1].object);
  slots_[id - 1].state = State::kTombstone;
}

int Context::Destroy(uint32_t id) {
  Object* object = FindAny(id);
  if (object == nullptr) return -ENOENT;
  if (object->users > 0) return -EBUSY;
  if (object->type == ObjectType::kViommu) {
    // A mapping of page0 pins the vIOMMU as a VMA does.
    if (static_cast<Viommu*>(object)->RetireWindow() != 0) return -EBUSY;
  }
  Remove(object);
  return 0;
}

uint64_t Context::TakeWindow(Viommu* viommu) {
  uint64_t offset = machine_->page_size;
  for (const auto& [start, owner] : windows_) {
    if (start - offset >= viommu->mmap_length) break;
    offset = start + owner->mmap_length;
  }
  windows_[offset] = viommu;
  return offset;
}

Viommu* Context::FindWindow(uint64_t offset, uint64_t length) const {
  const auto window = windows_.find(offset);
  if (window == windows_.end()) return nullptr;
  // mmap(2) rounds a length up to pages before a driver sees it.
  const uint64_t offered = window->second->mmap_length;
  const bool fits = length > offered - machine_->page_size && length <= offered;
  return fits ? window->second : nullptr;
}

bool Context::RetireAllPage0() {
  bool all = true;
  for (const auto& [offset, viommu] : windows_) {
    if (viommu->RetireWindow() != 0) all = false;
  }
  return all;
}

}  // namespace berth::emulator
