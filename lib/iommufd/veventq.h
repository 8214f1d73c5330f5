// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_LIB_IOMMUFD_VEVENTQ_H_
#define BERTH_LIB_IOMMUFD_VEVENTQ_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "lib/iommufd/context.h"
#include "lib/iommufd/uapi/iommufd.h"

namespace berth {

class Viommu;

// One record of an event queue.
struct Vevent {
  enum class Kind : uint8_t {
    kEvent,
    kLost,  // the queue was full; `sequence` is that of the last event lost. Always the last record
  };
  Kind kind = Kind::kEvent;
  uint32_t sequence = 0;  // 0 .. 2^31 - 1, then 0 again; lost events have used theirs up
  // SMMUv3: the event record, evt[4]. CMDQV: lvcmdq_err_map[2] in the first two words. Host order.
  std::array<uint64_t, 4> data = {};

  bool operator==(const Vevent&) const = default;
};

// How many events were lost between two records with these sequence numbers.
constexpr uint32_t EventsLostBetween(uint32_t earlier, uint32_t later) {
  return (later - earlier - 1) & uapi::kVeventMaxSequence;
}

// The queue in which the kernel leaves the events of a vIOMMU for the VM; one per vIOMMU and type.
class Veventq : public KernelObject {
 public:
  enum class Type : uint32_t {
    kArmSmmuv3 = uapi::kVeventqTypeArmSmmuv3,          // faults of the guest's devices
    kTegra241Cmdqv = uapi::kVeventqTypeTegra241Cmdqv,  // errors of its LVCMDQs
  };

  // `depth` (events, 1 .. 2^19) is what waits unread before events are lost. Errors:
  // ALREADY_EXISTS.
  static absl::StatusOr<Veventq> Create(const Viommu& viommu, Type type, uint32_t depth);
  static Veventq Adopt(const Context& context, uint32_t id, UniqueFd fd, Type type) {
    return {context, id, std::move(fd), type};
  }

  Veventq(Veventq&&) = default;
  Veventq& operator=(Veventq&& other) noexcept;
  // The fd keeps the queue (EBUSY), so it goes first.
  ~Veventq() { fd_.Reset(); }

  // For poll(2): POLLIN while there are records. Never give it away: it pins the context, and two
  // readers would take each other's events.
  [[nodiscard]] int fd() const { return fd_.get(); }
  [[nodiscard]] Type type() const { return type_; }

  // The oldest records, at most 64; none when the queue is empty. Never blocks. Errors:
  // SYSTEM_ERROR when the kernel's bytes make no sense; KERNEL_GONE.
  absl::StatusOr<std::vector<Vevent>> Read();

  // As KernelObject's, after closing the fd. STATE_CONFLICT while another process has the fd.
  absl::Status Destroy();
  uint32_t Forget();

 private:
  Veventq(const Context& context, uint32_t id, UniqueFd fd, Type type)
      : KernelObject(context, ObjectKind::kVeventq, id), fd_(std::move(fd)), type_(type) {}

  UniqueFd fd_;
  Type type_;
};

// The records in what was read from a queue of `type`. SYSTEM_ERROR for half a record, an unknown
// flag, or anything after a record of lost events.
absl::StatusOr<std::vector<Vevent>> ParseVevents(Veventq::Type type,
                                                 std::span<const std::byte> bytes);

}  // namespace berth

#endif  // BERTH_LIB_IOMMUFD_VEVENTQ_H_
