// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_LIB_RPC_SHA256_H_
#define BERTH_LIB_RPC_SHA256_H_

#include <cstddef>
#include <string>
#include <string_view>

namespace berth {

inline constexpr size_t kSha256Size = 32;

// The digest of `text`: kSha256Size bytes.
std::string Sha256(std::string_view text);

}  // namespace berth

#endif  // BERTH_LIB_RPC_SHA256_H_
