// SPDX-License-Identifier: Apache-2.0
#include "lib/config/yaml_to_proto.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>

#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "lib/base/status.h"
#include "lib/config/scalar.h"

namespace berth::yaml {
namespace {

using ::google::protobuf::Descriptor;
using ::google::protobuf::EnumValueDescriptor;
using ::google::protobuf::FieldDescriptor;
using ::google::protobuf::Message;
using ::google::protobuf::OneofDescriptor;
using ::google::protobuf::Reflection;

// Stores a value in a singular field, or behind the last one of a repeated field.
template <typename T>
using Setter = void (Reflection::*)(Message*, const FieldDescriptor*, T) const;

template <typename T>
void Store(Message* message, const FieldDescriptor* field, T value, Setter<T> set, Setter<T> add) {
  (message->GetReflection()->*(field->is_repeated() ? add : set))(message, field, std::move(value));
}

std::string KnownKeys(const Descriptor& type, const std::string& key) {
  std::vector<std::string_view> names;
  for (int i = 0; i < type.field_count(); ++i) names.push_back(type.field(i)->name());
  if (const std::string_view nearest = Nearest(key, names); !nearest.empty()) {
    return absl::StrCat("did you mean \"", absl::string_view(nearest.data(), nearest.size()),
                        "\"?");
  }
  if (names.empty()) return "it has no keys";
  return absl::StrCat("its keys are ",
                      absl::StrJoin(names, ", ", [](auto* out, auto name) { out->append(name); }));
}

const FieldDescriptor* FindField(const Descriptor& type, const std::string& key) {
  if (const FieldDescriptor* field = type.FindFieldByName(key); field != nullptr) return field;
  for (int i = 0; i < type.field_count(); ++i) {
    if (type.field(i)->json_name() == key) return type.field(i);
  }
  return nullptr;
}

class Reader {
 public:
  explicit Reader(std::string_view source) : source_(source) {}

  absl::Status ReadFields(const Node& node, const std::string& path, Message* message) {
    if (node.kind != Node::Kind::kMap) return Expected("a map", node, path);
    absl::flat_hash_set<const void*> seen;
    for (size_t i = 0; i < node.keys.size(); ++i) {
      const Node& key = node.keys[i];
      const Descriptor& type = *message->GetDescriptor();
      const FieldDescriptor* field = FindField(type, key.text);
      const std::string field_path = absl::StrCat(path, path.empty() ? "" : ".", key.text);
      if (field == nullptr) {
        return WithMetadata(ErrorAt(Reason::kUnknownField, source_, key.position, path,
                                    absl::StrCat("unknown key ", Describe(key), " in ", type.name(),
                                                 "; ", KnownKeys(type, key.text))),
                            "key", key.text);
      }
      if (!seen.insert(field).second) {
        return Fail(key.position, field_path, "the field is there twice, in two spellings");
      }
      if (node.items[i].kind == Node::Kind::kNull) continue;
      if (const OneofDescriptor* oneof = field->real_containing_oneof();
          oneof != nullptr && !seen.insert(oneof).second) {
        return Fail(key.position, field_path,
                    absl::StrCat("only one of the keys of \"", oneof->name(), "\" can be given"));
      }
      BERTH_RETURN_IF_ERROR(ReadField(node.items[i], field_path, message, field));
    }
    return absl::OkStatus();
  }

 private:
  absl::Status Fail(const Position& position, const std::string& path, std::string_view message) {
    return ErrorAt(Reason::kInvalidField, source_, position, path, message);
  }

  absl::Status Expected(std::string_view what, const Node& node, const std::string& path) {
    return Fail(node.position, path,
                absl::StrCat("expected ", absl::string_view(what.data(), what.size()), ", got ",
                             Describe(node)));
  }

  absl::Status ReadField(const Node& node, const std::string& path, Message* message,
                         const FieldDescriptor* field) {
    if (field->is_map()) return ReadMap(node, path, message, field);
    if (!field->is_repeated()) return ReadValue(node, path, message, field);
    if (node.kind != Node::Kind::kList) return Expected("a list", node, path);
    for (size_t i = 0; i < node.items.size(); ++i) {
      BERTH_RETURN_IF_ERROR(
          ReadValue(node.items[i], absl::StrCat(path, "[", i, "]"), message, field));
    }
    return absl::OkStatus();
  }

  absl::Status ReadMap(const Node& node, const std::string& path, Message* message,
                       const FieldDescriptor* field) {
    if (node.kind != Node::Kind::kMap) return Expected("a map", node, path);
    for (size_t i = 0; i < node.keys.size(); ++i) {
      const std::string entry_path = absl::StrCat(path, "[\"", node.keys[i].text, "\"]");
      // Through reflection a map field is a repeated field of {key, value} messages.
      Message* entry = message->GetReflection()->AddMessage(message, field);
      const Descriptor& type = *field->message_type();
      Node key = node.keys[i];
      // JSON quotes all keys, numbers too.
      key.is_string = false;
      BERTH_RETURN_IF_ERROR(ReadValue(key, entry_path, entry, type.map_key()));
      BERTH_RETURN_IF_ERROR(ReadValue(node.items[i], entry_path, entry, type.map_value()));
    }
    return absl::OkStatus();
  }

