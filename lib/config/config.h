// SPDX-License-Identifier: Apache-2.0
//
// YAML <-> protobuf, strictly. JSON is a subset of YAML and is read by the same functions.
//
// Keys are field names in snake_case or camelCase; snake_case is written. Values:
//   message             a map; google.protobuf.Duration "1h30m", "0.5s"; Timestamp RFC 3339
//   repeated, map       a list, a map
//   enum                the value's name, with or without the enum's prefix, in any case
//   integers            decimal or 0x; 64-bit ones may be quoted, as protobuf's JSON has them
//   bytes               base64, standard or URL-safe
//   any of them         nothing or null: as if the key were not there
// Refused: unknown and repeated keys, two members of one oneof, anchors, aliases, tags, more than
// kMaxYamlBytes of text and kMaxYamlDepth levels.
//
// Errors: kUnknownField, kInvalidField, kTooLarge. The message begins with "source:line:column: ";
// metadata: "source", "line", "column" (both from 1), "field" (path of the field, when known).
// All functions are thread-safe.
#ifndef BERTH_LIB_CONFIG_CONFIG_H_
#define BERTH_LIB_CONFIG_CONFIG_H_

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace google::protobuf {
class Message;
}  // namespace google::protobuf

namespace berth {

inline constexpr size_t kMaxYamlBytes = size_t{1} << 20;
inline constexpr int kMaxYamlDepth = 64;

using Messages = std::vector<std::unique_ptr<google::protobuf::Message>>;

// Replaces `*message` by the one document in `yaml`; no document at all gives an empty message.
// `source_name` stands for the text in errors. On error `*message` is unchanged.
absl::Status ParseYaml(std::string_view yaml, std::string_view source_name,
                       google::protobuf::Message* message);
// Reads all documents, each as a message of the type of `prototype`. Empty documents are skipped.
absl::StatusOr<Messages> ParseYamlDocuments(std::string_view yaml, std::string_view source_name,
                                            const google::protobuf::Message& prototype);

// The same for files; "/dev/stdin" works. Also the errors of ErrnoToStatus() for open(2), read(2).
absl::Status LoadYamlFile(const std::string& path, google::protobuf::Message* message);
absl::StatusOr<Messages> LoadYamlDocuments(const std::string& path,
                                           const google::protobuf::Message& prototype);

// Fields in the order of the .proto, map entries by key; fields that are not set are left out.
// 64-bit integers are numbers. Both end with a newline, kCompact JSON does not.
enum class JsonStyle { kCompact, kPretty };
std::string ToYaml(const google::protobuf::Message& message);
std::string ToJson(const google::protobuf::Message& message, JsonStyle style);

// Several messages: YAML documents separated by "---", which ParseYamlDocuments() reads back, and
// {"items": [...]}.
std::string ListToYaml(absl::Span<const google::protobuf::Message* const> messages);
std::string ListToJson(absl::Span<const google::protobuf::Message* const> messages,
                       JsonStyle style);

}  // namespace berth

#endif  // BERTH_LIB_CONFIG_CONFIG_H_
