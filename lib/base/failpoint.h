// SPDX-License-Identifier: Apache-2.0
//
// Places where a daemon can be told to die, to stop or to fail, so that tests can show what becomes
// of everything else. They are always compiled in and do nothing unless they are armed: one relaxed
// load each. `berth-agent failpoints` and `berth-controller failpoints` print those of each.
//
// A new place is a row here and one line where it is, HitFailpoint() or CrashAt(); then
// tests/integration/crash_test.cc fails until it says what happens there.
#ifndef BERTH_LIB_BASE_FAILPOINT_H_
#define BERTH_LIB_BASE_FAILPOINT_H_

#include <atomic>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace berth {

// X(enumerator, name, home, can, text): where it is, and what it can do there.
#define BERTH_FAILPOINTS(X)                                                                       \
  X(kStateSave, "state.save", kAgent, kError, "before agent.json is written")                     \
  X(kStateSaved, "state.saved", kAgent, kError, "when agent.json is durable")                     \
  X(kLinkHello, "link.hello", kAgent, kCrash, "before Hello is sent")                             \
  X(kLinkWelcome, "link.welcome", kAgent, kError, "before Welcome is taken")                      \
  X(kLinkWelcomed, "link.welcomed", kAgent, kError, "when the desired set is taken over")         \
  X(kLinkDelta, "link.delta", kAgent, kError, "before a change is taken")                         \
  X(kLinkReport, "link.report", kAgent, kCrash, "before grants are reported")                     \
  X(kBindOpenContext, "bind.open_context", kAgent, kError, "before a context is opened")          \
  X(kBindDevice, "bind.bind_device", kAgent, kError, "before a device is bound")                  \
  X(kPrepareAllocIoas, "prepare.alloc_ioas", kAgent, kError, "before IOAS_ALLOC")                 \
  X(kPrepareGetHwInfo, "prepare.get_hw_info", kAgent, kError, "before GET_HW_INFO")               \
  X(kPrepareGetCmdqvInfo, "prepare.get_hw_info_cmdqv", kAgent, kError,                            \
    "before GET_HW_INFO of the CMDQV")                                                            \
  X(kPrepareAllocParent, "prepare.alloc_nesting_parent", kAgent, kError,                          \
    "before HWPT_ALLOC of the nesting parent")                                                    \
  X(kPrepareAllocViommu, "prepare.alloc_viommu", kAgent, kError, "before VIOMMU_ALLOC")           \
  X(kPrepareAllocAbort, "prepare.alloc_abort_hwpt", kAgent, kError,                               \
    "before HWPT_ALLOC of the abort HWPT")                                                        \
  X(kPrepareAllocBypass, "prepare.alloc_bypass_hwpt", kAgent, kError,                             \
    "before HWPT_ALLOC of the bypass HWPT")                                                       \
  X(kPrepareAllocVeventq, "prepare.alloc_veventq", kAgent, kError, "before VEVENTQ_ALLOC")        \
  X(kPrepareAttachAbort, "prepare.attach_abort_hwpt", kAgent, kError,                             \
    "before a device is attached to the abort HWPT")                                              \
  X(kPrepareGetIovaRanges, "prepare.get_iova_ranges", kAgent, kError, "before IOAS_IOVA_RANGES")  \
  X(kPrepareWatchEvents, "prepare.watch_events", kAgent, kError, "before vEVENTQs are watched")   \
  X(kPrepareDone, "prepare.done", kAgent, kError, "when all is built and nobody has heard of it") \
  X(kAttachBegin, "attach.begin", kAgent, kError, "when a VMM has shown its token")               \
  X(kAttachAttached, "attach.attached", kAgent, kCrash, "when it is ATTACHED, before the answer") \
  X(kAttachGiveDevice, "attach.give_device", kAgent, kError, "before a cdev is given")            \
  X(kAttachGivePage0, "attach.give_page0", kAgent, kError, "before page0 is given")               \
  X(kAttachMapMemory, "attach.map_memory", kAgent, kError, "before IOAS_MAP_FILE")                \
  X(kAttachAllocNested, "attach.alloc_nested_hwpt", kAgent, kError,                               \
    "before HWPT_ALLOC of a stream's table")                                                      \
  X(kAttachAllocVdevice, "attach.alloc_vdevice", kAgent, kError, "before VDEVICE_ALLOC")          \
  X(kAttachStream, "attach.attach_stream", kAgent, kError, "before a stream is attached")         \
  X(kAttachAllocQueue, "attach.alloc_queue", kAgent, kError, "before HW_QUEUE_ALLOC")             \
  X(kKeepWriteRecord, "keep.write_record", kAgent, kError, "before a grant is in the journal")    \
  X(kKeepStoreFds, "keep.store_fds", kAgent, kError,                                              \
    "when it is, before its fds go to the service manager")                                       \
  X(kKeepBeginCall, "keep.begin_call", kAgent, kError, "before a call is noted as begun")         \
  X(kKeepEndCall, "keep.end_call", kAgent, kError, "when it was executed, before that is noted")  \
  X(kKeepAnswer, "keep.answer", kAgent, kCrash, "when that is noted, before the answer")          \
  X(kKeepDrop, "keep.drop", kAgent, kCrash, "before what is kept of a grant is dropped")          \
  X(kAdoptGrant, "adopt.grant", kAgent, kCrash, "before a context that was kept is taken up")     \
  X(kAdoptSettle, "adopt.settle", kAgent, kCrash, "before a call without an end is settled")      \
  X(kAdoptDone, "adopt.done", kAgent, kCrash, "when all contexts are taken up, before VMMs come") \
  X(kLeaveVmm, "leave.vmm_left", kAgent, kCrash, "when a VMM has left, before anything is done")  \
  X(kTeardownResetGuest, "teardown.reset_guest", kAgent, kError,                                  \
    "before queues and streams of the guest go")                                                  \
  X(kTeardownResetDevices, "teardown.reset_devices", kAgent, kError, "before devices are reset")  \
  X(kTeardownDetach, "teardown.detach_devices", kAgent, kError, "before devices are detached")    \
  X(kTeardownVeventqs, "teardown.destroy_veventqs", kAgent, kError, "before vEVENTQs go")         \
  X(kTeardownHwpts, "teardown.destroy_hwpts", kAgent, kError, "before abort and bypass HWPT go")  \
  X(kTeardownViommu, "teardown.destroy_viommu", kAgent, kError, "before the vIOMMU goes")         \
  X(kTeardownClose, "teardown.close_devices", kAgent, kError, "before the cdevs are closed")      \
  X(kTeardownParents, "teardown.destroy_parents", kAgent, kError, "before nesting parents go")    \
  X(kTeardownIoas, "teardown.destroy_ioas", kAgent, kError, "before the IOAS goes")               \
  X(kTeardownProveFree, "teardown.prove_free", kAgent, kError, "before the scratch bind")         \
  X(kTeardownDone, "teardown.done", kAgent, kError, "when the devices are proved free")           \
  X(kRecycleAnew, "recycle.prepare_anew", kAgent, kCrash, "before the fresh context is begun")    \
  X(kReleaseGone, "release.gone", kAgent, kCrash, "before it is GONE")                            \
  X(kReleaseForget, "release.forget", kAgent, kCrash, "before a grant that is GONE is forgotten") \
  X(kCommitWrite, "commit.write", kController, kCrash, "before transactions are written")         \
  X(kCommitSqlite, "commit.sqlite", kController, kError, "before SQLite's COMMIT")                \
  X(kCommitWritten, "commit.written", kController, kCrash, "when they are durable, untold")       \
  X(kCommitPublish, "commit.publish", kController, kCrash, "before a change is shown")            \
  X(kCommitPublished, "commit.published", kController, kCrash,                                    \
    "when a change is shown, before its caller and its agent hear of it")                         \
  X(kSessionHello, "session.hello", kController, kError, "before an agent's Hello is taken")      \
  X(kSessionWelcome, "session.welcome", kController, kCrash, "before Welcome is sent")            \
  X(kSessionReport, "session.report", kController, kError, "before a report is taken")            \
  X(kSessionTell, "session.tell", kController, kCrash, "before an agent is told of a grant")      \
  X(kSessionForget, "session.forget", kController, kCrash, "before an agent is told to forget")

