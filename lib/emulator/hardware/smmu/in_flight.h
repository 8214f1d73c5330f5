// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_LIB_EMULATOR_HARDWARE_SMMU_IN_FLIGHT_H_
#define BERTH_LIB_EMULATOR_HARDWARE_SMMU_IN_FLIGHT_H_

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace berth::emulator {

// The transactions that have begun and not ended, so that a CMD_SYNC can wait for them. Room for
// eight at a time; one more waits for room. Thread-safe.
class InFlight {
 public:
  // One transaction, from before it looks at any translation until its last byte is transferred.
  class Transaction {
   public:
    explicit Transaction(InFlight* in_flight) : slot_(in_flight->Begin()) {}
    ~Transaction() { slot_.fetch_add(1, std::memory_order_release); }
    Transaction(const Transaction&) = delete;
    Transaction& operator=(const Transaction&) = delete;

   private:
    std::atomic<uint64_t>& slot_;
  };

  // Returns when every transaction that had begun before the call has ended; others may have begun
  // since. Some nanoseconds when there is none. Not inside a transaction.
  void Drain();

 private:
  std::atomic<uint64_t>& Begin();

  // Odd while a transaction has it. All in one cache line: Drain() looks at them far more often
  // than transactions begin.
  alignas(64) std::array<std::atomic<uint64_t>, 8> slots_ = {};
  // Calls of Drain(); in a line of its own, which transactions only read.
  alignas(64) std::atomic<uint64_t> drains_ = 0;
};

}  // namespace berth::emulator

#endif  // BERTH_LIB_EMULATOR_HARDWARE_SMMU_IN_FLIGHT_H_
