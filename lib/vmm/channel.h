/* SPDX-License-Identifier: Apache-2.0 */
/* Packets with fds over a SEQPACKET socket, against a deadline. Internal to libberth-vmm. */
#ifndef BERTH_LIB_VMM_CHANNEL_H_
#define BERTH_LIB_VMM_CHANNEL_H_

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Milliseconds of CLOCK_MONOTONIC. */
int64_t bvmm_now(void);
/* Sleeps `milliseconds`, but not past the deadline. */
void bvmm_sleep(int64_t milliseconds, int64_t deadline);

/* Whether the socket is an fd whose other end is open. */
bool bvmm_is_open(int socket);

/* All return 0 (or an fd) or a negative errno: -ETIMEDOUT at the deadline, -ECONNRESET at the end
 * of the stream. Each tries at least once, however late it is. */
int bvmm_connect(const char* path, int64_t deadline);
/* fd: -1, or one to send along. */
int bvmm_send(int socket, const void* bytes, size_t size, int fd, int64_t deadline);

/* As many as the kernel takes in one packet (Linux include/net/scm.h, SCM_MAX_FD). */
enum { BVMM_MAX_FDS = 253 };

struct bvmm_packet {
  size_t size;
  unsigned fd_count;
  bool cut; /* the packet was longer than the buffer, or fds were lost */
  int fds[BVMM_MAX_FDS];
};

void bvmm_close_fds(struct bvmm_packet* packet);

int bvmm_receive(int socket, void* buffer, size_t capacity, int64_t deadline,
                 struct bvmm_packet* packet);
/* Without waiting: -EAGAIN when there is nothing. */
int bvmm_receive_now(int socket, void* buffer, size_t capacity, struct bvmm_packet* packet);

#endif /* BERTH_LIB_VMM_CHANNEL_H_ */
