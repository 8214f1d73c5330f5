// SPDX-License-Identifier: Apache-2.0
//
// Private to lib/config.
#ifndef BERTH_LIB_CONFIG_PROTO_TO_YAML_H_
#define BERTH_LIB_CONFIG_PROTO_TO_YAML_H_

#include "lib/config/yaml_tree.h"

namespace google::protobuf {
class Message;
}  // namespace google::protobuf

namespace berth::yaml {

// The set fields of `message` as a tree, by the rules of config.h.
Node WriteMessage(const google::protobuf::Message& message);

}  // namespace berth::yaml

#endif  // BERTH_LIB_CONFIG_PROTO_TO_YAML_H_
