/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "lib/vmm/berth_vmm.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/vmm/channel.h"
#include "lib/vmm/session.h"

enum { MAX_PAGE0 = 1 << 20 };

static int invalid(struct berth_vmm* vmm, const char* what) {
  return bvmm_fail(vmm, BERTH_VMM_REASON_INVALID_FIELD, 0, "%s", what);
}

static int system_error(struct berth_vmm* vmm, const char* what) {
  const int error = errno;
  return bvmm_fail(vmm, BERTH_VMM_REASON_SYSTEM_ERROR, error, "%s: %s", what, strerror(error));
}

/* A call without fds and without anything in its reply. */
static int simple_call(struct berth_vmm* vmm, void* request, size_t size) {
  const struct bvmm_expect expect = {.size = sizeof(struct berth_vmm_empty_reply)};
  return bvmm_call(vmm, request, size, -1, expect, NULL);
}

int berth_vmm_new(struct berth_vmm** out) {
  *out = NULL;
  struct berth_vmm* vmm = calloc(1, sizeof(*vmm));
  if (vmm == NULL) return -BERTH_VMM_REASON_OUT_OF_MEMORY;
  vmm->socket = vmm->events = vmm->pending.fd = -1;
  vmm->timeout_ms = BERTH_VMM_DEFAULT_TIMEOUT_MS;
  vmm->epoll = epoll_create1(EPOLL_CLOEXEC);
  if (vmm->epoll < 0) {
    free(vmm);
    return -BERTH_VMM_REASON_SYSTEM_ERROR;
  }
  *out = vmm;
  return 0;
}

int berth_vmm_set_timeout(struct berth_vmm* vmm, int milliseconds) {
  if (milliseconds < 0) return invalid(vmm, "the timeout is negative");
  vmm->timeout_ms = milliseconds;
  return 0;
}

int bvmm_attach(struct berth_vmm* vmm, const char* socket_path, const char* assignment_uid,
                const char* token, enum berth_vmm_attach_mode mode) {
  if (vmm->info.session_id != 0) {
    return bvmm_fail(vmm, BERTH_VMM_REASON_STATE_CONFLICT, 0, "attached already");
  }
  if (strlen(socket_path) >= sizeof(vmm->path)) return invalid(vmm, "the path is too long");
  if (strlen(assignment_uid) >= sizeof(vmm->uid)) return invalid(vmm, "the uid is too long");
  if (strlen(token) >= sizeof(vmm->token)) return invalid(vmm, "the token is too long");
  /* strncpy for its padding: what is sent is zero behind the NUL. */
  strncpy(vmm->path, socket_path, sizeof(vmm->path) - 1);
  strncpy(vmm->uid, assignment_uid, sizeof(vmm->uid) - 1);
  strncpy(vmm->token, token, sizeof(vmm->token) - 1);
  vmm->path[sizeof(vmm->path) - 1] = vmm->uid[sizeof(vmm->uid) - 1] = '\0';
  vmm->token[sizeof(vmm->token) - 1] = '\0';
  vmm->hand_off.wanted = mode == BERTH_VMM_ATTACH_MODE_HAND_OFF;
  const int result = bvmm_attach_new(vmm, bvmm_deadline(vmm));
  if (result != 0) bvmm_end(vmm);
  return result;
}

int berth_vmm_connect(struct berth_vmm* vmm, const char* socket_path, const char* assignment_uid,
                      const char* token) {
  return bvmm_attach(vmm, socket_path, assignment_uid, token, BERTH_VMM_ATTACH_MODE_BROKERED);
}

int berth_vmm_reconnect(struct berth_vmm* vmm) {
  if (vmm->info.session_id == 0) {
    return bvmm_fail(vmm, BERTH_VMM_REASON_STATE_CONFLICT, 0, "not attached");
  }
  /* Without events the connection is as good as lost, whatever its socket still says. */
  if (vmm->events >= 0 && bvmm_is_open(vmm->socket)) return 0;
  if (vmm->socket >= 0) close(vmm->socket);
  vmm->socket = -1;
  return bvmm_resume(vmm, bvmm_deadline(vmm));
}

int berth_vmm_get_info(const struct berth_vmm* vmm, struct berth_vmm_info* info, size_t size) {
  bvmm_copy_out(info, size, &vmm->info, sizeof(vmm->info));
  return vmm->info.session_id != 0 ? 0 : -BERTH_VMM_REASON_STATE_CONFLICT;
}

