// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_LIB_VMM_EXAMPLE_SPIN_H_
#define BERTH_LIB_VMM_EXAMPLE_SPIN_H_

#include <sched.h>

#include <chrono>

namespace berth::example {

// How a driver waits for a register: looks again at once, but gives the processor away now and then
// (the emulated hardware may need it), and gives up in the end.
class Spinner {
 public:
  explicit Spinner(std::chrono::nanoseconds patience)
      : deadline_(std::chrono::steady_clock::now() + patience) {}

  // Returns false when patience is over.
  bool Pause() {
    if (++looks_ % kLooksPerYield != 0) {
#if defined(__x86_64__)
      __builtin_ia32_pause();
#elif defined(__aarch64__)
      asm volatile("yield");
#endif
      return true;
    }
    ::sched_yield();
    return std::chrono::steady_clock::now() < deadline_;
  }

 private:
  static constexpr unsigned kLooksPerYield = 100;

  std::chrono::steady_clock::time_point deadline_;
  unsigned looks_ = 0;
};

}  // namespace berth::example

#endif  // BERTH_LIB_VMM_EXAMPLE_SPIN_H_
