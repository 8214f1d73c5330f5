// SPDX-License-Identifier: Apache-2.0
#include "ctl/cli/replace_file.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "lib/base/status.h"

namespace berth::cli {
namespace {

absl::Status CannotWrite(const std::string& path, int error) {
  // Not the status of the errno: "no such folder" is not "no such assignment" (exit codes).
  return Error(Reason::kInvalidField, absl::StrCat("cannot write ", path, ": ", strerror(error)),
               {{"path", path}, {"errno", ErrnoName(error)}});
}

}  // namespace

ReplaceFile::ReplaceFile(std::string path, std::string temporary, UniqueFd fd)
    : path_(std::move(path)), temporary_(std::move(temporary)), fd_(std::move(fd)) {}

absl::StatusOr<ReplaceFile> ReplaceFile::Open(const std::string& path) {
  std::string temporary = path + ".XXXXXX";
  // mkostemp(3) makes files with mode 0600.
  UniqueFd fd(::mkostemp(temporary.data(), O_CLOEXEC));
  if (!fd.valid()) return CannotWrite(path, errno);
  return ReplaceFile(path, std::move(temporary), std::move(fd));
}

ReplaceFile::~ReplaceFile() {
  if (fd_.valid()) ::unlink(temporary_.c_str());
}

absl::Status ReplaceFile::Commit(std::string_view content) {
  while (!content.empty()) {
    const ssize_t n = ::write(fd_.get(), content.data(), content.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return CannotWrite(path_, errno);
    content.remove_prefix(static_cast<size_t>(n));
  }
  if (::fsync(fd_.get()) != 0 || ::rename(temporary_.c_str(), path_.c_str()) != 0) {
    return CannotWrite(path_, errno);
  }
  fd_.Reset();
  return absl::OkStatus();
}

}  // namespace berth::cli
