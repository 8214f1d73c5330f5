// SPDX-License-Identifier: Apache-2.0
//
// What an executed command costs in the emulated SMMU's caches, without the queue that it came in.
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

#include "lib/emulator/hardware/smmu/smmu.h"
#include "lib/iommufd/uapi/smmuv3.h"
#include "tests/emulator/hardware/smmu/guest_memory.h"

namespace berth::emulator::testing {
namespace {

constexpr uint32_t kSid = 0x100;
constexpr uint16_t kVmid = 7;
constexpr uint16_t kAsid = 5;
constexpr uint64_t kVa = 0x10000000;
constexpr uint64_t kCached = 256;
constexpr int kCommands = 1 << 20;

// A device that has read kCached pages, so that as many translations are remembered.
class Bench {
 public:
  Bench() {
    const uint64_t cd = memory_.Allocate();
    WriteContext(&memory_, cd, {.asid = kAsid, .low = &tables_});
    StreamEntry entry;
    entry.config = StreamEntry::Config::kNested;
    entry.stage2 = memory_.stage2();
    entry.vmid = kVmid;
    entry.guest_ste =
        cd | uapi::kSte0Valid.Put(1) | uapi::kSte0Config.Put(uapi::kSteConfigS1Translate);
    smmu_.SetStream(kSid, std::move(entry));
    for (uint64_t i = 0; i < kCached; ++i) tables_.Map(kVa + i * 4096, memory_.Allocate());
    Fill();
  }
  void Fill() {
    std::byte byte;
    for (uint64_t i = 0; i < kCached; ++i) {
      smmu_.Read(kSid, kVa + i * 4096, std::span(&byte, 1), Translating::kBySmmu);
    }
  }

  // 63 TLBI_NH_VA to a CMD_SYNC, five times over.
  void Measure(const std::string& cached, uint16_t vmid, uint16_t asid, uint64_t pages) {
    std::vector<double> rates;
    Command command = {.opcode = Opcode::kTlbiNhVa, .leaf = true, .vmid = vmid, .asid = asid};
    command.pages = pages;
    command.ttl = 3;
    for (int play = 0; play < 5; ++play) {
      const auto start = std::chrono::steady_clock::now();
      for (uint64_t i = 0; i < kCommands; ++i) {
        // Behind what is remembered: the probes find the sets in use and the pages not there.
        command.address = kVa + (kCached + i * pages % 65536) * 4096;
        if (i % 64 == 63) {
          smmu_.Sync();
        } else {
          smmu_.Invalidate(command);
        }
      }
      const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
      rates.push_back(kCommands / took.count());
    }
    std::sort(rates.begin(), rates.end());
    std::printf(R"({"name":"smmu_commands_per_second","value":%.0f,"unit":"per_second","p50":%.0f,)"
                R"("p99":%.0f,"conditions":{"mix":"63:1","cached":"%s","pages":%d}})"
                "\n",
                rates[2], rates[2], rates[0], cached.c_str(), static_cast<int>(pages));
  }

 private:
  GuestMemory memory_;
  Tables tables_{&memory_};
  Smmu smmu_{48};
};

}  // namespace
}  // namespace berth::emulator::testing

int main() {
  using namespace berth::emulator::testing;  // NOLINT(google-build-using-namespace)
  Bench bench;
  bench.Measure("another_vm", kVmid + 1, kAsid, 1);
  bench.Measure("another_asid", kVmid, kAsid + 1, 1);
  bench.Measure("this_asid", kVmid, kAsid, 1);
  bench.Measure("this_asid", kVmid, kAsid, 16);
  bench.Measure("this_asid", kVmid, kAsid, 512);
  return 0;
}
