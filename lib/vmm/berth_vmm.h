/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libberth-vmm: how a virtual machine monitor attaches to the devices, vIOMMUs and hardware command
 * queues that Berth has assigned to its VM.
 *
 *   struct berth_vmm *vmm;
 *   berth_vmm_new(&vmm);
 *   if (berth_vmm_connect(vmm, "/run/berth/vmm.sock", uid, token) != 0)
 *     fprintf(stderr, "%s\n", berth_vmm_last_message(vmm));
 *   berth_vmm_map_memory(vmm, memfd, 0, 0x40000000, size, READ | WRITE);
 *   berth_vmm_map_page0(vmm, 0, &page0, &length);
 *   ...                                  the guest programs the base of a queue:
 *   berth_vmm_alloc_queue(vmm, 0, 0, base, bytes);
 *   ...                                  from here on the guest drives page0, without any call
 *   berth_vmm_detach(vmm);
 *   berth_vmm_close(vmm);
 *
 * Results: every function that returns int returns 0, or -reason, a negated enum berth_vmm_reason
 * (berth_vmm_wire.h), and then berth_vmm_last_*() say more. Failures on this side have reasons too:
 *   UNAVAILABLE        the agent cannot be reached, or the connection was lost
 *   DEADLINE_EXCEEDED  no answer in time (berth_vmm_set_timeout)
 *   BAD_MESSAGE        the agent's answer breaks the protocol
 *   INVALID_FIELD      an argument is wrong; nothing was sent
 *   STATE_CONFLICT     not connected, connected already, or mapped already; nothing was sent
 *   OUT_OF_MEMORY, SYSTEM_ERROR   a system call failed here: see berth_vmm_last_errno()
 * A call that the agent refused has changed nothing.
 *
 * Lost connections: when the agent goes away (it restarts), a call connects again, resumes the
 * session and repeats its request until the timeout; the agent executes it once. The guest and its
 * queues run on meanwhile. A call that ends with UNAVAILABLE, DEADLINE_EXCEEDED or BAD_MESSAGE may
 * or may not have been executed: make the same call again, with the same arguments, and it is
 * repeated as the same request, with the answer of the first time. Any other call first finishes
 * the lost one and drops its answer.
 *
 * Not thread-safe: one call at a time on one struct berth_vmm. It uses no globals, no threads and
 * no signals, and every fd it makes is close-on-exec.
 *
 * ABI: structs only grow at their end. Functions that fill one take its size from the caller: what
 * the library does not know is zeroed, what the caller does not know is left out.
 */
#ifndef BERTH_LIB_VMM_BERTH_VMM_H_
#define BERTH_LIB_VMM_BERTH_VMM_H_

#include <stddef.h>
#include <stdint.h>

#include "berth_vmm_wire.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A function may have the name of the message that it sends; C++ compilers can be made to warn. */
#if defined(__cplusplus) && defined(__GNUC__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wshadow"
#endif

#if defined(__GNUC__)
#define BERTH_VMM_API __attribute__((visibility("default")))
#else
#define BERTH_VMM_API
#endif

#define BERTH_VMM_DEFAULT_TIMEOUT_MS 30000

struct berth_vmm;

/* What the agent said when the session began. */
struct berth_vmm_info {
  uint64_t session_id;
  uint64_t memory_limit;   /* bytes that may be registered */
  uint64_t iova_alignment; /* bytes: addresses, offsets and lengths of memory are multiples */
  uint32_t version;        /* of the protocol */
  uint32_t unit_count;
  uint32_t device_count;
  uint32_t max_regions; /* of memory, at once */
  uint32_t isolation;   /* berth.v1.AssignmentSpec.Isolation */
  uint32_t attach_mode; /* enum berth_vmm_attach_mode */
};

/* --- Session ------------------------------------------------------------------------------- */

/* Makes an unconnected object. Errors: OUT_OF_MEMORY, SYSTEM_ERROR; then *vmm is NULL. */
BERTH_VMM_API int berth_vmm_new(struct berth_vmm** vmm);

/* How long a call may take in all, in milliseconds; 0: as long as it takes to try once. */
BERTH_VMM_API int berth_vmm_set_timeout(struct berth_vmm* vmm, int milliseconds);

