// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_LIB_VMM_EXAMPLE_HOLD_H_
#define BERTH_LIB_VMM_EXAMPLE_HOLD_H_

#include "lib/base/unique_fd.h"

namespace berth::example {

// Waits for SIGTERM, SIGINT or the end of stdin. The signals are blocked from construction on, so
// that one which comes early is not lost.
class Hold {
 public:
  Hold();
  void Wait() const;
  // Whether Wait() would return at once.
  [[nodiscard]] bool Over() const;

 private:
  [[nodiscard]] bool OverWithin(int milliseconds) const;

  UniqueFd signals_;
};

}  // namespace berth::example

#endif  // BERTH_LIB_VMM_EXAMPLE_HOLD_H_
