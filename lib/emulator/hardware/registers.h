// SPDX-License-Identifier: Apache-2.0
//
// The registers of a CMDQV (Linux drivers/iommu/arm/arm-smmu-v3/tegra241-cmdqv.c; QEMU
// hw/arm/tegra241-cmdqv.h). All have 32 bits and are little-endian, BASE is two of them.
#ifndef BERTH_LIB_EMULATOR_HARDWARE_REGISTERS_H_
#define BERTH_LIB_EMULATOR_HARDWARE_REGISTERS_H_

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace berth::emulator {

// ---- The configuration page, at 0.
namespace config_page {
inline constexpr size_t kConfig = 0x0000;  // [0] CMDQV_EN
inline constexpr size_t kParam = 0x0004;   // [3:0] version, then log2 of vCMDQs, VINTFs, SID slots
inline constexpr size_t kStatus = 0x0008;  // [0] CMDQV_ENABLED. Read-only
inline constexpr size_t kVintfErrMap = 0x0014;   // 2 words, a bit for each VINTF. Read-only
inline constexpr size_t kVintfIntMask = 0x001C;  // 2 words, 1 = masked
inline constexpr size_t kCmdqErrMap = 0x0024;    // 4 words, a bit for each vCMDQ. Read-only
// Which LVCMDQ a vCMDQ is: [0] ALLOCATED, [7:1] LVCMDQ, [20:15] VINTF.
constexpr size_t CmdqAlloc(int vcmdq) { return 0x0200 + 4 * static_cast<size_t>(vcmdq); }
// The registers of one VINTF, kVintfStride bytes.
constexpr size_t Vintf(int vintf) { return 0x1000 + 0x100 * static_cast<size_t>(vintf); }
}  // namespace config_page

inline constexpr uint32_t kEnable = 1u << 0;  // of every CONFIG, and of every STATUS
// CONFIG of a CMDQV at power-on, as QEMU has it: enabled.
inline constexpr uint32_t kConfigAtReset = 0x00020403;
constexpr uint32_t CmdqAllocValue(int vintf, int lvcmdq) {
  return static_cast<uint32_t>(lvcmdq) << 1 | static_cast<uint32_t>(vintf) << 15;
}
inline constexpr uint32_t kCmdqAllocated = 1u << 0;
inline constexpr uint32_t kCmdqAllocMask = 0x7f << 1 | 0x3f << 15 | kCmdqAllocated;

// ---- One VINTF's part of it.
namespace vintf_config {
inline constexpr size_t kConfig = 0x00;  // [0] EN, [16:1] VMID, [17] HYP_OWN
inline constexpr size_t kStatus = 0x04;  // [0] ENABLED. Read-only
constexpr size_t SidMatch(int slot) { return 0x40 + 4 * static_cast<size_t>(slot); }
constexpr size_t SidReplace(int slot) { return 0x80 + 4 * static_cast<size_t>(slot); }
inline constexpr size_t kLvcmdqErrMap = 0xC0;  // 4 words, a bit for each LVCMDQ. Read-only
}  // namespace vintf_config

inline constexpr size_t kVintfStride = 0x100;
inline constexpr int kVintfVmidShift = 1;
inline constexpr uint32_t kVintfVmidMask = 0xffff;
inline constexpr uint32_t kVintfHypOwn = 1u << 17;
// SID_MATCH: [0] ENABLE, [20:1] vSID. SID_REPLACE: [19:0] pSID.
inline constexpr uint32_t kSidMatchEnable = 1u << 0;
inline constexpr int kSidMatchShift = 1;
inline constexpr uint32_t kMaxSid = (1u << 20) - 1;
inline constexpr int kMaxSidSlots = 16;
inline constexpr int kMaxVintfs = 64;
inline constexpr int kMaxVcmdqs = 128;

// ---- The pages of the vCMDQs: by their own numbers, then each VINTF's by its logical ones.
inline constexpr size_t kRegisterPageSize = 0x10000;
inline constexpr size_t kVcmdqPage0 = 0x10000;
inline constexpr size_t kVcmdqPage1 = 0x20000;
constexpr size_t VintfPage0(int vintf) { return 0x30000 + 0x20000 * static_cast<size_t>(vintf); }
constexpr size_t VintfPage1(int vintf) { return VintfPage0(vintf) + kRegisterPageSize; }

// page1 of a vCMDQ. BASE: [4:0] log2 of the entries, [47:5] physical address.
inline constexpr size_t kBaseLow = 0x00;
inline constexpr size_t kBaseHigh = 0x04;
inline constexpr size_t kConsDramLow =
    0x08;  // where CONS is mirrored; Linux writes 0. Not modelled
inline constexpr size_t kConsDramHigh = 0x0C;
inline constexpr uint64_t kBaseAddressMask = 0x0000ffffffffffe0;
inline constexpr uint64_t kBaseLog2SizeMask = 0x1f;

// ---- page0 of a vCMDQ.

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

// Words of a register block: a view that owns nothing. Other processes write there at any time, so
// each access is a single atomic one. Offsets are multiples of 4.
class RegisterView {
 public:
  RegisterView() = default;
  explicit RegisterView(std::byte* base) : base_(base) {}

  [[nodiscard]] bool valid() const { return base_ != nullptr; }
  [[nodiscard]] std::byte* data() const { return base_; }
  [[nodiscard]] RegisterView At(size_t offset) const { return RegisterView(base_ + offset); }
  [[nodiscard]] uint32_t Load(size_t offset) const {
    return Ref(offset).load(std::memory_order_acquire);
  }
  void Store(size_t offset, uint32_t value) const {
    Ref(offset).store(value, std::memory_order_release);
  }
  // Keeps the cache line clean where nobody has meddled.
  void Reassert(size_t offset, uint32_t value) const {
    if (Ref(offset).load(std::memory_order_relaxed) != value) Store(offset, value);
  }
  // Stores `value` unless the word is no longer `expected`.
  bool Exchange(size_t offset, uint32_t expected, uint32_t value) const {
    return Ref(offset).compare_exchange_strong(expected, value);
  }

 private:
  [[nodiscard]] std::atomic_ref<uint32_t> Ref(size_t offset) const {
    return std::atomic_ref<uint32_t>(*reinterpret_cast<uint32_t*>(base_ + offset));
  }

  std::byte* base_ = nullptr;
};

// The registers of one LVCMDQ in its page0.
class LvcmdqRegisters {
 public:
  LvcmdqRegisters() = default;
  // `page0` has room for LVCMDQ `index`.
  LvcmdqRegisters(std::byte* page0, int index) : view_(page0 + kLvcmdqStride * index) {}
  explicit LvcmdqRegisters(RegisterView view) : view_(view) {}

  [[nodiscard]] bool valid() const { return view_.valid(); }
  [[nodiscard]] uint32_t Load(Register reg) const { return view_.Load(static_cast<size_t>(reg)); }
  void Store(Register reg, uint32_t value) const { view_.Store(static_cast<size_t>(reg), value); }
  void Reassert(Register reg, uint32_t value) const {
    view_.Reassert(static_cast<size_t>(reg), value);
  }
  bool Exchange(Register reg, uint32_t expected, uint32_t value) const {
    return view_.Exchange(static_cast<size_t>(reg), expected, value);
  }

 private:
  RegisterView view_;
};

}  // namespace berth::emulator

#endif  // BERTH_LIB_EMULATOR_HARDWARE_REGISTERS_H_
