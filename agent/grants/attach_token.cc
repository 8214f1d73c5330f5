// SPDX-License-Identifier: Apache-2.0
#include "agent/grants/attach_token.h"

#include <openssl/crypto.h>

#include <string>

#include "lib/rpc/sha256.h"

namespace berth {

bool TokenMatches(std::string_view token, std::string_view hash) {
  const std::string digest = Sha256(token);
  return digest.size() == hash.size() &&
         CRYPTO_memcmp(digest.data(), hash.data(), digest.size()) == 0;
}

}  // namespace berth
