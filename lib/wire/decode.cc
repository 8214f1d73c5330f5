// SPDX-License-Identifier: Apache-2.0
#include "lib/wire/decode.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <type_traits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "lib/base/status.h"

namespace berth::wire {
namespace {

absl::Status BadMessage(std::string_view what) { return Error(Reason::kBadMessage, what); }

absl::Status Invalid(std::string_view field, std::string_view what) {
  return Error(Reason::kInvalidField, absl::StrCat(std::string(field), ": ", std::string(what)),
               {{"field", std::string(field)}});
}

bool AllZero(std::span<const std::byte> bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](std::byte b) { return b == std::byte{0}; });
}

absl::Status ReservedIsZero(uint64_t reserved) {
  return reserved == 0 ? absl::OkStatus() : BadMessage("a reserved field is not zero");
}

// A string in a fixed array: terminated, and nothing behind the terminator.
absl::Status CheckText(std::string_view name, std::span<const char> text) {
  const auto end = std::find(text.begin(), text.end(), '\0');
  if (end == text.end()) return BadMessage(absl::StrCat(std::string(name), " has no NUL"));
  if (std::any_of(end, text.end(), [](char c) { return c != '\0'; })) {
    return BadMessage(absl::StrCat(std::string(name), " has bytes behind its NUL"));
  }
  return absl::OkStatus();
}

// What each struct demands beyond its size; the general case is a struct that ends in `reserved`.
absl::Status Check(const berth_vmm_hello& call) {
  if ((call.flags & ~uint32_t{BERTH_VMM_HELLO_HAND_OFF}) != 0) {
    return Invalid("flags", "only HAND_OFF is defined");
  }
  BERTH_RETURN_IF_ERROR(ReservedIsZero(call.reserved));
  BERTH_RETURN_IF_ERROR(CheckText("assignment_uid", call.assignment_uid));
  BERTH_RETURN_IF_ERROR(CheckText("token", call.token));
  if (call.version_min == 0 || call.version_min > call.version_max) {
    return Invalid("version_min", "not in 1 .. version_max");
  }
  return absl::OkStatus();
}

absl::Status Check(const berth_vmm_map_memory& call) {
  constexpr uint32_t kKnown = BERTH_VMM_MEMORY_READ | BERTH_VMM_MEMORY_WRITE;
  if (call.flags == 0 || (call.flags & ~kKnown) != 0) {
    return Invalid("flags", "READ, WRITE or both are needed, and nothing else");
  }
  return ReservedIsZero(call.reserved);
}

absl::Status Check(const berth_vmm_set_stream& call) {
  BERTH_RETURN_IF_ERROR(ReservedIsZero(call.reserved));
  if (call.mode < BERTH_VMM_STREAM_ABORT || call.mode > BERTH_VMM_STREAM_TRANSLATE) {
    return Invalid("mode", absl::StrCat(call.mode, " is not a stream mode"));
  }
  if (call.mode != BERTH_VMM_STREAM_TRANSLATE && (call.ste[0] | call.ste[1]) != 0) {
    return Invalid("ste", "must be 0 unless the mode is TRANSLATE");
  }
  return absl::OkStatus();
}

template <typename T>
requires requires(T call) { call.reserved; }
absl::Status Check(const T& call) { return ReservedIsZero(call.reserved); }

template <typename T>
absl::Status Check(const T&) {
  return absl::OkStatus();
}

// Copies the fixed part out of `bytes` and hands back what follows it.
template <typename T>
absl::StatusOr<std::span<const std::byte>> TakeFixed(std::span<const std::byte> bytes, T* out) {
  if (bytes.size() < sizeof(T)) {
    return Error(Reason::kMessageTooShort, absl::StrCat("the message has ", bytes.size(),
                                                        " bytes, its type needs ", sizeof(T)));
  }
  std::memcpy(out, bytes.data(), sizeof(T));
  return bytes.subspan(sizeof(T));
}

absl::Status CheckTail(std::span<const std::byte> tail) {
  if (AllZero(tail)) return absl::OkStatus();
  return Error(Reason::kUnknownTail, "bytes after the known part of the message are not zero");
}

template <typename T>
absl::StatusOr<Body> DecodeBody(std::span<const std::byte> bytes) {
  T call;
  BERTH_ASSIGN_OR_RETURN(const std::span<const std::byte> tail, TakeFixed(bytes, &call));
  BERTH_RETURN_IF_ERROR(CheckTail(tail));
  BERTH_RETURN_IF_ERROR(Check(call));
  return call;
}

template <>
absl::StatusOr<Body> DecodeBody<Invalidate>(std::span<const std::byte> bytes) {
  Invalidate call;
  BERTH_ASSIGN_OR_RETURN(std::span<const std::byte> tail, TakeFixed(bytes, &call.fixed));
  if (call.fixed.count == 0) return Invalid("count", "must be at least 1");
  if (call.fixed.count > BERTH_VMM_MAX_COMMANDS) {
    return Error(Reason::kTooLarge,
                 absl::StrCat("at most ", BERTH_VMM_MAX_COMMANDS, " commands fit one INVALIDATE"));
  }
  const size_t length = call.fixed.count * sizeof(Command);
  if (tail.size() < length) {
    return Error(Reason::kMessageTooShort, "fewer commands follow than count says");
  }
  call.commands.resize(call.fixed.count);
  std::memcpy(call.commands.data(), tail.data(), length);
  BERTH_RETURN_IF_ERROR(CheckTail(tail.subspan(length)));
  return call;
}

