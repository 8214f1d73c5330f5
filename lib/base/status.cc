// SPDX-License-Identifier: Apache-2.0
#include "lib/base/status.h"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <vector>

#include "absl/strings/cord.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "lib/base/absl_view.h"

namespace berth {
namespace {

// The payload holds NUL-separated strings: the reason's name, then key, value, key, value...
// It never leaves the process.
constexpr char kPayload[] = "berth/error";

std::vector<std::string> Fields(const absl::Status& status) {
  std::vector<std::string> fields;
  absl::optional<absl::Cord> payload = status.GetPayload(kPayload);
  if (!payload.has_value()) return fields;
  const std::string flat(*payload);
  for (size_t begin = 0; begin <= flat.size();) {
    const size_t end = std::min(flat.find('\0', begin), flat.size());
    fields.push_back(flat.substr(begin, end - begin));
    begin = end + 1;
  }
  return fields;
}

void Attach(absl::Status& status, Reason reason, const ErrorMetadata& metadata) {
  std::string flat(ReasonName(reason));
  for (const auto& [key, value] : metadata) {
    for (const std::string& part : {key, value}) {
      flat.push_back('\0');
      // Peers choose some of these bytes.
      std::copy_if(part.begin(), part.end(), std::back_inserter(flat),
                   [](char c) { return c != 0; });
    }
  }
  status.SetPayload(kPayload, absl::Cord(flat));
}

absl::Status Copy(const absl::Status& from, std::string_view message) {
  absl::Status to(from.code(), AbslView(message));
  from.ForEachPayload(
      [&to](absl::string_view url, const absl::Cord& value) { to.SetPayload(url, value); });
  return to;
}

struct ErrnoRow {
  int number;
  std::string_view name;
  Reason reason;
};

// The meaning of an errno for someone who asked Berth for something; callers that know better
// (ENOSPC of VIOMMU_ALLOC is VINTF_EXHAUSTED) say so themselves.
constexpr ErrnoRow kErrnos[] = {
    {EPERM, "EPERM", Reason::kAgentPrivilege},
    {ENOENT, "ENOENT", Reason::kNotFound},
    {EINTR, "EINTR", Reason::kSystemError},
    {EIO, "EIO", Reason::kKernelRefused},
    {ENXIO, "ENXIO", Reason::kDeviceGone},
    {E2BIG, "E2BIG", Reason::kKernelRefused},
    {EBADF, "EBADF", Reason::kKernelRefused},
    {EAGAIN, "EAGAIN", Reason::kUnavailable},
    {ENOMEM, "ENOMEM", Reason::kOutOfMemory},
    {EACCES, "EACCES", Reason::kAgentPrivilege},
    {EFAULT, "EFAULT", Reason::kKernelRefused},
    {EBUSY, "EBUSY", Reason::kDeviceBusy},
    {EEXIST, "EEXIST", Reason::kAlreadyExists},
    {ENODEV, "ENODEV", Reason::kDeviceGone},
    {ENOTDIR, "ENOTDIR", Reason::kSystemError},
    {EISDIR, "EISDIR", Reason::kSystemError},
    {EINVAL, "EINVAL", Reason::kKernelRefused},
    {ENFILE, "ENFILE", Reason::kOutOfMemory},
    {EMFILE, "EMFILE", Reason::kOutOfMemory},
    {ENOTTY, "ENOTTY", Reason::kKernelFeatureMissing},
    {EFBIG, "EFBIG", Reason::kSystemError},
    {ENOSPC, "ENOSPC", Reason::kOutOfMemory},
    {ESPIPE, "ESPIPE", Reason::kSystemError},
    {EROFS, "EROFS", Reason::kSystemError},
    {EPIPE, "EPIPE", Reason::kUnavailable},
    {ERANGE, "ERANGE", Reason::kKernelRefused},
    {ENAMETOOLONG, "ENAMETOOLONG", Reason::kSystemError},
    {ENOSYS, "ENOSYS", Reason::kKernelFeatureMissing},
    {ELOOP, "ELOOP", Reason::kSystemError},
    {ENOMSG, "ENOMSG", Reason::kSystemError},
    {EPROTO, "EPROTO", Reason::kSystemError},
    {EOVERFLOW, "EOVERFLOW", Reason::kKernelRefused},
    {EBADFD, "EBADFD", Reason::kKernelRefused},
    {EMSGSIZE, "EMSGSIZE", Reason::kSystemError},
    {EOPNOTSUPP, "EOPNOTSUPP", Reason::kKernelFeatureMissing},
    {EADDRINUSE, "EADDRINUSE", Reason::kKernelRefused},
    {ECONNRESET, "ECONNRESET", Reason::kUnavailable},
    {ENOTCONN, "ENOTCONN", Reason::kUnavailable},
    {ESHUTDOWN, "ESHUTDOWN", Reason::kKernelGone},
    {ETIMEDOUT, "ETIMEDOUT", Reason::kHardwareTimeout},
    {ECONNREFUSED, "ECONNREFUSED", Reason::kUnavailable},
    {EDQUOT, "EDQUOT", Reason::kOutOfMemory},
};

}  // namespace

absl::Status Error(Reason reason, std::string_view message, const ErrorMetadata& metadata) {
  absl::Status status(ReasonCode(reason), AbslView(message));
  Attach(status, reason, metadata);
  return status;
}

Reason ReasonOf(const absl::Status& status) {
  const std::vector<std::string> fields = Fields(status);
  if (fields.empty()) return Reason::kUnspecified;
  return ReasonFromName(fields[0]).value_or(Reason::kUnspecified);
}

ErrorMetadata MetadataOf(const absl::Status& status) {
  const std::vector<std::string> fields = Fields(status);
  ErrorMetadata metadata;
  for (size_t i = 1; i + 1 < fields.size(); i += 2) metadata[fields[i]] = fields[i + 1];
  return metadata;
}

absl::Status Annotate(const absl::Status& status, std::string_view context) {
  if (status.ok()) return status;
  return Copy(status, absl::StrCat(AbslView(context), ": ", status.message()));
}

absl::Status WithMetadata(const absl::Status& status, std::string_view key,
                          std::string_view value) {
  if (status.ok()) return status;
  ErrorMetadata metadata = MetadataOf(status);
  metadata[std::string(key)] = std::string(value);
  const absl::string_view message = status.message();
  absl::Status changed = Copy(status, {message.data(), message.size()});
  Attach(changed, ReasonOf(status), metadata);
  return changed;
}

std::string ErrnoName(int error) {
  for (const ErrnoRow& row : kErrnos) {
    if (row.number == error) return std::string(row.name);
  }
  return absl::StrCat("errno ", error);
}

absl::Status ErrnoToStatus(int error, std::string_view what) {
  if (error == 0) std::abort();
  Reason reason = Reason::kSystemError;
  for (const ErrnoRow& row : kErrnos) {
    if (row.number == error) reason = row.reason;
  }
  return Error(
      reason, absl::StrCat(AbslView(what), ": ", std::strerror(error), " (", ErrnoName(error), ")"),
      {{"errno", ErrnoName(error)}, {"call", std::string(what)}});
}

int ErrnoOf(const absl::Status& status) {
  const ErrorMetadata metadata = MetadataOf(status);
  const auto it = metadata.find("errno");
  if (it == metadata.end()) return 0;
  for (const ErrnoRow& row : kErrnos) {
    if (row.name == it->second) return row.number;
  }
  int number = 0;
  constexpr std::string_view kPrefix = "errno ";
  if (it->second.rfind(kPrefix, 0) != 0 ||
      !absl::SimpleAtoi(it->second.substr(kPrefix.size()), &number)) {
    return 0;
  }
  return number;
}

}  // namespace berth
