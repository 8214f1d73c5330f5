/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "lib/vmm/session.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "lib/vmm/channel.h"

enum { FIRST_PAUSE_MS = 2, LONGEST_PAUSE_MS = 200 };

int bvmm_fail(struct berth_vmm* vmm, enum berth_vmm_reason reason, int error, const char* format,
              ...) {
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(vmm->message, sizeof(vmm->message), format, arguments);
  va_end(arguments);
  vmm->reason = reason;
  vmm->error = error;
  return -(int)reason;
}

void bvmm_copy_out(void* out, size_t out_size, const void* known, size_t known_size) {
  const size_t common = out_size < known_size ? out_size : known_size;
  memcpy(out, known, common);
  memset((char*)out + common, 0, out_size - common);
}

static int bad_reply(struct berth_vmm* vmm, const char* what) {
  return bvmm_fail(vmm, BERTH_VMM_REASON_BAD_MESSAGE, 0, "the agent's answer %s", what);
}

int64_t bvmm_deadline(const struct berth_vmm* vmm) { return bvmm_now() + vmm->timeout_ms; }

static void close_fd(int* fd) {
  if (*fd >= 0) close(*fd);
  *fd = -1;
}

/* Whatever comes late on the old connection must not be taken for another answer. */
static void disconnect(struct berth_vmm* vmm) { close_fd(&vmm->socket); }

static void forget_pending(struct berth_vmm* vmm) {
  close_fd(&vmm->pending.fd);
  vmm->pending.active = false;
}

void bvmm_end(struct berth_vmm* vmm) {
  disconnect(vmm);
  close_fd(&vmm->events);
  forget_pending(vmm);
  free(vmm->page0);
  vmm->page0 = NULL;
  free(vmm->hand_off.devices);
  vmm->hand_off.devices = NULL;
  vmm->last_call_id = 0;
  memset(&vmm->info, 0, sizeof(vmm->info));
}

static bool all_zero(const unsigned char* bytes, size_t size) {
  for (size_t i = 0; i < size; ++i) {
    if (bytes[i] != 0) return false;
  }
  return true;
}

/* Takes over what an error reply says. */
static int refused(struct berth_vmm* vmm, const struct berth_vmm_reply* reply) {
  return bvmm_fail(vmm, (enum berth_vmm_reason)reply->reason, (int)reply->error_number, "%.*s",
                   (int)sizeof(reply->message) - 1, reply->message);
}

/* Checks the packet in vmm->reply against what was asked. Returns 0, or -reason with *answered set
 * when it is a proper refusal. */
static int check_reply(struct berth_vmm* vmm, const struct bvmm_packet* packet,
                       const struct berth_vmm_header* asked, struct bvmm_expect expect,
                       bool* answered) {
  const struct berth_vmm_reply* reply = (const struct berth_vmm_reply*)vmm->reply;
  if (packet->cut) return bad_reply(vmm, "is too long");
  if (packet->size < sizeof(*reply)) return bad_reply(vmm, "is too short");
  if (reply->header.size != packet->size) return bad_reply(vmm, "gives another size than it has");
  if (reply->header.fd_count != packet->fd_count)
    return bad_reply(vmm, "has other fds than it names");
  const bool is_hello = asked->type == BERTH_VMM_HELLO;
  /* A connection may be turned away before it has said anything: type 0. */
  const bool turned_away = is_hello && reply->header.type == 0 && reply->reason != 0;
  if (!turned_away &&
      (reply->header.type != asked->type || reply->header.call_id != asked->call_id)) {
    return bad_reply(vmm, "belongs to another call");
  }
  if (reply->reason != BERTH_VMM_REASON_NONE) {
    if (packet->fd_count != 0) return bad_reply(vmm, "is an error with fds");
    if (reply->reason > INT16_MAX) return bad_reply(vmm, "has an impossible reason");
    *answered = true;
    return refused(vmm, reply);
  }
  if (packet->size < expect.size) return bad_reply(vmm, "is too short for its type");
  if (packet->fd_count != expect.fds) return bad_reply(vmm, "has the wrong number of fds");
  if (asked->session_id != 0 ? reply->header.session_id != asked->session_id
                             : reply->header.session_id == 0) {
    return bad_reply(vmm, "belongs to another session");
  }
  if (!all_zero(vmm->reply + expect.size, packet->size - expect.size)) {
    return bvmm_fail(vmm, BERTH_VMM_REASON_UNKNOWN_TAIL, 0,
                     "the agent's answer has fields that this library does not know");
  }
  *answered = true;
  return 0;
}

static int transport_failed(struct berth_vmm* vmm, int error) {
  disconnect(vmm);
  if (error == -ETIMEDOUT) {
    return bvmm_fail(vmm, BERTH_VMM_REASON_DEADLINE_EXCEEDED, ETIMEDOUT,
                     "the agent did not answer in time");
  }
  return bvmm_fail(vmm, BERTH_VMM_REASON_UNAVAILABLE, -error, "lost the agent: %s",
                   strerror(-error));
}

