// SPDX-License-Identifier: Apache-2.0
//
// A PCI function that copies memory: the least that DMA through an SMMU can be shown with. A driver
// writes source, destination and length, and then a number it has not used last into START; when
// DONE has that number the copy is over and STATUS says how it went. One copy at a time.
#ifndef BERTH_LIB_EMULATOR_HARDWARE_DMA_DEVICE_H_
#define BERTH_LIB_EMULATOR_HARDWARE_DMA_DEVICE_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>

#include "lib/base/mapping.h"
#include "lib/base/unique_fd.h"
#include "lib/emulator/hardware/smmu/smmu.h"

namespace berth::emulator {

// BAR 0: one page. Little-endian; aligned accesses of the register's own size.
inline constexpr size_t kDmaBarSize = 4096;
inline constexpr size_t kDmaId = 0x00;           // 32 bits, read-only: kDmaIdValue
inline constexpr size_t kDmaControl = 0x04;      // 32 bits: kDmaControl*, read at START
inline constexpr size_t kDmaSource = 0x08;       // 64 bits: address of the first byte
inline constexpr size_t kDmaDestination = 0x10;  // 64 bits
inline constexpr size_t kDmaLength = 0x18;       // 64 bits: bytes, 1 to kDmaMaxLength
inline constexpr size_t kDmaStart = 0x20;        // 32 bits
inline constexpr size_t kDmaDone = 0x24;         // 32 bits, read-only: START of the last copy ended
inline constexpr size_t kDmaStatus = 0x28;       // 32 bits, read-only: DmaStatus
inline constexpr size_t kDmaCopied = 0x30;       // 64 bits, read-only: bytes written
inline constexpr size_t kDmaFault = 0x38;        // 64 bits, read-only: address that failed
inline constexpr size_t kDmaVector = 0x40;       // 32 bits: of MSI or MSI-X, read at START
// 32 bits. INTx is asserted from the end of a copy with kDmaControlInterrupt until the driver
// writes this copy's number here.
inline constexpr size_t kDmaAcknowledge = 0x44;

inline constexpr uint32_t kDmaIdValue = 0x414d4442;  // "BDMA"
inline constexpr uint64_t kDmaMaxLength = uint64_t{1} << 30;
inline constexpr uint32_t kDmaControlAts = 1;        // translate by ATS, and remember
inline constexpr uint32_t kDmaControlInterrupt = 2;  // an interrupt when the copy is over

enum class DmaStatus : uint32_t {
  kIdle = 0,
  kBusy = 1,
  kOk = 2,
  kReadFault = 3,  // the source could not be read
  kWriteFault = 4,
  kReadDenied = 5,  // the ATS request for the source was refused as a whole
  kWriteDenied = 6,
  kBadLength = 7,
  kNotBusMaster = 8,  // COMMAND.Bus Master Enable is 0, or became 0
};

// Not thread-safe.
class DmaDevice {
 public:
  // With registers at their reset values, no bus master. Null and a negative errno when there is no
  // memory for them.
  static std::unique_ptr<DmaDevice> Create(uint32_t sid, int* error);

  // The memfd of BAR 0: what a driver maps. Sealed against changes of size.
  [[nodiscard]] int registers_fd() const { return fd_.get(); }
  void SetBusMaster(bool enabled) { bus_master_ = enabled; }
  // Whether it decodes its BAR. When it stops, BAR 0 is filled with ones, as PCI answers where
  // nobody does, and what is written there from then on is lost; a copy under way goes on.
  void SetMemory(bool enabled);
  // Whether it is there: one that is pulled out does nothing, and nobody answers at its BAR; put in
  // again it is as after a reset. Returns whether that has changed.
  bool SetPresent(bool present);
  // Unmaps BAR 0, which tells whether anyone else maps it. Until TakeBar() has mapped it again (0
  // or a negative errno) Look() does nothing, and only they may be called.
  void LetGoOfBar() { registers_.Reset(); }
  int TakeBar();
  // Forgets the copy there is; registers as at Create(), but for bus mastering.
  void Reset();

  // What one look at the registers came to.
  struct Sighting {
    bool worked = false;                // look again soon
    std::optional<uint32_t> interrupt;  // the vector, where one is to be raised
    std::optional<SmmuEvent> event;
  };
  // Copies some pages at most.
  Sighting Look(Smmu* smmu);
  // INTx.
  [[nodiscard]] bool asserts_interrupt() const;

 private:
  explicit DmaDevice(uint32_t sid) : sid_(sid) {}
  // Of the registers, wherever they are.
  [[nodiscard]] uint64_t Load(size_t at, size_t bytes) const;
  void Store(size_t at, uint64_t value, size_t bytes);
  void Publish();
  // Shows the registers in BAR 0, or ones.
  void Show(bool shown);
  void Start(uint32_t number);
  // One piece of the copy: kBusy while there is more.
  DmaStatus CopyPiece(Smmu* smmu, std::optional<SmmuEvent>* event);

  const uint32_t sid_;
  UniqueFd fd_;
  Mapping registers_;
  bool bus_master_ = false;
  bool memory_ = true;   // SetMemory()
  bool present_ = true;  // SetPresent()
  bool decodes_ = true;  // both
  // The registers while BAR 0 does not show them.
  alignas(8) std::array<std::byte, kDmaBarSize> hidden_ = {};
  // The copy: what the registers said at START.
  DmaStatus status_ = DmaStatus::kIdle;
  uint32_t started_ = 0;
  uint32_t done_ = 0;
  uint32_t control_ = 0;
  uint32_t vector_ = 0;
  uint32_t raised_ = 0;  // the last copy that ended with an interrupt
  uint64_t source_ = 0;
  uint64_t destination_ = 0;
  uint64_t length_ = 0;
  uint64_t copied_ = 0;
  uint64_t fault_ = 0;
  std::array<std::byte, 4096> buffer_;
};

}  // namespace berth::emulator

#endif  // BERTH_LIB_EMULATOR_HARDWARE_DMA_DEVICE_H_