/* Attaches to an assignment. Does not wait for an agent that is not there. Errors of HELLO:
 * UNKNOWN_ASSIGNMENT, WRONG_TOKEN, WRONG_USER, ALREADY_ATTACHED, NOT_READY (try again),
 * VERSION_SKEW, STATE_CONFLICT (the assignment is one for berth_vmm_attach_hand_off). */
BERTH_VMM_API int berth_vmm_connect(struct berth_vmm* vmm, const char* socket_path,
                                    const char* assignment_uid, const char* token);

/* Resumes the session after a lost connection, e.g. when berth_vmm_read_event() returned
 * -UNAVAILABLE; the next call would do it too. With a live connection it does nothing. Waits for
 * the agent to come back until the timeout. SESSION_UNKNOWN: the session is over, the VM has lost
 * its assignment. */
BERTH_VMM_API int berth_vmm_reconnect(struct berth_vmm* vmm);

BERTH_VMM_API int berth_vmm_get_info(const struct berth_vmm* vmm, struct berth_vmm_info* info,
                                     size_t size);

/* Ends the session in order. Unmaps every page0; close the devices' fds before, stop the guest
 * before that. */
BERTH_VMM_API int berth_vmm_detach(struct berth_vmm* vmm);

/* Unmaps every page0, closes the connection, frees the object. Without berth_vmm_detach() the agent
 * sees the VMM as gone and takes the assignment back. NULL is ignored. */
BERTH_VMM_API void berth_vmm_close(struct berth_vmm* vmm);

/* --- Hand-off: for VMMs that do their own ioctls --------------------------------------------- */

/* Attaches to an assignment with attach_mode HAND_OFF and takes everything that iommufd and VFIO
 * need: *iommufd, a fresh context in RLIMIT_MODE (what a process maps is charged to it, against its
 * RLIMIT_MEMLOCK), and the unbound cdevs of its devices. All belong to the caller and are
 * close-on-exec. *count: capacity of cdevs, then how many there are, at most
 * BERTH_VMM_MAX_HAND_OFF_DEVICES; TOO_LARGE if they do not fit, with *count set. Then either use
 * them and call berth_vmm_confirm_hand_off(), or close them and call berth_vmm_detach(). No other
 * call of a session is for this mode (UNKNOWN_MESSAGE), and there are no events. After an error
 * nothing is attached. Errors: of HELLO, as berth_vmm_connect(); of opening: DEVICE_GONE,
 * AGENT_PRIVILEGE, KERNEL_GONE. */
BERTH_VMM_API int berth_vmm_attach_hand_off(struct berth_vmm* vmm, const char* socket_path,
                                            const char* assignment_uid, const char* token,
                                            int* iommufd, int* cdevs, uint32_t* count);

/* Which device the cdev of this number is. Nothing is sent. Errors: DEVICE_UNKNOWN,
 * STATE_CONFLICT. */
BERTH_VMM_API int berth_vmm_get_hand_off_device(struct berth_vmm* vmm, uint32_t device,
                                                struct berth_vmm_hand_off_device* out, size_t size);

/* Says who holds the fds from now on: this process, also after execve(2), or that of a pidfd
 * (pidfd_open(2); it stays the caller's), which has been given them. The agent closes its copies,
 * and the assignment is attached until that process ends, also after berth_vmm_close(). Errors:
 * STATE_CONFLICT, INVALID_FIELD (not a pidfd), UNSUPPORTED (the agent cannot see this process). */
BERTH_VMM_API int berth_vmm_confirm_hand_off(struct berth_vmm* vmm);
BERTH_VMM_API int berth_vmm_confirm_hand_off_to(struct berth_vmm* vmm, int holder_pidfd);

/* --- Errors of the last call that failed ---------------------------------------------------- */

BERTH_VMM_API uint32_t berth_vmm_last_reason(const struct berth_vmm* vmm);
/* errno of the kernel call that failed, here or in the agent; 0: none. */
BERTH_VMM_API int berth_vmm_last_errno(const struct berth_vmm* vmm);
/* For people. Valid until the next call. */
BERTH_VMM_API const char* berth_vmm_last_message(const struct berth_vmm* vmm);
/* "WRONG_TOKEN"; "UNKNOWN" for numbers that this library does not know. Takes either sign. */
BERTH_VMM_API const char* berth_vmm_reason_name(int reason);