/* Sends `request` and takes one answer. *answered: the agent has given a proper one, good or bad;
 * else the connection is closed. */
static int exchange(struct berth_vmm* vmm, const void* request, size_t size, int fd,
                    struct bvmm_expect expect, int64_t deadline, bool* answered, int* out_fds) {
  const struct berth_vmm_header* asked = request;
  struct bvmm_packet packet;
  *answered = false;
  int error = bvmm_send(vmm->socket, request, size, fd, deadline);
  if (error == 0) {
    error = bvmm_receive(vmm->socket, vmm->reply, sizeof(vmm->reply), deadline, &packet);
  }
  if (error != 0) return transport_failed(vmm, error);
  const int result = check_reply(vmm, &packet, asked, expect, answered);
  if (!*answered) disconnect(vmm);
  if (result == 0 && out_fds != NULL) {
    memcpy(out_fds, packet.fds, packet.fd_count * sizeof(int));
  } else {
    bvmm_close_fds(&packet);
  }
  return result;
}

static int take_events(struct berth_vmm* vmm, int events) {
  close_fd(&vmm->events); /* which also takes it out of the epoll */
  struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP};
  if (fcntl(events, F_SETFL, O_NONBLOCK) != 0 ||
      epoll_ctl(vmm->epoll, EPOLL_CTL_ADD, events, &event) != 0) {
    const int error = errno;
    close(events);
    return bvmm_fail(vmm, BERTH_VMM_REASON_SYSTEM_ERROR, error, "event socket: %s",
                     strerror(error));
  }
  vmm->events = events;
  return 0;
}

static int take_hello(struct berth_vmm* vmm, const struct berth_vmm_hello_reply* reply) {
  const struct berth_vmm_info info = {.session_id = reply->reply.header.session_id,
                                      .memory_limit = reply->memory_limit,
                                      .iova_alignment = reply->iova_alignment,
                                      .version = reply->version,
                                      .unit_count = reply->unit_count,
                                      .device_count = reply->device_count,
                                      .max_regions = reply->max_regions,
                                      .isolation = reply->isolation,
                                      .attach_mode = vmm->hand_off.wanted
                                                         ? BERTH_VMM_ATTACH_MODE_HAND_OFF
                                                         : BERTH_VMM_ATTACH_MODE_BROKERED};
  if (info.version != BERTH_VMM_VERSION) return bad_reply(vmm, "picks a version we do not speak");
  if (vmm->hand_off.wanted != (reply->attach_mode == BERTH_VMM_ATTACH_MODE_HAND_OFF)) {
    return bad_reply(vmm, "is of another attach mode");
  }
  if (info.unit_count > BVMM_MAX_UNITS || info.device_count > BVMM_MAX_DEVICES) {
    return bad_reply(vmm, "names too many units or devices");
  }
  if (vmm->info.session_id != 0) {
    if (info.unit_count != vmm->info.unit_count || info.device_count != vmm->info.device_count) {
      return bad_reply(vmm, "describes another assignment");
    }
    if (reply->last_call_id > vmm->last_call_id) return bad_reply(vmm, "knows calls never made");
  } else {
    vmm->page0 = calloc(info.unit_count + 1, sizeof(*vmm->page0));
    if (vmm->page0 == NULL) {
      return bvmm_fail(vmm, BERTH_VMM_REASON_OUT_OF_MEMORY, ENOMEM, "no memory");
    }
  }
  vmm->info = info;
  return 0;
}

int bvmm_begin(struct berth_vmm* vmm, int64_t deadline) {
  struct berth_vmm_hello hello = {.header = {.size = sizeof(hello),
                                             .type = BERTH_VMM_HELLO,
                                             .session_id = vmm->info.session_id},
                                  .version_min = BERTH_VMM_VERSION,
                                  .version_max = BERTH_VMM_VERSION,
                                  .flags = vmm->hand_off.wanted ? BERTH_VMM_HELLO_HAND_OFF : 0};
  memcpy(hello.assignment_uid, vmm->uid, sizeof(hello.assignment_uid));
  memcpy(hello.token, vmm->token, sizeof(hello.token));
  vmm->socket = bvmm_connect(vmm->path, deadline);
  if (vmm->socket < 0) {
    const int error = -vmm->socket;
    vmm->socket = -1;
    return bvmm_fail(vmm, BERTH_VMM_REASON_UNAVAILABLE, error, "cannot connect to %s: %s",
                     vmm->path, strerror(error));
  }
  vmm->reached = true;
  const struct bvmm_expect expect = {.size = sizeof(struct berth_vmm_hello_reply), .fds = 1};
  bool answered = false;
  int events = -1;
  int result = exchange(vmm, &hello, sizeof(hello), -1, expect, deadline, &answered, &events);
  if (result == 0) {
    result = take_hello(vmm, (const struct berth_vmm_hello_reply*)vmm->reply);
    if (result == 0) {
      result = take_events(vmm, events);
    } else {
      close(events);
    }
  }
  if (result != 0) disconnect(vmm);
  return result;
}

