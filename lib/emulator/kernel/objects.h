// SPDX-License-Identifier: Apache-2.0
//
// The objects of a context and what pins what (Linux drivers/iommu/iommufd/iommufd_private.h).
// A Pin<> member is an edge of the graph: it counts in the `users` of what it points to, and
// DESTROY of something with users is EBUSY. Destructors are the kernel's destroy callbacks; an
// object that was never installed in its context is rolled back by the same destructor.
#ifndef BERTH_LIB_EMULATOR_KERNEL_OBJECTS_H_
#define BERTH_LIB_EMULATOR_KERNEL_OBJECTS_H_

#include <array>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "lib/emulator/hardware/smmu/dirty_log.h"
#include "lib/emulator/kernel/io_pagetable.h"
#include "lib/emulator/kernel/machine.h"
#include "lib/iommufd/uapi/iommufd_test.h"

namespace berth::emulator {

class Context;

enum class ObjectType : uint8_t {
  kDevice,
  kIoas,
  kHwptPaging,
  kHwptNested,
  kViommu,
  kVdevice,
  kVeventq,
  kFault,
  kHwQueue,
  kAccess,
  kSelftest,
};
std::string_view ToString(ObjectType type);

struct Object {
  explicit Object(ObjectType object_type) : type(object_type) {}
  virtual ~Object() = default;
  Object(const Object&) = delete;
  Object& operator=(const Object&) = delete;

  const ObjectType type;
  uint32_t id = 0;
  int users = 0;  // beside the context's own table
};

template <typename T>
class Pin {
 public:
  Pin() = default;
  explicit Pin(T* object) : object_(object) { ++object_->users; }
  Pin(Pin&& other) noexcept : object_(std::exchange(other.object_, nullptr)) {}
  Pin& operator=(Pin&& other) noexcept {
    Reset();
    object_ = std::exchange(other.object_, nullptr);
    return *this;
  }
  ~Pin() { Reset(); }

  void Reset() {
    if (T* object = std::exchange(object_, nullptr)) --object->users;
  }
  T* get() const { return object_; }
  T* operator->() const { return object_; }

 private:
  T* object_ = nullptr;
};

struct HwptPaging;

struct Ioas : Object {
  static constexpr ObjectType kType = ObjectType::kIoas;
  explicit Ioas(uint64_t page_size) : Object(kType), iopt(page_size) {}
  IoPagetable iopt;
  std::vector<HwptPaging*> hwpts;  // whose domains have what is mapped here
};

// FAULT and VEVENTQ: a queue of records behind an fd.
struct EventQueue : Object {
  using Object::Object;
  ~EventQueue() override;

  // Adds a record; over the depth only the sequence moves on, and one LOST_EVENTS header says so
  // (eventq.c, iommufd_viommu_report_event).
  void Report(const void* payload, size_t size);
  // read(2): as many whole records as fit into `size` bytes, of which the caller can be written
  // only the first `writable`; *rc is the return value.
  std::vector<std::byte> Read(size_t size, size_t writable, int64_t* rc);
  // The same as if the queue were full.
  void Lose();
  [[nodiscard]] bool empty() const { return records_.empty() && !lost_; }
  // Puts one byte into the fd when there is something to read, so that poll(2) tells.
  void Wake();

  size_t depth = 0;
  int wake_fd = -1;  // the server's end of the fd; -1 when the fd is closed

 protected:
  uint32_t sequence_ = 0;  // of the next record

 private:
  struct Record {
    uint32_t sequence;
    std::vector<std::byte> payload;
  };
  uint32_t NextSequence();

  std::deque<Record> records_;
  bool lost_ = false;  // a LOST_EVENTS header stands at the end
  uint32_t lost_sequence_ = 0;
};

struct Fault : EventQueue {
  static constexpr ObjectType kType = ObjectType::kFault;
  Fault() : EventQueue(kType) {}
};

struct Hwpt : Object {
  using Object::Object;
  Pin<Fault> fault;
};

struct HwptPaging : Hwpt {
  static constexpr ObjectType kType = ObjectType::kHwptPaging;
  HwptPaging() : Hwpt(kType) {}
  ~HwptPaging() override;