  absl::Status ReadMessageValue(const Node& node, const std::string& path, Message* message,
                                const FieldDescriptor* field) {
    const Reflection& reflection = *message->GetReflection();
    Message* value = field->is_repeated() ? reflection.AddMessage(message, field)
                                          : reflection.MutableMessage(message, field);
    std::optional<SecondsAndNanos> time;
    const std::string& type = field->message_type()->full_name();
    if (type == "google.protobuf.Duration") {
      time = node.kind == Node::Kind::kScalar ? ParseDuration(node.text) : std::nullopt;
      if (!time.has_value()) return Expected("a duration such as 30s or 1h30m", node, path);
    } else if (type == "google.protobuf.Timestamp") {
      time = node.kind == Node::Kind::kScalar ? ParseTimestamp(node.text) : std::nullopt;
      if (!time.has_value()) return Expected("a time such as 2026-01-31T12:00:00Z", node, path);
    } else {
      return ReadFields(node, path, value);
    }
    const Descriptor& fields = *value->GetDescriptor();
    value->GetReflection()->SetInt64(value, fields.FindFieldByName("seconds"), time->seconds);
    value->GetReflection()->SetInt32(value, fields.FindFieldByName("nanos"), time->nanos);
    return absl::OkStatus();
  }

  template <typename T>
  absl::Status ReadInteger(const Node& node, const std::string& path, Message* message,
                           const FieldDescriptor* field, Setter<T> set, Setter<T> add) {
    const std::optional<T> value =
        node.is_string && sizeof(T) < sizeof(int64_t) ? std::nullopt : ParseInteger<T>(node.text);
    if (!value.has_value()) {
      return Expected(absl::StrCat("an integer from ", std::numeric_limits<T>::min(), " to ",
                                   std::numeric_limits<T>::max()),
                      node, path);
    }
    Store<T>(message, field, *value, set, add);
    return absl::OkStatus();
  }

  absl::Status ReadEnum(const Node& node, const std::string& path, Message* message,
                        const FieldDescriptor* field) {
    const EnumValueDescriptor* value = ParseEnum(*field->enum_type(), node.text);
    if (value == nullptr) {
      std::vector<std::string> names;
      for (int i = 0; i < field->enum_type()->value_count(); ++i) {
        const EnumValueDescriptor& choice = *field->enum_type()->value(i);
        // The zero value only means that nothing was said.
        if (choice.number() != 0) names.push_back(ShortName(choice));
      }
      return Expected(absl::StrCat("one of ", absl::StrJoin(names, ", ")), node, path);
    }
    Store<const EnumValueDescriptor*>(message, field, value, &Reflection::SetEnum,
                                      &Reflection::AddEnum);
    return absl::OkStatus();
  }

  absl::Status ReadText(const Node& node, const std::string& path, Message* message,
                        const FieldDescriptor* field) {
    std::optional<std::string> text = node.text;
    if (field->type() == FieldDescriptor::TYPE_BYTES) text = ParseBase64(node.text);
    if (!text.has_value()) return Expected("base64", node, path);
    Store<std::string>(message, field, *std::move(text), &Reflection::SetString,
                       &Reflection::AddString);
    return absl::OkStatus();
  }

  absl::Status ReadBool(const Node& node, const std::string& path, Message* message,
                        const FieldDescriptor* field) {
    const bool yes = absl::EqualsIgnoreCase(node.text, "true");
    if (node.is_string || (!yes && !absl::EqualsIgnoreCase(node.text, "false"))) {
      return Expected("true or false", node, path);
    }
    Store<bool>(message, field, yes, &Reflection::SetBool, &Reflection::AddBool);
    return absl::OkStatus();
  }

  absl::Status ReadFloat(const Node& node, const std::string& path, Message* message,
                         const FieldDescriptor* field) {
    const std::optional<double> value = ParseDouble(node.text);
    if (!value.has_value()) return Expected("a number", node, path);
    if (field->cpp_type() == FieldDescriptor::CPPTYPE_FLOAT) {
      Store<float>(message, field, static_cast<float>(*value), &Reflection::SetFloat,
                   &Reflection::AddFloat);
    } else {
      Store<double>(message, field, *value, &Reflection::SetDouble, &Reflection::AddDouble);
    }
    return absl::OkStatus();
  }

  absl::Status ReadValue(const Node& node, const std::string& path, Message* message,
                         const FieldDescriptor* field) {
    const bool wants_message = field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE;
    if (!wants_message && node.kind != Node::Kind::kScalar) return Expected("a value", node, path);
    switch (field->cpp_type()) {
      case FieldDescriptor::CPPTYPE_MESSAGE:
        return ReadMessageValue(node, path, message, field);
      case FieldDescriptor::CPPTYPE_INT32:
        return ReadInteger<int32_t>(node, path, message, field, &Reflection::SetInt32,
                                    &Reflection::AddInt32);
      case FieldDescriptor::CPPTYPE_INT64:
        return ReadInteger<int64_t>(node, path, message, field, &Reflection::SetInt64,
                                    &Reflection::AddInt64);
      case FieldDescriptor::CPPTYPE_UINT32:
        return ReadInteger<uint32_t>(node, path, message, field, &Reflection::SetUInt32,
                                     &Reflection::AddUInt32);
      case FieldDescriptor::CPPTYPE_UINT64:
        return ReadInteger<uint64_t>(node, path, message, field, &Reflection::SetUInt64,
                                     &Reflection::AddUInt64);
      case FieldDescriptor::CPPTYPE_FLOAT:
      case FieldDescriptor::CPPTYPE_DOUBLE:
        return ReadFloat(node, path, message, field);
      case FieldDescriptor::CPPTYPE_BOOL:
        return ReadBool(node, path, message, field);
      case FieldDescriptor::CPPTYPE_ENUM:
        return ReadEnum(node, path, message, field);
      case FieldDescriptor::CPPTYPE_STRING:
        return ReadText(node, path, message, field);
    }
    return Expected("a known type", node, path);
  }

  const std::string_view source_;
};

}  // namespace

absl::Status ReadMessage(const Node& node, std::string_view source, Message* message) {
  return Reader(source).ReadFields(node, "", message);
}

}  // namespace berth::yaml
