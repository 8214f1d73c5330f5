// SPDX-License-Identifier: Apache-2.0
#include "lib/config/yaml_tree.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/yaml.h>

#include <optional>
#include <sstream>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "lib/base/absl_view.h"
#include "lib/base/status.h"
#include "lib/config/config.h"

namespace berth::yaml {
namespace {

Position ToPosition(const YAML::Mark& mark) { return {mark.line + 1, mark.column + 1}; }

// Leaves the parser from inside a callback; never leaves this file.
struct Refused {
  Reason reason;
  Position position;
  std::string message;
};

// Builds trees from events and refuses what Berth does not take, before memory is spent on it.
// yaml-cpp's own Node silently keeps both of two equal keys, and follows aliases.
class TreeBuilder : public YAML::EventHandler {
 public:
  std::vector<Node> TakeDocuments() { return std::move(documents_); }

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    Add(MakeNode(Node::Kind::kNull, mark, "?", anchor));
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override { RefuseAnchor(mark); }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    Node node = MakeNode(Node::Kind::kScalar, mark, tag, anchor);
    node.text = value;
    node.is_string = tag == "!";
    Add(std::move(node));
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    Push(MakeNode(Node::Kind::kList, mark, tag, anchor));
  }
  void OnSequenceEnd() override { Pop(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    Push(MakeNode(Node::Kind::kMap, mark, tag, anchor));
  }
  void OnMapEnd() override { Pop(); }

 private:
  struct Frame {
    Node node;
    bool has_key = false;  // kMap: the next node is the value of the last key
    absl::flat_hash_set<std::string> seen;
  };

  [[noreturn]] static void RefuseAnchor(const YAML::Mark& mark) {
    throw Refused{Reason::kInvalidField, ToPosition(mark), "anchors and aliases are not supported"};
  }

  static Node MakeNode(Node::Kind kind, const YAML::Mark& mark, const std::string& tag,
                       YAML::anchor_t anchor) {
    if (anchor != YAML::NullAnchor) RefuseAnchor(mark);
    // yaml-cpp gives "?" to plain nodes and "!" to quoted scalars.
    if (tag != "?" && tag != "!" && !tag.empty()) {
      throw Refused{Reason::kInvalidField, ToPosition(mark), "tags are not supported"};
    }
    Node node;
    node.kind = kind;
    node.position = ToPosition(mark);
    return node;
  }

  void Push(Node node) {
    if (stack_.size() >= static_cast<size_t>(kMaxYamlDepth)) {
      throw Refused{Reason::kTooLarge, node.position,
                    absl::StrCat("nested more than ", kMaxYamlDepth, " levels deep")};
    }
    stack_.push_back({std::move(node), false, {}});
  }

  void Pop() {
    Node node = std::move(stack_.back().node);
    stack_.pop_back();
    Add(std::move(node));
  }

  void Add(Node node) {
    if (stack_.empty()) {
      documents_.push_back(std::move(node));
      return;
    }
    Frame& frame = stack_.back();
    if (frame.node.kind == Node::Kind::kMap && !frame.has_key) {
      AddKey(frame, std::move(node));
      return;
    }
    frame.has_key = false;
    frame.node.items.push_back(std::move(node));
  }

  static void AddKey(Frame& frame, Node key) {
    if (key.kind != Node::Kind::kScalar) {
      throw Refused{Reason::kInvalidField, key.position,
                    absl::StrCat("a key must be text, not ", Describe(key))};
    }
    if (!frame.seen.insert(key.text).second) {
      throw Refused{Reason::kInvalidField, key.position,
                    absl::StrCat("the key ", Describe(key), " is there twice")};
    }
    frame.node.keys.push_back(std::move(key));
    frame.has_key = true;
  }

  std::vector<Frame> stack_;
  std::vector<Node> documents_;
};

// Whether a reader that has no schema would take plain `text` for something else than a string.
bool LooksTyped(const std::string& text) {
  static constexpr std::string_view kWords[] = {"",   "~",   "null", "true", "false",
                                                "on", "off", "yes",  "no",   "y",
                                                "n",  "inf", ".inf", "nan",  ".nan"};
  const size_t sign = !text.empty() && (text[0] == '-' || text[0] == '+') ? 1 : 0;
  for (const std::string_view word : kWords) {
    if (absl::EqualsIgnoreCase(text.substr(sign), AbslView(word))) return true;
  }
  // Numbers, dates, times, and YAML 1.1's sexagesimals all begin like a number.
  const size_t dot = text.size() > sign && text[sign] == '.' ? 1 : 0;
  return text.size() > sign + dot && absl::ascii_isdigit(text[sign + dot]);
}

void Emit(const Node& node, YAML::Emitter& out) {
  switch (node.kind) {
    case Node::Kind::kNull:
      out << YAML::Null;
      return;
    case Node::Kind::kScalar:
      if (node.is_string && LooksTyped(node.text)) out << YAML::DoubleQuoted;
      out << node.text;
      return;
    case Node::Kind::kList:
      if (node.items.empty()) out << YAML::Flow;
      out << YAML::BeginSeq;
      for (const Node& item : node.items) Emit(item, out);
      out << YAML::EndSeq;
      return;
    case Node::Kind::kMap:
      if (node.items.empty()) out << YAML::Flow;
      out << YAML::BeginMap;
      for (size_t i = 0; i < node.items.size(); ++i) {
        out << YAML::Key;
        Emit(node.keys[i], out);
        out << YAML::Value;
        Emit(node.items[i], out);
      }
      out << YAML::EndMap;
      return;
  }
}

void AppendJsonString(const std::string& text, std::string* out) {
  out->push_back('"');
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      absl::StrAppend(out, "\\", absl::string_view(&c, 1));
    } else if (c == '\n') {
      absl::StrAppend(out, "\\n");
    } else if (static_cast<unsigned char>(c) < 0x20) {
      absl::StrAppend(out, "\\u", absl::Hex(c, absl::kZeroPad4));
    } else {
      out->push_back(c);
    }
  }
  out->push_back('"');
}