static void unmap_all(struct berth_vmm* vmm) {
  for (uint32_t i = 0; vmm->page0 != NULL && i < vmm->info.unit_count; ++i) {
    if (vmm->page0[i].address != NULL) munmap(vmm->page0[i].address, vmm->page0[i].length);
    vmm->page0[i].address = NULL;
  }
}

int berth_vmm_detach(struct berth_vmm* vmm) {
  unmap_all(vmm);
  struct berth_vmm_detach request = {.header = {.type = BERTH_VMM_DETACH}};
  const int result = simple_call(vmm, &request, sizeof(request));
  if (result == 0) bvmm_end(vmm);
  return result;
}

void berth_vmm_close(struct berth_vmm* vmm) {
  if (vmm == NULL) return;
  unmap_all(vmm);
  bvmm_end(vmm);
  close(vmm->epoll);
  explicit_bzero(vmm->token, sizeof(vmm->token));
  free(vmm);
}

uint32_t berth_vmm_last_reason(const struct berth_vmm* vmm) { return vmm->reason; }
int berth_vmm_last_errno(const struct berth_vmm* vmm) { return vmm->error; }
const char* berth_vmm_last_message(const struct berth_vmm* vmm) { return vmm->message; }

int berth_vmm_get_unit(struct berth_vmm* vmm, uint32_t unit, struct berth_vmm_unit_reply* out,
                       size_t size) {
  struct berth_vmm_get_unit request = {.header = {.type = BERTH_VMM_GET_UNIT}, .unit = unit};
  const struct bvmm_expect expect = {.size = sizeof(struct berth_vmm_unit_reply)};
  const int result = bvmm_call(vmm, &request, sizeof(request), -1, expect, NULL);
  if (result != 0) return result;
  struct berth_vmm_unit_reply* reply = (struct berth_vmm_unit_reply*)vmm->reply;
  reply->id[sizeof(reply->id) - 1] = '\0';
  if (reply->hw_info_length > sizeof(reply->hw_info) ||
      reply->cmdqv_info_length > sizeof(reply->cmdqv_info)) {
    return bvmm_fail(vmm, BERTH_VMM_REASON_BAD_MESSAGE, 0, "the agent's unit is malformed");
  }
  bvmm_copy_out(out, size, reply, sizeof(*reply));
  return 0;
}

int berth_vmm_get_device(struct berth_vmm* vmm, uint32_t device, struct berth_vmm_device_reply* out,
                         size_t size, int* cdev_fd) {
  struct berth_vmm_get_device request = {.header = {.type = BERTH_VMM_GET_DEVICE},
                                         .device = device};
  const struct bvmm_expect expect = {.size = sizeof(struct berth_vmm_device_reply), .fds = 1};
  int fd = -1;
  const int result = bvmm_call(vmm, &request, sizeof(request), -1, expect, &fd);
  if (result != 0) return result;
  struct berth_vmm_device_reply* reply = (struct berth_vmm_device_reply*)vmm->reply;
  reply->address[sizeof(reply->address) - 1] = '\0';
  reply->id[sizeof(reply->id) - 1] = '\0';
  if (reply->unit >= vmm->info.unit_count) {
    close(fd);
    return bvmm_fail(vmm, BERTH_VMM_REASON_BAD_MESSAGE, 0, "the agent's device has no unit");
  }
  bvmm_copy_out(out, size, reply, sizeof(*reply));
  *cdev_fd = fd;
  return 0;
}

/* Whether the region can be mapped without surprises: a memfd that ends too early would SIGBUS. */
static bool sane_region(const struct berth_vmm_page0_reply* region, int fd) {
  const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
  if (region->length == 0 || region->length > MAX_PAGE0 || region->length % page != 0) return false;
  if (region->offset > INT64_MAX - MAX_PAGE0 || region->offset % page != 0) return false;
  if (region->kind == BERTH_VMM_REGION_IOMMUFD) return true;
  struct stat info;
  return region->kind == BERTH_VMM_REGION_MEMFD && fstat(fd, &info) == 0 &&
         (uint64_t)info.st_size >= region->offset + region->length;
}

