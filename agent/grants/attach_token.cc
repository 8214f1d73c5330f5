// SPDX-License-Identifier: Apache-2.0
#include "agent/grants/attach_token.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include <array>

namespace berth {

bool TokenMatches(std::string_view token, std::string_view hash) {
  std::array<unsigned char, kTokenHashSize> digest = {};
  unsigned int size = 0;
  if (EVP_Digest(token.data(), token.size(), digest.data(), &size, EVP_sha256(), nullptr) != 1) {
    return false;
  }
  return size == hash.size() && CRYPTO_memcmp(digest.data(), hash.data(), size) == 0;
}

}  // namespace berth
