// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_LIB_EMULATOR_HARDWARE_SMMU_STAGE2_H_
#define BERTH_LIB_EMULATOR_HARDWARE_SMMU_STAGE2_H_

#include <cstdint>
#include <map>
#include <memory>
#include <optional>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "lib/emulator/hardware/smmu/memory.h"

namespace berth::emulator {

// Who may do what.
struct Rights {
  bool read = false;
  bool write = false;
  [[nodiscard]] bool allows(Rights wanted) const {
    return (read || !wanted.read) && (write || !wanted.write);
  }
};

// The second stage of translation: intermediate physical addresses (a guest's physical addresses)
// to memory. It has no tables in memory: it is what an IOAS maps. Thread-safe. Whoever takes
// something away invalidates the caches of the SMMUs afterwards (Smmu::OnStage2Change()).
class Stage2 {
 public:
  // `memory` from `offset` on for [first, last], which meets no other stretch.
  void Map(uint64_t first, uint64_t last, std::shared_ptr<const Memory> memory, uint64_t offset,
           Rights access);
  // The stretch that begins at `first`, if there is one.
  void Unmap(uint64_t first);

  // What one address leads to, and how far the stretch goes around it.
  struct Target {
    std::shared_ptr<const Memory> memory;
    uint64_t offset = 0;
    uint64_t first = 0;
    uint64_t last = 0;
    Rights access;
  };
  [[nodiscard]] std::optional<Target> Find(uint64_t address) const;

 private:
  struct Stretch {
    uint64_t last = 0;
    std::shared_ptr<const Memory> memory;
    uint64_t offset = 0;
    Rights access;
  };
  mutable absl::Mutex mu_;
  std::map<uint64_t, Stretch> stretches_ ABSL_GUARDED_BY(mu_);  // by first address
};

}  // namespace berth::emulator

#endif  // BERTH_LIB_EMULATOR_HARDWARE_SMMU_STAGE2_H_