int berth_vmm_map_page0(struct berth_vmm* vmm, uint32_t unit, void** page0, size_t* length) {
  if (unit < vmm->info.unit_count && vmm->page0[unit].address != NULL) {
    return bvmm_fail(vmm, BERTH_VMM_REASON_STATE_CONFLICT, 0, "page0 of unit %u is mapped", unit);
  }
  struct berth_vmm_get_page0 request = {.header = {.type = BERTH_VMM_GET_PAGE0}, .unit = unit};
  const struct bvmm_expect expect = {.size = sizeof(struct berth_vmm_page0_reply), .fds = 1};
  int fd = -1;
  int result = bvmm_call(vmm, &request, sizeof(request), -1, expect, &fd);
  if (result != 0) return result;
  const struct berth_vmm_page0_reply* region = (const struct berth_vmm_page0_reply*)vmm->reply;
  if (unit >= vmm->info.unit_count || !sane_region(region, fd)) {
    result = bvmm_fail(vmm, BERTH_VMM_REASON_BAD_MESSAGE, 0, "the agent's page0 is malformed");
  } else {
    /* Exactly this offset and length: the kernel knows the region by them (Linux
     * drivers/iommu/iommufd/main.c, iommufd_fops_mmap). */
    void* address =
        mmap(NULL, region->length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)region->offset);
    if (address == MAP_FAILED) {
      result = system_error(vmm, "mmap of page0");
    } else {
      vmm->page0[unit] = (struct bvmm_page0){.address = address, .length = region->length};
      *page0 = address;
      *length = region->length;
    }
  }
  close(fd); /* the mapping does not need it */
  return result;
}

int berth_vmm_unmap_page0(struct berth_vmm* vmm, uint32_t unit) {
  if (unit >= vmm->info.unit_count || vmm->page0[unit].address == NULL) {
    return bvmm_fail(vmm, BERTH_VMM_REASON_STATE_CONFLICT, 0, "page0 of unit %u is not mapped",
                     unit);
  }
  munmap(vmm->page0[unit].address, vmm->page0[unit].length);
  vmm->page0[unit].address = NULL;
  return 0;
}

int berth_vmm_get_iova_ranges(struct berth_vmm* vmm, struct berth_vmm_range* ranges,
                              uint32_t* count) {
  struct berth_vmm_get_iova_ranges request = {.header = {.type = BERTH_VMM_GET_IOVA_RANGES}};
  const struct bvmm_expect expect = {.size = sizeof(struct berth_vmm_iova_ranges_reply)};
  const int result = bvmm_call(vmm, &request, sizeof(request), -1, expect, NULL);
  if (result != 0) return result;
  const struct berth_vmm_iova_ranges_reply* reply =
      (const struct berth_vmm_iova_ranges_reply*)vmm->reply;
  if (reply->range_count > BERTH_VMM_MAX_RANGES) {
    return bvmm_fail(vmm, BERTH_VMM_REASON_BAD_MESSAGE, 0, "the agent names too many ranges");
  }
  const uint32_t capacity = *count;
  *count = reply->range_count;
  if (capacity < reply->range_count) {
    return bvmm_fail(vmm, BERTH_VMM_REASON_TOO_LARGE, 0, "there are %u ranges", *count);
  }
  memcpy(ranges, reply->ranges, reply->range_count * sizeof(*ranges));
  return 0;
}

int berth_vmm_map_memory(struct berth_vmm* vmm, int memfd, uint64_t offset, uint64_t iova,
                         uint64_t length, uint32_t flags) {
  if (memfd < 0) return invalid(vmm, "the memfd is not an fd");
  struct berth_vmm_map_memory request = {.header = {.type = BERTH_VMM_MAP_MEMORY},
                                         .iova = iova,
                                         .offset = offset,
                                         .length = length,
                                         .flags = flags};
  const struct bvmm_expect expect = {.size = sizeof(struct berth_vmm_empty_reply)};
  return bvmm_call(vmm, &request, sizeof(request), memfd, expect, NULL);
}

int berth_vmm_unmap_memory(struct berth_vmm* vmm, uint64_t iova, uint64_t length) {
  struct berth_vmm_unmap_memory request = {
      .header = {.type = BERTH_VMM_UNMAP_MEMORY}, .iova = iova, .length = length};
  return simple_call(vmm, &request, sizeof(request));
}

int berth_vmm_set_stream(struct berth_vmm* vmm, uint32_t device, uint32_t vsid,
                         enum berth_vmm_stream_mode mode, const uint64_t ste[2]) {
  struct berth_vmm_set_stream request = {.header = {.type = BERTH_VMM_SET_STREAM},
                                         .device = device,
                                         .vsid = vsid,
                                         .mode = (uint32_t)mode};
  if (mode == BERTH_VMM_STREAM_TRANSLATE) {
    if (ste == NULL) return invalid(vmm, "TRANSLATE needs a stream table entry");
    memcpy(request.ste, ste, sizeof(request.ste));
  }
  return simple_call(vmm, &request, sizeof(request));
}

