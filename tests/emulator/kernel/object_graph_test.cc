// SPDX-License-Identifier: Apache-2.0
//
// Random sequences of calls, each held against a model of what pins what: the same errno, the same
// id, the same number of contexts, objects and VINTFs in use after every step. A sequence that
// shows a difference is shrunk to a short one.
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <array>
#include <sstream>

#include "tests/conformance/vmm_process.h"
#include "tests/emulator/emulator_fixture.h"
#include "tests/emulator/kernel/object_model.h"

namespace berth::emulator {
namespace {

using Id = ObjectModel::Id;
using Type = ObjectModel::Type;

constexpr int kContexts = 2;
constexpr int kUnits = 2;
constexpr size_t kPage = 4096;
constexpr int kMostSteps = 600;
constexpr int kEnoughSteps = 100'000;

enum class Op : uint8_t {
  kReopenContext,
  kBind,
  kCloseCdev,
  kAttach,
  kDetach,
  kAllocIoas,
  kUnmapIoas,
  kAllocFault,
  kAllocPaging,
  kAllocViommu,
  kAllocNested,
  kAllocVdevice,
  kAllocVeventq,
  kCloseEvents,
  kAllocQueue,
  kMapPage0,
  kUnmapPage0,
  kVmmMaps,
  kVmmForks,
  kDestroy,
  kCount
};
constexpr std::array<const char*, static_cast<size_t>(Op::kCount)> kNames = {
    "reopen context", "bind",        "close cdev", "attach",       "detach",
    "ioas",           "unmap ioas",  "fault",      "paging",       "viommu",
    "nested",         "vdevice",     "veventq",    "close events", "queue",
    "map page0",      "unmap page0", "VMM maps",   "VMM forks",    "destroy"};

// One call: what it is about is chosen from what there is by these numbers, so that a shorter
// sequence still makes sense.
struct Step {
  Op op = Op::kBind;
  uint8_t context = 0;
  uint8_t a = 0;
  uint8_t b = 0;
};

std::ostream& operator<<(std::ostream& out, const Step& step) {
  return out << kNames.at(static_cast<size_t>(step.op)) << "(" << int{step.context} << ", "
             << int{step.a} << ", " << int{step.b} << ")";
}

rc::Gen<Step> GenStep() {
  // What makes something is more frequent than what ends much.
  constexpr std::pair<size_t, Op> kWeights[] = {
      {1, Op::kReopenContext}, {6, Op::kBind},        {2, Op::kCloseCdev},   {10, Op::kAttach},
      {2, Op::kDetach},        {4, Op::kAllocIoas},   {1, Op::kUnmapIoas},   {2, Op::kAllocFault},
      {8, Op::kAllocPaging},   {8, Op::kAllocViommu}, {5, Op::kAllocNested}, {8, Op::kAllocVdevice},
      {4, Op::kAllocVeventq},  {2, Op::kCloseEvents}, {8, Op::kAllocQueue},  {2, Op::kMapPage0},
      {2, Op::kUnmapPage0},    {2, Op::kVmmMaps},     {2, Op::kVmmForks},    {12, Op::kDestroy}};
  std::vector<Op> urn;
  for (const auto& [weight, op] : kWeights) urn.insert(urn.end(), weight, op);
  return rc::gen::build<Step>(rc::gen::set(&Step::op, rc::gen::elementOf(std::move(urn))),
                              rc::gen::set(&Step::context, rc::gen::inRange<uint8_t>(0, kContexts)),
                              rc::gen::set(&Step::a, rc::gen::inRange<uint8_t>(0, 64)),
                              rc::gen::set(&Step::b, rc::gen::inRange<uint8_t>(0, 64)));
}

HostSpec GraphHost() {
  HostSpec host = SmallHost();
  for (UnitSpec& unit : host.units) unit.sid_slots = 2;
  return host;
}

// The emulator and the model, side by side.
class World : public EmulatorTest {
 public:
  World()
      : model_({.unit_of = {0, 0, 0, 1, 0, 0},
                .group_of = {0, 1, 2, 10, 3, 3},
                .vintfs = {3, 3},
                .queues_per_vintf = 2,
                .sid_slots = 2}),
        memory_(GuestMemory(2 * kPage)) {
    StartServer([](Server::Options& options) { options.host = GraphHost(); });
    for (size_t device = 0; device < cdevs_.size(); ++device) Reopen(device);
    for (Slot& slot : slots_) Reopen(&slot);
  }
  void TestBody() override {}

