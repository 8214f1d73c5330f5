// SPDX-License-Identifier: Apache-2.0
#include "lib/wire/encode.h"

#include <algorithm>
#include <cstring>

#include "lib/base/status.h"

namespace berth::wire {

void CopyText(std::string_view text, std::span<char> out) {
  size_t length = std::min(text.size(), out.size() - 1);
  // 10xxxxxx continues a character: a cut in front of it would leave half of one.
  while (length < text.size() && length > 0 &&
         (static_cast<unsigned char>(text[length]) & 0xc0) == 0x80) {
    --length;
  }
  std::fill(std::copy_n(text.begin(), length, out.begin()), out.end(), '\0');
}

void SetError(const absl::Status& status, berth_vmm_reply* reply) {
  const Reason reason = ReasonOf(status);
  reply->reason =
      static_cast<uint32_t>(reason == Reason::kUnspecified ? Reason::kInternal : reason);
  reply->error_number = static_cast<uint32_t>(ErrnoOf(status));
  CopyText({status.message().data(), status.message().size()}, reply->message);
}

Message EncodeReplyBytes(const berth_vmm_header& call, const void* reply, size_t size,
                         std::vector<UniqueFd> fds) {
  Message message;
  message.bytes.resize(size);
  std::memcpy(message.bytes.data(), reply, size);
  berth_vmm_header header;
  std::memcpy(&header, reply, sizeof(header));
  header.size = static_cast<uint32_t>(size);
  header.type = call.type;
  header.fd_count = static_cast<uint16_t>(fds.size());
  header.call_id = call.call_id;
  if (header.session_id == 0) header.session_id = call.session_id;
  std::memcpy(message.bytes.data(), &header, sizeof(header));
  message.fds = std::move(fds);
  return message;
}

Message EncodeError(const berth_vmm_header& call, const absl::Status& status) {
  berth_vmm_reply reply = {};
  SetError(status, &reply);
  return EncodeReply(call, reply);
}

}  // namespace berth::wire
