// SPDX-License-Identifier: Apache-2.0
#include "lib/emulator/hardware/cmdqv.h"

#include <fcntl.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstdlib>
#include <utility>

#include "lib/emulator/hardware/poller.h"
#include "lib/emulator/hardware/vintf.h"

namespace berth::emulator {
namespace {

bool IsPowerOfTwoUpTo(int value, int limit) {
  return value > 0 && value <= limit && std::has_single_bit(static_cast<unsigned>(value));
}

uint32_t Log2(int power) {
  return static_cast<uint32_t>(std::countr_zero(static_cast<unsigned>(power)));
}

}  // namespace

class Cmdqv::Impl {
 public:
  explicit Impl(CmdqvConfig config) : config_(std::move(config)), vintfs_(config_.vintfs) {
    if (config_.polling == CmdqvConfig::Polling::kThread) {
      poller_.emplace(
          &mu_, config_.max_idle_wait,
          [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return Sweep(&swept_); },
          [this] { Deliver(&swept_); });
    }
  }

  [[nodiscard]] const CmdqvConfig& config() const { return config_; }

  int AllocVintf(uint64_t cookie);
  int FreeVintf(int vintf);
  int RetirePage0(int vintf);
  [[nodiscard]] std::vector<int> AllocatedVintfs();
  bool Poll();

  // Calls `change` on the VINTF, with the model held still, and lets the model look at once.
  template <typename Change>
  int Do(int vintf, Change change) {
    mu_.Lock();
    Vintf* found = Find(vintf);
    const int result = found == nullptr ? -ENOENT : change(*found);
    mu_.UnlockAndWake();
    return result;
  }
  // The same for questions; nullopt when there is no such VINTF.
  template <typename Question>
  auto Ask(int vintf, Question question) -> decltype(question(std::declval<const Vintf&>())) {
    mu_.Lock();
    const Vintf* found = Find(vintf);
    decltype(question(*found)) answer;
    if (found != nullptr) answer = question(*found);
    mu_.Unlock();
    return answer;
  }

 private:
  using Found = Poller::Found;

  Vintf* Find(int vintf) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    return vintf > 0 && vintf < std::ssize(vintfs_) ? vintfs_[vintf].get() : nullptr;
  }
  Found Sweep(std::vector<VintfError>* errors) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Deliver(std::vector<VintfError>* errors);

  const CmdqvConfig config_;
  PolledMutex mu_;
  std::vector<std::unique_ptr<Vintf>> vintfs_ ABSL_GUARDED_BY(mu_);
  std::vector<VintfError> swept_;  // the poller's own
  std::optional<Poller> poller_;   // last: its thread uses the rest
};

int Cmdqv::Impl::AllocVintf(uint64_t cookie) {
  int result = -ENOSPC;
  mu_.Lock();
  for (int i = 1; i < std::ssize(vintfs_); ++i) {
    if (vintfs_[i] != nullptr) continue;
    int error = 0;
    vintfs_[i] = Vintf::Create(config_, i, cookie, &error);
    result = error == 0 ? i : error;
    break;
  }
  mu_.UnlockAndWake();
  return result;
}

int Cmdqv::Impl::FreeVintf(int vintf) {
  mu_.Lock();
  std::unique_ptr<Vintf> freed;
  if (Find(vintf) != nullptr) freed = std::move(vintfs_[vintf]);
  mu_.Unlock();
  return freed == nullptr ? -ENOENT : 0;
}

// F_SEAL_WRITE is refused while anyone has the file mapped shared and could write to it (Linux
// mm/memfd.c), which is just the question whether a page0 is still mapped somewhere. It is asked
// without the lock: the kernel may wait 150 ms for someone's pins of the pages.
int Cmdqv::Impl::RetirePage0(int vintf) {
  std::shared_ptr<const UniqueFd> fd;
  const int found = Do(vintf, [&](Vintf& v) {
    fd = v.page0_fd();
    v.DropPage0();
    return 0;
  });
  if (found != 0) return found;
  if (::fcntl(fd->get(), F_ADD_SEALS, F_SEAL_WRITE) == 0) return 0;
  const int error = errno;
  // EPERM: someone with the fd has sealed the seals, so that the question cannot be asked.
  // The page is out of use in any case, and nobody but that peer can have it mapped.
  if (error == EPERM) return 0;
  // Fails when a peer has forbidden future writes; then its queues stay as they are.
  (void)Do(vintf, [](Vintf& v) { return v.RestorePage0(); });
  return -error;
}

