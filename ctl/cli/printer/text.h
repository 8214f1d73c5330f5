// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_CTL_CLI_PRINTER_TEXT_H_
#define BERTH_CTL_CLI_PRINTER_TEXT_H_

#include <google/protobuf/duration.pb.h>
#include <google/protobuf/map.h>
#include <google/protobuf/repeated_field.h>

#include <string>
#include <string_view>
#include <vector>

#include "absl/time/time.h"
#include "absl/types/span.h"
#include "berth/v1/host.pb.h"
#include "berth/v1/selector.pb.h"
#include "ctl/cli/printer/table.h"

namespace berth::cli {

// The output of `describe`: "Key:   value" lines, and sections of indented lines and tables.
class TextWriter {
 public:
  // Values as TextCell().
  void Line(std::string_view key, std::string_view value);
  // For keys whose absence says nothing.
  void LineIfSet(std::string_view key, std::string_view value);
  // "Key:" and what `lines` holds below it; "<none>" when there are none.
  void List(std::string_view key, absl::Span<const std::string> lines);
  void Rows(std::string_view key, const TableRow& header, absl::Span<const TableRow> rows);
  // "Key:"; what follows is indented until End().
  void Begin(std::string_view key);
  void End();

  const std::string& text() const { return text_; }

 private:
  void Append(std::string_view line);

  std::string text_;
  size_t indent_ = 0;
};

using StringMap = google::protobuf::Map<std::string, std::string>;

// "a=b,c=d", sorted; empty for none.
std::string JoinLabels(const StringMap& labels);
std::string Text(const v1::Requirement& requirement);  // "memory_mib GT 1024"
std::string Text(const v1::Taint& taint);              // "key=value:NO_NEW"
// "2026-01-02T03:04:05Z (3m ago)"; empty for a time that was never set.
std::string TimeAndAge(const google::protobuf::Timestamp& time, absl::Time now);
std::string Text(const google::protobuf::Duration& duration);  // "1h30m"
void WriteConditions(const google::protobuf::RepeatedPtrField<v1::Condition>& conditions,
                     absl::Time now, TextWriter* writer);

// The name of an enum's value; "<unknown>" for the first, unspecified one and for values of later
// versions. EnumName(v1::Host::State_Name, host.state()).
template <typename Enum>
std::string EnumName(const std::string& (*name)(Enum), Enum value) {
  const std::string& text = name(value);
  return static_cast<int>(value) == 0 || text.empty() ? kUnknown : text;
}

}  // namespace berth::cli

#endif  // BERTH_CTL_CLI_PRINTER_TEXT_H_
