// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_CTL_CONTROLLER_BOOK_VALIDATE_H_
#define BERTH_CTL_CONTROLLER_BOOK_VALIDATE_H_

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "berth/v1/assignment.pb.h"

namespace berth {

// The longest lease, attach time-out and drain.
inline constexpr absl::Duration kMaxDeadline = absl::Hours(366 * 24);

// 1-63 of [a-z0-9-], beginning with a letter, not ending with "-". INVALID_FIELD names `field`.
absl::Status ValidateResourceId(std::string_view id, std::string_view field);

// What the fields beside those that placement checks must be. Errors: INVALID_FIELD, MISSING_FIELD,
// TOO_LARGE; UNSUPPORTED for what this version refuses by name (CONFINED).
absl::Status ValidateAssignment(const v1::Assignment& assignment);

// Labels of assignments and hosts. `field` is for the error.
absl::Status ValidateLabels(const google::protobuf::Map<std::string, std::string>& labels,
                            std::string_view field);
// The label_selector of a list.
absl::Status ValidateSelector(const google::protobuf::Map<std::string, std::string>& selector);

}  // namespace berth

#endif  // BERTH_CTL_CONTROLLER_BOOK_VALIDATE_H_