std::vector<int> Cmdqv::Impl::AllocatedVintfs() {
  std::vector<int> result;
  mu_.Lock();
  for (int i = 1; i < std::ssize(vintfs_); ++i) {
    if (vintfs_[i] != nullptr) result.push_back(i);
  }
  mu_.Unlock();
  return result;
}

bool Cmdqv::Impl::Poll() {
  if (poller_.has_value()) std::abort();
  std::vector<VintfError> errors;
  mu_.Lock();
  const Found found = Sweep(&errors);
  mu_.Unlock();
  Deliver(&errors);
  return found >= Found::kWork;
}

Poller::Found Cmdqv::Impl::Sweep(std::vector<VintfError>* errors) {
  Found found = Found::kNobody;
  for (const std::unique_ptr<Vintf>& vintf : vintfs_) {
    if (vintf == nullptr) continue;
    found = std::max(found, vintf->Look(errors) ? Found::kWork : Found::kNothing);
    mu_.GiveWay();  // `vintf` may be another one from here on, the table stays where it is
  }
  return errors->empty() ? found : Found::kEvents;
}

void Cmdqv::Impl::Deliver(std::vector<VintfError>* errors) {
  for (const VintfError& error : *errors) {
    if (config_.on_error) config_.on_error(error);
  }
  errors->clear();
}

Cmdqv::Cmdqv(CmdqvConfig config) {
  const bool valid = IsPowerOfTwoUpTo(config.vintfs, 64) && config.vintfs > 1 &&
                     IsPowerOfTwoUpTo(config.vcmdqs, 128) && config.vcmdqs >= config.vintfs &&
                     IsPowerOfTwoUpTo(config.sid_slots, 16) && config.version >= 0 &&
                     config.version < 16;
  if (!valid) std::abort();
  impl_ = std::make_unique<Impl>(std::move(config));
}

Cmdqv::~Cmdqv() = default;

const CmdqvConfig& Cmdqv::config() const { return impl_->config(); }

int Cmdqv::lvcmdqs_per_vintf() const { return config().vcmdqs / config().vintfs; }

uint32_t Cmdqv::param() const {
  const CmdqvConfig& c = config();
  return static_cast<uint32_t>(c.version) | Log2(c.vcmdqs) << 4 | Log2(c.vintfs) << 8 |
         Log2(c.sid_slots) << 12;
}

int Cmdqv::AllocVintf(uint64_t cookie) { return impl_->AllocVintf(cookie); }

int Cmdqv::FreeVintf(int vintf) { return impl_->FreeVintf(vintf); }

int Cmdqv::SetVmid(int vintf, uint16_t vmid) {
  return impl_->Do(vintf, [&](Vintf& v) {
    v.executor().SetVmid(vmid);
    return 0;
  });
}

int Cmdqv::Page0Fd(int vintf) const {
  return impl_->Ask(vintf, [](const Vintf& v) { return std::optional(v.page0_fd()->get()); })
      .value_or(-ENOENT);
}

int Cmdqv::RetirePage0(int vintf) { return impl_->RetirePage0(vintf); }

int Cmdqv::AddSid(int vintf, uint32_t vsid, uint32_t psid) {
  return impl_->Do(vintf, [&](Vintf& v) { return v.executor().AddSid(vsid, psid); });
}

int Cmdqv::RemoveSid(int vintf, int slot) {
  return impl_->Do(vintf, [&](Vintf& v) { return v.executor().RemoveSid(slot); });
}

int Cmdqv::MapLvcmdq(int vintf, int lvcmdq, QueueMemory memory, uint32_t log2size) {
  return impl_->Do(vintf,
                   [&](Vintf& v) { return v.MapLvcmdq(lvcmdq, std::move(memory), log2size); });
}

int Cmdqv::UnmapLvcmdq(int vintf, int lvcmdq) {
  return impl_->Do(vintf, [&](Vintf& v) { return v.UnmapLvcmdq(lvcmdq); });
}

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

std::vector<int> Cmdqv::AllocatedVintfs() const { return impl_->AllocatedVintfs(); }

bool Cmdqv::Poll() { return impl_->Poll(); }

}  // namespace berth::emulator
