// SPDX-License-Identifier: Apache-2.0
//
// All grants of a host: the desired set on one side, kernel objects on the other.
#ifndef BERTH_AGENT_GRANTS_GRANT_MANAGER_H_
#define BERTH_AGENT_GRANTS_GRANT_MANAGER_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent/grants/device_lookup.h"
#include "agent/grants/event_news.h"
#include "agent/grants/grant_limits.h"
#include "berth/agent/v1/agent_local.pb.h"
#include "berth/agent/v1/grant.pb.h"
#include "lib/base/clock.h"
#include "lib/base/executor.h"
#include "lib/base/ids.h"
#include "lib/base/unique_fd.h"
#include "lib/iommufd/kernel_api.h"

namespace berth {

class Grant;
class Keeper;
struct KeptGrant;

// A VMM that was attached when the agent before this one ended, and whose grant this one has taken
// up again.
struct AdoptedSession {
  AssignmentUid uid;
  uint64_t id = 0;
  // Readable when the VMM has ended. Invalid: it has, or nobody can tell.
  UniqueFd process = {};
};

// Thread-safe. No method waits for the kernel (but Stop()): work is done on the pool, one task of a
// grant at a time, and what comes of it is told to the status sink.
//
// States change along the edges of lib/base/lifecycle.h only. A grant that failed to prepare is
// GONE with its Failure; it is tried again when it comes with a newer generation. What this
// version does not do (CONFINED) ends the same way, with reason UNSUPPORTED. GONE without
// a Failure and still desired, after something pinned it for long, it is prepared anew. It is not
// GONE but stays PREPARING, with a condition that says why, while the kernel does not answer, and
// while a VMM of an earlier life of it may still hold its devices.
class GrantManager {
 public:
  // Told each time a status has changed, in order per grant, from pool threads. It must not block,
  // and may call no method of the manager but Statuses().
  using StatusSink = std::function<void(const agent::v1::GrantStatus&)>;

  // Told when the hardware of a unit refuses what its books allow: VINTF_EXHAUSTED while the grant
  // `by` was prepared, HARDWARE_TIMEOUT at any time. As StatusSink.
  using UnitFaultSink =
      std::function<void(const AssignmentUid& by, const UnitId& unit, const absl::Status& fault)>;

  // Told what the event queues of the grant `by` say of its devices and units; no news at all: what
  // it was told of them is over, because its guest reset itself, its VMM left, or its context has
  // gone. As StatusSink.
  using EventSink =
      std::function<void(const AssignmentUid& by, const std::vector<EventNews>& news)>;

  // What was counted of the VINTFs of a unit, when it is not what the inventory says.
  struct VintfCount {
    int usable = 0;   // free, or of a grant
    int missing = 0;  // of those that the inventory has; negative: some that were lost are back
    // Who has not given them back; empty: no VMM, there were never more.
    std::string lost_by;
  };
  // Told when a unit has other VINTFs than DeviceLookup::FindUnit() says, which must know it when
  // this returns. As StatusSink.
  using VintfSink = std::function<void(const UnitId& unit, const VintfCount& count)>;

  // Everything pointed to outlives the manager.
  struct Options {
    KernelApi* kernel = nullptr;
    const DeviceLookup* devices = nullptr;
    ThreadPool* pool = nullptr;
    Clock* clock = nullptr;
    GrantLimits limits;
    Keeper* keeper = nullptr;     // null: nothing outlives the agent
    bool awaits_desired = false;  // nobody knows what there is to be before the first Apply()
    StatusSink on_status;         // may be empty
    // Told of each command that is refused because of its generation or intent. May be empty.
    std::function<void()> on_fenced;
    UnitFaultSink on_unit_fault;  // may be empty
    EventSink on_events;          // may be empty
    VintfSink on_vintfs;          // may be empty
  };

  explicit GrantManager(Options options);
  ~GrantManager();  // Stop()
  GrantManager(const GrantManager&) = delete;
  GrantManager& operator=(const GrantManager&) = delete;

  // Takes up what an agent before this one has left; once, before all else. A grant whose fds were
  // kept is ATTACHED as before; without a record of it DEGRADED, until its VMM ends; without its
  // fds ORPHANED, until its devices can be bound. The sessions are for VmmServer::Start().
  std::vector<AdoptedSession> Adopt(std::vector<KeptGrant> kept);

  // The whole desired set (Welcome): what is held and not in it is released and forgotten, unless a
  // VMM is attached; that one is ORPHANED until the VMM leaves. What is new in it may have been
  // PREPARED by an agent before this one. What cannot be taken over is
  // skipped as in Upsert(), and the first such error is returned.
  absl::Status Apply(const std::vector<agent::v1::DesiredGrant>& desired);

  // One grant, new or changed (DesiredDelta). Errors: FENCED (an older generation than known, or an
  // intent that cannot follow the known one; on_fenced hears of it), INVALID_FIELD, MISSING_FIELD,
  // TOO_LARGE, OVERLOADED, SHUTTING_DOWN.
  absl::Status Upsert(const agent::v1::DesiredGrant& desired);

  // The controller has stored that it is GONE. Does nothing to a grant that is not.
  void Forget(const AssignmentUid& uid);

  // Sorted by uid.
  [[nodiscard]] std::vector<agent::v1::GrantStatus> Statuses() const;
  [[nodiscard]] std::vector<agent::v1::LocalGrant> LocalGrants() const;
  // In order of creation. NOT_FOUND.
  [[nodiscard]] absl::StatusOr<std::vector<agent::v1::KernelObject>> Objects(
      const AssignmentUid& uid) const;

  // The kernel behind the contexts has ended (somebody got KERNEL_GONE): all contexts are dead.
  // Every grant ends its VMM's session and prepares anew as soon as the kernel is back. Grants find
  // out by themselves as well, through their own calls and event queues. Idempotent.
  void KernelGone();

  // Devices have come or gone. A grant that lacks one is released and prepared anew, which fails
  // with DEVICE_GONE; while a VMM is attached its condition DevicesPresent says so instead.
  void DevicesChanged();

  // The service manager may have lost what it kept: whatever is kept of grants is stored again.
  void StoreAgain();

  // Those of `devices` that no grant has and somebody holds all the same, with what the kernel said
  // (DEVICE_BUSY). Binds the others for a moment, one by one, and so resets them; a grant that
  // wants one meanwhile waits. Waits for the kernel.
  [[nodiscard]] std::vector<std::pair<DeviceId, absl::Status>> TryIdleDevices(
      const std::vector<DeviceId>& devices);

  // Whether a grant that is not here may be desired nevertheless.
  [[nodiscard]] bool awaits_desired() const;

  // The grant that a VMM names (agent/vmm), or null.
  [[nodiscard]] std::shared_ptr<Grant> Find(const AssignmentUid& uid) const;

  // Refuses new work, lets what runs finish, then destroys the contexts that no VMM has; one that a
  // VMM has is left to the VMM's own fds. Blocks. Idempotent.
  void Stop();

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace berth

#endif  // BERTH_AGENT_GRANTS_GRANT_MANAGER_H_