  void Do(const Step& step);
  void CheckTotals() {
    // What was closed or unmapped has gone before the next call.
    RC_ASSERT(Destroy(slots_[0].fd, 1'000'000) == -ENOENT);
    const Snapshot snapshot = server().kernel().TakeSnapshot();
    int objects = 0;
    for (const auto& [type, count] : snapshot.objects) objects += count;
    RC_ASSERT(snapshot.contexts == model_.contexts());
    RC_ASSERT(objects == model_.objects());
    for (int unit = 0; unit < kUnits; ++unit) {
      RC_ASSERT(static_cast<int>(snapshot.units[unit].allocated.size()) ==
                model_.vintfs_used(unit));
    }
  }

 private:
  struct Slot {
    int number = -1;  // in the model
    UniqueFd fd;
  };
  struct Events {
    int context;
    Id id;
    UniqueFd fd;
  };
  struct Page0 {
    int context;
    Id viommu;
    Mapping mapping;
  };
  // What another process maps, or its child.
  struct VmmPage0 {
    int context;
    Id viommu;
    uint64_t length;
  };

  void Reopen(Slot* slot) {
    slot->fd = OpenContext();
    slot->number = model_.OpenContext();
  }
  void Reopen(size_t device) { cdevs_[device] = OpenDevice(GraphHost().devices[device].vfio_name); }
  // An id of that type, most of the time; else any small number.
  Id Pick(const Slot& slot, Type type, uint8_t choice) {
    const std::vector<Id> ids = model_.IdsOf(slot.number, type);
    if (ids.empty() || choice % 8 == 7) return choice / 4;
    return ids[choice % ids.size()];
  }
  // The same id, or the same errno.
  static void Same(int rc, Id id, int expected) {
    RC_ASSERT((rc < 0 ? rc : static_cast<int>(id)) == expected);
  }

  void DoContext(const Step& step, Slot& slot);
  void DoDevice(const Step& step, Slot& slot);
  void DoMemory(const Step& step, Slot& slot);
  void DoHwpt(const Step& step, Slot& slot);
  void DoViommu(const Step& step, Slot& slot);
  void DoQueues(const Step& step, Slot& slot);
  void DoMappings(const Step& step, Slot& slot);
  void DoVmm(const Step& step, Slot& slot);
  // The region of a vIOMMU, which the model knows; none when it has none.
  std::optional<MappedRegion> RegionOf(const Slot& slot, Id viommu);
  // Any fault queue, or none at all.
  std::optional<Id> PickFault(const Slot& slot, uint8_t choice) {
    return choice % 8 == 0 ? std::optional(Pick(slot, Type::kFault, choice / 8)) : std::nullopt;
  }
  void KeepEvents(const Slot& slot, Id id, uint32_t fd) {
    events_.push_back({slot.number, id, UniqueFd(static_cast<int>(fd))});
  }

