// SPDX-License-Identifier: Apache-2.0
#include "lib/rpc/request.h"

#include <grpcpp/client_context.h>
#include <grpcpp/server_context.h>

#include <algorithm>
#include <chrono>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "lib/base/absl_view.h"
#include "lib/base/hash.h"
#include "lib/base/status.h"

namespace berth {
namespace {

constexpr size_t kHashBytes = 8;
// Of a token; positions are names.
constexpr size_t kMaxTokenBytes = 2048;

std::string HashBytes(std::string_view text) {
  const uint64_t hash = Fnv1a64(text);
  std::string bytes;
  for (int shift = 56; shift >= 0; shift -= 8) bytes.push_back(static_cast<char>(hash >> shift));
  return bytes;
}

// Which query, which position; bound together so that neither can be changed by itself by accident.
std::string Seal(std::string_view query, std::string_view position) {
  return HashBytes(absl::StrCat(HashBytes(query), AbslView(position)));
}

}  // namespace

absl::Status ValidateRequestId(std::string_view request_id) {
  const ErrorMetadata metadata = {{"field", "request_id"}};
  if (request_id.size() > kMaxRequestIdBytes) {
    return Error(Reason::kTooLarge,
                 absl::StrCat("request_id has at most ", kMaxRequestIdBytes, " characters"),
                 metadata);
  }
  const bool printable = std::all_of(request_id.begin(), request_id.end(),
                                     [](unsigned char c) { return absl::ascii_isprint(c); });
  if (printable) return absl::OkStatus();
  return Error(Reason::kInvalidField, "request_id is a UUID or other printable ASCII characters",
               metadata);
}

absl::StatusOr<int> PageSize(int32_t requested) {
  if (requested < 0) {
    return Error(Reason::kInvalidField, "page_size is negative", {{"field", "page_size"}});
  }
  return requested == 0 ? kDefaultPageSize : std::min<int>(requested, kMaxPageSize);
}

std::string EncodePageToken(std::string_view query, std::string_view position) {
  if (position.empty()) return "";
  return absl::WebSafeBase64Escape(absl::StrCat(Seal(query, position), AbslView(position)));
}

absl::StatusOr<std::string> DecodePageToken(std::string_view query, std::string_view token) {
  if (token.empty()) return "";
  std::string bytes;
  if (token.size() <= kMaxTokenBytes && absl::WebSafeBase64Unescape(AbslView(token), &bytes) &&
      bytes.size() > kHashBytes) {
    std::string position = bytes.substr(kHashBytes);
    if (bytes.compare(0, kHashBytes, Seal(query, position)) == 0) return position;
  }
  return Error(Reason::kInvalidPageToken,
               "page_token is not one that this list, with these filters, has given out",
               {{"field", "page_token"}});
}

absl::Time DeadlineOf(const grpc::ServerContextBase& context, absl::Time now) {
  const auto deadline = context.deadline();
  // gRPC's "never" is the clock's largest value, or close to it after its conversions.
  const absl::Time said = absl::FromChrono(deadline);
  constexpr absl::Duration kNobodyWaitsSoLong = absl::Hours(24 * 365);
  return said - now > kNobodyWaitsSoLong ? now + kDefaultDeadline : said;
}

void SetDeadline(grpc::ClientContext& context, absl::Duration timeout) {
  context.set_deadline(absl::ToChronoTime(absl::Now() + timeout));
}

}  // namespace berth
