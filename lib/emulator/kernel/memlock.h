// SPDX-License-Identifier: Apache-2.0
//
// What pinned memory is charged to (Linux drivers/iommu/iommufd/pages.c, do_update_pinned()).
#ifndef BERTH_LIB_EMULATOR_KERNEL_MEMLOCK_H_
#define BERTH_LIB_EMULATOR_KERNEL_MEMLOCK_H_

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <utility>

namespace berth::emulator {

// Who made a call, as far as its memory is concerned.
struct Payer {
  uid_t user = 0;
  pid_t process = 0;
  uint64_t limit = ~uint64_t{0};  // RLIMIT_MEMLOCK, bytes
  bool exempt = false;            // has CAP_IPC_LOCK
};

enum class AccountMode : uint8_t { kNone, kUser, kProcess };

// The pages charged to each user, and in RLIMIT_MODE to each process. Not thread-safe: the kernel's
// lock covers it.
class MemlockLedger {
 public:
  explicit MemlockLedger(uint64_t page_size) : page_size_(page_size) {}

  // 0; -ENOMEM: that would be more than the payer's limit.
  int Charge(AccountMode mode, const Payer& payer, uint64_t pages);
  void Release(AccountMode mode, const Payer& payer, uint64_t pages);
  // Pages charged to a user (or process), for introspection.
  [[nodiscard]] uint64_t Charged(AccountMode mode, const Payer& payer) const;

 private:
  using Key = std::pair<AccountMode, int64_t>;
  static Key KeyOf(AccountMode mode, const Payer& payer);

  uint64_t page_size_;
  std::map<Key, uint64_t> pages_;
};

// How often each page of something is pinned.
class PinCounts {
 public:
  // Pages [first, last]. Returns how many of them were not pinned before, or are not any more.
  uint64_t Add(uint64_t first, uint64_t last);
  uint64_t Remove(uint64_t first, uint64_t last);
  // Pages that are pinned at least once.
  [[nodiscard]] uint64_t pinned() const { return pinned_; }

 private:
  uint64_t Change(uint64_t first, uint64_t last, int64_t by);

  std::map<uint64_t, int64_t> steps_;  // page -> what the count changes by there
  uint64_t pinned_ = 0;
};

// The pinned pages of one mapped stretch, and who pays for them. A page that is mapped twice is
// pinned and paid once.
class MemlockAccount {
 public:
  MemlockAccount(MemlockLedger* ledger, AccountMode mode, const Payer& payer)
      : ledger_(ledger), mode_(payer.exempt ? AccountMode::kNone : mode), payer_(payer) {}
  MemlockAccount(const MemlockAccount&) = delete;
  MemlockAccount& operator=(const MemlockAccount&) = delete;

  // Pages [first, last] of the stretch: 0 or -ENOMEM.
  int Pin(uint64_t first, uint64_t last);
  void Unpin(uint64_t first, uint64_t last);

  // CHANGE_PROCESS in two steps: charges `payer`, too (0 or -ENOMEM); then only `payer`, or only
  // who paid before.
  int ChargeToo(const Payer& payer);
  void Commit(const Payer& payer);
  void Abort(const Payer& payer);

 private:
  // Whether `payer` is another than who pays.
  [[nodiscard]] bool Moves(const Payer& payer) const;

  MemlockLedger* ledger_;
  AccountMode mode_;
  Payer payer_;
  PinCounts pins_;
};

}  // namespace berth::emulator

#endif  // BERTH_LIB_EMULATOR_KERNEL_MEMLOCK_H_
