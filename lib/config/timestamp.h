// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_LIB_CONFIG_TIMESTAMP_H_
#define BERTH_LIB_CONFIG_TIMESTAMP_H_

#include <google/protobuf/timestamp.pb.h>

#include "absl/time/time.h"

namespace berth {

// Both ways, to the nanosecond. `time` is finite and in the years 1 to 9999; `timestamp` is valid
// (google/protobuf/timestamp.proto).
google::protobuf::Timestamp ToTimestamp(absl::Time time);
absl::Time FromTimestamp(const google::protobuf::Timestamp& timestamp);

}  // namespace berth

#endif  // BERTH_LIB_CONFIG_TIMESTAMP_H_
