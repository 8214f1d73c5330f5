// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_TESTS_BENCH_HARDWARE_UNIT_H_
#define BERTH_TESTS_BENCH_HARDWARE_UNIT_H_

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <utility>
#include <vector>

#include "lib/emulator/hardware/poller.h"
#include "lib/emulator/kernel/tegra241_cmdqv.h"
#include "tests/bench/hardware/filled_caches.h"
#include "tests/emulator/hardware/guest.h"

namespace berth::bench {

// A unit with `vintfs` VINTFs, all queues of which are mapped and enabled. Nothing waits here but
// by spinning: what is measured is the model.
class Unit {
 public:
  Unit(int vintfs, uint32_t log2size, emulator::Poller* poller, emulator::InvalidationSink* sink)
      : cmdqv_(ConfigOf(poller, sink), {}) {
    for (int i = 1; i <= vintfs; ++i) {
      const int vintf = cmdqv_.AllocVintf(0, static_cast<uint16_t>(i));
      pages_.push_back(emulator::testing::MapPage0(cmdqv_, vintf));
      for (int q = 0; q < cmdqv_.lvcmdqs_per_vintf(); ++q) {
        emulator::testing::Ring ring(log2size);
        cmdqv_.MapLvcmdq(vintf, q, ring.memory(), log2size);
        queues_.emplace_back(pages_.back().data(), q, ring, [] {});
        if (!queues_.back().Enable()) std::abort();
      }
    }
  }

  [[nodiscard]] emulator::testing::GuestQueue& queue(size_t index) { return queues_[index]; }
  [[nodiscard]] size_t queues() const { return queues_.size(); }
  // Commands that queue `index` has executed.
  [[nodiscard]] uint64_t Executed(size_t index) const {
    const auto per_vintf = static_cast<size_t>(cmdqv_.lvcmdqs_per_vintf());
    const auto counters = cmdqv_.hardware().Counters(static_cast<int>(index / per_vintf) + 1,
                                                     static_cast<int>(index % per_vintf));
    return counters->executed.total();
  }

 private:
  static emulator::CmdqvConfig ConfigOf(emulator::Poller* poller,
                                        emulator::InvalidationSink* sink) {
    emulator::CmdqvConfig config;
    config.poller = poller;
    config.sink = sink;
    return config;
  }

  emulator::Tegra241Cmdqv cmdqv_;
  std::vector<Mapping> pages_;
  std::vector<emulator::testing::GuestQueue> queues_;
};

// Fills a ring with `tlbis` TLBIs for one CMD_SYNC, over and over: of pages beside those that
// FilledCaches has cached. Each is looked for among them, and they all stay.
inline void FillRing(const emulator::testing::Ring& ring, uint32_t tlbis) {
  // TLBI_NH_VA of one 4 KiB page as Linux writes it, other pages each time.
  for (uint32_t i = 0; i < ring.size(); ++i) {
    const uint64_t page = FilledCaches::kEnd + (uint64_t{i} % 4096) * 4096;
    ring.Write(i, i % (tlbis + 1) == tlbis
                      ? emulator::testing::kSync
                      : emulator::RawCommand{0x0009000000000012, page | 0x701});
  }
}

}  // namespace berth::bench

#endif  // BERTH_TESTS_BENCH_HARDWARE_UNIT_H_
