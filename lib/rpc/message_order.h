// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_LIB_RPC_MESSAGE_ORDER_H_
#define BERTH_LIB_RPC_MESSAGE_ORDER_H_

#include <cstdint>

#include "absl/status/status.h"

namespace berth {

// The numbers that messages of a stream carry in one direction: 1, 2, 3 and so on. Not thread-safe.
class MessageOrder {
 public:
  // Of the next message to send.
  int64_t Next() { return ++last_; }
  // Of the next message that has come. Errors: BAD_MESSAGE (it does not follow the one before).
  // A sender that does not number (0) may go on so.
  absl::Status Check(int64_t number);

 private:
  int64_t last_ = 0;
};

}  // namespace berth

#endif  // BERTH_LIB_RPC_MESSAGE_ORDER_H_
