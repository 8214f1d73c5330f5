// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_LIB_EMULATOR_FAULTS_FAULT_PLAN_H_
#define BERTH_LIB_EMULATOR_FAULTS_FAULT_PLAN_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "lib/base/unique_fd.h"
#include "lib/iommufd/uapi/iommufd.h"

namespace berth::emulator {

enum class FaultKind : uint8_t {
  kIoctl,          // an ioctl fails, takes its time, or both; subject: none
  kAtcTimeout,     // a device takes no notice of an ATC_INV, whose CMD_SYNC in a vCMDQ stops with
                   // CONS.ERR 3; subject: unit
  kStuckStatus,    // a STATUS of the CMDQV that is to change does not; subject: unit
  kLostEvent,      // an event does not get into its vEVENTQ; subject: unit
  kNonContiguous,  // the memory of a queue is not contiguous; subject: unit
  kDeviceGone,     // surprise removal, as long as the fault is there; subject: PCI address
};

struct FaultSpec {
  FaultKind kind = FaultKind::kIoctl;
  // kIoctl: which, one of uapi::kIommuOps or kVfioOps.
  uapi::Request request = 0;
  // kIoctl: what the call answers instead of being executed; 0: it is executed, after `delay`.
  int error = 0;
  // kIoctl: time between the call and what comes of it. At most kMaxFaultDelay; removing the fault
  // ends it. Other calls go on.
  absl::Duration delay;
  // Which unit or device; empty: any. kDeviceGone must have one.
  std::string subject;
  // It strikes `count` times after having let `skip` occasions pass; count 0: until it is removed.
  // kDeviceGone takes neither.
  uint64_t skip = 0;
  uint64_t count = 1;
};

struct ArmedFault {
  uint64_t id = 0;  // from 1, never used again
  FaultSpec spec;
  uint64_t met = 0;     // occasions so far
  uint64_t struck = 0;  // of them, how often it struck
};

inline constexpr absl::Duration kMaxFaultDelay = absl::Minutes(1);
inline constexpr size_t kMaxFaults = 1024;
inline constexpr int kMaxErrno = 4095;  // Linux include/linux/err.h, MAX_ERRNO

// The faults of one emulated host. Several that fit one occasion all count it, and the first that
// strikes decides. Nearly free while there are none. Thread-safe.
class FaultPlan {
 public:
  FaultPlan();
  // Returns the id. Errors: INVALID_FIELD, TOO_LARGE with metadata "field".
  absl::StatusOr<uint64_t> Add(const FaultSpec& spec);
  // By id.
  [[nodiscard]] std::vector<ArmedFault> List() const;
  // NOT_FOUND.
  absl::Status Remove(uint64_t id);
  // Returns how many there were.
  size_t Clear();

  struct IoctlFault {
    int error = 0;  // 0: execute it
    absl::Duration delay;
    uint64_t id = 0;  // of the fault that struck
  };
  // Whether there is any fault at all: what most occasions need not look further for.
  [[nodiscard]] bool armed() const { return armed_.load(std::memory_order_relaxed); }
  // Asked once for each ioctl, before it is executed.
  IoctlFault MeetIoctl(uapi::Request request);
  // Asked once for each occasion; true: it strikes now.
  bool Meet(FaultKind kind, std::string_view subject);
  // Whether a device has gone. No occasion: may be asked at any time.
  [[nodiscard]] bool IsGone(std::string_view device) const;

  // Whether a fault is still there: a call that it delays waits no longer.
  [[nodiscard]] bool IsArmed(uint64_t id) const;
  // An eventfd that becomes readable when faults are removed, for the one who delays calls.
  [[nodiscard]] int removal_fd() const { return removal_.get(); }

 private:
  static bool Fits(const FaultSpec& spec, FaultKind kind, std::string_view subject);
  // Counts one occasion; true when the fault strikes.
  static bool Strikes(ArmedFault* fault);

  void TellRemoval() const;

  const UniqueFd removal_;
  mutable absl::Mutex mu_;
  std::vector<ArmedFault> faults_ ABSL_GUARDED_BY(mu_);
  uint64_t next_id_ ABSL_GUARDED_BY(mu_) = 1;
  std::atomic<bool> armed_ = false;
};

}  // namespace berth::emulator

#endif  // BERTH_LIB_EMULATOR_FAULTS_FAULT_PLAN_H_
