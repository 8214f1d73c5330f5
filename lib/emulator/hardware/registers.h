// SPDX-License-Identifier: Apache-2.0
//
// page0 of a VINTF: the registers of its logical vCMDQs (Linux
// drivers/iommu/arm/arm-smmu-v3/tegra241-cmdqv.c; QEMU hw/arm/tegra241-cmdqv.h).
#ifndef BERTH_LIB_EMULATOR_HARDWARE_REGISTERS_H_
#define BERTH_LIB_EMULATOR_HARDWARE_REGISTERS_H_

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace berth::emulator {

// Bytes from one LVCMDQ's registers to the next one's.
inline constexpr size_t kLvcmdqStride = 0x80;

enum class Register : size_t {
  kCons = 0x00,     // [19:0] read index with its wrap bit, [30:24] ERR. Writable while disabled
  kProd = 0x04,     // [19:0] write index with its wrap bit
  kConfig = 0x08,   // [0] CMDQ_EN
  kStatus = 0x0C,   // [0] CMDQ_EN_OK. Read-only
  kGerror = 0x10,   // bits that differ from GERRORN are active errors. Read-only
  kGerrorn = 0x14,  // acknowledges: software writes the value of GERROR
};

inline constexpr uint32_t kConfigEnable = 1u << 0;
inline constexpr uint32_t kStatusEnabled = 1u << 0;
inline constexpr uint32_t kGerrorCmdqError = 1u << 0;
inline constexpr uint32_t kGerrorInitError = 1u << 2;
inline constexpr int kConsErrorShift = 24;

// CONS.ERR.
enum class ConsError : uint8_t {
  kNone = 0,
  kIllegal = 1,
  kFetchAbort = 2,
  kAtcTimeout = 3,
  kIllegalAccess = 4,
};

// The registers of one LVCMDQ: a view of a shared mapping that it does not own. Other processes
// write there at any time, so every access is a single atomic one.
class LvcmdqRegisters {
 public:
  LvcmdqRegisters() = default;
  // `page0` has room for LVCMDQ `index`.
  LvcmdqRegisters(std::byte* page0, int index) : base_(page0 + kLvcmdqStride * index) {}

  [[nodiscard]] bool valid() const { return base_ != nullptr; }
  [[nodiscard]] uint32_t Load(Register reg) const {
    return Ref(reg).load(std::memory_order_acquire);
  }
  void Store(Register reg, uint32_t value) const {
    Ref(reg).store(value, std::memory_order_release);
  }
  // Keeps the cache line clean where nobody has meddled.
  void Reassert(Register reg, uint32_t value) const {
    if (Ref(reg).load(std::memory_order_relaxed) != value) Store(reg, value);
  }

 private:
  [[nodiscard]] std::atomic_ref<uint32_t> Ref(Register reg) const {
    return std::atomic_ref<uint32_t>(
        *reinterpret_cast<uint32_t*>(base_ + static_cast<size_t>(reg)));
  }

  std::byte* base_ = nullptr;
};

}  // namespace berth::emulator

#endif  // BERTH_LIB_EMULATOR_HARDWARE_REGISTERS_H_