struct TypeInfo {
  uint16_t type;
  uint16_t least_fds;
  uint16_t most_fds;
  absl::StatusOr<Body> (*decode)(std::span<const std::byte>);
};

constexpr TypeInfo kTypes[] = {
    {BERTH_VMM_HELLO, 0, 0, &DecodeBody<berth_vmm_hello>},
    {BERTH_VMM_GET_UNIT, 0, 0, &DecodeBody<berth_vmm_get_unit>},
    {BERTH_VMM_GET_DEVICE, 0, 0, &DecodeBody<berth_vmm_get_device>},
    {BERTH_VMM_GET_PAGE0, 0, 0, &DecodeBody<berth_vmm_get_page0>},
    {BERTH_VMM_GET_IOVA_RANGES, 0, 0, &DecodeBody<berth_vmm_get_iova_ranges>},
    {BERTH_VMM_MAP_MEMORY, 1, 1, &DecodeBody<berth_vmm_map_memory>},
    {BERTH_VMM_UNMAP_MEMORY, 0, 0, &DecodeBody<berth_vmm_unmap_memory>},
    {BERTH_VMM_SET_STREAM, 0, 0, &DecodeBody<berth_vmm_set_stream>},
    {BERTH_VMM_ALLOC_QUEUE, 0, 0, &DecodeBody<berth_vmm_alloc_queue>},
    {BERTH_VMM_FREE_QUEUE, 0, 0, &DecodeBody<berth_vmm_free_queue>},
    {BERTH_VMM_INVALIDATE, 0, 0, &DecodeBody<Invalidate>},
    {BERTH_VMM_RESET_GUEST, 0, 0, &DecodeBody<berth_vmm_reset_guest>},
    {BERTH_VMM_DETACH, 0, 0, &DecodeBody<berth_vmm_detach>},
    {BERTH_VMM_HAND_OFF, 0, 0, &DecodeBody<berth_vmm_hand_off>},
    {BERTH_VMM_CONFIRM_HAND_OFF, 0, 1, &DecodeBody<berth_vmm_confirm_hand_off>},
};

absl::Status CheckHeader(const berth_vmm_header& header, size_t size, size_t fds,
                         const TypeInfo& type) {
  if (header.size != size) {
    return BadMessage(
        absl::StrCat("the packet has ", size, " bytes, its header says ", header.size));
  }
  if (fds < type.least_fds) {
    return Error(Reason::kTooFewFds,
                 absl::StrCat("the type takes ", type.least_fds, " fds, ", fds, " came"));
  }
  if (fds > type.most_fds) {
    return Error(Reason::kTooManyFds,
                 absl::StrCat("the type takes ", type.most_fds, " fds, ", fds, " came"));
  }
  if (header.fd_count != fds) {
    return Error(Reason::kFdCount,
                 absl::StrCat("the header names ", header.fd_count, " fds, ", fds, " came"));
  }
  if ((header.type == BERTH_VMM_HELLO) != (header.call_id == 0)) {
    return BadMessage("call_id is 0 in HELLO and counts from 1 in every other call");
  }
  return absl::OkStatus();
}

}  // namespace

berth_vmm_header PeekHeader(std::span<const std::byte> bytes) {
  berth_vmm_header header = {};
  std::copy_n(bytes.begin(), std::min(bytes.size(), sizeof(header)),
              reinterpret_cast<std::byte*>(&header));
  return header;
}

absl::StatusOr<Call> Decode(std::span<const std::byte> bytes, size_t fd_count) {
  if (bytes.size() < sizeof(berth_vmm_header)) {
    return Error(Reason::kMessageTooShort, "the packet is shorter than a header");
  }
  if (bytes.size() > BERTH_VMM_MAX_MESSAGE) {
    return Error(Reason::kMessageTooLong,
                 absl::StrCat("the packet is longer than ", BERTH_VMM_MAX_MESSAGE, " bytes"));
  }
  Call call = {.header = PeekHeader(bytes), .body = {}, .bytes = {}, .fd = {}};
  const auto* type = std::find_if(std::begin(kTypes), std::end(kTypes), [&](const TypeInfo& info) {
    return info.type == call.header.type;
  });
  if (type == std::end(kTypes)) {
    return Error(Reason::kUnknownMessage, absl::StrCat("no message has type ", call.header.type));
  }
  BERTH_RETURN_IF_ERROR(CheckHeader(call.header, bytes.size(), fd_count, *type));
  BERTH_ASSIGN_OR_RETURN(call.body, type->decode(bytes));
  call.bytes.assign(bytes.begin(), bytes.end());
  return call;
}

}  // namespace berth::wire
