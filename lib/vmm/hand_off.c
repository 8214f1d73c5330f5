/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/vmm/berth_vmm.h"
#include "lib/vmm/session.h"

static int bad_devices(struct berth_vmm* vmm) {
  return bvmm_fail(vmm, BERTH_VMM_REASON_BAD_MESSAGE, 0, "the agent hands off other devices");
}

/* Keeps what the reply in vmm->reply says of the devices. */
static int keep_devices(struct berth_vmm* vmm) {
  const struct berth_vmm_hand_off_reply* reply = (const struct berth_vmm_hand_off_reply*)vmm->reply;
  const uint32_t count = vmm->info.device_count;
  if (reply->device_count != count) return bad_devices(vmm);
  struct berth_vmm_hand_off_device* devices = calloc(count + 1, sizeof(*devices));
  if (devices == NULL) return bvmm_fail(vmm, BERTH_VMM_REASON_OUT_OF_MEMORY, 0, "no memory");
  memcpy(devices, reply->devices, count * sizeof(*devices));
  for (uint32_t i = 0; i < count; ++i) {
    devices[i].address[sizeof(devices[i].address) - 1] = '\0';
    devices[i].id[sizeof(devices[i].id) - 1] = '\0';
    devices[i].unit[sizeof(devices[i].unit) - 1] = '\0';
  }
  free(vmm->hand_off.devices);
  vmm->hand_off.devices = devices;
  return 0;
}

static int take_fds(struct berth_vmm* vmm, int* iommufd, int* cdevs, uint32_t* count) {
  const uint32_t capacity = *count;
  *count = vmm->info.device_count;
  if (*count > BERTH_VMM_MAX_HAND_OFF_DEVICES) return bad_devices(vmm);
  if (*count > capacity) {
    return bvmm_fail(vmm, BERTH_VMM_REASON_TOO_LARGE, 0, "there are %u devices", *count);
  }
  struct berth_vmm_hand_off request = {.header = {.type = BERTH_VMM_HAND_OFF}};
  const struct bvmm_expect expect = {.size = sizeof(struct berth_vmm_hand_off_reply),
                                     .fds = 1 + *count};
  int fds[1 + BERTH_VMM_MAX_HAND_OFF_DEVICES];
  int result = bvmm_call(vmm, &request, sizeof(request), -1, expect, fds);
  if (result != 0) return result;
  result = keep_devices(vmm);
  if (result != 0) {
    for (uint32_t i = 0; i < expect.fds; ++i) close(fds[i]);
    return result;
  }
  *iommufd = fds[0];
  memcpy(cdevs, fds + 1, *count * sizeof(*cdevs));
  return 0;
}

int berth_vmm_attach_hand_off(struct berth_vmm* vmm, const char* socket_path,
                              const char* assignment_uid, const char* token, int* iommufd,
                              int* cdevs, uint32_t* count) {
  int result = bvmm_attach(vmm, socket_path, assignment_uid, token, BERTH_VMM_ATTACH_MODE_HAND_OFF);
  if (result != 0) return result;
  result = take_fds(vmm, iommufd, cdevs, count);
  /* The agent sees the end of the connection and takes the assignment back. */
  if (result != 0) bvmm_end(vmm);
  return result;
}

int berth_vmm_get_hand_off_device(struct berth_vmm* vmm, uint32_t device,
                                  struct berth_vmm_hand_off_device* out, size_t size) {
  if (vmm->hand_off.devices == NULL) {
    return bvmm_fail(vmm, BERTH_VMM_REASON_STATE_CONFLICT, 0, "nothing was handed off");
  }
  if (device >= vmm->info.device_count) {
    return bvmm_fail(vmm, BERTH_VMM_REASON_DEVICE_UNKNOWN, 0, "there is no device %u", device);
  }
  bvmm_copy_out(out, size, &vmm->hand_off.devices[device], sizeof(*vmm->hand_off.devices));
  return 0;
}

static int confirm(struct berth_vmm* vmm, int holder) {
  struct berth_vmm_confirm_hand_off request = {.header = {.type = BERTH_VMM_CONFIRM_HAND_OFF}};
  const struct bvmm_expect expect = {.size = sizeof(struct berth_vmm_empty_reply)};
  return bvmm_call(vmm, &request, sizeof(request), holder, expect, NULL);
}

int berth_vmm_confirm_hand_off(struct berth_vmm* vmm) { return confirm(vmm, -1); }

int berth_vmm_confirm_hand_off_to(struct berth_vmm* vmm, int holder_pidfd) {
  if (holder_pidfd < 0) {
    return bvmm_fail(vmm, BERTH_VMM_REASON_INVALID_FIELD, 0, "the pidfd is not an fd");
  }
  return confirm(vmm, holder_pidfd);
}
