// SPDX-License-Identifier: Apache-2.0
//
// Text <-> the scalar types of protobuf. Private to lib/config.
#ifndef BERTH_LIB_CONFIG_SCALAR_H_
#define BERTH_LIB_CONFIG_SCALAR_H_

#include <charconv>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

namespace google::protobuf {
class EnumDescriptor;
class EnumValueDescriptor;
}  // namespace google::protobuf

namespace berth::yaml {

// Seconds and nanoseconds of a google.protobuf.Duration or Timestamp.
struct SecondsAndNanos {
  int64_t seconds = 0;
  int32_t nanos = 0;
};

// Decimal without leading zeros (YAML versions disagree on 010), or 0x.
template <typename T>
std::optional<T> ParseInteger(std::string_view text) {
  int base = 10;
  if (text.size() > 2 && text[0] == '0' && (text[1] == 'x' || text[1] == 'X')) {
    text.remove_prefix(2);
    base = 16;
    if (text[0] == '-') return std::nullopt;
  } else if (const size_t sign = text.find_first_not_of('-');
             sign != text.npos && text[sign] == '0' && text.size() > sign + 1) {
    return std::nullopt;
  }
  T value{};
  const char* const end = text.data() + text.size();
  const auto [at, error] = std::from_chars(text.data(), end, value, base);
  if (error != std::errc() || at != end) return std::nullopt;
  return value;
}

std::optional<double> ParseDouble(std::string_view text);
// "1.5s", "1h30m", "250ms"; within protobuf's 10,000 years.
std::optional<SecondsAndNanos> ParseDuration(std::string_view text);
// RFC 3339, years 1 to 9999.
std::optional<SecondsAndNanos> ParseTimestamp(std::string_view text);
std::optional<std::string> ParseBase64(std::string_view text);
// By name, with or without the prefix that the enum's name gives, in any case.
const google::protobuf::EnumValueDescriptor* ParseEnum(const google::protobuf::EnumDescriptor& type,
                                                       std::string_view text);

// "1.500s".
std::string FormatDuration(const SecondsAndNanos& duration);
// "2026-01-02T03:04:05.5Z".
std::string FormatTimestamp(const SecondsAndNanos& timestamp);
// The value's name without its enum's prefix, for lists of choices.
std::string ShortName(const google::protobuf::EnumValueDescriptor& value);

// The candidate that was most likely meant by `text`, or "" when none is near.
std::string_view Nearest(std::string_view text, const std::vector<std::string_view>& candidates);

}  // namespace berth::yaml

#endif  // BERTH_LIB_CONFIG_SCALAR_H_
