// SPDX-License-Identifier: Apache-2.0
//
// A small model of what pins what in iommufd, written from the rules and not from the emulator:
// Linux drivers/iommu/iommu.c, drivers/iommu/iommufd/{main,device,hw_pagetable,viommu,eventq}.c and
// the SMMUv3 and CMDQV drivers behind them. It knows arguments that are well-formed but may name
// anything.
#ifndef BERTH_TESTS_EMULATOR_KERNEL_OBJECT_MODEL_H_
#define BERTH_TESTS_EMULATOR_KERNEL_OBJECT_MODEL_H_

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <vector>

namespace berth::emulator {

class ObjectModel {
 public:
  using Id = uint32_t;
  enum class Type : uint8_t {
    kIoas,
    kPaging,
    kNested,
    kViommu,
    kDevice,
    kVdevice,
    kVeventq,
    kFault,
    kQueue,
    kAccess
  };
  enum class PagingKind : uint8_t { kNestParent, kPlain, kAutomatic };
  enum class ViommuKind : uint8_t { kSmmuv3, kCmdqv };
  enum class Vste : uint8_t { kAbort, kTranslate };

  struct Machine {
    std::vector<int> unit_of;   // by device
    std::vector<int> group_of;  // by device: its IOMMU group
    std::vector<int> vintfs;    // free ones, by unit
    int queues_per_vintf = 2;
    int sid_slots = 16;
  };
  explicit ObjectModel(Machine machine) : machine_(std::move(machine)) {}

  // A negative errno, or the id of what was made or attached, or 0. Contexts are numbered as they
  // are opened, and are known as long as something keeps them.
  int OpenContext();
  void CloseContext(int context);
  int Bind(int device, int context);
  void CloseCdev(int device);
  int Attach(int device, Id page_table);
  int Detach(int device);
  int AllocIoas(int context);
  int UnmapIoas(int context, Id ioas);
  int AllocFault(int context);
  // kNestParent or kPlain.
  int AllocPaging(int context, Id device, Id ioas, PagingKind kind, std::optional<Id> fault);
  int AllocViommu(int context, Id device, Id parent, ViommuKind kind);
  int AllocNested(int context, Id device, Id viommu, Vste vste, std::optional<Id> fault);
  int AllocVdevice(int context, Id viommu, Id device, uint64_t vsid);
  int AllocVeventq(int context, Id viommu, uint32_t type);
  // Of a vEVENTQ or a fault queue.
  void CloseEvents(int context, Id queue);
  int AllocQueue(int context, Id viommu, uint32_t index);
  void MapPage0(int context, Id viommu);
  void UnmapPage0(int context, Id viommu);
  int Destroy(int context, Id id);

  // What can be seen from outside.
  [[nodiscard]] int contexts() const { return static_cast<int>(contexts_.size()); }
  [[nodiscard]] int objects() const;
  [[nodiscard]] int vintfs_used(int unit) const { return vintfs_used_.at(unit); }
  [[nodiscard]] std::vector<Id> IdsOf(int context, Type type) const;
  [[nodiscard]] bool HasVintf(int context, Id viommu) const;

 private:
  struct Object {
    Type type = Type::kIoas;
    std::vector<Id> pins = {};  // what it keeps from being destroyed
    int users = 0;              // how often it is kept so itself
    int unit = 0;               // kPaging, kViommu
    bool mapped = true;         // kIoas: its memory
    int locks = 0;              // kIoas: of queues on that memory
    PagingKind paging = PagingKind::kPlain;
    ViommuKind kind = ViommuKind::kSmmuv3;
    Vste vste = Vste::kAbort;
    std::map<uint64_t, Id> vdevices = {};  // kViommu, by vSID
    std::map<uint32_t, Id> veventqs = {};  // kViommu, by type
    std::map<uint32_t, Id> queues = {};    // kViommu, by index
    uint64_t key = 0;                      // where it stands in one of those
    Id access = 0;                         // kQueue
    int device = -1;                       // kDevice, kVdevice: number of the function
    Id vdevice = 0;                        // kDevice
  };
  struct Context {
    bool open = true;
    int pins = 0;
    std::map<Id, Object> objects;
    std::set<Id> tombstones;
  };
  struct Cdev {
    int context = -1;  // bound to
    Id id = 0;
  };
  // What an IOMMU group has in common.
  struct Group {
    int context = -1;        // its owner
    int bound = 0;           // devices
    Id hwpt = 0;             // attached to
    std::set<int> attached;  // devices that are so by themselves
  };

  Object* Find(int context, Id id, Type type);
  Object* FindAny(int context, Id id);
  Id Add(int context, Object object);
  void Remove(int context, Id id, bool to_tombstone);
  void Unpin(int context);
  [[nodiscard]] int UnitOf(const Object& device) const { return machine_.unit_of[device.device]; }
  Group& GroupOf(int device) { return groups_[machine_.group_of[device]]; }
  // 0, or why the device's group cannot have that page table.
  int Refuses(int device, const Object& hwpt);
  int AttachHwpt(int device, Id hwpt);
  int AttachIoas(int device, Id ioas);
  void DropUsers(int context, Id hwpt, int users);

  Machine machine_;
  int next_context_ = 0;
  std::map<int, Context> contexts_;
  std::map<int, Cdev> cdevs_;    // bound ones
  std::map<int, Group> groups_;  // by number
  std::map<int, int> vintfs_used_ = {{0, 0}, {1, 0}};
};

}  // namespace berth::emulator

#endif  // BERTH_TESTS_EMULATOR_KERNEL_OBJECT_MODEL_H_
