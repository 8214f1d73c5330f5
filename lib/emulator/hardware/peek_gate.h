// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_LIB_EMULATOR_HARDWARE_PEEK_GATE_H_
#define BERTH_LIB_EMULATOR_HARDWARE_PEEK_GATE_H_

#include <array>
#include <atomic>
#include <cstdint>

namespace berth::emulator {

// Hardware threads peek at the registers of all VINTFs without a lock. Whoever puts other memory in
// the place of a VINTF's registers closes it first, which waits until nobody peeks who may not have
// seen that it is closed. Thread-safe.
class PeekGate {
 public:
  static constexpr int kMaxReaders = 64;

  // One look at the queues by hardware thread number `reader`, below kMaxReaders; one at a time for
  // each. Must not wait for anyone who holds or makes a Closed.
  class Round {
   public:
    Round(PeekGate* gate, int reader) : round_(gate->rounds_[reader]), gate_(*gate) {
      round_.fetch_add(1);  // odd: it is under way
    }
    ~Round() { round_.fetch_add(1); }
    Round(const Round&) = delete;
    Round& operator=(const Round&) = delete;

    [[nodiscard]] bool MayPeek(int vintf) const { return (gate_.closed_.load() >> vintf & 1) == 0; }

   private:
    std::atomic<uint64_t>& round_;
    const PeekGate& gate_;
  };

  // As long as it lives nobody peeks at `vintf`, of 64. One at a time for each VINTF.
  class Closed {
   public:
    Closed(PeekGate* gate, int vintf);
    ~Closed() { gate_.closed_.fetch_and(~bit_); }
    Closed(const Closed&) = delete;
    Closed& operator=(const Closed&) = delete;

   private:
    PeekGate& gate_;
    const uint64_t bit_;
  };

 private:
  // Sequentially consistent, all of it: either a reader sees the bit, or the closer sees the round.
  std::atomic<uint64_t> closed_ = 0;
  std::array<std::atomic<uint64_t>, kMaxReaders> rounds_ = {};
};

}  // namespace berth::emulator

#endif  // BERTH_LIB_EMULATOR_HARDWARE_PEEK_GATE_H_
