// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_TESTS_TESTING_CAPABILITY_H_
#define BERTH_TESTS_TESTING_CAPABILITY_H_

#include <linux/capability.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>

namespace berth::testing {

// Takes a capability (CAP_*) out of the effective set of the calling thread, or puts it back: the
// permitted set keeps it. Whether that was possible; taking out what it has not is.
inline bool SetEffectiveCapability(int capability, bool has) {
  __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3] = {};
  if (::syscall(SYS_capget, &header, sets) != 0) return false;
  uint32_t& effective = sets[CAP_TO_INDEX(capability)].effective;
  const uint32_t bit = CAP_TO_MASK(capability);
  effective = has ? effective | bit : effective & ~bit;
  return ::syscall(SYS_capset, &header, sets) == 0;
}

}  // namespace berth::testing

#endif  // BERTH_TESTS_TESTING_CAPABILITY_H_
