// SPDX-License-Identifier: Apache-2.0
//
// Replies to a VMM. Pure functions.
#ifndef BERTH_LIB_WIRE_ENCODE_H_
#define BERTH_LIB_WIRE_ENCODE_H_

#include <cstddef>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "lib/base/unique_fd.h"
#include "lib/vmm/berth_vmm_wire.h"
#include "lib/wire/message.h"

namespace berth::wire {

// Copies `text` into a fixed array of a message: cut to fit, NUL-terminated, the rest zero. Cuts
// between UTF-8 characters.
void CopyText(std::string_view text, std::span<char> out);

// Sets reason, error_number and message of a reply from an error. A status without a Reason becomes
// INTERNAL.
void SetError(const absl::Status& status, berth_vmm_reply* reply);

// The part of EncodeReply() that does not depend on the type.
Message EncodeReplyBytes(const berth_vmm_header& call, const void* reply, size_t size,
                         std::vector<UniqueFd> fds);

// The reply to `call`, one of the *_reply structs, which begin with berth_vmm_reply. Sets size,
// type, fd_count and call_id; session_id too, unless `reply` has one already (HELLO).
template <typename T>
Message EncodeReply(const berth_vmm_header& call, const T& reply, std::vector<UniqueFd> fds = {}) {
  return EncodeReplyBytes(call, &reply, sizeof(reply), std::move(fds));
}

// A reply that is an error and nothing else. `status` is not OK.
Message EncodeError(const berth_vmm_header& call, const absl::Status& status);

}  // namespace berth::wire

#endif  // BERTH_LIB_WIRE_ENCODE_H_