  Pin<Ioas> ioas;
  Unit* unit = nullptr;
  bool nest_parent = false;
  bool dirty_tracking = false;
  std::shared_ptr<DirtyLog>
      dirty_log;           // with dirty_tracking; null: the mock's, where none is dirty
  bool automatic = false;  // made by ATTACH of an IOAS; goes with its last device
  bool in_iopt = false;
  uint16_t vmid = 0;  // nesting parents only
};

struct Viommu;
struct MockViommu;

struct HwptNested : Hwpt {
  static constexpr ObjectType kType = ObjectType::kHwptNested;
  HwptNested() : Hwpt(kType) {}
  Pin<Viommu> viommu;
  Pin<HwptPaging> parent;  // the mock alone: nested without a vIOMMU
  std::array<uint64_t, 2> ste = {};
  bool mock = false;
  std::array<uint32_t, uapi::kMockIotlbEntries> mock_iotlb = {};
};

struct Vdevice;
struct Veventq;
struct HwQueue;

struct Viommu : Object {
  static constexpr ObjectType kType = ObjectType::kViommu;
  Viommu();
  ~Viommu() override;

  // Takes the window from everyone: 0, or -EBUSY while some process maps it.
  int RetireWindow();
  // Of the memory behind the window; -1 without one.
  [[nodiscard]] int WindowFd() const;
  // viommu.c, iommufd_viommu_get_vdev_id(): null without one here.
  [[nodiscard]] const Vdevice* FindVdevice(const Function* function) const;

  Context* context = nullptr;
  Pin<HwptPaging> parent;
  Unit* unit = nullptr;
  uint32_t viommu_type = 0;
  int vintf = 0;                          // type TEGRA241_CMDQV; 0 = none
  uint64_t cookie = 0;                    // in Machine::by_cookie; 0 = none
  uint64_t mmap_offset = 0;               // 0 = none
  uint64_t mmap_length = 0;               // bytes
  std::unique_ptr<MockViommu> mock;       // profile SELFTEST
  std::map<uint64_t, Vdevice*> vdevices;  // by virt_id
  std::map<uint32_t, Veventq*> veventqs;  // by type
  std::map<uint32_t, HwQueue*> queues;    // by index
};

struct DeviceObject : Object {
  static constexpr ObjectType kType = ObjectType::kDevice;
  DeviceObject() : Object(kType) {}
  ~DeviceObject() override;

  // Makes it `function` in `owner`, to which the group may belong; its destructor gives it back.
  void Own(Context* owner, Function* owned);

  Context* context = nullptr;
  Function* function = nullptr;
  Vdevice* vdevice = nullptr;
};

struct Vdevice : Object {
  static constexpr ObjectType kType = ObjectType::kVdevice;
  Vdevice() : Object(kType) {}
  ~Vdevice() override;

  Pin<Viommu> viommu;
  DeviceObject* device = nullptr;
  uint64_t virt_id = 0;
  bool listed = false;  // in viommu->vdevices
  int sid_slot = -1;
};

struct Veventq : EventQueue {
  static constexpr ObjectType kType = ObjectType::kVeventq;
  Veventq() : EventQueue(kType) {}
  ~Veventq() override;

  Pin<Viommu> viommu;
  uint32_t event_type = 0;
};

// The hidden object that keeps a HW queue's memory pinned; it has an id of its own.
struct Access : Object {
  static constexpr ObjectType kType = ObjectType::kAccess;
  Access() : Object(kType) { ++users; }  // its creator: DESTROY of it is EBUSY
  ~Access() override;

  Pin<Ioas> ioas;
  bool added = false;
  uint64_t iova = 0;
  uint64_t length = 0;  // pinned; 0 = nothing
};

struct HwQueue : Object {
  static constexpr ObjectType kType = ObjectType::kHwQueue;
  HwQueue() : Object(kType) {}
  ~HwQueue() override;

  Context* context = nullptr;
  uint32_t access_id = 0;  // 0 = none
  Pin<Viommu> viommu;
  Pin<HwQueue> previous;  // of index - 1
  uint32_t index = 0;
  bool mapped = false;
  bool mock = false;
};

}  // namespace berth::emulator

#endif  // BERTH_LIB_EMULATOR_KERNEL_OBJECTS_H_
