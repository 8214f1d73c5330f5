// SPDX-License-Identifier: Apache-2.0
#include "ctl/cli/printer/table.h"

#include <google/protobuf/timestamp.pb.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "lib/config/timestamp.h"
#include "lib/rpc/text.h"

namespace berth::cli {
namespace {

constexpr size_t kGap = 2;
// Longer than any valid value; keeps what a broken server sends in bounds.
constexpr size_t kMaxCellBytes = 1024;

std::string WithoutBreaks(std::string_view text) {
  std::string printable = PrintableUtf8(text, kMaxCellBytes);
  std::replace_if(
      printable.begin(), printable.end(), [](char c) { return c == '\n' || c == '\t'; }, ' ');
  return printable;
}

// Code points, which is columns for what names are made of.
size_t Columns(std::string_view text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xc0) != 0x80;
  }));
}

}  // namespace

std::string CellOr(std::string_view value, std::string_view placeholder) {
  if (value.empty()) return std::string(placeholder);
  std::string cell = WithoutBreaks(value);
  std::replace(cell.begin(), cell.end(), ' ', '_');
  return cell;
}

std::string Cell(std::string_view value) { return CellOr(value, kNone); }

std::string TextCell(std::string_view text) { return text.empty() ? kNone : WithoutBreaks(text); }

std::string Ratio(int64_t part, int64_t whole) { return absl::StrCat(part, "/", whole); }

std::string Id(std::string_view full_name) {
  const size_t slash = full_name.find('/');
  return std::string(slash == std::string_view::npos ? full_name : full_name.substr(slash + 1));
}

std::string Age(absl::Duration age) {
  constexpr struct {
    int64_t seconds;
    const char* unit;
  } kUnits[] = {{86400, "d"}, {3600, "h"}, {60, "m"}};
  const int64_t seconds = std::max<int64_t>(0, absl::ToInt64Seconds(age));
  for (const auto& unit : kUnits) {
    if (seconds >= unit.seconds) return absl::StrCat(seconds / unit.seconds, unit.unit);
  }
  return absl::StrCat(seconds, "s");
}

std::string AgeOf(const google::protobuf::Timestamp& time, absl::Time now) {
  if (time.seconds() == 0 && time.nanos() == 0) return kUnknown;
  return Age(now - FromTimestamp(time));
}

std::string TableWriter::Rows(absl::Span<const TableRow> rows) {
  for (const TableRow& row : rows) {
    widths_.resize(std::max(widths_.size(), row.size()));
    for (size_t i = 0; i < row.size(); ++i) widths_[i] = std::max(widths_[i], Columns(row[i]));
  }
  std::string text;
  for (const TableRow& row : rows) {
    for (size_t i = 0; i < row.size(); ++i) {
      text += row[i];
      if (i + 1 < row.size()) text.append(widths_[i] - Columns(row[i]) + kGap, ' ');
    }
    text += '\n';
  }
  return text;
}

std::string Table(const TableRow& header, absl::Span<const TableRow> rows) {
  std::vector<TableRow> all;
  if (!header.empty()) all.push_back(header);
  all.insert(all.end(), rows.begin(), rows.end());
  return TableWriter().Rows(all);
}

}  // namespace berth::cli
