// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_AGENT_GRANTS_GUEST_H_
#define BERTH_AGENT_GRANTS_GUEST_H_

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent/grants/guest_memory.h"
#include "agent/grants/prepared_context.h"
#include "berth/internal/v1/journal.pb.h"
#include "lib/iommufd/hwpt.h"
#include "lib/iommufd/viommu.h"

namespace berth {

// What a VMM makes on a prepared context for its guest: memory, streams (vDEVICE + nested HWPT) and
// HW queues. Every number comes from the VMM and is checked here; a call that fails has changed
// nothing. Not thread-safe.
class Guest {
 public:
  enum class StreamMode : uint8_t { kAbort, kBypass, kTranslate };
  struct Stream {
    size_t device = 0;
    uint32_t vsid = 0;
    StreamMode mode = StreamMode::kAbort;
    std::array<uint64_t, 2> ste = {};
  };

  // `context` outlives the guest.
  Guest(PreparedContext* context, GuestMemory::Limits limits);
  ~Guest();
  Guest(const Guest&) = delete;
  Guest& operator=(const Guest&) = delete;

  // Errors: GuestMemory::Map().
  absl::Status MapMemory(const Ioas::FileMapping& mapping);
  // Errors: GuestMemory::Unmap(); MEMORY_IN_USE when a queue lives there.
  absl::Status UnmapMemory(uint64_t iova, uint64_t length);

  // Errors: DEVICE_UNKNOWN, VSID_RANGE, VSID_IN_USE, BAD_STREAM_TABLE_ENTRY, SID_SLOTS_EXHAUSTED.
  absl::Status SetStream(const Stream& stream);

  // Errors: UNIT_UNKNOWN, QUEUE_INDEX, QUEUE_EXISTS, QUEUE_ORDER, QUEUE_SIZE, MEMORY_UNKNOWN;
  // QUEUE_NOT_CONTIGUOUS from the kernel.
  absl::Status AllocQueue(uint32_t unit, uint32_t index, uint64_t iova, uint64_t length);
  // Errors: UNIT_UNKNOWN, QUEUE_UNKNOWN, QUEUE_ORDER.
  absl::Status FreeQueue(uint32_t unit, uint32_t index);

  // Errors: UNIT_UNKNOWN, BAD_COMMAND.
  Viommu::Invalidated Invalidate(uint32_t unit,
                                 std::span<const uapi::IommuViommuArmSmmuv3Invalidate> commands);

  // Frees queues (the highest first), blocks all devices, gives the vSIDs back; memory stays. A
  // guest's reboot, and the first part of every teardown. May be repeated after an error.
  absl::Status Reset();

  // What a VMM has made, for the agent after this one. `record` has the context already
  // (PreparedContext::WriteTo()).
  void WriteTo(internal::v1::JournaledGrant* record) const;
  // Takes up what is in `record`, of which the context was adopted; once, before anything else.
  void Adopt(const internal::v1::JournaledGrant& record);
  // Brings the call that had begun when the record was written to an end, wherever it stood: as if
  // it had never been made, or executed. Then a VMM that repeats it gets one answer, and it has
  // been done once. Errors: those of the kernel.
  enum class Settled : uint8_t { kUndone, kDone };
  absl::StatusOr<Settled> Settle(const internal::v1::JournaledGrant& record);

  // Leaves all objects to the VMM's own fds.
  void Abandon();

  [[nodiscard]] const GuestMemory& memory() const { return memory_; }
  [[nodiscard]] size_t queue_count() const;

  struct Queue {
    HwQueue object;
    uint64_t iova;
    uint64_t length;
  };
  struct StreamObjects {
    StreamMode mode = StreamMode::kAbort;
    uint32_t vsid = 0;               // of vdevice
    std::optional<Vdevice> vdevice;  // from the first kBypass or kTranslate on
    std::optional<Hwpt> nested;      // when kTranslate
  };
  // Per unit, by index; per device.
  [[nodiscard]] std::span<const std::vector<Queue>> queues() const { return queues_; }
  [[nodiscard]] std::span<const StreamObjects> streams() const { return streams_; }

 private:
  [[nodiscard]] absl::Status CheckUnit(uint32_t unit) const;
  [[nodiscard]] absl::Status CheckQueue(uint32_t unit, uint32_t index, uint64_t iova,
                                        uint64_t length) const;
  [[nodiscard]] absl::Status CheckVsid(const Stream& stream) const;
  absl::Status Attach(size_t device, StreamMode mode, const std::optional<Hwpt>& nested);
  absl::Status SwitchVdevice(size_t device, std::optional<uint32_t> vsid);
  absl::Status Block(size_t device);
  absl::Status UndoMap(uint64_t iova, uint64_t length);
  absl::StatusOr<Settled> RedoUnmap(uint64_t iova, uint64_t length);
  absl::StatusOr<Settled> RedoFreeQueue(uint32_t unit, uint32_t index);
  absl::Status UndoStream(const internal::v1::JournaledGrant& record);
  absl::Status BlockAnew(const internal::v1::JournaledGrant& record);
  void DestroyUnknown(const internal::v1::JournaledGrant& record);

  PreparedContext* const context_;
  GuestMemory memory_;
  std::vector<std::vector<Queue>> queues_;
  std::vector<StreamObjects> streams_;
};

}  // namespace berth

#endif  // BERTH_AGENT_GRANTS_GUEST_H_
