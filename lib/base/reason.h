// SPDX-License-Identifier: Apache-2.0
//
// Every reason that a Berth error can carry, in one list. A reason is stable: clients may test for
// it. The public proto berth.v1.ErrorReason and the C enum berth_vmm_reason (berth_vmm_wire.h)
// repeat names and numbers; tests/base/reason_test.cc keeps the three equal.
#ifndef BERTH_LIB_BASE_REASON_H_
#define BERTH_LIB_BASE_REASON_H_

#include <cstdint>
#include <optional>
#include <string_view>

#include "absl/status/status.h"

// X(number, enumerator, NAME, canonical code, what it means)
#define BERTH_REASONS(X)                                                                           \
  /* Requests: 1-49 */                                                                             \
  X(1, kInternal, INTERNAL, kInternal, "a bug in Berth; please report it")                         \
  X(2, kInvalidField, INVALID_FIELD, kInvalidArgument, "a field has a wrong value")                \
  X(3, kMissingField, MISSING_FIELD, kInvalidArgument, "a required field is missing")              \
  X(4, kUnknownField, UNKNOWN_FIELD, kInvalidArgument, "a key or field that Berth does not know")  \
  X(5, kTooLarge, TOO_LARGE, kInvalidArgument, "larger than the stated limit")                     \
  X(6, kUnsupported, UNSUPPORTED, kUnimplemented, "this version of Berth does not do this")        \
  X(7, kNotFound, NOT_FOUND, kNotFound, "no resource of this name")                                \
  X(8, kAlreadyExists, ALREADY_EXISTS, kAlreadyExists, "the name is taken")                        \
  X(9, kRequestIdReused, REQUEST_ID_REUSED, kAlreadyExists,                                        \
    "the request_id was used with another payload")                                                \
  X(10, kEtagMismatch, ETAG_MISMATCH, kAborted, "the resource has changed since it was read")      \
  X(11, kPermissionDenied, PERMISSION_DENIED, kPermissionDenied, "the caller may not do this")     \
  X(12, kUnauthenticated, UNAUTHENTICATED, kUnauthenticated, "the caller is not known")            \
  X(13, kInvalidPageToken, INVALID_PAGE_TOKEN, kInvalidArgument, "not a page token of this list")  \
  X(14, kRevisionCompacted, REVISION_COMPACTED, kOutOfRange,                                       \
    "the watch position is older than what is kept; list and watch again")                         \
  X(15, kRevisionUnknown, REVISION_UNKNOWN, kOutOfRange,                                           \
    "the watch position belongs to another store or to the future")                                \
  X(16, kWatchOverflow, WATCH_OVERFLOW, kResourceExhausted, "the watcher is too slow")             \
  X(17, kCancelled, CANCELLED, kCancelled, "the caller has gone")                                  \
  X(18, kDeadlineExceeded, DEADLINE_EXCEEDED, kDeadlineExceeded, "not done in time")               \
  X(19, kUnavailable, UNAVAILABLE, kUnavailable, "the peer cannot be reached; retry")              \
  X(20, kOverloaded, OVERLOADED, kResourceExhausted, "a limit on work in progress; retry later")   \
  X(21, kShuttingDown, SHUTTING_DOWN, kUnavailable, "the process is stopping; retry")              \
  /* Placement and fleet: 50-99 */                                                                 \
  X(50, kNoCapacity, NO_CAPACITY, kResourceExhausted, "no host can take the assignment now")       \
  X(51, kUnsatisfiable, UNSATISFIABLE, kFailedPrecondition,                                        \
    "no host could take the assignment, even if all were empty")                                   \
  X(52, kQuotaExceeded, QUOTA_EXCEEDED, kResourceExhausted, "the owner's quota is used up")        \
  X(53, kHostNotReady, HOST_NOT_READY, kFailedPrecondition,                                        \
    "the host is lost, broken or draining")                                                        \
  X(54, kPrepareFailed, PREPARE_FAILED, kFailedPrecondition,                                       \
    "the host could not prepare the assignment")                                                   \
  X(55, kFenced, FENCED, kFailedPrecondition, "the sender is older than what has been seen")       \
  X(56, kHostNameTaken, HOST_NAME_TAKEN, kAlreadyExists,                                           \
    "another agent is connected under this host name")                                             \
  X(57, kVersionSkew, VERSION_SKEW, kFailedPrecondition, "the peer's version is too far away")     \
  X(58, kBadInventory, BAD_INVENTORY, kInvalidArgument,                                            \
    "the agent's inventory contradicts itself")                                                    \
  X(59, kStateConflict, STATE_CONFLICT, kFailedPrecondition,                                       \
    "not possible in the state that the resource is in")                                           \
  X(60, kStoreFailed, STORE_FAILED, kUnavailable, "the store did not take the commit")             \
  X(61, kStoreCorrupt, STORE_CORRUPT, kDataLoss, "a stored record cannot be read")                 \
  X(62, kStoreLocked, STORE_LOCKED, kFailedPrecondition, "another process holds the store")        \
  X(63, kNotLeader, NOT_LEADER, kUnavailable,                                                      \
    "this controller stands by for the one that leads; ask that one")                              \
  /* Hosts, devices, kernel: 100-149 */                                                            \
  X(100, kDeviceBusy, DEVICE_BUSY, kFailedPrecondition, "the device is held by something else")    \
  X(101, kDeviceGone, DEVICE_GONE, kFailedPrecondition, "the device is no longer there")           \
  X(102, kVintfExhausted, VINTF_EXHAUSTED, kResourceExhausted, "the unit has no free VINTF")       \
  X(103, kSidSlotsExhausted, SID_SLOTS_EXHAUSTED, kResourceExhausted,                              \
    "the VINTF has no free SID slot")                                                              \
  X(104, kKernelFeatureMissing, KERNEL_FEATURE_MISSING, kUnimplemented,                            \
    "the kernel or the IOMMU does not offer this")                                                 \
  X(105, kAgentPrivilege, AGENT_PRIVILEGE, kFailedPrecondition,                                    \
    "the agent may not open or use a device node")                                                 \
  X(106, kKernelRefused, KERNEL_REFUSED, kInternal, "the kernel refused an argument of Berth's")   \
  X(107, kHardwareTimeout, HARDWARE_TIMEOUT, kUnavailable, "the hardware did not answer in time")  \
  X(108, kKernelGone, KERNEL_GONE, kUnavailable, "the emulator ended; everything it held is gone") \
  X(109, kOutOfMemory, OUT_OF_MEMORY, kResourceExhausted, "no memory, locked memory or fds left")  \
  X(110, kSystemError, SYSTEM_ERROR, kInternal, "a system call failed unexpectedly")               \
  /* VMM socket: 150-199 */                                                                        \
  X(150, kBadMessage, BAD_MESSAGE, kInvalidArgument, "the message is malformed")                   \
  X(151, kUnknownTail, UNKNOWN_TAIL, kInvalidArgument,                                             \
    "bytes after the known part of the message are not zero")                                      \
  X(152, kUnknownMessage, UNKNOWN_MESSAGE, kUnimplemented, "no such message type")                 \
  X(153, kFdCount, FD_COUNT, kInvalidArgument, "the message names other fds than it carries")      \
  X(154, kNoSession, NO_SESSION, kFailedPrecondition, "the first message must be HELLO")           \
  X(155, kSessionUnknown, SESSION_UNKNOWN, kFailedPrecondition,                                    \
    "the session to resume does not exist")                                                        \
  X(156, kCallReplayed, CALL_REPLAYED, kFailedPrecondition,                                        \
    "the call id was used with another payload, or is out of order")                               \
  X(157, kWrongToken, WRONG_TOKEN, kPermissionDenied, "the attach token is wrong")                 \
  X(158, kWrongUser, WRONG_USER, kPermissionDenied, "the peer's uid is not the assignment's")      \
  X(159, kUnknownAssignment, UNKNOWN_ASSIGNMENT, kNotFound, "this host has no such assignment")    \
  X(160, kAlreadyAttached, ALREADY_ATTACHED, kFailedPrecondition, "a VMM is attached")             \
  X(161, kNotReady, NOT_READY, kUnavailable, "the grant is not prepared yet; retry")               \
  X(162, kMemoryNotSealed, MEMORY_NOT_SEALED, kInvalidArgument,                                    \
    "the memfd can shrink: add F_SEAL_SHRINK")                                                     \
  X(163, kMemoryNotMemfd, MEMORY_NOT_MEMFD, kInvalidArgument,                                      \
    "guest memory must be a memfd (shmem or hugetlb)")                                             \
  X(164, kMemoryOverlap, MEMORY_OVERLAP, kAlreadyExists, "the range overlaps registered memory")   \
  X(165, kMemoryReserved, MEMORY_RESERVED, kInvalidArgument,                                       \
    "the range meets a reserved IOVA range")                                                       \
  X(166, kMemoryLimit, MEMORY_LIMIT, kResourceExhausted, "over the grant's memory limit")          \
  X(167, kMemoryUnknown, MEMORY_UNKNOWN, kNotFound, "no memory is registered there")               \
  X(168, kMemoryInUse, MEMORY_IN_USE, kFailedPrecondition, "a queue lives in this memory")         \
  X(169, kQueueOrder, QUEUE_ORDER, kFailedPrecondition,                                            \
    "queues are allocated upward and freed downward, without holes")                               \
  X(170, kQueueIndex, QUEUE_INDEX, kInvalidArgument, "the VINTF has no such queue index")          \
  X(171, kQueueSize, QUEUE_SIZE, kInvalidArgument,                                                 \
    "the queue's length or alignment is wrong (power of two, naturally aligned, within the "       \
    "limit)")                                                                                      \
  X(172, kQueueExists, QUEUE_EXISTS, kAlreadyExists, "the queue is allocated already")             \
  X(173, kQueueNotContiguous, QUEUE_NOT_CONTIGUOUS, kInvalidArgument,                              \
    "the queue's memory is not physically contiguous: use a huge page or a shorter queue")         \
  X(174, kQueueUnknown, QUEUE_UNKNOWN, kNotFound, "no such queue is allocated")                    \
  X(175, kUnitUnknown, UNIT_UNKNOWN, kNotFound, "the grant has no such unit")                      \
  X(176, kDeviceUnknown, DEVICE_UNKNOWN, kNotFound, "the grant has no such device")                \
  X(177, kBadStreamTableEntry, BAD_STREAM_TABLE_ENTRY, kInvalidArgument,                           \
    "the STE has bits that a guest may not set")                                                   \
  X(178, kVsidInUse, VSID_IN_USE, kAlreadyExists, "another device has this vSID")                  \
  X(179, kVsidRange, VSID_RANGE, kInvalidArgument, "vSIDs have 20 bits")                           \
  X(180, kBadCommand, BAD_COMMAND, kInvalidArgument,                                               \
    "the command is not one that a guest may send")                                                \
  X(181, kAlignment, ALIGNMENT, kInvalidArgument, "address, offset or length is not page aligned") \
  X(182, kMemoryTooShort, MEMORY_TOO_SHORT, kInvalidArgument,                                      \
    "the range reaches beyond the end of the memfd")                                               \
  X(183, kStillMapped, STILL_MAPPED, kFailedPrecondition, "page0 is still mapped")                 \
  X(184, kMessageTooShort, MESSAGE_TOO_SHORT, kInvalidArgument,                                    \
    "the message is shorter than its type needs")                                                  \
  X(185, kMessageTooLong, MESSAGE_TOO_LONG, kInvalidArgument,                                      \
    "the message is longer than any may be")                                                       \
  X(186, kTooFewFds, TOO_FEW_FDS, kInvalidArgument, "the message lacks an fd that its type takes") \
  X(187, kTooManyFds, TOO_MANY_FDS, kInvalidArgument, "more fds came than the message's type takes")

namespace berth {

enum class Reason : uint32_t {
  kUnspecified = 0,
#define BERTH_REASON_ENUM(number, enumerator, name, code, meaning) enumerator = (number),
  BERTH_REASONS(BERTH_REASON_ENUM)
#undef BERTH_REASON_ENUM
};

// "NO_CAPACITY". "REASON_UNSPECIFIED" for kUnspecified and for numbers outside the list.
std::string_view ReasonName(Reason reason);
std::optional<Reason> ReasonFromName(std::string_view name);
std::optional<Reason> ReasonFromNumber(uint32_t number);
// The meaning column, for help texts.
std::string_view ReasonMeaning(Reason reason);
absl::StatusCode ReasonCode(Reason reason);

}  // namespace berth

#endif  // BERTH_LIB_BASE_REASON_H_
