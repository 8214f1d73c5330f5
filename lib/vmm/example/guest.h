// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_LIB_VMM_EXAMPLE_GUEST_H_
#define BERTH_LIB_VMM_EXAMPLE_GUEST_H_

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "lib/base/unique_fd.h"
#include "lib/vmm/berth_vmm.h"
#include "lib/vmm/example/command_queue.h"
#include "lib/vmm/example/guest_memory.h"
#include "lib/vmm/example/outcome.h"

namespace berth::example {

struct Unit {
  uint32_t index = 0;
  berth_vmm_unit_reply info = {};
  std::byte* page0 = nullptr;
  size_t page0_length = 0;
  std::vector<CommandQueue> queues;
  std::vector<uint32_t> vsids;  // of its devices
};

struct Device {
  uint32_t index = 0;
  berth_vmm_device_reply info = {};
  UniqueFd cdev;
  uint32_t vsid = 0;
  berth_vmm_stream_mode mode = BERTH_VMM_STREAM_BYPASS;
};

// A VM at an assignment, seen from both sides: the monitor that calls the agent and the guest whose
// memory and queues these are. Each step needs those before it.
class Guest {
 public:
  Guest();

  Outcome Attach(const std::string& socket, const std::string& assignment,
                 const std::string& token);
  // Registers guest memory where the unit allows it.
  Outcome AddMemory(size_t bytes);
  // Maps page0 of each unit that has queues.
  Outcome MapPage0();
  // Allocates and enables the first `limit` queues of each unit.
  Outcome StartQueues(uint32_t limit);
  // Takes the devices, gives each a vSID: the first is translated, the others bypass.
  Outcome StartStreams();
  Outcome ResetGuest();
  // Gives everything back.
  Outcome Detach();

  // The error of the last call, under the name of what was tried.
  [[nodiscard]] Outcome CallFailed(const std::string& what, ExitCode code = ExitCode::kCall) const;

  [[nodiscard]] berth_vmm* vmm() const { return vmm_.get(); }
  [[nodiscard]] const berth_vmm_info& info() const { return info_; }
  [[nodiscard]] const GuestMemory& memory() const { return *memory_; }
  [[nodiscard]] std::vector<Unit>& units() { return units_; }
  [[nodiscard]] const std::vector<Unit>& units() const { return units_; }
  [[nodiscard]] const std::vector<Device>& devices() const { return devices_; }

 private:
  // log2 of the entries of the largest ring of which each unit can have `limit`, so that there
  // is room for one more.
  [[nodiscard]] uint32_t LargestRing(uint32_t limit) const;
  struct Close {
    void operator()(berth_vmm* vmm) const { berth_vmm_close(vmm); }
  };
  Outcome PickGuestAddress(size_t bytes, uint64_t* address);
  Outcome StartStream(Device* device);
  // Context descriptor and empty page table for a device; out: the first words of its STE.
  Outcome MakeTables(uint64_t ste[2]);

  std::unique_ptr<GuestMemory> memory_;
  std::unique_ptr<berth_vmm, Close> vmm_;
  berth_vmm_info info_ = {};
  std::vector<Unit> units_;
  std::vector<Device> devices_;
};

}  // namespace berth::example

#endif  // BERTH_LIB_VMM_EXAMPLE_GUEST_H_
