// SPDX-License-Identifier: Apache-2.0
#include "ctl/cli/printer/text.h"

#include <google/protobuf/timestamp.pb.h>

#include <algorithm>
#include <map>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "lib/base/absl_view.h"
#include "lib/config/duration.h"
#include "lib/config/timestamp.h"

namespace berth::cli {
namespace {

constexpr size_t kIndent = 2;
constexpr size_t kKeyWidth = 20;

}  // namespace

void TextWriter::Append(std::string_view line) {
  if (!line.empty()) text_.append(indent_, ' ').append(line);
  text_ += '\n';
}

void TextWriter::Line(std::string_view key, std::string_view value) {
  std::string line = absl::StrCat(AbslView(key), ":");
  // Values of one level begin in one column.
  line.append(std::max<size_t>(1, kKeyWidth - std::min(kKeyWidth, line.size() + indent_)), ' ');
  Append(line + TextCell(value));
}

void TextWriter::LineIfSet(std::string_view key, std::string_view value) {
  if (!value.empty()) Line(key, value);
}

void TextWriter::Begin(std::string_view key) {
  Append(absl::StrCat(AbslView(key), ":"));
  indent_ += kIndent;
}

void TextWriter::End() { indent_ -= kIndent; }

void TextWriter::List(std::string_view key, absl::Span<const std::string> lines) {
  if (lines.empty()) return Line(key, "");
  Begin(key);
  for (const std::string& line : lines) Append(TextCell(line));
  End();
}

void TextWriter::Rows(std::string_view key, const TableRow& header,
                      absl::Span<const TableRow> rows) {
  if (rows.empty()) return Line(key, "");
  Begin(key);
  const std::string table = Table(header, rows);
  for (const absl::string_view line : absl::StrSplit(table, '\n', absl::SkipEmpty())) {
    Append(StdView(line));
  }
  End();
}

std::string JoinLabels(const StringMap& labels) {
  // protobuf's maps have no order.
  const std::map<std::string, std::string> sorted(labels.begin(), labels.end());
  return absl::StrJoin(sorted, ",", absl::PairFormatter("="));
}

std::string Text(const v1::Requirement& requirement) {
  return absl::StrCat(
      requirement.key(), " ", EnumName(v1::Requirement::Operator_Name, requirement.operator_()),
      requirement.values().empty() ? "" : " ", absl::StrJoin(requirement.values(), ","));
}

std::string Text(const v1::Taint& taint) {
  return absl::StrCat(taint.key(), taint.value().empty() ? "" : "=", taint.value(), ":",
                      EnumName(v1::Taint::Effect_Name, taint.effect()),
                      taint.message().empty() ? "" : ": ", taint.message());
}

std::string TimeAndAge(const google::protobuf::Timestamp& time, absl::Time now) {
  if (time.seconds() == 0 && time.nanos() == 0) return "";
  const absl::Time at = FromTimestamp(time);
  const std::string when = absl::FormatTime("%Y-%m-%dT%H:%M:%SZ", at, absl::UTCTimeZone());
  return at > now ? absl::StrCat(when, " (in ", Age(at - now), ")")
                  : absl::StrCat(when, " (", Age(now - at), " ago)");
}

std::string Text(const google::protobuf::Duration& duration) {
  return absl::FormatDuration(FromProtoDuration(duration));
}

void WriteConditions(const google::protobuf::RepeatedPtrField<v1::Condition>& conditions,
                     absl::Time now, TextWriter* writer) {
  std::vector<TableRow> rows;
  for (const v1::Condition& condition : conditions) {
    rows.push_back({Cell(condition.type()), condition.status() ? "true" : "false",
                    Cell(condition.reason()), AgeOf(condition.last_transition_time(), now),
                    TextCell(condition.message())});
  }
  writer->Rows("Conditions", {"TYPE", "STATUS", "REASON", "SINCE", "MESSAGE"}, rows);
}

}  // namespace berth::cli