/* --- What was assigned ---------------------------------------------------------------------- */

BERTH_VMM_API int berth_vmm_get_unit(struct berth_vmm* vmm, uint32_t unit,
                                     struct berth_vmm_unit_reply* out, size_t size);

/* A device and its VFIO cdev, bound and attached. *cdev_fd belongs to the caller. */
BERTH_VMM_API int berth_vmm_get_device(struct berth_vmm* vmm, uint32_t device,
                                       struct berth_vmm_device_reply* out, size_t size,
                                       int* cdev_fd);

/* Maps page0 of the unit's VINTF: *length bytes of registers, to be given to the guest as they are
 * (logical VCMDQ l at 0x80 * l; aligned 32-bit accesses only). Once per unit at a time. */
BERTH_VMM_API int berth_vmm_map_page0(struct berth_vmm* vmm, uint32_t unit, void** page0,
                                      size_t* length);
BERTH_VMM_API int berth_vmm_unmap_page0(struct berth_vmm* vmm, uint32_t unit);

/* Where guest memory may lie. *count: capacity of ranges, then how many there are, at most
 * BERTH_VMM_MAX_RANGES; TOO_LARGE if they do not fit, with *count set. */
BERTH_VMM_API int berth_vmm_get_iova_ranges(struct berth_vmm* vmm, struct berth_vmm_range* ranges,
                                            uint32_t* count);

/* --- Memory, streams, queues ---------------------------------------------------------------- */

/* Makes `length` bytes of a memfd from `offset` guest memory at `iova`. The memfd must be sealed
 * with F_SEAL_SHRINK; it stays the caller's. flags: enum berth_vmm_memory_flags. */
BERTH_VMM_API int berth_vmm_map_memory(struct berth_vmm* vmm, int memfd, uint64_t offset,
                                       uint64_t iova, uint64_t length, uint32_t flags);
/* Exactly one region that berth_vmm_map_memory() made. */
BERTH_VMM_API int berth_vmm_unmap_memory(struct berth_vmm* vmm, uint64_t iova, uint64_t length);

/* Call it when the guest changes the stream table entry of a device. `ste`: its first two
 * doublewords for TRANSLATE; ignored, and may be NULL, for the other modes. */
BERTH_VMM_API int berth_vmm_set_stream(struct berth_vmm* vmm, uint32_t device, uint32_t vsid,
                                       enum berth_vmm_stream_mode mode, const uint64_t ste[2]);

/* Call it when the guest writes the base register (page1) of a logical VCMDQ. length: bytes. */
BERTH_VMM_API int berth_vmm_alloc_queue(struct berth_vmm* vmm, uint32_t unit, uint32_t index,
                                        uint64_t iova, uint64_t length);
BERTH_VMM_API int berth_vmm_free_queue(struct berth_vmm* vmm, uint32_t unit, uint32_t index);

/* Forwards commands of the guest's trapped queue; at most BERTH_VMM_MAX_COMMANDS. *handled (may be
 * NULL): how many were executed; on BAD_COMMAND the index of the bad one. */
BERTH_VMM_API int berth_vmm_invalidate(struct berth_vmm* vmm, uint32_t unit,
                                       const uint64_t (*commands)[2], uint32_t count,
                                       uint32_t* handled);

/* The guest reboots: queues are freed, streams abort; memory and page0 stay. */
BERTH_VMM_API int berth_vmm_reset_guest(struct berth_vmm* vmm);

/* --- Events --------------------------------------------------------------------------------- */

/* Readable when there is an event or the connection was lost. The library's; the same for the life
 * of the object, across reconnects. */
BERTH_VMM_API int berth_vmm_event_fd(const struct berth_vmm* vmm);

/* Takes one event without blocking. Returns 1 with an event, 0 without, -UNAVAILABLE once when the
 * connection was lost (call berth_vmm_reconnect), another -reason on error. */
BERTH_VMM_API int berth_vmm_read_event(struct berth_vmm* vmm, struct berth_vmm_event* event,
                                       size_t size);

#if defined(__cplusplus) && defined(__GNUC__)
#pragma GCC diagnostic pop
#endif

#ifdef __cplusplus
}
#endif

#endif /* BERTH_LIB_VMM_BERTH_VMM_H_ */
