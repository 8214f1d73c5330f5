/* SPDX-License-Identifier: Apache-2.0 */
/* What struct berth_vmm is, and how one call is made. Internal to libberth-vmm. */
#ifndef BERTH_LIB_VMM_SESSION_H_
#define BERTH_LIB_VMM_SESSION_H_

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/vmm/berth_vmm.h"

/* What an agent may claim to have; beyond it the answer is taken for garbage. */
enum { BVMM_MAX_UNITS = 256, BVMM_MAX_DEVICES = 4096 };

#define BVMM_MAX_REQUEST \
  (sizeof(struct berth_vmm_invalidate) + BERTH_VMM_MAX_COMMANDS * 2 * sizeof(uint64_t))

struct bvmm_page0 {
  void* address; /* NULL: not mapped */
  size_t length;
};

/* What the answer to a call must look like. */
struct bvmm_expect {
  size_t size; /* of the reply struct */
  unsigned fds;
};

/* What the session is for. */
struct bvmm_hand_off {
  bool wanted;
  struct berth_vmm_hand_off_device* devices; /* info.device_count of them, once they were given */
};

/* The last request until its answer is here. */
struct bvmm_pending {
  bool active;
  int fd; /* a dup of the fd that goes along, or -1 */
  size_t size;
  struct bvmm_expect expect;
};

struct berth_vmm {
  int socket; /* -1: no connection */
  int events; /* -1: none, or lost */
  int epoll;  /* holds events; what the caller polls */
  int timeout_ms;
  char path[108];
  char uid[64];
  char token[128];
  uint64_t last_call_id;
  bool reached;               /* the agent, by the last attempt to connect */
  struct berth_vmm_info info; /* session_id 0: no session */
  struct bvmm_page0* page0;   /* info.unit_count of them */
  struct bvmm_hand_off hand_off;
  struct bvmm_pending pending;
  uint32_t reason;
  int error;
  char message[256];
  _Alignas(8) unsigned char request[BVMM_MAX_REQUEST];
  /* One byte more than allowed, so that a longer packet shows. */
  _Alignas(8) unsigned char reply[BERTH_VMM_MAX_MESSAGE + 1];
};

/* Notes an error; returns -reason. `error`: an errno or 0. */
int bvmm_fail(struct berth_vmm* vmm, enum berth_vmm_reason reason, int error, const char* format,
              ...) __attribute__((format(printf, 4, 5)));

/* Makes one call: `size` bytes of `request`, which begins with a header whose type is set, and `fd`
 * unless -1. On success the reply is in vmm->reply, expect.size bytes of it valid, and out_fds has
 * the expect.fds fds that came. Returns 0 or -reason. */
int bvmm_call(struct berth_vmm* vmm, void* request, size_t size, int fd, struct bvmm_expect expect,
              int* out_fds);

/* Hands a struct out to a caller who may be older or newer than we are. */
void bvmm_copy_out(void* out, size_t out_size, const void* known, size_t known_size);

/* berth_vmm_connect() in either mode. */
int bvmm_attach(struct berth_vmm* vmm, const char* socket_path, const char* assignment_uid,
                const char* token, enum berth_vmm_attach_mode mode);
/* Connects and says HELLO. Does not retry. */
int bvmm_begin(struct berth_vmm* vmm, int64_t deadline);
/* Begins a new session; again and again until the deadline when the agent dies meanwhile. */
int bvmm_attach_new(struct berth_vmm* vmm, int64_t deadline);

/* Reconnects and resumes, again and again until the deadline. */
int bvmm_resume(struct berth_vmm* vmm, int64_t deadline);
/* Forgets session, connection and pending call. */
void bvmm_end(struct berth_vmm* vmm);
int64_t bvmm_deadline(const struct berth_vmm* vmm);

#endif /* BERTH_LIB_VMM_SESSION_H_ */
