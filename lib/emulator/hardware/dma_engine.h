// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_LIB_EMULATOR_HARDWARE_DMA_ENGINE_H_
#define BERTH_LIB_EMULATOR_HARDWARE_DMA_ENGINE_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"
#include "lib/emulator/hardware/dma_device.h"
#include "lib/emulator/hardware/poller.h"
#include "lib/emulator/hardware/smmu/smmu.h"
#include "lib/emulator/hardware/turn_lock.h"

namespace berth::emulator {

// What a DMA device wants told.
struct DmaNotice {
  uint32_t sid = 0;
  std::optional<uint32_t> interrupt;  // the vector that it raises; or INTx
  std::optional<SmmuEvent> event;     // recorded by the SMMU for this device
  bool watched = false;               // Watch()'s eventfd was signalled
};

// Runs the DMA test devices behind one SMMU, on one thread. Thread-safe.
class DmaEngine : private PolledUnit {
 public:
  struct Config {
    Smmu* smmu = nullptr;  // outlives the engine
    // How the registers are watched. kManual: only by Poll(), for tests.
    enum class Polling : uint8_t { kThread, kManual };
    Polling polling = Polling::kThread;
    // The longest time between two looks at an idle device.
    absl::Duration max_idle_wait = absl::Milliseconds(4);
    // Whether device `sid` has been pulled out: asked at each look. Empty: none ever is.
    std::function<bool(uint32_t sid)> is_gone;
    // Called on the engine's thread with no lock of the engine held, also just after Close(): may
    // take the caller's locks.
    std::function<void(const DmaNotice&)> on_notice;
  };
  explicit DmaEngine(Config config);
  // Ends the thread.
  ~DmaEngine() override;
  DmaEngine(const DmaEngine&) = delete;
  DmaEngine& operator=(const DmaEngine&) = delete;

  // Powers device `sid` up, unless it is: 0 or a negative errno. At most one for each StreamID.
  int Open(uint32_t sid, bool bus_master);
  // When these have returned the device does nothing any more that the call forbids; what it had in
  // its ATC is gone after Close() and Reset(). No device `sid`: nothing happens.
  void Close(uint32_t sid);
  void Reset(uint32_t sid);
  void SetBusMaster(uint32_t sid, bool enabled);
  // Whether it decodes its BAR: at first it does.
  void SetMemory(uint32_t sid, bool enabled);

  // Takes BAR 0 from everyone, for Close() to follow: 0, also without a device, or -EBUSY while
  // some process maps it. Then the device goes on as before; nothing but this and Close() may be
  // called.
  int RetireBar(uint32_t sid);
  // Whether it asserts INTx.
  bool AssertsInterrupt(uint32_t sid);
  // Reads `eventfd` from now on, and tells of each signal; an invalid one: none.
  void Watch(uint32_t sid, UniqueFd eventfd);

  // The memfd of its BAR 0, owned by the engine until Close(): -ENOENT.
  int RegistersFd(uint32_t sid);

  // One look at every device. Returns whether anything was done. Only with Polling::kManual.
  bool Poll();

 private:
  Found LookAround(int worker) override;
  Found LookAtAll(std::vector<DmaNotice>* notices) ABSL_LOCKS_EXCLUDED(mu_);
  DmaDevice* Find(uint32_t sid) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool TakeSignal(uint32_t sid) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const Config config_;
  TurnLock mu_;
  std::map<uint32_t, std::unique_ptr<DmaDevice>> devices_ ABSL_GUARDED_BY(mu_);
  std::map<uint32_t, UniqueFd> watched_ ABSL_GUARDED_BY(mu_);  // of devices_ only
  std::optional<Poller> poller_;
};

}  // namespace berth::emulator

#endif  // BERTH_LIB_EMULATOR_HARDWARE_DMA_ENGINE_H_
