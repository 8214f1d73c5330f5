// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_CTL_CONTROLLER_BOOK_TOKEN_H_
#define BERTH_CTL_CONTROLLER_BOOK_TOKEN_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace berth {

// Makes attach tokens from the cluster key. They are computed again whenever they are needed and
// never stored. Thread-safe.
class TokenMaker {
 public:
  // `key`: at least 32 bytes.
  explicit TokenMaker(std::string key);

  // Reads the key from `path`; makes the file, mode 0600 with 32 random bytes, when it does not
  // exist. Errors: INVALID_FIELD (too short, or readable by others), those of the file system.
  static absl::StatusOr<TokenMaker> FromFile(const std::string& path);

  // 64 hex digits: HMAC-SHA256(key, "berth attach" | uid | version).
  std::string Token(std::string_view assignment_uid, int32_t version) const;
  // 16 hex digits that two keys have in common only when they are the same; tells nothing of the
  // key.
  std::string fingerprint() const;

 private:
  std::string Hmac(const std::string& text) const;

  std::string key_;
};

}  // namespace berth

#endif  // BERTH_CTL_CONTROLLER_BOOK_TOKEN_H_
