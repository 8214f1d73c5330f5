// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_LIB_WIRE_MESSAGE_H_
#define BERTH_LIB_WIRE_MESSAGE_H_

#include <cstddef>
#include <vector>

#include "lib/base/unique_fd.h"

namespace berth::wire {

// One packet of the VMM protocol (lib/vmm/berth_vmm_wire.h): its bytes and the fds that travel with
// it. Move-only.
struct Message {
  std::vector<std::byte> bytes;
  std::vector<UniqueFd> fds;
};

}  // namespace berth::wire

#endif  // BERTH_LIB_WIRE_MESSAGE_H_
