// SPDX-License-Identifier: Apache-2.0
#include "lib/config/scalar.h"

#include <google/protobuf/descriptor.h>

#include <algorithm>
#include <limits>
#include <numeric>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "absl/time/time.h"
#include "lib/base/absl_view.h"

namespace berth::yaml {
namespace {

using ::google::protobuf::EnumDescriptor;
using ::google::protobuf::EnumValueDescriptor;

// google/protobuf/duration.proto and timestamp.proto state these ranges.
constexpr int64_t kMaxDurationSeconds = 315'576'000'000;
constexpr int64_t kMinTimestampSeconds = -62'135'596'800;
constexpr int64_t kMaxTimestampSeconds = 253'402'300'799;
constexpr int32_t kNanosPerSecond = 1'000'000'000;

// Isolation.Mode, HostPhase -> "MODE_", "HOST_PHASE_".
std::string Prefix(const EnumDescriptor& type) {
  std::string prefix;
  for (const char c : type.name()) {
    if (absl::ascii_isupper(c) && !prefix.empty()) prefix.push_back('_');
    prefix.push_back(absl::ascii_toupper(c));
  }
  return prefix + "_";
}

size_t EditDistance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 0; i < a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i + 1;
    for (size_t j = 0; j < b.size(); ++j) {
      const size_t substituted = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({substituted, row[j] + 1, diagonal + 1});
    }
  }
  return row.back();
}

}  // namespace

std::optional<double> ParseDouble(std::string_view text) {
  if (text == ".inf" || text == "Infinity") return std::numeric_limits<double>::infinity();
  if (text == "-.inf" || text == "-Infinity") return -std::numeric_limits<double>::infinity();
  if (text == ".nan" || text == "NaN") return std::numeric_limits<double>::quiet_NaN();
  double value = 0;
  const char* const end = text.data() + text.size();
  const auto [at, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc() || at != end || !(std::abs(value) <= std::numeric_limits<double>::max()))
    return std::nullopt;
  return value;
}

std::optional<SecondsAndNanos> ParseDuration(std::string_view text) {
  absl::Duration duration;
  if (!absl::ParseDuration(AbslView(text), &duration) ||
      absl::AbsDuration(duration) > absl::Seconds(kMaxDurationSeconds)) {
    return std::nullopt;
  }
  absl::Duration rest;
  const int64_t seconds = absl::IDivDuration(duration, absl::Seconds(1), &rest);
  return SecondsAndNanos{seconds, static_cast<int32_t>(absl::ToInt64Nanoseconds(rest))};
}

std::optional<SecondsAndNanos> ParseTimestamp(std::string_view text) {
  absl::Time time;
  std::string error;
  if (!absl::ParseTime(absl::RFC3339_full, AbslView(text), &time, &error)) return std::nullopt;
  const int64_t seconds = absl::ToUnixSeconds(time);
  if (seconds < kMinTimestampSeconds || seconds > kMaxTimestampSeconds) return std::nullopt;
  return SecondsAndNanos{
      seconds,
      static_cast<int32_t>(absl::ToInt64Nanoseconds(time - absl::FromUnixSeconds(seconds)))};
}

std::optional<std::string> ParseBase64(std::string_view text) {
  std::string bytes;
  if (absl::Base64Unescape(AbslView(text), &bytes) ||
      absl::WebSafeBase64Unescape(AbslView(text), &bytes)) {
    return bytes;
  }
  return std::nullopt;
}

const EnumValueDescriptor* ParseEnum(const EnumDescriptor& type, std::string_view text) {
  const std::string prefix = Prefix(type);
  for (int i = 0; i < type.value_count(); ++i) {
    const EnumValueDescriptor* value = type.value(i);
    if (absl::EqualsIgnoreCase(value->name(), AbslView(text)) ||
        absl::EqualsIgnoreCase(value->name(), absl::StrCat(prefix, AbslView(text)))) {
      return value;
    }
  }
  return nullptr;
}

std::string ShortName(const EnumValueDescriptor& value) {
  return std::string(absl::StripPrefix(value.name(), Prefix(*value.type())));
}

std::string FormatDuration(const SecondsAndNanos& duration) {
  const bool negative = duration.seconds < 0 || duration.nanos < 0;
  std::string text = absl::StrFormat("%s%d", negative ? "-" : "",
                                     negative ? 0 - static_cast<uint64_t>(duration.seconds)
                                              : static_cast<uint64_t>(duration.seconds));
  if (duration.nanos != 0) {
    std::string fraction = absl::StrFormat("%09d", std::abs(int64_t{duration.nanos}));
    // Three digits a step, as protobuf's JSON writes it.
    while (absl::EndsWith(fraction, "000")) fraction.resize(fraction.size() - 3);
    absl::StrAppend(&text, ".", fraction);
  }
  return text + "s";
}

std::string FormatTimestamp(const SecondsAndNanos& timestamp) {
  const int32_t nanos = std::clamp(timestamp.nanos, 0, kNanosPerSecond - 1);
  return absl::FormatTime("%E4Y-%m-%d%ET%H:%M:%E*SZ",
                          absl::FromUnixSeconds(timestamp.seconds) + absl::Nanoseconds(nanos),
                          absl::UTCTimeZone());
}

std::string_view Nearest(std::string_view text, const std::vector<std::string_view>& candidates) {
  constexpr size_t kLongest = 64;
  if (text.size() > kLongest) return "";
  std::string_view best;
  // Up to a third of the letters may differ, but always two.
  size_t least = std::max<size_t>(2, text.size() / 3) + 1;
  for (const std::string_view candidate : candidates) {
    const size_t distance = EditDistance(text, candidate);
    if (distance < least && distance < candidate.size()) {
      least = distance;
      best = candidate;
    }
  }
  return best;
}

}  // namespace berth::yaml
