// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_LIB_RPC_TEXT_H_
#define BERTH_LIB_RPC_TEXT_H_

#include <cstddef>
#include <string>
#include <string_view>

namespace berth {

// `text` as valid UTF-8 of at most `limit` bytes (at least 3): bytes that are no part of a
// well-formed sequence (RFC 3629: no surrogates, no overlong forms) and control characters other
// than newline and tab become '?'; what is cut off shows as "...". Parsers of protobuf's `string`
// and terminals get nothing that they choke on.
std::string PrintableUtf8(std::string_view text, size_t limit);

}  // namespace berth

#endif  // BERTH_LIB_RPC_TEXT_H_
