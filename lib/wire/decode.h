// SPDX-License-Identifier: Apache-2.0
//
// Bytes of a VMM to typed calls. Pure functions: no I/O, no state.
#ifndef BERTH_LIB_WIRE_DECODE_H_
#define BERTH_LIB_WIRE_DECODE_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "lib/base/unique_fd.h"
#include "lib/vmm/berth_vmm_wire.h"

namespace berth::wire {

using Command = std::array<uint64_t, 2>;

// INVALIDATE with the commands that follow the struct.
struct Invalidate {
  berth_vmm_invalidate fixed;
  std::vector<Command> commands;  // fixed.count of them
};

// The structs of berth_vmm_wire.h, complete (a longer message is cut, its tail was zero).
using Body = std::variant<berth_vmm_hello, berth_vmm_get_unit, berth_vmm_get_device,
                          berth_vmm_get_page0, berth_vmm_get_iova_ranges, berth_vmm_map_memory,
                          berth_vmm_unmap_memory, berth_vmm_set_stream, berth_vmm_alloc_queue,
                          berth_vmm_free_queue, Invalidate, berth_vmm_reset_guest, berth_vmm_detach,
                          berth_vmm_hand_off, berth_vmm_confirm_hand_off>;

// A well-formed call.
struct Call {
  berth_vmm_header header;
  Body body;
  std::vector<std::byte> bytes;  // as received: a repeated call must be equal byte for byte
  // MAP_MEMORY: the memfd; CONFIRM_HAND_OFF: what is said to be a pidfd, or none; else none.
  UniqueFd fd;
};

// The header of a message as far as it was received, zero beyond: enough to address an error reply.
berth_vmm_header PeekHeader(std::span<const std::byte> bytes);

// Decodes a packet that came with `fd_count` fds. Call.fd is left empty: the caller moves it in.
// Checks form alone: sizes, fd counts, unknown tail, reserved fields, NUL termination, enum values,
// call ids (0 in HELLO, not 0 elsewhere). What the numbers refer to is the agent's to check.
// Errors: MESSAGE_TOO_SHORT, MESSAGE_TOO_LONG, TOO_FEW_FDS, TOO_MANY_FDS, BAD_MESSAGE (another size
// than the header says, reserved fields, strings, call ids), UNKNOWN_MESSAGE, UNKNOWN_TAIL,
// FD_COUNT (other fds than the header says), INVALID_FIELD (enum or flag values, a count of 0),
// TOO_LARGE (too many commands).
absl::StatusOr<Call> Decode(std::span<const std::byte> bytes, size_t fd_count);

}  // namespace berth::wire

#endif  // BERTH_LIB_WIRE_DECODE_H_
