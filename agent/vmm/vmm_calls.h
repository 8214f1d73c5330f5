// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_AGENT_VMM_VMM_CALLS_H_
#define BERTH_AGENT_VMM_VMM_CALLS_H_

#include <optional>

#include "absl/status/status.h"
#include "agent/grants/grant.h"
#include "berth/internal/v1/journal.pb.h"
#include "lib/wire/decode.h"
#include "lib/wire/message.h"

namespace berth {

struct CallResult {
  wire::Message reply;
  absl::Status status;  // what the reply says
};

// Whether the call is one for the attach mode of `grant`; for all but HELLO and DETACH. Errors:
// UNKNOWN_MESSAGE.
absl::Status CheckMode(const wire::Call& call, const Grant& grant);

// Executes a call of the VMM that is attached to `grant` in session `session` (any but HELLO,
// DETACH and CONFIRM_HAND_OFF) and makes its reply. On the grant's executor.
CallResult PerformCall(const wire::Call& call, uint64_t session, Grant& grant);

// Whether repeating the call changes nothing and gives the same reply: such calls answer a replay
// by being executed again, so that no copy of the fds in their replies is kept.
bool IsRepeatable(const wire::Call& call);

// What the journal is told of a call before it is executed; nothing for one that changes nothing,
// or that changes it as well a second time.
std::optional<internal::v1::JournaledCall> ToJournal(const wire::Call& call);

// The reply to HELLO.
berth_vmm_hello_reply HelloReply(uint64_t session, uint64_t last_call_id, Grant& grant);

}  // namespace berth

#endif  // BERTH_AGENT_VMM_VMM_CALLS_H_
