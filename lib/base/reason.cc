// SPDX-License-Identifier: Apache-2.0
#include "lib/base/reason.h"

#include <algorithm>
#include <iterator>

namespace berth {
namespace {

struct Row {
  Reason reason;
  std::string_view name;
  absl::StatusCode code;
  std::string_view meaning;
};

constexpr Row kRows[] = {
#define BERTH_REASON_ROW(number, enumerator, name, code, meaning) \
  {Reason::enumerator, #name, absl::StatusCode::code, meaning},
    BERTH_REASONS(BERTH_REASON_ROW)
#undef BERTH_REASON_ROW
};

constexpr Row kUnspecifiedRow = {Reason::kUnspecified, "REASON_UNSPECIFIED",
                                 absl::StatusCode::kUnknown, "no reason was given"};

const Row& Find(Reason reason) {
  const auto* row = std::find_if(std::begin(kRows), std::end(kRows),
                                 [&](const Row& r) { return r.reason == reason; });
  return row == std::end(kRows) ? kUnspecifiedRow : *row;
}

}  // namespace

std::string_view ReasonName(Reason reason) { return Find(reason).name; }
std::string_view ReasonMeaning(Reason reason) { return Find(reason).meaning; }
absl::StatusCode ReasonCode(Reason reason) { return Find(reason).code; }

std::optional<Reason> ReasonFromName(std::string_view name) {
  const auto* row = std::find_if(std::begin(kRows), std::end(kRows),
                                 [&](const Row& r) { return r.name == name; });
  if (row == std::end(kRows)) return std::nullopt;
  return row->reason;
}

std::optional<Reason> ReasonFromNumber(uint32_t number) {
  const Row& row = Find(static_cast<Reason>(number));
  if (row.reason == Reason::kUnspecified) return std::nullopt;
  return row.reason;
}

}  // namespace berth
