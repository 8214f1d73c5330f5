// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_AGENT_GRANTS_ATTACH_TOKEN_H_
#define BERTH_AGENT_GRANTS_ATTACH_TOKEN_H_

#include <string_view>

namespace berth {

// Whether SHA-256 of `token` is `hash` (kSha256Size bytes; any other size never matches). Takes
// the same time wherever they differ.
bool TokenMatches(std::string_view token, std::string_view hash);

}  // namespace berth

#endif  // BERTH_AGENT_GRANTS_ATTACH_TOKEN_H_
