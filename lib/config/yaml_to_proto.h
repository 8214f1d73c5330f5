// SPDX-License-Identifier: Apache-2.0
//
// Private to lib/config.
#ifndef BERTH_LIB_CONFIG_YAML_TO_PROTO_H_
#define BERTH_LIB_CONFIG_YAML_TO_PROTO_H_

#include <string_view>

#include "absl/status/status.h"
#include "lib/config/yaml_tree.h"

namespace google::protobuf {
class Message;
}  // namespace google::protobuf

namespace berth::yaml {

// Reads `node` into the empty `*message`, which is to be thrown away on error.
absl::Status ReadMessage(const Node& node, std::string_view source,
                         google::protobuf::Message* message);

}  // namespace berth::yaml

#endif  // BERTH_LIB_CONFIG_YAML_TO_PROTO_H_
