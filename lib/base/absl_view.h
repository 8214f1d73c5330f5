// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_LIB_BASE_ABSL_VIEW_H_
#define BERTH_LIB_BASE_ABSL_VIEW_H_

#include <string_view>

#include "absl/strings/string_view.h"

namespace berth {

// Debian builds Abseil with string_view types of its own (ABSL_OPTION_USE_STD_STRING_VIEW 0).
// Headers of Berth say std::string_view; these convert at a call of Abseil's.
inline absl::string_view AbslView(std::string_view s) { return {s.data(), s.size()}; }
inline std::string_view StdView(absl::string_view s) { return {s.data(), s.size()}; }

}  // namespace berth

#endif  // BERTH_LIB_BASE_ABSL_VIEW_H_
