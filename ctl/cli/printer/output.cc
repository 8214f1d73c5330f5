// SPDX-License-Identifier: Apache-2.0
#include "ctl/cli/printer/output.h"

#include <google/protobuf/message.h>

#include "absl/strings/str_cat.h"
#include "lib/config/config.h"

namespace berth::cli {
namespace {

TableRow ChangeRow(std::string first, TableRow row) {
  row.insert(row.begin(), std::move(first));
  return row;
}

}  // namespace

std::string WriteMessage(const google::protobuf::Message& message, Format format) {
  return format == Format::kYaml ? ToYaml(message) : ToJson(message, JsonStyle::kPretty);
}

std::string WriteMessages(absl::Span<const MessagePtr> messages, Format format) {
  std::vector<const google::protobuf::Message*> pointers;
  for (const MessagePtr& message : messages) pointers.push_back(message.get());
  return format == Format::kYaml ? ListToYaml(pointers) : ListToJson(pointers, JsonStyle::kPretty);
}

std::string WriteRows(const ResourceType& type, absl::Span<const MessagePtr> resources,
                      Format format, Headers headers, absl::Time now) {
  if (format == Format::kName) {
    std::string names;
    for (const MessagePtr& resource : resources) {
      absl::StrAppend(&names, type.NameOf(*resource), "\n");
    }
    return names;
  }
  std::vector<TableRow> rows;
  for (const MessagePtr& resource : resources) {
    rows.push_back(type.Row(*resource, WidthOf(format), now));
  }
  return Table(headers == Headers::kYes ? type.Header(WidthOf(format)) : TableRow(), rows);
}

std::string ChangeWriter::Write(absl::Span<const Change> changes, absl::Time now) {
  std::string text;
  std::vector<TableRow> rows;
  for (const Change& change : changes) {
    switch (format_) {
      case Format::kJson:
        absl::StrAppend(&text, ToJson(*change.event, JsonStyle::kCompact), "\n");
        break;
      case Format::kYaml:
        absl::StrAppend(&text, first_ ? "" : "---\n", ToYaml(*change.event));
        first_ = false;
        break;
      case Format::kName:
        absl::StrAppend(&text, type_.NameOf(*change.resource), "\n");
        break;
      case Format::kTable:
      case Format::kWide:
        if (headers_ == Headers::kYes)
          rows.push_back(ChangeRow("EVENT", type_.Header(WidthOf(format_))));
        headers_ = Headers::kNo;
        rows.push_back(ChangeRow(change.type == Change::Type::kPut ? "PUT" : "DELETE",
                                 type_.Row(*change.resource, WidthOf(format_), now)));
        break;
    }
  }
  return text + table_.Rows(rows);
}

}  // namespace berth::cli
