// SPDX-License-Identifier: Apache-2.0
//
// What a guest's driver does with one vCMDQ (Linux drivers/iommu/arm/arm-smmu-v3/arm-smmu-v3.c and
// tegra241-cmdqv.c): rings, doorbells, CMD_SYNC, errors. Nothing here calls anybody.
#ifndef BERTH_LIB_VMM_EXAMPLE_COMMAND_QUEUE_H_
#define BERTH_LIB_VMM_EXAMPLE_COMMAND_QUEUE_H_

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>

#include "lib/vmm/example/outcome.h"

namespace berth::example {

using Command = std::array<uint64_t, 2>;

enum class Opcode : uint8_t {
  kCfgiSte = 0x03,  // not for a guest's vCMDQ
  kCfgiCdAll = 0x06,
  kTlbiNhAll = 0x10,
  kTlbiNhAsid = 0x11,
  kTlbiNhVa = 0x12,
  kAtcInv = 0x40,
  kCmdSync = 0x46,
};

inline Opcode OpcodeOf(const Command& command) { return static_cast<Opcode>(command[0] & 0xff); }
// As Linux writes it: CS = 0, no interrupt and no event; completion shows in CONS.
inline constexpr Command kCmdSync = {0x000000000fc00046, 0};

// Commands that were executed, by opcode.
struct Counts {
  uint64_t tlbi_nh_asid = 0;
  uint64_t tlbi_nh_va = 0;
  uint64_t atc_inv = 0;
  uint64_t cmd_sync = 0;

  void Add(const Command& command);
  void Add(const Counts& other);
  [[nodiscard]] uint64_t total() const { return tlbi_nh_asid + tlbi_nh_va + atc_inv + cmd_sync; }
};

// One enabled vCMDQ. Not thread-safe: a guest takes its own lock.
class CommandQueue {
 public:
  // The longest that a driver waits for the hardware. Linux gives up after 1 s; we are more patient
  // with an emulator on a busy machine.
  static constexpr std::chrono::seconds kPatience{20};

  // `page0` is the VINTF's, `ring` has 1 << log2size entries. Both outlive the queue.
  CommandQueue(std::byte* page0, uint32_t index, std::byte* ring, uint32_t log2size);

  // Waits for STATUS.CMDQ_EN_OK.
  Outcome Enable();
  [[nodiscard]] bool enabled() const;

  // Entries that may be written now.
  [[nodiscard]] uint32_t space() const;
  // Copies commands into the ring and publishes them by one write of PROD. There is space.
  void Submit(std::span<const Command> commands);
  // CONS has reached PROD: everything has been executed.
  [[nodiscard]] bool drained() const;
  // Spins until drained. An error of the queue ends it too.
  Outcome Drain();

  // GERROR says that the queue has stopped.
  [[nodiscard]] bool in_error() const;
  // CONS.ERR.
  [[nodiscard]] uint32_t error_code() const;
  // Puts a CMD_SYNC where CONS stands, and acknowledges: the hardware goes on from there (Linux:
  // __arm_smmu_cmdq_skip_err).
  void SkipBadCommand();

  // What was submitted; executed too once drained.
  [[nodiscard]] const Counts& counts() const { return counts_; }
  [[nodiscard]] uint32_t index() const { return index_; }
  [[nodiscard]] uint32_t log2size() const { return log2size_; }

 private:
  enum class Register : size_t {
    kCons = 0x00,
    kProd = 0x04,
    kConfig = 0x08,
    kStatus = 0x0c,
    kGerror = 0x10,
    kGerrorn = 0x14,
  };
  [[nodiscard]] uint32_t Load(Register reg) const;
  void Store(Register reg, uint32_t value);
  [[nodiscard]] uint32_t Cons() const { return Load(Register::kCons) & wrap_mask_; }
  void Write(uint32_t position, const Command& command);

  std::byte* registers_;
  std::byte* ring_;
  uint32_t index_;
  uint32_t log2size_;
  uint32_t wrap_mask_;  // index and wrap bit
  uint32_t prod_ = 0;
  Counts counts_;
};

}  // namespace berth::example

#endif  // BERTH_LIB_VMM_EXAMPLE_COMMAND_QUEUE_H_
