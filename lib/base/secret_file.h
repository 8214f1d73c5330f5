// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_LIB_BASE_SECRET_FILE_H_
#define BERTH_LIB_BASE_SECRET_FILE_H_

#include <cstddef>
#include <string>

#include "absl/status/statusor.h"

namespace berth {

// The first `max_bytes` of a file that only its owner may read: a key, a password.
//   kInvalidField         others can read it
//   the errno of open(2)  kNotFound among them
absl::StatusOr<std::string> ReadSecretFile(const std::string& path, size_t max_bytes);

}  // namespace berth

#endif  // BERTH_LIB_BASE_SECRET_FILE_H_
