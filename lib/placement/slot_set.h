// SPDX-License-Identifier: Apache-2.0
//
// A set of hosts, one bit for each slot of the engine's table.
#ifndef BERTH_LIB_PLACEMENT_SLOT_SET_H_
#define BERTH_LIB_PLACEMENT_SLOT_SET_H_

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace berth::placement {

// Number of a host in the engine's table.
using HostSlot = uint32_t;

// Of slots below a fixed size. Thread-compatible.
class SlotSet {
 public:
  explicit SlotSet(size_t size) : words_((size + kBits - 1) / kBits) {}

  // Inserts all slots; `size` as it was constructed with.
  void Fill(size_t size) {
    std::fill(words_.begin(), words_.end(), ~uint64_t{0});
    if (size % kBits != 0) words_.back() = ~uint64_t{0} >> (kBits - size % kBits);
  }
  void Insert(HostSlot slot) { words_[slot / kBits] |= Bit(slot); }
  void Erase(HostSlot slot) { words_[slot / kBits] &= ~Bit(slot); }
  [[nodiscard]] bool Contains(HostSlot slot) const {
    return (words_[slot / kBits] & Bit(slot)) != 0;
  }
  // Both are of the same size.
  void Intersect(const SlotSet& other) {
    for (size_t i = 0; i < words_.size(); ++i) words_[i] &= other.words_[i];
  }

  // In rising order.
  template <typename Visit>
  void ForEach(const Visit& visit) const {
    for (size_t i = 0; i < words_.size(); ++i) {
      for (uint64_t bits = words_[i]; bits != 0; bits &= bits - 1) {
        visit(static_cast<HostSlot>(i * kBits + static_cast<size_t>(std::countr_zero(bits))));
      }
    }
  }

 private:
  static constexpr size_t kBits = 64;
  static uint64_t Bit(HostSlot slot) { return uint64_t{1} << (slot % kBits); }

  std::vector<uint64_t> words_;
};

}  // namespace berth::placement

#endif  // BERTH_LIB_PLACEMENT_SLOT_SET_H_