int berth_vmm_alloc_queue(struct berth_vmm* vmm, uint32_t unit, uint32_t index, uint64_t iova,
                          uint64_t length) {
  struct berth_vmm_alloc_queue request = {.header = {.type = BERTH_VMM_ALLOC_QUEUE},
                                          .unit = unit,
                                          .index = index,
                                          .iova = iova,
                                          .length = length};
  return simple_call(vmm, &request, sizeof(request));
}

int berth_vmm_free_queue(struct berth_vmm* vmm, uint32_t unit, uint32_t index) {
  struct berth_vmm_free_queue request = {
      .header = {.type = BERTH_VMM_FREE_QUEUE}, .unit = unit, .index = index};
  return simple_call(vmm, &request, sizeof(request));
}

int berth_vmm_invalidate(struct berth_vmm* vmm, uint32_t unit, const uint64_t (*commands)[2],
                         uint32_t count, uint32_t* handled) {
  if (handled != NULL) *handled = 0;
  if (count == 0) return invalid(vmm, "there are no commands");
  if (count > BERTH_VMM_MAX_COMMANDS) {
    return bvmm_fail(vmm, BERTH_VMM_REASON_TOO_LARGE, 0, "at most %u commands at once",
                     BERTH_VMM_MAX_COMMANDS);
  }
  struct {
    struct berth_vmm_invalidate fixed;
    uint64_t commands[BERTH_VMM_MAX_COMMANDS][2];
  } request;
  request.fixed = (struct berth_vmm_invalidate){
      .header = {.type = BERTH_VMM_INVALIDATE}, .unit = unit, .count = count};
  const size_t length = count * sizeof(commands[0]);
  memcpy(request.commands, commands, length);
  const struct bvmm_expect expect = {.size = sizeof(struct berth_vmm_invalidate_reply)};
  const int result = bvmm_call(vmm, &request, sizeof(request.fixed) + length, -1, expect, NULL);
  const struct berth_vmm_invalidate_reply* reply =
      (const struct berth_vmm_invalidate_reply*)vmm->reply;
  const bool says_handled = result == 0 || (result == -BERTH_VMM_REASON_BAD_COMMAND &&
                                            reply->reply.header.size >= sizeof(*reply));
  if (!says_handled) return result;
  if (reply->handled > count) {
    return bvmm_fail(vmm, BERTH_VMM_REASON_BAD_MESSAGE, 0, "the agent handled too many commands");
  }
  if (handled != NULL) *handled = reply->handled;
  return result;
}

int berth_vmm_reset_guest(struct berth_vmm* vmm) {
  struct berth_vmm_reset_guest request = {.header = {.type = BERTH_VMM_RESET_GUEST}};
  return simple_call(vmm, &request, sizeof(request));
}

int berth_vmm_event_fd(const struct berth_vmm* vmm) { return vmm->epoll; }

int berth_vmm_read_event(struct berth_vmm* vmm, struct berth_vmm_event* event, size_t size) {
  if (vmm->events < 0) return 0;
  /* Not vmm->reply: the answer of the last call stays untouched. One byte more than an event, so
   * that a longer one shows. */
  struct {
    struct berth_vmm_event known;
    unsigned char tail[256];
  } packet;
  struct bvmm_packet got;
  const int error = bvmm_receive_now(vmm->events, &packet, sizeof(packet), &got);
  if (error == -EAGAIN) return 0;
  if (error != 0) {
    close(vmm->events);
    vmm->events = -1;
    return bvmm_fail(vmm, BERTH_VMM_REASON_UNAVAILABLE, -error, "the agent has closed the events");
  }
  const bool with_fds = got.fd_count != 0;
  bvmm_close_fds(&got);
  const struct berth_vmm_header* header = &packet.known.header;
  if (got.cut || with_fds || got.size < sizeof(packet.known) || header->size != got.size ||
      header->type != BERTH_VMM_EVENT || header->session_id != vmm->info.session_id ||
      packet.known.unit >= vmm->info.unit_count) {
    return bvmm_fail(vmm, BERTH_VMM_REASON_BAD_MESSAGE, 0, "the agent sent a malformed event");
  }
  bvmm_copy_out(event, size, &packet.known, sizeof(packet.known));
  return 1;
}
