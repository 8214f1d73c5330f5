// SPDX-License-Identifier: Apache-2.0
#include "lib/emulator/hardware/cmdqv.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <bit>
#include <cerrno>
#include <cstdlib>
#include <mutex>
#include <span>
#include <utility>

#include "lib/base/unique_fd.h"
#include "lib/emulator/hardware/peek_gate.h"
#include "lib/emulator/hardware/poller.h"
#include "lib/emulator/hardware/queue_watch.h"
#include "lib/emulator/hardware/turn_lock.h"
#include "lib/emulator/hardware/unit_state.h"
#include "lib/emulator/hardware/vintf.h"

namespace berth::emulator {
namespace {

// Shared registers outside page0 are looked at in one of so many looks while there is work, and in
// each when there is none: in some tenths of a millisecond.
constexpr uint32_t kLooksPerConfig = 64;

bool IsPowerOfTwoUpTo(int value, int limit) {
  return value > 0 && value <= limit && std::has_single_bit(static_cast<unsigned>(value));
}

bool IsValid(const CmdqvConfig& config) {
  return IsPowerOfTwoUpTo(config.vintfs, kMaxVintfs) &&
         IsPowerOfTwoUpTo(config.vcmdqs, kMaxVcmdqs) && config.vcmdqs >= config.vintfs &&
         IsPowerOfTwoUpTo(config.sid_slots, kMaxSidSlots) && config.version >= 0 &&
         config.version < 16;
}

}  // namespace

class Cmdqv::Impl : public PolledUnit {
 public:
  Impl(CmdqvConfig config, RegisterBlock registers);
  ~Impl() override;

  [[nodiscard]] const CmdqvConfig& config() const { return config_; }
  [[nodiscard]] RegisterView registers() const { return registers_.view(); }

  void Serve(int vintf);
  int NewPage0(int vintf);
  [[nodiscard]] int Page0Fd(int vintf);
  int RetirePage0(int vintf);
  void DropPage0(int vintf);
  [[nodiscard]] std::vector<int> EnabledVintfs() const;
  bool Poll();

  Found LookAround(int worker) override;

  // What `question` says of an enabled VINTF.
  template <typename Question>
  auto Ask(int vintf, Question question) -> decltype(question(std::declval<const Vintf&>())) {
    if (!Exists(vintf)) return std::nullopt;
    Place& place = *places_[vintf];
    const TurnLockHolder lock(&place.lock);
    return place.vintf.enabled() ? question(place.vintf) : std::nullopt;
  }

 private:
  // A VINTF with what belongs to it alone.
  struct Place {
    Place(UnitState* unit, int index, std::span<QueueWatch> watches)
        : vintf(unit, index, watches) {}
    TurnLock lock;
    Vintf vintf ABSL_GUARDED_BY(lock);
    UniqueFd page0 ABSL_GUARDED_BY(lock);
  };

  // Whether there is nothing to do for `vintf`, as far as can be seen without its lock.
  [[nodiscard]] bool IsQuiet(const PeekGate::Round& round, int vintf) const;
  void PrefetchQueues() const;
  [[nodiscard]] std::span<QueueWatch> WatchesOf(int vintf) {
    const auto queues = static_cast<size_t>(config_.vcmdqs / config_.vintfs);
    return std::span(watches_).subspan(static_cast<size_t>(vintf) * queues, queues);
  }
  [[nodiscard]] bool Exists(int vintf) const { return vintf >= 0 && vintf < std::ssize(places_); }
  bool LookAtConfigs();
  Found LookAtQueues(int worker);
  void DeliverInterrupt();

