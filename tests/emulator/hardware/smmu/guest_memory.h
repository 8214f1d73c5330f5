// SPDX-License-Identifier: Apache-2.0
//
// What a guest has in memory for its SMMU: pages, translation tables, context descriptors. Written
// from the formats alone, so that it is no copy of what it tests.
#ifndef BERTH_TESTS_EMULATOR_HARDWARE_SMMU_GUEST_MEMORY_H_
#define BERTH_TESTS_EMULATOR_HARDWARE_SMMU_GUEST_MEMORY_H_

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <memory>

#include "lib/base/mapping.h"
#include "lib/emulator/hardware/smmu/stage2.h"

namespace berth::emulator::testing {

// A guest's memory: a memfd that its stage 2 maps from `base` on.
class GuestMemory {
 public:
  static constexpr uint64_t kBase = 0x40000000;

  explicit GuestMemory(uint64_t size = 16 << 20, uint64_t base = kBase) : base_(base) {
    memory_->file.Reset(::memfd_create("guest", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    if (::ftruncate(memory_->file.get(), static_cast<off_t>(size)) != 0) std::abort();
    mapping_ = *Mapping::Map(memory_->file.get(), 0, size, Mapping::Access::kReadWrite);
    stage2_->Map(base, base + size - 1, memory_, 0, {true, true});
  }

  [[nodiscard]] const std::shared_ptr<Stage2>& stage2() const { return stage2_; }
  [[nodiscard]] const std::shared_ptr<FileMemory>& memory() const { return memory_; }
  [[nodiscard]] uint64_t base() const { return base_; }
  [[nodiscard]] uint64_t size() const { return mapping_.size(); }

  // From here on the SMMU changes descriptors as one access.
  void Seal() {
    if (::fcntl(memory_->file.get(), F_ADD_SEALS, F_SEAL_SHRINK) != 0) std::abort();
  }

  // Zeroed, aligned to its size: guest-physical.
  uint64_t Allocate(uint64_t size = 4096) {
    next_ = (next_ + size - 1) / size * size;
    const uint64_t address = base_ + next_;
    next_ += size;
    if (next_ > mapping_.size()) std::abort();
    return address;
  }
  // A page whose first dword is `number`.
  uint64_t AllocatePage(uint64_t number, uint64_t size = 4096) {
    const uint64_t page = Allocate(size);
    Store(page, number);
    return page;
  }
  [[nodiscard]] std::byte* Data(uint64_t address) { return mapping_.data() + (address - base_); }
  void Store(uint64_t address, uint64_t value) {
    At(address).store(value, std::memory_order_release);
  }
  [[nodiscard]] uint64_t Load(uint64_t address) {
    return At(address).load(std::memory_order_acquire);
  }

 private:
  std::atomic_ref<uint64_t> At(uint64_t address) {
    return std::atomic_ref(*reinterpret_cast<uint64_t*>(Data(address)));
  }

  const uint64_t base_;
  std::shared_ptr<FileMemory> memory_ = std::make_shared<FileMemory>();
  std::shared_ptr<Stage2> stage2_ = std::make_shared<Stage2>();
  Mapping mapping_;
  uint64_t next_ = 0;
};

// Bits of a block or page descriptor.
constexpr uint64_t kPteValid = 1;
constexpr uint64_t kPteTable = 2;  // or page
constexpr uint64_t kPteUser = 1 << 6;
constexpr uint64_t kPteReadOnly = 1 << 7;
constexpr uint64_t kPteAf = 1 << 10;
constexpr uint64_t kPteNotGlobal = 1 << 11;
constexpr uint64_t kPteDbm = uint64_t{1} << 51;
constexpr uint64_t kPteSoftware = uint64_t{1} << 55;  // the SMMU ignores it
constexpr uint64_t kPteApTableNoUser = uint64_t{1} << 61;
constexpr uint64_t kPteApTableReadOnly = uint64_t{1} << 62;
// What an ordinary mapping has.
constexpr uint64_t kPteNormal = kPteUser | kPteAf | kPteNotGlobal;

// Translation tables of one half of an address space.
class Tables {
 public:
  explicit Tables(GuestMemory* memory, int granule_log2 = 12, int input_bits = 48)
      : memory_(memory), granule_(granule_log2), input_bits_(input_bits) {
    first_level_ = 3;
    while (Shift(first_level_) + granule_ - 3 < input_bits_) --first_level_;
    root_ = memory_->Allocate(uint64_t{1} << granule_);
  }

  [[nodiscard]] uint64_t root() const { return root_; }
  [[nodiscard]] int granule_log2() const { return granule_; }
  [[nodiscard]] int input_bits() const { return input_bits_; }
  [[nodiscard]] int first_level() const { return first_level_; }
  // log2 of what one descriptor of `level` translates.
  [[nodiscard]] int Shift(int level) const { return granule_ + (granule_ - 3) * (3 - level); }

  // Where the descriptor of `level` for `address` is; makes the tables above it.
  uint64_t Descriptor(uint64_t address, int level) {
    uint64_t table = root_;
    for (int at = first_level_;; ++at) {
      const int bits = at == first_level_ ? input_bits_ - Shift(at) : granule_ - 3;
      const uint64_t index = address >> Shift(at) & ((uint64_t{1} << bits) - 1);
      const uint64_t descriptor = table + index * 8;
      if (at == level) return descriptor;
      if ((memory_->Load(descriptor) & kPteValid) == 0) {
        memory_->Store(descriptor,
                       memory_->Allocate(uint64_t{1} << granule_) | kPteTable | kPteValid);
      }
      table = memory_->Load(descriptor) & 0xfffffffff000;
    }
  }
  void Map(uint64_t address, uint64_t target, int level = 3, uint64_t bits = kPteNormal) {
    memory_->Store(Descriptor(address, level),
                   target | bits | kPteValid | (level == 3 ? kPteTable : 0));
  }
  void Unmap(uint64_t address, int level = 3) { memory_->Store(Descriptor(address, level), 0); }

 private:
  GuestMemory* memory_;
  int granule_;
  int input_bits_;
  int first_level_;
  uint64_t root_;
};

// A context descriptor: one or two halves, one ASID.
struct Context {
  uint16_t asid = 1;
  const Tables* low = nullptr;
  const Tables* high = nullptr;
  uint64_t ips = 5;         // 48 bits
  uint64_t set = 0;         // more bits of dword 0
  uint64_t clear = 0;       // fewer
  uint64_t low_flags = 0;   // more bits of dword 1: HAD0
  uint64_t high_flags = 0;  // more bits of dword 2
};
constexpr uint64_t kCdEndi = 1 << 15;
constexpr uint64_t kCdValid = uint64_t{1} << 31;
constexpr uint64_t kCdAffd = uint64_t{1} << 35;
constexpr uint64_t kCdTbi0 = uint64_t{1} << 38;
constexpr uint64_t kCdTbi1 = uint64_t{1} << 39;
constexpr uint64_t kCdAa64 = uint64_t{1} << 41;
constexpr uint64_t kCdHd = uint64_t{1} << 42;
constexpr uint64_t kCdHa = uint64_t{1} << 43;
constexpr uint64_t kCdStall = uint64_t{1} << 44;
constexpr uint64_t kCdRecord = uint64_t{1} << 45;
constexpr uint64_t kCdAbort = uint64_t{1} << 46;
constexpr uint64_t kCdHad = 2;  // of dwords 1 and 2

inline void WriteContext(GuestMemory* memory, uint64_t at, const Context& context) {
  const auto half = [](const Tables* tables, bool high) -> uint64_t {
    if (tables == nullptr) return 1 << 14;  // EPD
    const uint64_t tg0 = tables->granule_log2() == 12 ? 0 : tables->granule_log2() == 16 ? 1 : 2;
    const uint64_t tg1 = tables->granule_log2() == 12 ? 2 : tables->granule_log2() == 16 ? 3 : 1;
    return static_cast<uint64_t>(64 - tables->input_bits()) | (high ? tg1 : tg0) << 6;
  };
  const uint64_t word = half(context.low, false) | half(context.high, true) << 16 | kCdValid |
                        context.ips << 32 | kCdAa64 | kCdRecord | kCdAbort |
                        uint64_t{context.asid} << 48;
  memory->Store(at + 8, (context.low ? context.low->root() : 0) | context.low_flags);
  memory->Store(at + 16, (context.high ? context.high->root() : 0) | context.high_flags);
  memory->Store(at, (word | context.set) & ~context.clear);
}

}  // namespace berth::emulator::testing

#endif  // BERTH_TESTS_EMULATOR_HARDWARE_SMMU_GUEST_MEMORY_H_
