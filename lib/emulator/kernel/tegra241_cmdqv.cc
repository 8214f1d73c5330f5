// SPDX-License-Identifier: Apache-2.0
#include "lib/emulator/kernel/tegra241_cmdqv.h"

#include <sched.h>

#include <bit>
#include <cerrno>

#include "lib/emulator/hardware/invalidation.h"

namespace berth::emulator {
namespace {

constexpr absl::Duration kStatusTimeout = absl::Seconds(1);
constexpr uint32_t kMinLog2Size = 1;
constexpr uint32_t kMaxLog2Size = 19;

// Where the registers of an LVCMDQ lie.
size_t Page0(int vintf, int lvcmdq) {
  return VintfPage0(vintf) + kLvcmdqStride * static_cast<size_t>(lvcmdq);
}
size_t Page1(int vintf, int lvcmdq) {
  return VintfPage1(vintf) + kLvcmdqStride * static_cast<size_t>(lvcmdq);
}
size_t At(size_t page0, Register reg) { return page0 + static_cast<size_t>(reg); }

}  // namespace

Tegra241Cmdqv::Tegra241Cmdqv(CmdqvConfig config, std::function<void(const VintfError&)> on_error,
                             Clock* clock)
    : on_error_(std::move(on_error)), clock_(clock), hardware_([&] {
        config.memory = &memory_;
        config.on_interrupt = [this] { HandleInterrupt(); };
        return std::move(config);
      }()) {
  (void)Reset();  // new hardware is alive
}

// tegra241_cmdqv_hw_reset().
int Tegra241Cmdqv::Reset() {
  const RegisterView registers = hardware_.registers();
  const uint32_t config = registers.Load(config_page::kConfig) & ~kEnable;
  registers.Store(config_page::kConfig, config);
  if (int rc = AwaitStatus(0, config_page::kStatus, 0); rc != 0) return rc;
  registers.Store(config_page::kConfig, config | kEnable);
  if (int rc = AwaitStatus(0, config_page::kStatus, kEnable); rc != 0) return rc;
  for (int vintf = 0; vintf < hardware_.config().vintfs; ++vintf) {
    for (int lvcmdq = 0; lvcmdq < lvcmdqs_per_vintf(); ++lvcmdq) {
      registers.Store(config_page::CmdqAlloc(VcmdqOf(vintf, lvcmdq)),
                      CmdqAllocValue(vintf, lvcmdq));
    }
  }
  return EnableVintf(0, kVintfHypOwn);
}

// tegra241_vintf_write_config(): first without EN, then with it.
int Tegra241Cmdqv::EnableVintf(int vintf, uint32_t config) {
  const RegisterView registers = hardware_.registers();
  const size_t base = config_page::Vintf(vintf);
  registers.Store(base + vintf_config::kConfig, config);
  registers.Store(base + vintf_config::kConfig, config | kEnable);
  return AwaitStatus(vintf, base + vintf_config::kStatus, kEnable);
}

// tegra241_vintf_hw_deinit(), without its queues: a time-out is logged, no more.
void Tegra241Cmdqv::DisableVintf(int vintf) {
  const RegisterView registers = hardware_.registers();
  const size_t base = config_page::Vintf(vintf);
  registers.Store(base + vintf_config::kConfig, 0);
  (void)AwaitStatus(vintf, base + vintf_config::kStatus, 0);
  for (int slot = 0; slot < hardware_.config().sid_slots; ++slot) {
    registers.Store(base + vintf_config::SidMatch(slot), 0);
    registers.Store(base + vintf_config::SidReplace(slot), 0);
  }
}

int Tegra241Cmdqv::AwaitStatus(int vintf, size_t offset, uint32_t enabled) {
  const auto follows = [&] { return (hardware_.registers().Load(offset) & kEnable) == enabled; };
  const auto& goes_wrong = hardware_.config().goes_wrong;
  // One that need not change is right where it is stuck.
  if (goes_wrong && !follows() && goes_wrong(HardwareFault::kStuckStatus, 0)) {
    stuck_for_ += kStatusTimeout;
    return -ETIMEDOUT;
  }
  const absl::Time deadline = clock_->Now() + kStatusTimeout;
  for (;;) {
    hardware_.Serve(vintf);
    if (follows()) return 0;
    if (clock_->Now() > deadline) return -ETIMEDOUT;
    ::sched_yield();
  }
}

Tegra241Cmdqv::VintfUse* Tegra241Cmdqv::Find(int vintf) {
  const auto found = vintfs_.find(vintf);
  return found != vintfs_.end() ? &found->second : nullptr;
}

// tegra241_cmdqv_init_vintf_user().
int Tegra241Cmdqv::AllocVintf(uint64_t cookie, uint16_t vmid) {
  int vintf = 1;
  while (vintfs_.contains(vintf)) ++vintf;
  if (vintf >= hardware_.config().vintfs) return -ENOSPC;
  if (int rc = hardware_.NewPage0(vintf); rc != 0) return rc;
  DisableVintf(vintf);
  if (int rc = EnableVintf(vintf, uint32_t{vmid} << kVintfVmidShift); rc != 0) {
    hardware_.DropPage0(vintf);
    return rc;
  }
  vintfs_.try_emplace(vintf);
  cookies_[vintf] = cookie;
  return vintf;
}

int Tegra241Cmdqv::FreeVintf(int vintf) {
  VintfUse* use = Find(vintf);
  if (use == nullptr) return -ENOENT;
  while (!use->queues.empty()) DoUnmap(vintf, use->queues.rbegin()->first, use);
  DisableVintf(vintf);
  hardware_.Serve(vintf);
  cookies_[vintf] = 0;
  hardware_.DropPage0(vintf);
  vintfs_.erase(vintf);
  return 0;
}

int Tegra241Cmdqv::Page0Fd(int vintf) const {
  return vintfs_.contains(vintf) ? hardware_.Page0Fd(vintf) : -ENOENT;
}

int Tegra241Cmdqv::RetirePage0(int vintf) {
  return vintfs_.contains(vintf) ? hardware_.RetirePage0(vintf) : -ENOENT;
}

// tegra241_vintf_init_vsid().
int Tegra241Cmdqv::AddSid(int vintf, uint32_t vsid, uint32_t psid) {
  VintfUse* use = Find(vintf);
  if (use == nullptr) return -ENOENT;
  if (vsid > kMaxSid || psid > kMaxSid) return -EINVAL;
  for (const auto& [slot, taken] : use->sids) {
    if (taken == vsid) return -EEXIST;
  }
  int slot = 0;
  while (use->sids.contains(slot)) ++slot;
  if (slot >= hardware_.config().sid_slots) return -ENOSPC;
  use->sids[slot] = vsid;
  const RegisterView base = hardware_.registers().At(config_page::Vintf(vintf));
  base.Store(vintf_config::SidReplace(slot), psid);
  base.Store(vintf_config::SidMatch(slot), vsid << kSidMatchShift | kSidMatchEnable);
  return slot;
}

int Tegra241Cmdqv::RemoveSid(int vintf, int slot) {
  VintfUse* use = Find(vintf);
  if (use == nullptr) return -ENOENT;
  if (use->sids.erase(slot) == 0) return -EINVAL;
  const RegisterView base = hardware_.registers().At(config_page::Vintf(vintf));
  base.Store(vintf_config::SidMatch(slot), 0);
  base.Store(vintf_config::SidReplace(slot), 0);
  return 0;
}

// tegra241_vcmdq_hw_deinit(): a time-out is logged, no more.
void Tegra241Cmdqv::ResetLvcmdq(int vintf, int lvcmdq) {
  const RegisterView registers = hardware_.registers();
  const size_t page0 = Page0(vintf, lvcmdq);
  registers.Store(At(page0, Register::kConfig), 0);
  (void)AwaitStatus(vintf, At(page0, Register::kStatus), 0);
  // A pending time-out of an ATC_INV is reported here, on the host's queue, and not to the next
  // guest (tegra241_vcmdq_hw_flush_timeout()).
  if (InvalidationSink* sink = hardware_.config().sink) (void)sink->Sync();
  registers.Store(At(page0, Register::kProd), 0);
  registers.Store(At(page0, Register::kCons), 0);
  const size_t page1 = Page1(vintf, lvcmdq);
  for (const size_t word : {kBaseLow, kBaseHigh, kConsDramLow, kConsDramHigh}) {
    registers.Store(page1 + word, 0);
  }
  const uint32_t gerror = registers.Load(At(page0, Register::kGerror));
  if (gerror != registers.Load(At(page0, Register::kGerrorn))) {
    registers.Store(At(page0, Register::kGerrorn), gerror);
  }
}

// tegra241_vintf_alloc_lvcmdq_user().
int Tegra241Cmdqv::MapLvcmdq(int vintf, int lvcmdq, QueueMemory memory, uint32_t log2size) {
  VintfUse* use = Find(vintf);
  if (use == nullptr) return -ENOENT;
  if (lvcmdq < 0 || lvcmdq >= lvcmdqs_per_vintf() || log2size < kMinLog2Size ||
      log2size > kMaxLog2Size || memory.size() != sizeof(RawCommand) << log2size) {
    return -EINVAL;
  }
  if (use->queues.contains(lvcmdq)) return -EEXIST;
  if (lvcmdq > 0 && !use->queues.contains(lvcmdq - 1)) return -EIO;
  const RegisterView registers = hardware_.registers();
  const uint64_t address = memory_.Add(std::move(memory));
  use->queues[lvcmdq] = address;
  registers.Store(config_page::CmdqAlloc(VcmdqOf(vintf, lvcmdq)),
                  CmdqAllocValue(vintf, lvcmdq) | kCmdqAllocated);
  ResetLvcmdq(vintf, lvcmdq);
  const uint64_t base = address | log2size;
  const size_t page1 = Page1(vintf, lvcmdq);
  registers.Store(page1 + kBaseLow, static_cast<uint32_t>(base));
  registers.Store(page1 + kBaseHigh, static_cast<uint32_t>(base >> 32));
  hardware_.Serve(vintf);
  return 0;
}

// tegra241_vintf_free_lvcmdq().
void Tegra241Cmdqv::DoUnmap(int vintf, int lvcmdq, VintfUse* use) {
  ResetLvcmdq(vintf, lvcmdq);
  hardware_.registers().Store(config_page::CmdqAlloc(VcmdqOf(vintf, lvcmdq)),
                              CmdqAllocValue(vintf, lvcmdq));
  hardware_.Serve(vintf);
  memory_.Remove(use->queues.at(lvcmdq));
  use->queues.erase(lvcmdq);
}

int Tegra241Cmdqv::UnmapLvcmdq(int vintf, int lvcmdq) {
  VintfUse* use = Find(vintf);
  if (use == nullptr) return -ENOENT;
  if (lvcmdq < 0 || lvcmdq >= lvcmdqs_per_vintf()) return -EINVAL;
  if (!use->queues.contains(lvcmdq)) return -ENXIO;
  if (use->queues.contains(lvcmdq + 1)) return -EIO;
  DoUnmap(vintf, lvcmdq, use);
  return 0;
}

// tegra241_cmdqv_isr() and tegra241_vintf_user_handle_error().
void Tegra241Cmdqv::HandleInterrupt() {
  if (!on_error_) return;
  const RegisterView registers = hardware_.registers();
  const auto load64 = [&registers](size_t at) {
    return uint64_t{registers.Load(at + 4)} << 32 | registers.Load(at);
  };
  uint64_t vintfs = load64(config_page::kVintfErrMap) & ~uint64_t{1};  // VINTF 0 has no queues
  for (; vintfs != 0; vintfs &= vintfs - 1) {
    const int vintf = std::countr_zero(vintfs);
    VintfError error = {vintf, cookies_[vintf], {}};
    const size_t map = config_page::Vintf(vintf) + vintf_config::kLvcmdqErrMap;
    error.lvcmdq_err_map = {load64(map), load64(map + 8)};
    on_error_(error);
  }
}

std::vector<int> Tegra241Cmdqv::AllocatedVintfs() const {
  std::vector<int> result;
  for (const auto& [vintf, use] : vintfs_) result.push_back(vintf);
  return result;
}

std::optional<VintfSnapshot> Tegra241Cmdqv::Snapshot(int vintf) const {
  return vintfs_.contains(vintf) ? hardware_.Snapshot(vintf) : std::nullopt;
}

std::optional<LvcmdqCounters> Tegra241Cmdqv::Counters(int vintf, int lvcmdq) const {
  return vintfs_.contains(vintf) ? hardware_.Counters(vintf, lvcmdq) : std::nullopt;
}

}  // namespace berth::emulator
