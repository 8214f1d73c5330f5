// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_LIB_BASE_HASH_H_
#define BERTH_LIB_BASE_HASH_H_

#include <cstdint>
#include <string_view>

namespace berth {

inline constexpr uint64_t kFnv1aStart = 0xcbf29ce484222325;

// FNV-1a, 64 bits (RFC draft-eastlake-fnv): the same on every machine and in every version, so that
// it may be stored and sent. It finds accidents, not attacks. Chain calls through `state`.
constexpr uint64_t Fnv1a64(std::string_view bytes, uint64_t state = kFnv1aStart) {
  for (const char c : bytes) {
    state ^= static_cast<unsigned char>(c);
    state *= 0x100000001b3;
  }
  return state;
}

}  // namespace berth

#endif  // BERTH_LIB_BASE_HASH_H_
