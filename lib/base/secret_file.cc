// SPDX-License-Identifier: Apache-2.0
#include "lib/base/secret_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "absl/strings/str_cat.h"
#include "lib/base/status.h"
#include "lib/base/unique_fd.h"

namespace berth {

absl::StatusOr<std::string> ReadSecretFile(const std::string& path, size_t max_bytes) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return ErrnoToStatus(errno, absl::StrCat("opening ", path));
  struct stat info {};
  if (::fstat(fd.get(), &info) != 0) return ErrnoToStatus(errno, absl::StrCat("looking at ", path));
  if ((info.st_mode & 077) != 0) {
    return Error(Reason::kInvalidField, absl::StrCat(path, " can be read by others; chmod 600 it"),
                 {{"path", path}});
  }
  std::string secret(max_bytes, '\0');
  const ssize_t size = ::read(fd.get(), secret.data(), secret.size());
  if (size < 0) return ErrnoToStatus(errno, absl::StrCat("reading ", path));
  secret.resize(static_cast<size_t>(size));
  return secret;
}

}  // namespace berth
