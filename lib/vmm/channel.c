/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "lib/vmm/channel.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

int64_t bvmm_now(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void bvmm_sleep(int64_t milliseconds, int64_t deadline) {
  const int64_t left = deadline - bvmm_now();
  if (milliseconds > left) milliseconds = left;
  if (milliseconds <= 0) return;
  const struct timespec time = {.tv_sec = milliseconds / 1000,
                                .tv_nsec = milliseconds % 1000 * 1000000};
  nanosleep(&time, NULL);
}

bool bvmm_is_open(int socket) {
  struct pollfd poll_fd = {.fd = socket, .events = POLLRDHUP};
  return socket >= 0 && poll(&poll_fd, 1, 0) == 0;
}

static int wait_for(int socket, short events, int64_t deadline) {
  for (;;) {
    const int64_t left = deadline - bvmm_now();
    if (left <= 0) return -ETIMEDOUT;
    struct pollfd poll_fd = {.fd = socket, .events = events};
    const int ready = poll(&poll_fd, 1, left > 1000000 ? 1000000 : (int)left);
    if (ready > 0) return 0;
    if (ready < 0 && errno != EINTR) return -errno;
  }
}

int bvmm_connect(const char* path, int64_t deadline) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  if (strlen(path) >= sizeof(address.sun_path)) return -ENAMETOOLONG;
  memcpy(address.sun_path, path, strlen(path));
  const int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return -errno;
  while (connect(fd, (const struct sockaddr*)&address, sizeof(address)) != 0) {
    const int error = errno;
    if (error == EINTR) continue;
    /* EAGAIN: the backlog is full; there is nothing to poll for. */
    if (error != EAGAIN || bvmm_now() >= deadline) {
      close(fd);
      return error == EAGAIN ? -ETIMEDOUT : -error;
    }
    bvmm_sleep(1, deadline);
  }
  return fd;
}

int bvmm_send(int socket, const void* bytes, size_t size, int fd, int64_t deadline) {
  union {
    struct cmsghdr header;
    char space[CMSG_SPACE(sizeof(int))];
  } control;
  struct iovec part = {.iov_base = (void*)bytes, .iov_len = size};
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
  if (fd >= 0) {
    memset(&control, 0, sizeof(control));
    message.msg_control = &control;
    message.msg_controllen = sizeof(control.space);
    control.header.cmsg_level = SOL_SOCKET;
    control.header.cmsg_type = SCM_RIGHTS;
    control.header.cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(&control.header), &fd, sizeof(fd));
  }
  for (;;) {
    if (sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0) return 0;
    if (errno == EINTR) continue;
    if (errno != EAGAIN) return -errno;
    const int error = wait_for(socket, POLLOUT, deadline);
    if (error != 0) return error;
  }
}

void bvmm_close_fds(struct bvmm_packet* packet) {
  for (unsigned i = 0; i < packet->fd_count; ++i) close(packet->fds[i]);
  packet->fd_count = 0;
}

static void take_fds(struct msghdr* message, struct bvmm_packet* packet) {
  for (struct cmsghdr* header = CMSG_FIRSTHDR(message); header != NULL;
       header = CMSG_NXTHDR(message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    const size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; ++i) {
      int fd;
      memcpy(&fd, CMSG_DATA(header) + i * sizeof(int), sizeof(fd));
      if (packet->fd_count < BVMM_MAX_FDS) {
        packet->fds[packet->fd_count++] = fd;
      } else {
        close(fd);
      }
    }
  }
}

int bvmm_receive_now(int socket, void* buffer, size_t capacity, struct bvmm_packet* packet) {
  union {
    struct cmsghdr header;
    char space[CMSG_SPACE(sizeof(int) * BVMM_MAX_FDS)];
  } control;
  struct iovec part = {.iov_base = buffer, .iov_len = capacity};
  struct msghdr message = {.msg_iov = &part,
                           .msg_iovlen = 1,
                           .msg_control = &control,
                           .msg_controllen = sizeof(control.space)};
  ssize_t size;
  do {
    size = recvmsg(socket, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
  } while (size < 0 && errno == EINTR);
  if (size < 0) return -errno;
  packet->size = (size_t)size;
  packet->fd_count = 0;
  packet->cut = (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0;
  take_fds(&message, packet);
  if (size > 0) return 0;
  bvmm_close_fds(packet);
  return -ECONNRESET;
}

int bvmm_receive(int socket, void* buffer, size_t capacity, int64_t deadline,
                 struct bvmm_packet* packet) {
  for (;;) {
    int error = bvmm_receive_now(socket, buffer, capacity, packet);
    if (error != -EAGAIN) return error;
    error = wait_for(socket, POLLIN, deadline);
    if (error != 0) return error;
  }
}
