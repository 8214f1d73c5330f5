// SPDX-License-Identifier: Apache-2.0
//
// A YAML document as plain data, with the place of every node. Private to lib/config.
#ifndef BERTH_LIB_CONFIG_YAML_TREE_H_
#define BERTH_LIB_CONFIG_YAML_TREE_H_

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "lib/base/reason.h"

namespace berth::yaml {

struct Position {
  int line = 0;    // from 1
  int column = 0;  // from 1
};

struct Node {
  enum class Kind { kNull, kScalar, kList, kMap };

  Kind kind = Kind::kNull;
  Position position;
  std::string text;         // kScalar
  bool is_string = false;   // kScalar: read from quotes or a block; to be written as a string
  std::vector<Node> keys;   // kMap: scalars, one for each of `items`
  std::vector<Node> items;  // kList, kMap
};

// Reads every document of `text` within the limits of config.h.
absl::StatusOr<std::vector<Node>> ParseDocuments(std::string_view text, std::string_view source);

// An error at a place; `field` is a path or empty.
absl::Status ErrorAt(Reason reason, std::string_view source, const Position& position,
                     std::string_view field, std::string_view message);

// "a list", "a map", "nothing", or the text in quotes, shortened.
std::string Describe(const Node& node);

std::string WriteYaml(const Node& node);
// `indent` 0: on one line, without a newline at the end.
std::string WriteJson(const Node& node, int indent);

}  // namespace berth::yaml

#endif  // BERTH_LIB_CONFIG_YAML_TREE_H_