/* Reasons that a restarting agent gives while it finds its feet. */
static bool worth_waiting(int result) {
  switch (-result) {
    case BERTH_VMM_REASON_UNAVAILABLE:
    case BERTH_VMM_REASON_OVERLOADED:
    case BERTH_VMM_REASON_SHUTTING_DOWN:
    case BERTH_VMM_REASON_NOT_READY:
    case BERTH_VMM_REASON_ALREADY_ATTACHED:
      return true;
    default:
      return false;
  }
}

static void pause_before_retry(int64_t* pause, int64_t deadline) {
  bvmm_sleep(*pause, deadline);
  *pause = *pause * 2 < LONGEST_PAUSE_MS ? *pause * 2 : LONGEST_PAUSE_MS;
}

int bvmm_attach_new(struct berth_vmm* vmm, int64_t deadline) {
  int64_t pause = FIRST_PAUSE_MS;
  bool lost = false;
  for (;;) {
    vmm->reached = false;
    const int result = bvmm_begin(vmm, deadline);
    /* An agent that died with our HELLO; where it is started again, the next one takes it. */
    lost = lost || (result == -BERTH_VMM_REASON_UNAVAILABLE && vmm->reached);
    if (result == 0 || !lost || !worth_waiting(result) || bvmm_now() >= deadline) return result;
    pause_before_retry(&pause, deadline);
  }
}

int bvmm_resume(struct berth_vmm* vmm, int64_t deadline) {
  int64_t pause = FIRST_PAUSE_MS;
  for (;;) {
    const int result = bvmm_begin(vmm, deadline);
    if (result == 0 || !worth_waiting(result) || bvmm_now() >= deadline) return result;
    pause_before_retry(&pause, deadline);
  }
}

/* Brings the pending request to an answer. */
static int finish_pending(struct berth_vmm* vmm, int64_t deadline, int* out_fds) {
  const struct berth_vmm_header* header = (const struct berth_vmm_header*)vmm->request;
  int64_t pause = FIRST_PAUSE_MS;
  for (;;) {
    int result = vmm->socket < 0 ? bvmm_resume(vmm, deadline) : 0;
    if (result == -BERTH_VMM_REASON_SESSION_UNKNOWN && header->type == BERTH_VMM_DETACH) {
      return 0; /* it ended with the DETACH whose answer was lost */
    }
    if (result != 0) return result;
    bool answered = false;
    result = exchange(vmm, vmm->request, vmm->pending.size, vmm->pending.fd, vmm->pending.expect,
                      deadline, &answered, out_fds);
    if (answered) {
      forget_pending(vmm);
      return result;
    }
    if (result != -BERTH_VMM_REASON_UNAVAILABLE || bvmm_now() >= deadline) return result;
    pause_before_retry(&pause, deadline);
  }
}

static bool is_pending(const struct berth_vmm* vmm, const void* request, size_t size) {
  const size_t header = sizeof(struct berth_vmm_header);
  return vmm->pending.active && vmm->pending.size == size &&
         ((const struct berth_vmm_header*)vmm->request)->type ==
             ((const struct berth_vmm_header*)request)->type &&
         memcmp(vmm->request + header, (const unsigned char*)request + header, size - header) == 0;
}

static int make_pending(struct berth_vmm* vmm, const void* request, size_t size, int fd,
                        struct bvmm_expect expect) {
  int copy = -1;
  if (fd >= 0 && (copy = fcntl(fd, F_DUPFD_CLOEXEC, 0)) < 0) {
    return errno == EBADF
               ? bvmm_fail(vmm, BERTH_VMM_REASON_INVALID_FIELD, EBADF, "the fd is not open")
               : bvmm_fail(vmm, BERTH_VMM_REASON_OUT_OF_MEMORY, errno, "no fds left");
  }
  memmove(vmm->request, request, size);
  struct berth_vmm_header* header = (struct berth_vmm_header*)vmm->request;
  header->size = (uint32_t)size;
  header->fd_count = fd >= 0 ? 1 : 0;
  header->session_id = vmm->info.session_id;
  header->call_id = ++vmm->last_call_id;
  vmm->pending = (struct bvmm_pending){.active = true, .fd = copy, .size = size, .expect = expect};
  return 0;
}

int bvmm_call(struct berth_vmm* vmm, void* request, size_t size, int fd, struct bvmm_expect expect,
              int* out_fds) {
  if (vmm->info.session_id == 0) {
    return bvmm_fail(vmm, BERTH_VMM_REASON_STATE_CONFLICT, 0, "not attached");
  }
  const int64_t deadline = bvmm_deadline(vmm);
  if (vmm->pending.active && !is_pending(vmm, request, size)) {
    const int result = finish_pending(vmm, deadline, NULL);
    if (vmm->pending.active) return result;
  }
  if (!vmm->pending.active) {
    const int result = make_pending(vmm, request, size, fd, expect);
    if (result != 0) return result;
  }
  return finish_pending(vmm, deadline, expect.fds != 0 ? out_fds : NULL);
}