class JsonWriter {
 public:
  explicit JsonWriter(int indent) : indent_(indent) {}

  std::string Write(const Node& node) {
    Append(node);
    if (indent_ > 0) out_.push_back('\n');
    return std::move(out_);
  }

 private:
  void Append(const Node& node) {
    switch (node.kind) {
      case Node::Kind::kNull:
        out_ += "null";
        return;
      case Node::Kind::kScalar:
        if (node.is_string) {
          AppendJsonString(node.text, &out_);
        } else {
          out_ += node.text;
        }
        return;
      case Node::Kind::kList:
      case Node::Kind::kMap:
        AppendItems(node);
        return;
    }
  }

  void AppendItems(const Node& node) {
    const bool map = node.kind == Node::Kind::kMap;
    out_.push_back(map ? '{' : '[');
    ++depth_;
    for (size_t i = 0; i < node.items.size(); ++i) {
      if (i > 0) out_.push_back(',');
      Break();
      if (map) {
        AppendJsonString(node.keys[i].text, &out_);
        out_ += indent_ > 0 ? ": " : ":";
      }
      Append(node.items[i]);
    }
    --depth_;
    if (!node.items.empty()) Break();
    out_.push_back(map ? '}' : ']');
  }

  void Break() {
    if (indent_ == 0) return;
    out_.push_back('\n');
    out_.append(static_cast<size_t>(indent_) * static_cast<size_t>(depth_), ' ');
  }

  const int indent_;
  int depth_ = 0;
  std::string out_;
};

}  // namespace

absl::StatusOr<std::vector<Node>> ParseDocuments(std::string_view text, std::string_view source) {
  if (text.size() > kMaxYamlBytes) {
    return ErrorAt(Reason::kTooLarge, source, {1, 1}, "",
                   absl::StrCat("more than ", kMaxYamlBytes, " bytes of YAML"));
  }
  TreeBuilder builder;
  try {
    std::istringstream stream{std::string(text)};
    YAML::Parser parser(stream);
    while (parser.HandleNextDocument(builder)) {
    }
  } catch (const Refused& refused) {
    return ErrorAt(refused.reason, source, refused.position, "", refused.message);
  } catch (const YAML::Exception& e) {
    return ErrorAt(Reason::kInvalidField, source, ToPosition(e.mark), "",
                   absl::StrCat("not valid YAML: ", e.msg));
  }
  return builder.TakeDocuments();
}

absl::Status ErrorAt(Reason reason, std::string_view source, const Position& position,
                     std::string_view field, std::string_view message) {
  ErrorMetadata metadata = {{"source", std::string(source)},
                            {"line", absl::StrCat(position.line)},
                            {"column", absl::StrCat(position.column)}};
  if (!field.empty()) metadata["field"] = std::string(field);
  return Error(reason,
               absl::StrCat(AbslView(source), ":", position.line, ":", position.column, ": ",
                            AbslView(field), field.empty() ? "" : ": ", AbslView(message)),
               metadata);
}

std::string Describe(const Node& node) {
  constexpr size_t kMost = 60;
  switch (node.kind) {
    case Node::Kind::kNull:
      return "nothing";
    case Node::Kind::kScalar:
      return absl::StrCat("\"", node.text.substr(0, kMost), node.text.size() > kMost ? "…" : "",
                          "\"");
    case Node::Kind::kList:
      return "a list";
    case Node::Kind::kMap:
      return "a map";
  }
  return "";
}

std::string WriteYaml(const Node& node) {
  YAML::Emitter out;
  Emit(node, out);
  return absl::StrCat(out.c_str(), "\n");
}

std::string WriteJson(const Node& node, int indent) { return JsonWriter(indent).Write(node); }

}  // namespace berth::yaml
