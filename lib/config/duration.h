// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_LIB_CONFIG_DURATION_H_
#define BERTH_LIB_CONFIG_DURATION_H_

#include <google/protobuf/duration.pb.h>

#include "absl/time/time.h"

namespace berth {

// Both ways, to the nanosecond. The first takes up to 292 years either way, the second any message.
google::protobuf::Duration ToProtoDuration(absl::Duration duration);
absl::Duration FromProtoDuration(const google::protobuf::Duration& duration);

}  // namespace berth

#endif  // BERTH_LIB_CONFIG_DURATION_H_