  ObjectModel model_;
  const UniqueFd memory_;
  std::array<UniqueFd, 6> cdevs_;
  std::array<Slot, kContexts> slots_;
  std::vector<Events> events_;
  std::vector<Page0> mappings_;
  std::optional<conformance::VmmProcess> vmm_;  // once it is needed
  std::optional<VmmPage0> vmm_mapping_;
  std::optional<VmmPage0> child_mapping_;
  // page0's window, as VIOMMU_ALLOC said, by the model's context and id.
  std::map<std::pair<int, Id>, std::pair<uint64_t, uint64_t>> windows_;
};

void World::DoDevice(const Step& step, Slot& slot) {
  const size_t device = step.a % cdevs_.size();
  const int number = static_cast<int>(device);
  switch (step.op) {
    case Op::kBind: {
      Id id = 0;
      const int rc = Bind(cdevs_[device], slot.fd.get(), &id);
      return Same(rc, id, model_.Bind(number, slot.number));
    }
    case Op::kCloseCdev:
      Reopen(device);
      return model_.CloseCdev(number);
    case Op::kAttach: {
      uapi::VfioDeviceAttachIommufdPt cmd = {};
      constexpr std::array kTargets = {Type::kPaging, Type::kNested, Type::kIoas};
      cmd.pt_id = Pick(slot, kTargets[step.b % kTargets.size()], step.b);
      const int expected = model_.Attach(number, cmd.pt_id);
      const int rc = Call(cdevs_[device], uapi::kVfioDeviceAttachIommufdPt, &cmd);
      return Same(rc, cmd.pt_id, expected);
    }
    default: {
      uapi::VfioDeviceDetachIommufdPt cmd = {};
      const int rc = Call(cdevs_[device], uapi::kVfioDeviceDetachIommufdPt, &cmd);
      return Same(rc, 0, model_.Detach(number));
    }
  }
}

void World::DoMemory(const Step& step, Slot& slot) {
  if (step.op == Op::kAllocIoas) {
    const Id id = AllocIoas(slot.fd);
    Same(0, id, model_.AllocIoas(slot.number));
    uapi::IommuIoasMapFile cmd = {};
    cmd.flags = uapi::kIoasMapFixedIova | uapi::kIoasMapReadable | uapi::kIoasMapWriteable;
    cmd.ioas_id = id;
    cmd.fd = memory_.get();
    cmd.length = 2 * kPage;
    cmd.iova = kQueueIova;
    return Same(Call(slot.fd, uapi::kIommuIoasMapFile, &cmd), 0, 0);
  }
  uapi::IommuIoasUnmap cmd = {};
  cmd.ioas_id = Pick(slot, Type::kIoas, step.a);
  cmd.iova = kQueueIova;
  cmd.length = 2 * kPage;
  const int rc = Call(slot.fd, uapi::kIommuIoasUnmap, &cmd);
  Same(rc, 0, model_.UnmapIoas(slot.number, cmd.ioas_id));
}

void World::DoHwpt(const Step& step, Slot& slot) {
  uapi::IommuHwptAlloc cmd = {};
  cmd.dev_id = Pick(slot, Type::kDevice, step.a);
  const std::optional<Id> fault = PickFault(slot, step.a);
  cmd.flags = fault ? uapi::kHwptAllocFaultIdValid : 0;
  cmd.fault_id = fault.value_or(0);
  if (step.op == Op::kAllocPaging) {
    const auto kind =
        step.b % 4 == 0 ? ObjectModel::PagingKind::kPlain : ObjectModel::PagingKind::kNestParent;
    if (kind == ObjectModel::PagingKind::kNestParent) cmd.flags |= uapi::kHwptAllocNestParent;
    cmd.pt_id = Pick(slot, Type::kIoas, step.b);
    const int rc = Call(slot.fd, uapi::kIommuHwptAlloc, &cmd);
    return Same(rc, cmd.out_hwpt_id,
                model_.AllocPaging(slot.number, cmd.dev_id, cmd.pt_id, kind, fault));
  }
  static constexpr uint64_t kTranslate[2] = {
      uapi::kSte0Valid.Put(1) | uapi::kSte0Config.Put(uapi::kSteConfigS1Translate), 0};
  const auto vste = step.b % 2 == 0 ? ObjectModel::Vste::kAbort : ObjectModel::Vste::kTranslate;
  const std::vector<Id> viommus = model_.IdsOf(slot.number, Type::kViommu);
  cmd.pt_id = viommus.empty() ? 1'000'000 : viommus[step.b % viommus.size()];
  cmd.data_type = uapi::kHwptDataArmSmmuv3;
  cmd.data_len = sizeof(kTranslate);
  cmd.data_uptr =
      reinterpret_cast<uint64_t>(vste == ObjectModel::Vste::kAbort ? uapi::kSteAbort : kTranslate);
  const int rc = Call(slot.fd, uapi::kIommuHwptAlloc, &cmd);
  Same(rc, cmd.out_hwpt_id, model_.AllocNested(slot.number, cmd.dev_id, cmd.pt_id, vste, fault));
}

void World::DoViommu(const Step& step, Slot& slot) {
  if (step.op == Op::kAllocVdevice) {
    uapi::IommuVdeviceAlloc cmd = {};
    cmd.viommu_id = Pick(slot, Type::kViommu, step.a);
    cmd.dev_id = Pick(slot, Type::kDevice, step.b);
    cmd.virt_id = step.a % 3;
    const int rc = Call(slot.fd, uapi::kIommuVdeviceAlloc, &cmd);
    return Same(rc, cmd.out_vdevice_id,
                model_.AllocVdevice(slot.number, cmd.viommu_id, cmd.dev_id, cmd.virt_id));
  }
  const bool cmdqv = step.b % 4 != 3;
  uapi::IommuViommuTegra241Cmdqv data = {};
  uapi::IommuViommuAlloc cmd = {};
  cmd.type = cmdqv ? uapi::kViommuTypeTegra241Cmdqv : uapi::kViommuTypeArmSmmuv3;
  cmd.dev_id = Pick(slot, Type::kDevice, step.a);
  cmd.hwpt_id = Pick(slot, Type::kPaging, step.b);
  cmd.data_len = cmdqv ? sizeof(data) : 0;
  cmd.data_uptr = cmdqv ? reinterpret_cast<uint64_t>(&data) : 0;
  const int rc = Call(slot.fd, uapi::kIommuViommuAlloc, &cmd);
  Same(rc, cmd.out_viommu_id,
       model_.AllocViommu(
           slot.number, cmd.dev_id, cmd.hwpt_id,
           cmdqv ? ObjectModel::ViommuKind::kCmdqv : ObjectModel::ViommuKind::kSmmuv3));
  if (rc == 0 && cmdqv) {
    windows_[{slot.number, cmd.out_viommu_id}] = {data.out_vintf_mmap_offset,
                                                  data.out_vintf_mmap_length};
  }
}

void World::DoQueues(const Step& step, Slot& slot) {
  switch (step.op) {
    case Op::kAllocVeventq: {
      uapi::IommuVeventqAlloc cmd = {};
      cmd.viommu_id = Pick(slot, Type::kViommu, step.a);
      cmd.type = 1 + step.b % 2;
      cmd.veventq_depth = 4;
      const int rc = Call(slot.fd, uapi::kIommuVeventqAlloc, &cmd);
      Same(rc, cmd.out_veventq_id, model_.AllocVeventq(slot.number, cmd.viommu_id, cmd.type));
      if (rc == 0) KeepEvents(slot, cmd.out_veventq_id, cmd.out_veventq_fd);
      return;
    }
    case Op::kAllocFault: {
      uapi::IommuFaultAlloc cmd = {};
      const int rc = Call(slot.fd, uapi::kIommuFaultQueueAlloc, &cmd);
      Same(rc, cmd.out_fault_id, model_.AllocFault(slot.number));
      return KeepEvents(slot, cmd.out_fault_id, cmd.out_fault_fd);
    }
    case Op::kCloseEvents: {
      if (events_.empty()) return;
      const Events events = std::move(events_[step.a % events_.size()]);
      events_.erase(events_.begin() + step.a % static_cast<ptrdiff_t>(events_.size()));
      return model_.CloseEvents(events.context, events.id);
    }
    default: {
      uapi::IommuHwQueueAlloc cmd = {};
      cmd.viommu_id = Pick(slot, Type::kViommu, step.a);
      cmd.type = uapi::kHwQueueTypeTegra241Cmdqv;
      cmd.index = step.b % 3;
      cmd.nesting_parent_iova = kQueueIova + kPage * (cmd.index % 2);
      cmd.length = kPage;
      const int rc = Call(slot.fd, uapi::kIommuHwQueueAlloc, &cmd);
      return Same(rc, cmd.out_hw_queue_id,
                  model_.AllocQueue(slot.number, cmd.viommu_id, cmd.index));
    }
  }
}

std::optional<MappedRegion> World::RegionOf(const Slot& slot, Id viommu) {
  if (!model_.HasVintf(slot.number, viommu)) return std::nullopt;
  const auto [offset, length] = windows_.at({slot.number, viommu});
  auto region = client().RegionForVmm(slot.fd.get(), offset, length);
  RC_ASSERT(region.ok());
  return *std::move(region);
}

void World::DoMappings(const Step& step, Slot& slot) {
  if (step.op == Op::kUnmapPage0) {
    if (mappings_.empty()) return;
    const auto at = mappings_.begin() + step.a % static_cast<ptrdiff_t>(mappings_.size());
    const auto [context, viommu] = std::pair(at->context, at->viommu);
    mappings_.erase(at);
    return model_.UnmapPage0(context, viommu);
  }
  const Id viommu = Pick(slot, Type::kViommu, step.a);
  const auto region = RegionOf(slot, viommu);
  if (!region) return;
  auto mapping =
      Mapping::Map(region->fd.get(), region->offset, region->length, Mapping::Access::kReadWrite);
  RC_ASSERT(mapping.ok());
  mappings_.push_back({slot.number, viommu, *std::move(mapping)});
  model_.MapPage0(slot.number, viommu);
}

// Another process maps and unmaps; a child that it forks has what was mapped then until it dies.
void World::DoVmm(const Step& step, Slot& slot) {
  if (step.op == Op::kVmmForks) {
    if (child_mapping_) {
      RC_ASSERT(vmm_->KillChild() == 0);
      model_.UnmapPage0(child_mapping_->context, child_mapping_->viommu);
      child_mapping_.reset();
    } else if (vmm_mapping_) {
      RC_ASSERT(vmm_->Fork() == 0);
      child_mapping_ = vmm_mapping_;
      model_.MapPage0(child_mapping_->context, child_mapping_->viommu);
    }
    return;
  }
  if (vmm_mapping_) {
    RC_ASSERT(vmm_->Unmap(vmm_mapping_->length) == 0);
    model_.UnmapPage0(vmm_mapping_->context, vmm_mapping_->viommu);
    return vmm_mapping_.reset();
  }
  const Id viommu = Pick(slot, Type::kViommu, step.a);
  const auto region = RegionOf(slot, viommu);
  if (!region) return;
  if (!vmm_) vmm_.emplace();
  RC_ASSERT(vmm_->TakeFd(region->fd.get()) == 0);
  RC_ASSERT(vmm_->Map(*region) == 0);
  RC_ASSERT(vmm_->CloseFd() == 0);
  vmm_mapping_ = {slot.number, viommu, region->length};
  model_.MapPage0(slot.number, viommu);
}

void World::Do(const Step& step) {
  Slot& slot = slots_[step.context];
  switch (step.op) {
    case Op::kReopenContext:
      slot.fd.Reset();
      model_.CloseContext(slot.number);
      return Reopen(&slot);
    case Op::kBind:
    case Op::kCloseCdev:
    case Op::kAttach:
    case Op::kDetach:
      return DoDevice(step, slot);
    case Op::kAllocIoas:
    case Op::kUnmapIoas:
      return DoMemory(step, slot);
    case Op::kAllocPaging:
    case Op::kAllocNested:
      return DoHwpt(step, slot);
    case Op::kAllocViommu:
    case Op::kAllocVdevice:
      return DoViommu(step, slot);
    case Op::kAllocVeventq:
    case Op::kAllocFault:
    case Op::kCloseEvents:
    case Op::kAllocQueue:
      return DoQueues(step, slot);
    case Op::kMapPage0:
    case Op::kUnmapPage0:
      return DoMappings(step, slot);
    case Op::kVmmMaps:
    case Op::kVmmForks:
      return DoVmm(step, slot);
    default: {
      const Id id = step.a % 32;
      return Same(Destroy(slot.fd, id), 0, model_.Destroy(slot.number, id));
    }
  }
}

TEST(ObjectGraphTest, AnySequenceOfCallsAnswersAsTheModelDoes) {
  int steps = 0;
  while (steps < kEnoughSteps) {
    ASSERT_TRUE(rc::check([&steps] {
      const auto sequence =
          *rc::gen::resize(kMostSteps, rc::gen::container<std::vector<Step>>(GenStep()));
      World world;
      for (const Step& step : sequence) {
        world.Do(step);
        world.CheckTotals();
        ++steps;
      }
    }));
  }
}

}  // namespace
}  // namespace berth::emulator
