// SPDX-License-Identifier: Apache-2.0
#include "lib/config/config.h"

#include <fcntl.h>
#include <google/protobuf/message.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "lib/base/status.h"
#include "lib/base/unique_fd.h"
#include "lib/config/proto_to_yaml.h"
#include "lib/config/yaml_to_proto.h"
#include "lib/config/yaml_tree.h"

namespace berth {
namespace {

using ::google::protobuf::Message;

constexpr int kJsonIndent = 2;

int Indent(JsonStyle style) { return style == JsonStyle::kPretty ? kJsonIndent : 0; }

// Reads at most one byte more than ParseDocuments() takes, so that it is the one to refuse.
absl::StatusOr<std::string> ReadFile(const std::string& path) {
  const UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file.valid()) return ErrnoToStatus(errno, absl::StrCat("open ", path));
  std::string text(kMaxYamlBytes + 1, '\0');
  size_t size = 0;
  while (size < text.size()) {
    const ssize_t n = ::read(file.get(), text.data() + size, text.size() - size);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return ErrnoToStatus(errno, absl::StrCat("read ", path));
    if (n == 0) break;
    size += static_cast<size_t>(n);
  }
  text.resize(size);
  return text;
}

absl::StatusOr<std::vector<yaml::Node>> ParseNonEmpty(std::string_view text,
                                                      std::string_view source) {
  BERTH_ASSIGN_OR_RETURN(std::vector<yaml::Node> documents, yaml::ParseDocuments(text, source));
  documents.erase(
      std::remove_if(documents.begin(), documents.end(),
                     [](const yaml::Node& node) { return node.kind == yaml::Node::Kind::kNull; }),
      documents.end());
  return documents;
}

}  // namespace

absl::Status ParseYaml(std::string_view yaml, std::string_view source_name, Message* message) {
  BERTH_ASSIGN_OR_RETURN(const std::vector<yaml::Node> documents, ParseNonEmpty(yaml, source_name));
  if (documents.size() > 1) {
    return yaml::ErrorAt(Reason::kInvalidField, source_name, documents[1].position, "",
                         "expected one document, got another");
  }
  std::unique_ptr<Message> parsed(message->New());
  if (!documents.empty()) {
    BERTH_RETURN_IF_ERROR(yaml::ReadMessage(documents[0], source_name, parsed.get()));
  }
  message->GetReflection()->Swap(message, parsed.get());
  return absl::OkStatus();
}

absl::StatusOr<Messages> ParseYamlDocuments(std::string_view yaml, std::string_view source_name,
                                            const Message& prototype) {
  BERTH_ASSIGN_OR_RETURN(const std::vector<yaml::Node> documents, ParseNonEmpty(yaml, source_name));
  Messages messages;
  for (const yaml::Node& document : documents) {
    messages.emplace_back(prototype.New());
    BERTH_RETURN_IF_ERROR(yaml::ReadMessage(document, source_name, messages.back().get()));
  }
  return messages;
}

absl::Status LoadYamlFile(const std::string& path, Message* message) {
  BERTH_ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  return ParseYaml(text, path, message);
}

absl::StatusOr<Messages> LoadYamlDocuments(const std::string& path, const Message& prototype) {
  BERTH_ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  return ParseYamlDocuments(text, path, prototype);
}

std::string ToYaml(const Message& message) { return yaml::WriteYaml(yaml::WriteMessage(message)); }

std::string ToJson(const Message& message, JsonStyle style) {
  return yaml::WriteJson(yaml::WriteMessage(message), Indent(style));
}

std::string ListToYaml(absl::Span<const Message* const> messages) {
  std::string text;
  for (const Message* message : messages) {
    absl::StrAppend(&text, text.empty() ? "" : "---\n", ToYaml(*message));
  }
  return text;
}

std::string ListToJson(absl::Span<const Message* const> messages, JsonStyle style) {
  yaml::Node items;
  items.kind = yaml::Node::Kind::kList;
  for (const Message* message : messages) items.items.push_back(yaml::WriteMessage(*message));
  yaml::Node list;
  list.kind = yaml::Node::Kind::kMap;
  yaml::Node key;
  key.kind = yaml::Node::Kind::kScalar;
  key.text = "items";
  list.keys.push_back(std::move(key));
  list.items.push_back(std::move(items));
  return yaml::WriteJson(list, Indent(style));
}

}  // namespace berth
