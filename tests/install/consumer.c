// SPDX-License-Identifier: Apache-2.0
//
// A VMM that finds no agent. C99 and C++.
#include <berth_vmm.h>
#include <berth_vmm_wire.h>
#include <stdio.h>
#include <string.h>

int main(void) {
  struct berth_vmm* vmm = NULL;
  int result = berth_vmm_new(&vmm);
  if (result != 0) return 1;
  result = berth_vmm_connect(vmm, "/nonexistent/vmm.sock", "0c9ae7d0-4d2e-4a4c-a8f7-4dd8a9a3f5b2",
                             "token");
  if (result != -(int)BERTH_VMM_REASON_UNAVAILABLE ||
      strcmp(berth_vmm_reason_name(-result), "UNAVAILABLE") != 0) {
    fprintf(stderr, "connect: %d, %s\n", result, berth_vmm_last_message(vmm));
    return 1;
  }
  berth_vmm_close(vmm);
  return 0;
}
