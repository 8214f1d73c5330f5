// SPDX-License-Identifier: Apache-2.0
#include "lib/config/proto_to_yaml.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "lib/config/scalar.h"

namespace berth::yaml {
namespace {

using ::google::protobuf::EnumValueDescriptor;
using ::google::protobuf::FieldDescriptor;
using ::google::protobuf::Message;
using ::google::protobuf::Reflection;

Node Scalar(std::string text, bool is_string) {
  Node node;
  node.kind = Node::Kind::kScalar;
  node.text = std::move(text);
  node.is_string = is_string;
  return node;
}

Node String(std::string text) { return Scalar(std::move(text), /*is_string=*/true); }

template <typename T>
Node Number(T value) {
  // The shortest text that reads back as the same value.
  std::array<char, 32> text{};
  const auto result = std::to_chars(text.data(), text.data() + text.size(), value);
  return Scalar(std::string(text.data(), result.ptr), /*is_string=*/false);
}

Node Float(double value, Node finite) {
  // JSON has no such numbers; protobuf's JSON writes them so.
  if (std::isnan(value)) return String("NaN");
  if (std::isinf(value)) return String(value > 0 ? "Infinity" : "-Infinity");
  return finite;
}

SecondsAndNanos TimeOf(const Message& message) {
  const auto& type = *message.GetDescriptor();
  const Reflection& reflection = *message.GetReflection();
  return {reflection.GetInt64(message, type.FindFieldByName("seconds")),
          reflection.GetInt32(message, type.FindFieldByName("nanos"))};
}

Node WriteMessageValue(const Message& message) {
  const std::string& type = message.GetDescriptor()->full_name();
  if (type == "google.protobuf.Duration") return String(FormatDuration(TimeOf(message)));
  if (type == "google.protobuf.Timestamp") return String(FormatTimestamp(TimeOf(message)));
  return WriteMessage(message);
}

// One value of a field: of a repeated one that at `index`.
Node WriteValue(const Message& message, const FieldDescriptor* field, int index) {
  const Reflection& r = *message.GetReflection();
  const bool many = field->is_repeated();
  switch (field->cpp_type()) {
    case FieldDescriptor::CPPTYPE_MESSAGE:
      return WriteMessageValue(many ? r.GetRepeatedMessage(message, field, index)
                                    : r.GetMessage(message, field));
    case FieldDescriptor::CPPTYPE_INT32:
      return Number(many ? r.GetRepeatedInt32(message, field, index) : r.GetInt32(message, field));
    case FieldDescriptor::CPPTYPE_INT64:
      return Number(many ? r.GetRepeatedInt64(message, field, index) : r.GetInt64(message, field));
    case FieldDescriptor::CPPTYPE_UINT32:
      return Number(many ? r.GetRepeatedUInt32(message, field, index)
                         : r.GetUInt32(message, field));
    case FieldDescriptor::CPPTYPE_UINT64:
      return Number(many ? r.GetRepeatedUInt64(message, field, index)
                         : r.GetUInt64(message, field));
    case FieldDescriptor::CPPTYPE_FLOAT: {
      const float value =
          many ? r.GetRepeatedFloat(message, field, index) : r.GetFloat(message, field);
      return Float(value, Number(value));
    }
    case FieldDescriptor::CPPTYPE_DOUBLE: {
      const double value =
          many ? r.GetRepeatedDouble(message, field, index) : r.GetDouble(message, field);
      return Float(value, Number(value));
    }
    case FieldDescriptor::CPPTYPE_BOOL: {
      const bool value =
          many ? r.GetRepeatedBool(message, field, index) : r.GetBool(message, field);
      return Scalar(value ? "true" : "false", /*is_string=*/false);
    }
    case FieldDescriptor::CPPTYPE_ENUM: {
      const int number =
          many ? r.GetRepeatedEnumValue(message, field, index) : r.GetEnumValue(message, field);
      // A newer peer may send values that this version has no name for.
      const EnumValueDescriptor* value = field->enum_type()->FindValueByNumber(number);
      return value == nullptr ? Number(number) : String(value->name());
    }
    case FieldDescriptor::CPPTYPE_STRING: {
      std::string text =
          many ? r.GetRepeatedString(message, field, index) : r.GetString(message, field);
      return String(field->type() == FieldDescriptor::TYPE_BYTES ? absl::Base64Escape(text)
                                                                 : std::move(text));
    }
  }
  return Node();
}

Node WriteMap(const Message& message, const FieldDescriptor* field) {
  std::vector<std::pair<Node, Node>> entries;
  const Reflection& reflection = *message.GetReflection();
  for (int i = 0; i < reflection.FieldSize(message, field); ++i) {
    const Message& entry = reflection.GetRepeatedMessage(message, field, i);
    entries.emplace_back(WriteValue(entry, field->message_type()->map_key(), 0),
                         WriteValue(entry, field->message_type()->map_value(), 0));
  }
  std::sort(entries.begin(), entries.end(),
            [](const auto& a, const auto& b) { return a.first.text < b.first.text; });
  Node node;
  node.kind = Node::Kind::kMap;
  for (auto& [key, value] : entries) {
    node.keys.push_back(std::move(key));
    node.items.push_back(std::move(value));
  }
  return node;
}

Node WriteField(const Message& message, const FieldDescriptor* field) {
  if (field->is_map()) return WriteMap(message, field);
  if (!field->is_repeated()) return WriteValue(message, field, 0);
  Node node;
  node.kind = Node::Kind::kList;
  for (int i = 0; i < message.GetReflection()->FieldSize(message, field); ++i) {
    node.items.push_back(WriteValue(message, field, i));
  }
  return node;
}

}  // namespace

Node WriteMessage(const Message& message) {
  Node node;
  node.kind = Node::Kind::kMap;
  const auto& type = *message.GetDescriptor();
  const Reflection& reflection = *message.GetReflection();
  for (int i = 0; i < type.field_count(); ++i) {
    const FieldDescriptor* field = type.field(i);
    if (field->is_repeated() ? reflection.FieldSize(message, field) == 0
                             : !reflection.HasField(message, field)) {
      continue;
    }
    node.keys.push_back(String(field->name()));
    node.items.push_back(WriteField(message, field));
  }
  return node;
}

}  // namespace berth::yaml
