// SPDX-License-Identifier: Apache-2.0
//
// A guest driver in miniature, for tests and benchmarks of the emulated CMDQV: it knows page0 and a
// ring, and nothing else.
#ifndef BERTH_TESTS_EMULATOR_HARDWARE_GUEST_H_
#define BERTH_TESTS_EMULATOR_HARDWARE_GUEST_H_

#include <sched.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "lib/base/mapping.h"
#include "lib/emulator/hardware/registers.h"
#include "lib/emulator/kernel/tegra241_cmdqv.h"

namespace berth::emulator::testing {

constexpr RawCommand kSync = {0x000000000fc00046, 0};
constexpr RawCommand kTlbiVa = {0x0007000000000012, 0x00000000ffe4d701};
constexpr RawCommand kTlbiAsid = {0x0006000000000011, 0};
constexpr RawCommand kCfgiSte = {0x0000000000000003, 1};  // not a guest's to send
constexpr RawCommand AtcInv(uint32_t vsid) { return {uint64_t{vsid} << 32 | 0x40, 0xffe4d000}; }

// Guest memory with a ring in it; the model shares it.
class Ring {
 public:
  explicit Ring(uint32_t log2size) : log2size_(log2size) {
    const size_t bytes = sizeof(RawCommand) << log2size;
    void* data = std::aligned_alloc(4096, bytes < 4096 ? 4096 : bytes);
    owner_ = std::shared_ptr<void>(data, std::free);
    data_ = static_cast<std::byte*>(data);
    for (uint32_t i = 0; i < size(); ++i) Write(i, {});
  }
  // A ring at `data`, which `owner` keeps.
  Ring(uint32_t log2size, std::shared_ptr<const void> owner, std::byte* data)
      : log2size_(log2size), owner_(std::move(owner)), data_(data) {}

  [[nodiscard]] QueueMemory memory() const {
    return QueueMemory::FromMapping(owner_, data_, sizeof(RawCommand) << log2size_);
  }
  [[nodiscard]] uint32_t log2size() const { return log2size_; }
  [[nodiscard]] uint32_t size() const { return 1u << log2size_; }
  // `index` may carry a wrap bit.
  void Write(uint32_t index, const RawCommand& command) const {
    auto* at = reinterpret_cast<uint64_t*>(data_ + sizeof(command) * (index & (size() - 1)));
    std::atomic_ref(at[0]).store(command.dword0, std::memory_order_relaxed);
    std::atomic_ref(at[1]).store(command.dword1, std::memory_order_relaxed);
  }

 private:
  uint32_t log2size_;
  std::shared_ptr<const void> owner_;
  std::byte* data_ = nullptr;
};

class GuestQueue {
 public:
  // `pass_time` is called while the guest waits: the model's Poll(), or nothing where it has a
  // thread.
  GuestQueue(std::byte* page0, int lvcmdq, Ring ring,
             std::function<void()> pass_time = ::sched_yield)
      : registers_(page0, lvcmdq), ring_(std::move(ring)), pass_time_(std::move(pass_time)) {}

  [[nodiscard]] const LvcmdqRegisters& registers() const { return registers_; }
  [[nodiscard]] const Ring& ring() const { return ring_; }
  [[nodiscard]] uint32_t prod() const { return prod_; }
  [[nodiscard]] uint32_t cons() const { return registers_.Load(Register::kCons) & 0xfffff; }
  [[nodiscard]] uint32_t cons_error() const {
    return registers_.Load(Register::kCons) >> kConsErrorShift & 0x7f;
  }
  [[nodiscard]] bool error_active() const {
    return ((registers_.Load(Register::kGerror) ^ registers_.Load(Register::kGerrorn)) &
            kGerrorCmdqError) != 0;
  }

  // CONS and PROD, then EN, then EN_OK.
  [[nodiscard]] bool Enable(uint32_t first_prod = 0) {
    prod_ = first_prod;
    registers_.Store(Register::kCons, first_prod);
    registers_.Store(Register::kProd, first_prod);
    registers_.Store(Register::kConfig, kConfigEnable);
    return Await([this] { return registers_.Load(Register::kStatus) == kStatusEnabled; });
  }
  [[nodiscard]] bool Disable() {
    registers_.Store(Register::kConfig, 0);
    return Await([this] { return registers_.Load(Register::kStatus) == 0; });
  }

  // Puts a command behind PROD, but does not say so.
  void Put(const RawCommand& command) {
    ring_.Write(prod_, command);
    prod_ = (prod_ + 1) & index_mask();
  }
  void RingDoorbell() { registers_.Store(Register::kProd, prod_); }
  void Submit(const std::vector<RawCommand>& commands) {
    for (const RawCommand& command : commands) Put(command);
    RingDoorbell();
  }
  // Waits until everything submitted has been consumed.
  [[nodiscard]] bool AwaitIdle() {
    return Await([this] { return cons() == prod_; });
  }
  [[nodiscard]] bool AwaitRoom(uint32_t commands) {
    return Await([&] { return ((prod_ - cons()) & index_mask()) + commands <= ring_.size(); });
  }
  [[nodiscard]] bool AwaitError() {
    return Await([this] { return error_active(); });
  }
  // As Linux repairs an illegal command: a CMD_SYNC takes its place.
  void ReplaceBadCommandAndAcknowledge() {
    ring_.Write(cons(), kSync);
    Acknowledge();
  }
  void Acknowledge() { registers_.Store(Register::kGerrorn, registers_.Load(Register::kGerror)); }

  // False after 20 s.
  template <typename Condition>
  [[nodiscard]] bool Await(Condition condition) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (!condition()) {
      if (std::chrono::steady_clock::now() > deadline) return false;
      pass_time_();
    }
    return true;
  }

 private:
  [[nodiscard]] uint32_t index_mask() const { return 2 * ring_.size() - 1; }

  LvcmdqRegisters registers_;
  Ring ring_;
  uint32_t prod_ = 0;
  std::function<void()> pass_time_;
};

// What a VMM does with the fd of page0.
inline Mapping MapPage0(const Tegra241Cmdqv& cmdqv, int vintf) {
  auto mapping = Mapping::Map(cmdqv.Page0Fd(vintf), 0, kPage0Size, Mapping::Access::kReadWrite);
  if (!mapping.ok()) std::abort();
  return *std::move(mapping);
}

}  // namespace berth::emulator::testing

#endif  // BERTH_TESTS_EMULATOR_HARDWARE_GUEST_H_
