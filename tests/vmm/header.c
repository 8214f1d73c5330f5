/* SPDX-License-Identifier: Apache-2.0 */
/* Compiled as strict C99, C11 and C++: the header asks nothing of its user. */
#include "berth_vmm.h"

int main(void) {
  struct berth_vmm* vmm = 0;
  struct berth_vmm_info info;
  if (berth_vmm_new(&vmm) != 0) return 1;
  if (berth_vmm_get_info(vmm, &info, sizeof(info)) == 0) return 1;
  if (berth_vmm_confirm_hand_off(vmm) == 0) return 1;
  berth_vmm_close(vmm);
  return 0;
}
