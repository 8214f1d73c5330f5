// SPDX-License-Identifier: Apache-2.0
//
// The kernel objects that Berth builds for a grant before any VMM comes.
#ifndef BERTH_AGENT_GRANTS_PREPARED_CONTEXT_H_
#define BERTH_AGENT_GRANTS_PREPARED_CONTEXT_H_

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent/grants/grant_plan.h"
#include "agent/journal/keeper.h"
#include "berth/internal/v1/journal.pb.h"
#include "lib/iommufd/context.h"
#include "lib/iommufd/device.h"
#include "lib/iommufd/hwpt.h"
#include "lib/iommufd/ioas.h"
#include "lib/iommufd/veventq.h"
#include "lib/iommufd/viommu.h"

namespace berth {

// A fresh context with devices bound to it and nothing else: the first step of every prepare, and
// by itself the proof that nobody holds the devices. Move-only.
struct BoundContext {
  // All devices or none. Errors: those of Context::Open() and Device::Open(), with metadata "step"
  // and "device".
  static absl::StatusOr<BoundContext> Bind(KernelApi* kernel, std::span<const GrantDevice> devices,
                                           Context::LeakReporter on_leak);

  // Resets every device that can be reset and that `lookup` knows to be there still. Stops at the
  // first that fails.
  absl::Status ResetDevices(const DeviceLookup& lookup);

  Context context;
  std::vector<Device> devices;     // in the order given
  std::vector<GrantDevice> facts;  // of each of them
};

// The context of a grant, from the binding of its devices to the point where a VMM may attach: all
// devices blocked by the abort HWPT of their unit. Not thread-safe.
//
// The order of destruction is that of Destroy(): blocked devices are detached, then per unit
// vEVENTQs, bypass and abort HWPT, vIOMMU; then the cdevs are closed, then nesting parents, IOAS
// and context go. What a VMM made (Guest) goes before.
class PreparedContext {
 public:
  struct Unit {
    GrantUnit facts;
    std::vector<size_t> devices;  // indices
    uint32_t queues = 0;          // HW queues that may be allocated
    uint32_t max_queue_log2 = 0;  // entries; IDR1.CMDQS
    Device::SmmuInfo smmu;
    std::optional<uapi::IommuHwInfoTegra241Cmdqv> cmdqv;  // when there are queues
    std::optional<Hwpt> parent;
    std::optional<Viommu> viommu;
    std::optional<Hwpt> abort;
    std::optional<Hwpt> bypass;
    std::vector<Veventq> events;
  };

  // Builds everything or nothing: what a failing step finds done is undone. Errors: those of the
  // objects, with metadata "step", and "unit" or "device".
  static absl::StatusOr<std::unique_ptr<PreparedContext>> Create(BoundContext bound,
                                                                 const GrantPlan& plan,
                                                                 uint32_t event_depth);
  // The context that `record` tells of, by the fds that an agent before this one had, which are
  // taken out of `fds`. After an error whoever else has fds of the context keeps all of it. Errors:
  // NOT_FOUND (an fd is missing), STORE_CORRUPT (the record is), KERNEL_GONE.
  static absl::StatusOr<std::unique_ptr<PreparedContext>> Adopt(
      KernelApi* kernel, const internal::v1::JournaledGrant& record,
      std::map<std::string, UniqueFd>* fds);
  // What Adopt() needs. They stay this context's.
  void WriteTo(internal::v1::JournaledGrant* record) const;
  [[nodiscard]] std::vector<Keeper::Fd> Fds() const;
  static constexpr char kContextRole[] = "context";  // of the context's own fd

  ~PreparedContext();
  PreparedContext(const PreparedContext&) = delete;
  PreparedContext& operator=(const PreparedContext&) = delete;

  [[nodiscard]] std::span<Unit> units() { return units_; }
  [[nodiscard]] std::span<const Unit> units() const { return units_; }
  [[nodiscard]] std::span<Device> devices() { return bound_->devices; }
  [[nodiscard]] std::span<const Device> devices() const { return bound_->devices; }
  [[nodiscard]] const GrantDevice& facts(size_t device) const { return facts_[device]; }
  [[nodiscard]] size_t unit_of(size_t device) const { return unit_of_[device]; }
  [[nodiscard]] Ioas& ioas() { return *ioas_; }
  [[nodiscard]] const Ioas& ioas() const { return *ioas_; }
  // Where guest memory may lie, found after all devices were attached.
  [[nodiscard]] const Ioas::IovaRanges& iova_ranges() const { return iova_ranges_; }

  // See BoundContext.
  absl::Status ResetDevices(const DeviceLookup& lookup);

  // Destroys what is there, in order. Stops where the kernel does not let go (STILL_MAPPED,
  // STATE_CONFLICT) and goes on from there when called again. What the kernel has lost (NOT_FOUND,
  // KERNEL_GONE) counts as destroyed. After success only the context's fd is left to close.
  absl::Status Destroy();

  // Leaves all objects to whoever else holds fds of the context, and closes ours.
  void Abandon();

  // KERNEL_GONE when the emulator behind the context has ended, else OK.
  [[nodiscard]] absl::Status CheckAlive() const;

 private:
  PreparedContext(BoundContext bound, const GrantPlan& plan);
  absl::Status Build(uint32_t event_depth);
  absl::Status BuildUnit(Unit& unit, uint32_t event_depth);
  // What the kernel says of the unit's hardware.
  absl::Status AskUnit(Unit& unit);
  absl::Status AdoptObjects(const internal::v1::JournaledGrant& record,
                            std::map<std::string, UniqueFd>* fds);
  absl::Status DestroyUnit(Unit& unit);

  std::vector<GrantDevice> facts_;
  std::vector<size_t> unit_of_;
  std::optional<BoundContext> bound_;
  std::optional<Ioas> ioas_;
  std::vector<Unit> units_;
  Ioas::IovaRanges iova_ranges_;
};

}  // namespace berth

#endif  // BERTH_AGENT_GRANTS_PREPARED_CONTEXT_H_
