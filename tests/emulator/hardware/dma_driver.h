// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_TESTS_EMULATOR_HARDWARE_DMA_DRIVER_H_
#define BERTH_TESTS_EMULATOR_HARDWARE_DMA_DRIVER_H_

#include <sched.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <utility>

#include "lib/base/mapping.h"
#include "lib/emulator/hardware/dma_device.h"

namespace berth::emulator::testing {

// A driver of the DMA test device: it knows BAR 0 and nothing else.
class DmaDriver {
 public:
  // `pass_time` is called while the driver waits.
  explicit DmaDriver(Mapping bar, std::function<void()> pass_time = ::sched_yield)
      : bar_(std::move(bar)), pass_time_(std::move(pass_time)) {}

  void Start(uint64_t source, uint64_t destination, uint64_t length, uint32_t control = 0) {
    Reg64(kDmaSource).store(source);
    Reg64(kDmaDestination).store(destination);
    Reg64(kDmaLength).store(length);
    Reg32(kDmaControl).store(control);
    Reg32(kDmaStart).store(++number_);
  }
  // False after 20 s.
  [[nodiscard]] bool AwaitDone() {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (done() != number_) {
      if (std::chrono::steady_clock::now() > deadline) return false;
      pass_time_();
    }
    return true;
  }
  // kBusy: it did not end in time.
  DmaStatus Copy(uint64_t source, uint64_t destination, uint64_t length, uint32_t control = 0) {
    Start(source, destination, length, control);
    return AwaitDone() ? status() : DmaStatus::kBusy;
  }
  // The device has been reset: it counts from 0 again.
  void ForgetNumber() { number_ = 0; }

  [[nodiscard]] uint32_t id() { return Reg32(kDmaId).load(); }
  [[nodiscard]] uint32_t done() { return Reg32(kDmaDone).load(); }
  [[nodiscard]] DmaStatus status() { return static_cast<DmaStatus>(Reg32(kDmaStatus).load()); }
  [[nodiscard]] uint64_t copied() { return Reg64(kDmaCopied).load(); }
  [[nodiscard]] uint64_t fault() { return Reg64(kDmaFault).load(); }
  std::atomic_ref<uint32_t> Reg32(size_t at) {
    return std::atomic_ref(*reinterpret_cast<uint32_t*>(bar_.data() + at));
  }
  std::atomic_ref<uint64_t> Reg64(size_t at) {
    return std::atomic_ref(*reinterpret_cast<uint64_t*>(bar_.data() + at));
  }

 private:
  Mapping bar_;
  std::function<void()> pass_time_;
  uint32_t number_ = 0;
};

}  // namespace berth::emulator::testing

#endif  // BERTH_TESTS_EMULATOR_HARDWARE_DMA_DRIVER_H_
