// SPDX-License-Identifier: Apache-2.0
#include "lib/rpc/sha256.h"

#include <openssl/evp.h>

#include <cstdlib>

namespace berth {

std::string Sha256(std::string_view text) {
  std::string digest(kSha256Size, '\0');
  // Fails for lack of memory only.
  if (EVP_Digest(text.data(), text.size(), reinterpret_cast<unsigned char*>(digest.data()), nullptr,
                 EVP_sha256(), nullptr) != 1) {
    std::abort();
  }
  return digest;
}

}  // namespace berth
