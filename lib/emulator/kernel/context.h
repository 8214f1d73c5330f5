// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_LIB_EMULATOR_KERNEL_CONTEXT_H_
#define BERTH_LIB_EMULATOR_KERNEL_CONTEXT_H_

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <vector>

#include "lib/emulator/kernel/machine.h"
#include "lib/emulator/kernel/objects.h"

namespace berth::emulator {

// One open iommufd: ids, objects, groups, page0 windows (Linux drivers/iommu/iommufd/main.c).
// Not thread-safe: the kernel's lock covers it.
class Context {
 public:
  // The attachment of an IOMMU group: all its devices follow the first, bound or not.
  struct Group {
    Hwpt* hwpt = nullptr;
    std::vector<DeviceObject*> devices;  // that asked for it
  };

  explicit Context(Machine* machine) : machine_(machine) {}
  // iommufd_fops_release(): destroys leaf first. Nothing may pin the context any more.
  ~Context();
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  Machine& machine() { return *machine_; }

  // Takes the lowest free id for `object`, which Find() does not see before Install(). -ENOMEM.
  int Reserve(Object* object);
  void Install(std::unique_ptr<Object> object);
  // Gives back an id that was never installed.
  void Release(uint32_t id);

  // Null: no such id, of another type, reserved or a tombstone.
  Object* FindAny(uint32_t id) const;
  template <typename T>
  T* Find(uint32_t id) const {
    Object* object = FindAny(id);
    return object != nullptr && object->type == T::kType ? static_cast<T*>(object) : nullptr;
  }

  // IOMMU_DESTROY: -ENOENT, -EBUSY.
  int Destroy(uint32_t id);
  // Destroys an object without users and leaves its id reserved for good.
  void DestroyToTombstone(uint32_t id);
  // Destroys `object`, which has no users.
  void Remove(Object* object);

  // Whether any id is taken, tombstones too.
  [[nodiscard]] bool empty() const { return taken_ == 0; }
  template <typename Visit>
  void ForEach(Visit visit) const {
    for (const Slot& slot : slots_) {
      if (slot.object) visit(*slot.object);
    }
  }

  // First fit from the second page on (maple tree of main.c, iommufd_fops_mmap).
  uint64_t TakeWindow(Viommu* viommu);
  void FreeWindow(uint64_t offset) { windows_.erase(offset); }
  // The window of that place, as mmap(2) finds it. Null: ENXIO.
  Viommu* FindWindow(uint64_t offset, uint64_t length) const;

  // Takes page0 of all vIOMMUs from everyone; false while some process maps one.
  bool RetireAllPage0();

  std::map<const IommuGroup*, Group> groups;
  bool fd_open = true;      // the identity socket
  int pins = 0;             // bound cdevs and open event fds
  bool account_mm = false;  // OPTION RLIMIT_MODE
  uint32_t vfio_ioas = 0;   // VFIO_IOAS; 0 = none

 private:
  enum class State : uint8_t { kFree, kReserved, kLive, kTombstone };
  struct Slot {
    State state = State::kFree;
    std::unique_ptr<Object> object;
  };

  Machine* machine_;
  std::vector<Slot> slots_;  // id - 1
  std::set<uint32_t> holes_;
  size_t taken_ = 0;
  std::map<uint64_t, Viommu*> windows_;  // by first byte
};

// Objects of one context, tombstones included: as bounded as everything.
inline constexpr size_t kMaxObjects = 65536;

// An object under construction: holds its id, and gives both back unless it is installed.
template <typename T>
class NewObject {
 public:
  template <typename... Args>
  explicit NewObject(Context* context, Args... args)
      : context_(context), object_(std::make_unique<T>(args...)) {
    error_ = context->Reserve(object_.get());
  }
  ~NewObject() {
    if (!object_) return;
    const uint32_t id = object_->id;
    object_.reset();
    if (id != 0) context_->Release(id);
  }
  NewObject(const NewObject&) = delete;
  NewObject& operator=(const NewObject&) = delete;

  // Of the id: 0 or -ENOMEM.
  [[nodiscard]] int error() const { return error_; }
  T* get() const { return object_.get(); }
  T* operator->() const { return object_.get(); }
  T* Install() {
    T* object = object_.get();
    context_->Install(std::move(object_));
    return object;
  }

 private:
  Context* context_;
  std::unique_ptr<T> object_;
  int error_ = 0;
};

}  // namespace berth::emulator

#endif  // BERTH_LIB_EMULATOR_KERNEL_CONTEXT_H_
