// SPDX-License-Identifier: Apache-2.0
#include "lib/vmm/example/guest.h"

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <cstring>

namespace berth::example {
namespace {

// Where the RAM of QEMU's "virt" machine begins.
constexpr uint64_t kUsualGuestAddress = 0x40000000;
constexpr size_t kCommandSize = sizeof(Command);
// One context descriptor (Arm IHI 0070, 5.4), and the page that its table starts at.
constexpr size_t kTable = 4096;

// Stream table entry, first two doublewords (Arm IHI 0070, 5.2), as Linux fills them for a guest
// domain with one context: V, Config = stage 1, S1ContextPtr; S1DSS = SSID 0, write-back cached,
// inner shareable, ATS allowed.
constexpr uint64_t kSteValidStage1 = 1 | 5 << 1;
constexpr uint64_t kSteAttributes = 2 | 1 << 2 | 1 << 4 | 3 << 6 | 1 << 28;

// Context descriptor: 39-bit addresses, 4 KiB granule, cached walks, TTBR0 only, AArch64.
constexpr uint64_t kCdT0sz = 64 - 39;
constexpr uint64_t kCdCachedWalks = 1 << 8 | 1 << 10 | 3 << 12;
constexpr uint64_t kCdNoTtbr1 = 1ull << 30;
constexpr uint64_t kCdValid = 1ull << 31;
constexpr uint64_t kCdIps40Bits = 2ull << 32;
constexpr uint64_t kCdAarch64RecordAbort = 1ull << 41 | 1ull << 45 | 1ull << 46 | 1ull << 47;
constexpr uint64_t kCdAsid1 = 1ull << 48;
constexpr uint64_t kMairNormal = 0xff;

}  // namespace

Guest::Guest() {
  berth_vmm* vmm = nullptr;
  // Null only without memory: then every call below would fail too, so let it crash here.
  if (berth_vmm_new(&vmm) != 0) std::abort();
  vmm_.reset(vmm);
}

Outcome Guest::CallFailed(const std::string& what, ExitCode code) const {
  const uint32_t reason = berth_vmm_last_reason(vmm());
  std::string message = what + ": " + berth_vmm_reason_name(static_cast<int>(reason)) + ": " +
                        berth_vmm_last_message(vmm());
  const int error = berth_vmm_last_errno(vmm());
  if (error != 0 && message.find(std::strerror(error)) == std::string::npos) {
    message += std::string(" (") + std::strerror(error) + ")";
  }
  return {code, message};
}

Outcome Guest::Attach(const std::string& socket, const std::string& assignment,
                      const std::string& token) {
  if (berth_vmm_connect(vmm(), socket.c_str(), assignment.c_str(), token.c_str()) != 0) {
    return CallFailed("attach", ExitCode::kRefused);
  }
  berth_vmm_get_info(vmm(), &info_, sizeof(info_));
  for (uint32_t i = 0; i < info_.unit_count; ++i) {
    Unit& unit = units_.emplace_back();
    unit.index = i;
    if (berth_vmm_get_unit(vmm(), i, &unit.info, sizeof(unit.info)) != 0) {
      return CallFailed("unit " + std::to_string(i));
    }
  }
  return {};
}

// The usual address if memory may lie there, else the first place that is large enough.
Outcome Guest::PickGuestAddress(size_t bytes, uint64_t* address) {
  berth_vmm_range ranges[BERTH_VMM_MAX_RANGES];
  uint32_t count = BERTH_VMM_MAX_RANGES;
  if (berth_vmm_get_iova_ranges(vmm(), ranges, &count) != 0) return CallFailed("IOVA ranges");
  constexpr uint64_t kAlignment = uint64_t{1} << 30;
  for (const uint64_t wanted : {kUsualGuestAddress, uint64_t{0}}) {
    for (uint32_t i = 0; i < count; ++i) {
      const berth_vmm_range& range = ranges[i];
      const uint64_t first =
          std::max(wanted, (range.first + kAlignment - 1) / kAlignment * kAlignment);
      if (first >= range.first && first <= range.last && range.last - first >= bytes - 1) {
        *address = first;
        return {};
      }
    }
  }
  return {ExitCode::kUsage, "there is no place for so much guest memory"};
}

Outcome Guest::AddMemory(size_t bytes) {
  uint64_t address = 0;
  BERTH_EXAMPLE_TRY(PickGuestAddress(bytes, &address));
  memory_ = std::make_unique<GuestMemory>();
  BERTH_EXAMPLE_TRY(memory_->Create(bytes, address));
  if (berth_vmm_map_memory(vmm(), memory_->fd(), 0, address, memory_->size(),
                           BERTH_VMM_MEMORY_READ | BERTH_VMM_MEMORY_WRITE) != 0) {
    return CallFailed("register memory");
  }
  return {};
}

Outcome Guest::MapPage0() {
  for (Unit& unit : units_) {
    if (unit.info.vcmdqs == 0) continue;
    void* page0 = nullptr;
    if (berth_vmm_map_page0(vmm(), unit.index, &page0, &unit.page0_length) != 0) {
      return CallFailed(std::string("map page0 of ") + unit.info.id);
    }
    unit.page0 = static_cast<std::byte*>(page0);
  }
  return {};
}

uint32_t Guest::LargestRing(uint32_t limit) const {
  size_t rings = 1;
  for (const Unit& unit : units_) rings += std::min(limit, unit.info.vcmdqs);
  // The hardware reads a ring by physical addresses: it must lie in one page.
  const size_t bytes = std::min(memory_->page_size(), memory_->size() / rings);
  return static_cast<uint32_t>(std::bit_width(std::max(bytes / kCommandSize, size_t{2}))) - 1;
}

Outcome Guest::StartQueues(uint32_t limit) {
  const uint32_t largest = LargestRing(limit);
  for (Unit& unit : units_) {
    const uint32_t log2size = std::min(unit.info.max_queue_log2, largest);
    const size_t bytes = kCommandSize << log2size;
    for (uint32_t i = 0; i < std::min(limit, unit.info.vcmdqs); ++i) {
      const auto ring = memory_->Allocate(bytes);
      if (!ring) return {ExitCode::kUsage, "the guest's memory is too small for its queues"};
      if (berth_vmm_alloc_queue(vmm(), unit.index, i, ring->guest_address, bytes) != 0) {
        return CallFailed("vCMDQ " + std::to_string(i) + " of " + unit.info.id);
      }
      unit.queues.emplace_back(unit.page0, i, ring->data, log2size);
      BERTH_EXAMPLE_TRY(unit.queues.back().Enable());
    }
  }
  return {};
}

Outcome Guest::StartStreams() {
  for (uint32_t i = 0; i < info_.device_count; ++i) {
    Device& device = devices_.emplace_back();
    device.index = i;
    int cdev = -1;
    if (berth_vmm_get_device(vmm(), i, &device.info, sizeof(device.info), &cdev) != 0) {
      return CallFailed("device " + std::to_string(i));
    }
    device.cdev.Reset(cdev);
    device.vsid = (i + 1) << 3;  // the guest sees it at 00:i+1.0
    units_[device.info.unit].vsids.push_back(device.vsid);
    BERTH_EXAMPLE_TRY(StartStream(&device));
  }
  return {};
}

Outcome Guest::StartStream(Device* device) {
  uint64_t ste[2] = {};
  if (device->index == 0) {
    device->mode = BERTH_VMM_STREAM_TRANSLATE;
    BERTH_EXAMPLE_TRY(MakeTables(ste));
  }
  if (berth_vmm_set_stream(vmm(), device->index, device->vsid, device->mode, ste) != 0) {
    return CallFailed(std::string("stream of ") + device->info.address);
  }
  return {};
}

Outcome Guest::MakeTables(uint64_t ste[2]) {
  const auto context = memory_->Allocate(kTable);
  const auto page_table = memory_->Allocate(kTable);
  if (!context || !page_table) return {ExitCode::kUsage, "the guest's memory is too small"};
  const uint64_t descriptor[8] = {kCdT0sz | kCdCachedWalks | kCdNoTtbr1 | kCdValid | kCdIps40Bits |
                                      kCdAarch64RecordAbort | kCdAsid1,
                                  page_table->guest_address, 0, kMairNormal};
  std::memcpy(context->data, descriptor, sizeof(descriptor));
  ste[0] = kSteValidStage1 | context->guest_address;
  ste[1] = kSteAttributes;
  return {};
}

Outcome Guest::ResetGuest() {
  if (berth_vmm_reset_guest(vmm()) != 0) return CallFailed("reset");
  for (Unit& unit : units_) {
    for (const CommandQueue& queue : unit.queues) {
      if (queue.enabled()) {
        return {ExitCode::kHardware, "a vCMDQ is still enabled after the reset"};
      }
    }
    unit.queues.clear();
  }
  return {};
}

Outcome Guest::Detach() {
  devices_.clear();
  for (Unit& unit : units_) unit.queues.clear();
  if (berth_vmm_detach(vmm()) != 0) return CallFailed("detach");
  return {};
}

}  // namespace berth::example
