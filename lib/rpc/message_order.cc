// SPDX-License-Identifier: Apache-2.0
#include "lib/rpc/message_order.h"

#include "absl/strings/str_cat.h"
#include "lib/base/status.h"

namespace berth {

absl::Status MessageOrder::Check(int64_t number) {
  if (number == 0 && last_ == 0) return absl::OkStatus();
  const int64_t due = last_ + 1;
  if (number != due) {
    return Error(Reason::kBadMessage,
                 absl::StrCat("message ", number, " came where ", due,
                              " is due: lost, repeated or reordered on the way"));
  }
  last_ = number;
  return absl::OkStatus();
}

}  // namespace berth
