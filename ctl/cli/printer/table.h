// SPDX-License-Identifier: Apache-2.0
//
// Tables for people: columns aligned, no blanks inside a value, no tabs, no colours.
#ifndef BERTH_CTL_CLI_PRINTER_TABLE_H_
#define BERTH_CTL_CLI_PRINTER_TABLE_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "absl/types/span.h"

namespace google::protobuf {
class Timestamp;
}  // namespace google::protobuf

namespace berth::cli {

using TableRow = std::vector<std::string>;

enum class Width { kNormal, kWide };

inline constexpr char kNone[] = "<none>";        // there is nothing
inline constexpr char kUnknown[] = "<unknown>";  // nobody has said

// A value as a cell: "<none>" when empty, blanks as '_', no control characters.
std::string Cell(std::string_view value);
// The same with another word for "empty".
std::string CellOr(std::string_view value, std::string_view placeholder);
// Free text as the last cell of a row: blanks stay, line breaks do not.
std::string TextCell(std::string_view text);
// "7/8".
std::string Ratio(int64_t part, int64_t whole);
// "assignments/x" -> "x".
std::string Id(std::string_view full_name);

// "5s", "3m", "2h", "4d"; never negative.
std::string Age(absl::Duration age);
// The age of something that happened then; "<unknown>" for a time that was never set.
std::string AgeOf(const google::protobuf::Timestamp& time, absl::Time now);

// Rows one after the other; columns only ever grow, so that a watch stays readable. The last column
// is not padded.
class TableWriter {
 public:
  // `widths`: what is known beforehand of the first columns.
  explicit TableWriter(std::vector<size_t> widths = {}) : widths_(std::move(widths)) {}

  std::string Rows(absl::Span<const TableRow> rows);

 private:
  std::vector<size_t> widths_;
};

// Header and rows in one go; an empty header is left out.
std::string Table(const TableRow& header, absl::Span<const TableRow> rows);

}  // namespace berth::cli

#endif  // BERTH_CTL_CLI_PRINTER_TABLE_H_
