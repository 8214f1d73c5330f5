// SPDX-License-Identifier: Apache-2.0
#include "lib/rpc/text.h"

#include <algorithm>
#include <cstdint>

namespace berth {
namespace {

struct Lead {
  unsigned char first, last;  // range of the first byte
  size_t length;              // of the sequence
  uint32_t least;             // the first code point that needs this length
};

constexpr Lead kLeads[] = {
    {0x00, 0x7f, 1, 0}, {0xc2, 0xdf, 2, 0x80}, {0xe0, 0xef, 3, 0x800}, {0xf0, 0xf4, 4, 0x10000}};

bool IsControl(uint32_t code) {
  return (code < 0x20 && code != '\n' && code != '\t') || (code >= 0x7f && code < 0xa0);
}

// Length of the printable sequence at the start of `text` (not empty); 0 when there is none.
size_t PrintableLength(std::string_view text) {
  const auto byte = [text](size_t i) { return static_cast<unsigned char>(text[i]); };
  const auto* lead = std::find_if(std::begin(kLeads), std::end(kLeads), [&](const Lead& l) {
    return byte(0) >= l.first && byte(0) <= l.last;
  });
  if (lead == std::end(kLeads) || text.size() < lead->length) return 0;
  uint32_t code = lead->length == 1 ? byte(0) : byte(0) & (0x7fU >> lead->length);
  for (size_t i = 1; i < lead->length; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return 0;
    code = code << 6 | (byte(i) & 0x3fU);
  }
  const bool surrogate = code >= 0xd800 && code < 0xe000;
  if (code < lead->least || code > 0x10ffff || surrogate || IsControl(code)) return 0;
  return lead->length;
}

}  // namespace

std::string PrintableUtf8(std::string_view text, size_t limit) {
  constexpr std::string_view kCut = "...";
  std::string out;
  // Where `out` would be cut so that kCut still fits.
  size_t cut = 0;
  while (!text.empty()) {
    const size_t length = PrintableLength(text);
    if (length == 0) {
      out += '?';
    } else {
      out += text.substr(0, length);
    }
    if (out.size() > limit) {
      out.resize(cut);
      return out.append(kCut);
    }
    if (out.size() + kCut.size() <= limit) cut = out.size();
    text.remove_prefix(std::max<size_t>(length, 1));
  }
  return out;
}

}  // namespace berth
