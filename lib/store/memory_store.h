// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_LIB_STORE_MEMORY_STORE_H_
#define BERTH_LIB_STORE_MEMORY_STORE_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "lib/store/medium.h"
#include "lib/store/store.h"

namespace berth {

// What a MemoryStore leaves behind when it is closed: the medium, for tests that restart a
// controller and for controllers that need not remember. Thread-safe.
class MemoryMedium : public StoreMedium {
 public:
  MemoryMedium();
  ~MemoryMedium() override;
  MemoryMedium(const MemoryMedium&) = delete;
  MemoryMedium& operator=(const MemoryMedium&) = delete;

  [[nodiscard]] std::string Name() const override { return "memory"; }
  // It always has a store: an empty one, at first.
  absl::StatusOr<StoreSnapshot> Read(const Store::OnBroken& on_broken) override;
  absl::StatusOr<std::shared_ptr<const void>> Hold() override;
  absl::Status Write(const StoreSnapshot& snapshot, IfExists if_exists) override;

  // Makes one record unreadable, as rot on a disk would. False when there is no such record.
  bool Damage(const RecordKey& key);

 private:
  friend class MemoryStore;
  struct State;
  std::unique_ptr<State> state_;
};

// A Store without a disk. kStoreLocked while another store is open on `medium`.
absl::StatusOr<std::unique_ptr<Store>> OpenMemoryStore(std::shared_ptr<MemoryMedium> medium,
                                                       const StoreOptions& options = {});

}  // namespace berth

#endif  // BERTH_LIB_STORE_MEMORY_STORE_H_
