// SPDX-License-Identifier: Apache-2.0
#include "ctl/controller/book/token.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <sys/random.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "lib/base/secret_file.h"
#include "lib/base/status.h"
#include "lib/base/unique_fd.h"

namespace berth {
namespace {

constexpr size_t kMinKey = 32;
constexpr size_t kMaxKey = 4096;

absl::Status CreateKey(const std::string& path) {
  std::array<char, kMinKey> key{};
  if (::getrandom(key.data(), key.size(), 0) != static_cast<ssize_t>(key.size())) {
    return ErrnoToStatus(errno, "getrandom");
  }
  // Written under another name first: a key file is whole or not there.
  const std::string fresh = absl::StrCat(path, ".new");
  UniqueFd fd(::open(fresh.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (!fd.valid()) return ErrnoToStatus(errno, absl::StrCat("making ", fresh));
  if (::write(fd.get(), key.data(), key.size()) != static_cast<ssize_t>(key.size()) ||
      ::fsync(fd.get()) != 0 || ::rename(fresh.c_str(), path.c_str()) != 0) {
    return ErrnoToStatus(errno, absl::StrCat("writing ", path));
  }
  // Tokens are of use only as long as the key is found again: its name has to be durable too.
  const std::string folder = std::filesystem::absolute(path).parent_path().string();
  UniqueFd folder_fd(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!folder_fd.valid() || ::fsync(folder_fd.get()) != 0) {
    return ErrnoToStatus(errno, absl::StrCat("syncing ", folder));
  }
  return absl::OkStatus();
}

}  // namespace

TokenMaker::TokenMaker(std::string key) : key_(std::move(key)) {}

absl::StatusOr<TokenMaker> TokenMaker::FromFile(const std::string& path) {
  absl::StatusOr<std::string> key = ReadSecretFile(path, kMaxKey);
  if (absl::IsNotFound(key.status())) {
    BERTH_RETURN_IF_ERROR(Annotate(CreateKey(path), "making the cluster key"));
    key = ReadSecretFile(path, kMaxKey);
  }
  if (!key.ok()) return Annotate(key.status(), "the cluster key");
  if (key->size() < kMinKey) {
    return Error(Reason::kInvalidField, absl::StrCat("the cluster key ", path, " has ", key->size(),
                                                     " bytes; it needs ", kMinKey, " random ones"));
  }
  return TokenMaker(*std::move(key));
}

std::string TokenMaker::Token(std::string_view assignment_uid, int32_t version) const {
  return Hmac(absl::StrCat("berth attach|", std::string(assignment_uid), "|", version));
}

std::string TokenMaker::fingerprint() const {
  constexpr size_t kDigits = 16;
  return Hmac("berth cluster key").substr(0, kDigits);
}

std::string TokenMaker::Hmac(const std::string& text) const {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned size = 0;
  if (HMAC(EVP_sha256(), key_.data(), static_cast<int>(key_.size()),
           reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest.data(),
           &size) == nullptr) {
    std::abort();
  }
  return absl::BytesToHexString({reinterpret_cast<const char*>(digest.data()), size});
}

}  // namespace berth