  const CmdqvConfig config_;
  RegisterBlock registers_;  // its page0s are each guarded by their place's lock
  UnitState unit_{config_, registers_.view()};
  std::vector<QueueWatch> watches_{static_cast<size_t>(config_.vcmdqs)};  // by static partition
  std::vector<std::unique_ptr<Place>> places_;
  std::atomic<uint64_t> unwatched_ = 0;  // VINTFs with other queues
  PeekGate gate_;                        // before the page0 of a VINTF is replaced
  std::atomic<uint32_t> looks_ = 0;
  std::atomic<bool> idle_ = true;
  std::mutex delivering_;
  std::unique_ptr<Poller> own_poller_;
  Poller* poller_ = nullptr;
};

Cmdqv::Impl::Impl(CmdqvConfig config, RegisterBlock registers)
    : config_(std::move(config)), registers_(std::move(registers)) {
  for (int i = 0; i < config_.vintfs; ++i) {
    places_.push_back(std::make_unique<Place>(&unit_, i, WatchesOf(i)));
  }
  registers_.view().Store(config_page::kConfig, kConfigAtReset);
  unit_.Look();
  if (config_.polling == CmdqvConfig::Polling::kManual) return;
  poller_ = config_.poller;
  if (poller_ == nullptr) {
    own_poller_ = std::make_unique<Poller>(PollerOptions{});
    poller_ = own_poller_.get();
  }
  poller_->Add(this);
}

Cmdqv::Impl::~Impl() {
  if (poller_ != nullptr) poller_->Remove(this);
}

void Cmdqv::Impl::Serve(int vintf) {
  if (!Exists(vintf)) return;
  if (unit_.Look()) LookAtConfigs();
  {
    const TurnLockHolder lock(&places_[vintf]->lock);
    places_[vintf]->vintf.LookAtConfig();
    places_[vintf]->vintf.Settle();
  }
  if (poller_ != nullptr) poller_->Wake();
}

int Cmdqv::Impl::NewPage0(int vintf) {
  if (!Exists(vintf)) return -EINVAL;
  UniqueFd fd(::memfd_create("vintf-page0", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd.valid() || ::ftruncate(fd.get(), kPage0Size) != 0 ||
      ::fcntl(fd.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) != 0) {
    return -errno;
  }
  const TurnLockHolder lock(&places_[vintf]->lock);
  const PeekGate::Closed closed(&gate_, vintf);
  const int rc = registers_.MovePage0(vintf, fd.get());
  if (rc != 0) return rc;
  places_[vintf]->page0 = std::move(fd);
  places_[vintf]->vintf.SetPage0(true);
  return 0;
}

int Cmdqv::Impl::Page0Fd(int vintf) {
  if (!Exists(vintf)) return -EINVAL;
  const TurnLockHolder lock(&places_[vintf]->lock);
  return places_[vintf]->page0.valid() ? places_[vintf]->page0.get() : -ENOENT;
}

// F_SEAL_WRITE is refused while anyone has the file mapped shared and could write to it (Linux
// mm/memfd.c), which is just the question whether a page0 is still mapped somewhere. It is asked
// without the lock: the kernel may wait 150 ms for someone's pins of the pages.
int Cmdqv::Impl::RetirePage0(int vintf) {
  const int fd = Page0Fd(vintf);
  if (fd < 0) return fd;
  Place& place = *places_[vintf];
  {
    const TurnLockHolder lock(&place.lock);
    const PeekGate::Closed closed(&gate_, vintf);
    place.vintf.SetPage0(false);
    registers_.ReturnPage0(vintf);
  }
  if (::fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE) == 0) return 0;
  const int error = errno;
  // EPERM: someone with the fd has sealed the seals, so that the question cannot be asked.
  // The page is out of use in any case, and nobody but that peer can have it mapped.
  if (error == EPERM) return 0;
  const TurnLockHolder lock(&place.lock);
  const PeekGate::Closed closed(&gate_, vintf);
  // Fails when a peer has forbidden future writes; then its queues stay as they are.
  if (registers_.MovePage0(vintf, fd) == 0) place.vintf.SetPage0(true);
  return -error;
}

void Cmdqv::Impl::DropPage0(int vintf) {
  if (!Exists(vintf)) return;
  const TurnLockHolder lock(&places_[vintf]->lock);
  const PeekGate::Closed closed(&gate_, vintf);
  registers_.ReturnPage0(vintf);
  places_[vintf]->page0.Reset();
  places_[vintf]->vintf.SetPage0(true);
}

std::vector<int> Cmdqv::Impl::EnabledVintfs() const {
  std::vector<int> result;
  for (uint64_t left = unit_.active(); left != 0; left &= left - 1) {
    result.push_back(std::countr_zero(left));
  }
  return result;
}

bool Cmdqv::Impl::Poll() {
  if (poller_ != nullptr) std::abort();
  return LookAround(0) >= Found::kWork;
}

PolledUnit::Found Cmdqv::Impl::LookAround(int worker) {
  const Found nothing = registers_.shared() ? Found::kNothing : Found::kNobody;
  bool changed = false;
  if (registers_.shared() &&
      (idle_.load(std::memory_order_relaxed) ||
       looks_.fetch_add(1, std::memory_order_relaxed) % kLooksPerConfig == 0)) {
    unit_.Look();
    changed = LookAtConfigs();
  }
  Found found = unit_.active() == 0 ? nothing : LookAtQueues(worker);
  if (changed) found = std::max(found, Found::kWork);
  idle_.store(found < Found::kWork, std::memory_order_relaxed);
  if (unit_.interrupt_pending()) DeliverInterrupt();
  return found;
}

bool Cmdqv::Impl::LookAtConfigs() {
  bool changed = false;
  for (const auto& place : places_) {
    const TurnLockHolder lock(&place->lock);
    changed |= place->vintf.LookAtConfig();
  }
  return changed;
}

// Each worker begins elsewhere, so that they meet seldom; who is met is passed by.
PolledUnit::Found Cmdqv::Impl::LookAtQueues(int worker) {
  constexpr int kStep = 29;  // prime to 64, so that neighbours are far apart
  const int start = worker * kStep % 64;
  if (idle_.load(std::memory_order_relaxed)) PrefetchQueues();
  const PeekGate::Round round(&gate_, worker);
  int busy = 0;
  for (uint64_t left = std::rotr(unit_.active(), start); left != 0; left &= left - 1) {
    const int vintf = (std::countr_zero(left) + start) % 64;
    if (IsQuiet(round, vintf)) continue;
    Place& place = *places_[vintf];
    if (!place.lock.TryLock()) {
      ++busy;
      continue;
    }
    if (place.vintf.Look()) ++busy;
    if (place.vintf.has_unwatched()) unwatched_.fetch_or(uint64_t{1} << vintf);
    place.lock.Unlock();
  }
  return busy == 0 ? Found::kNothing : busy == 1 ? Found::kWork : Found::kMuchWork;
}

// After a long rest nothing of it is in any cache, and each VINTF lies in a page of its own: to ask
// for all at once is faster than for one after the other.
void Cmdqv::Impl::PrefetchQueues() const {
  const int queues = config_.vcmdqs / config_.vintfs;
  for (uint64_t left = unit_.active(); left != 0; left &= left - 1) {
    const std::byte* page0 = registers_.view().data() + VintfPage0(std::countr_zero(left));
    for (int q = 0; q < queues; ++q) {
      __builtin_prefetch(page0 + kLvcmdqStride * static_cast<size_t>(q));
    }
  }
}

bool Cmdqv::Impl::IsQuiet(const PeekGate::Round& round, int vintf) const {
  if (!round.MayPeek(vintf)) return false;
  if ((unwatched_.load(std::memory_order_relaxed) >> vintf & 1) != 0) return false;
  const int queues = config_.vcmdqs / config_.vintfs;
  std::byte* page0 = registers_.view().At(VintfPage0(vintf)).data();
  for (int q = 0; q < queues; ++q) {
    if (!watches_[vintf * queues + q].StillQuiet(LvcmdqRegisters(page0, q))) return false;
  }
  return true;
}

void Cmdqv::Impl::DeliverInterrupt() {
  const std::unique_lock lock(delivering_, std::try_to_lock);
  // One at a time; what is pending then is delivered at a later look.
  if (!lock.owns_lock() || !unit_.TakeInterrupt()) return;
  if (config_.on_interrupt) config_.on_interrupt();
}

Cmdqv::Cmdqv(CmdqvConfig config) {
  if (!IsValid(config)) std::abort();
  auto registers = RegisterBlock::Create(config.vintfs);
  if (!registers.ok()) std::abort();
  impl_ = std::make_unique<Impl>(std::move(config), *std::move(registers));
}

Cmdqv::Cmdqv(CmdqvConfig config, RegisterBlock registers) {
  if (!IsValid(config)) std::abort();
  impl_ = std::make_unique<Impl>(std::move(config), std::move(registers));
}

Cmdqv::~Cmdqv() = default;

const CmdqvConfig& Cmdqv::config() const { return impl_->config(); }

int Cmdqv::lvcmdqs_per_vintf() const { return config().vcmdqs / config().vintfs; }

uint32_t Cmdqv::param() const { return ParamOf(config()); }

RegisterView Cmdqv::registers() const { return impl_->registers(); }

void Cmdqv::Serve(int vintf) { impl_->Serve(vintf); }

int Cmdqv::NewPage0(int vintf) { return impl_->NewPage0(vintf); }

int Cmdqv::Page0Fd(int vintf) const { return impl_->Page0Fd(vintf); }

int Cmdqv::RetirePage0(int vintf) { return impl_->RetirePage0(vintf); }

void Cmdqv::DropPage0(int vintf) { impl_->DropPage0(vintf); }

std::optional<VintfSnapshot> Cmdqv::Snapshot(int vintf) const {
  return impl_->Ask(vintf, [](const Vintf& v) { return std::optional(v.Snapshot()); });
}

std::optional<LvcmdqCounters> Cmdqv::Counters(int vintf, int lvcmdq) const {
  return impl_->Ask(vintf, [&](const Vintf& v) -> std::optional<LvcmdqCounters> {
    const Lvcmdq* found = v.lvcmdq(lvcmdq);
    if (found == nullptr) return std::nullopt;
    return found->counters();
  });
}

std::vector<int> Cmdqv::EnabledVintfs() const { return impl_->EnabledVintfs(); }

bool Cmdqv::Poll() { return impl_->Poll(); }

}  // namespace berth::emulator
