// SPDX-License-Identifier: Apache-2.0
//
// A hash that is the same in every process and version, because it decides between equal hosts.
#ifndef BERTH_LIB_PLACEMENT_HASH_H_
#define BERTH_LIB_PLACEMENT_HASH_H_

#include <cstdint>
#include <string_view>

namespace berth::placement {

// The finalizer of SplitMix64: a bijection whose output bits depend on all input bits.
constexpr uint64_t Mix(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}

constexpr uint64_t Combine(uint64_t hash, uint64_t value) {
  return Mix(hash + 0x9e3779b97f4a7c15ULL + value);
}

// FNV-1a, mixed.
constexpr uint64_t StableHash(std::string_view text) {
  uint64_t hash = 0xcbf29ce484222325ULL;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL;
  return Mix(hash);
}

}  // namespace berth::placement

#endif  // BERTH_LIB_PLACEMENT_HASH_H_
