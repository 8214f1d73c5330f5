// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_CTL_CLI_PRINTER_OUTPUT_H_
#define BERTH_CTL_CLI_PRINTER_OUTPUT_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "absl/types/span.h"
#include "ctl/cli/resource.h"

namespace berth::cli {

enum class Format { kTable, kWide, kJson, kYaml, kName };

// Whether a message is printed as it is, by WriteMessage().
inline bool IsData(Format format) { return format == Format::kJson || format == Format::kYaml; }
inline Width WidthOf(Format format) {
  return format == Format::kWide ? Width::kWide : Width::kNormal;
}

// One message; `format` is kJson or kYaml.
std::string WriteMessage(const google::protobuf::Message& message, Format format);
// {"items": [...]} or YAML documents.
std::string WriteMessages(absl::Span<const MessagePtr> messages, Format format);

enum class Headers { kYes, kNo };

// Resources of one type, in any format but those of IsData().
std::string WriteRows(const ResourceType& type, absl::Span<const MessagePtr> resources,
                      Format format, Headers headers, absl::Time now);

// The changes of a watch: rows that begin with PUT or DELETE, or one event per line (kJson), per
// document (kYaml).
class ChangeWriter {
 public:
  ChangeWriter(const ResourceType& type, Format format, Headers headers)
      : type_(type), format_(format), headers_(headers) {}

  std::string Write(absl::Span<const Change> changes, absl::Time now);

 private:
  const ResourceType& type_;
  const Format format_;
  Headers headers_;  // kNo once they are written
  bool first_ = true;
  TableWriter table_{{std::string_view("DELETE").size()}};
};

}  // namespace berth::cli

#endif  // BERTH_CTL_CLI_PRINTER_OUTPUT_H_