enum class Failpoint : uint8_t {
#define BERTH_FAILPOINT_ENUMERATOR(enumerator, name, home, can, text) enumerator,
  BERTH_FAILPOINTS(BERTH_FAILPOINT_ENUMERATOR)
#undef BERTH_FAILPOINT_ENUMERATOR
};

struct FailpointInfo {
  enum class Home : uint8_t { kAgent, kController };
  // What it can do. kCrash: die or stop; kError: also fail.
  enum class Can : uint8_t { kCrash, kError };

  Failpoint point;
  std::string_view name;  // "prepare.alloc_viommu"
  Home home;
  Can can;
  std::string_view text;  // when it strikes
};

// All, in the order of the list.
absl::Span<const FailpointInfo> Failpoints();

// Failpoints that strike as long as this lives. They are of the process, as is what they end: at
// most one object at a time is of use. Move-only.
class ArmedFailpoints {
 public:
  // Each of `settings` is NAME=crash, NAME=stop or NAME=error:ERRNO ("ENOSPC"), for every hit, or
  // with @N after it for the N-th alone, counted from 1. Errors: INVALID_FIELD, which names what
  // there is.
  static absl::StatusOr<ArmedFailpoints> Arm(FailpointInfo::Home home,
                                             const std::vector<std::string>& settings);
  ~ArmedFailpoints();
  ArmedFailpoints(ArmedFailpoints&& other) noexcept;
  ArmedFailpoints(const ArmedFailpoints&) = delete;
  ArmedFailpoints& operator=(const ArmedFailpoints&) = delete;
  ArmedFailpoints& operator=(ArmedFailpoints&&) = delete;

 private:
  ArmedFailpoints() = default;
  bool owns_ = true;
};

namespace failpoint_internal {
inline constinit std::atomic<bool> any_armed = false;
absl::Status Strike(Failpoint point);
}  // namespace failpoint_internal

// OK, unless `point` is armed and this is a hit that it waits for. Then it kills the process
// (SIGKILL: no destructor runs, nothing is flushed), or stops it (SIGSTOP; it goes on with
// SIGCONT), or returns the error of ErrnoToStatus(), with metadata "step": the name's last part.
// Thread-safe.
inline absl::Status HitFailpoint(Failpoint point) {
  if (!failpoint_internal::any_armed.load(std::memory_order_relaxed)) return absl::OkStatus();
  return failpoint_internal::Strike(point);
}

// The same where nothing can fail.
inline void CrashAt(Failpoint point) { HitFailpoint(point).IgnoreError(); }

}  // namespace berth

#endif  // BERTH_LIB_BASE_FAILPOINT_H_
