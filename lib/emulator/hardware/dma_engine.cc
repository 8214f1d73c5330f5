// SPDX-License-Identifier: Apache-2.0
#include "lib/emulator/hardware/dma_engine.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <utility>

namespace berth::emulator {

DmaEngine::DmaEngine(Config config) : config_(std::move(config)) {
  if (config_.polling == Config::Polling::kManual) return;
  poller_.emplace(PollerOptions{.threads = 1, .max_wait = config_.max_idle_wait});
  poller_->Add(this);
}

DmaEngine::~DmaEngine() {
  if (poller_) poller_->Remove(this);
}

DmaDevice* DmaEngine::Find(uint32_t sid) {
  const auto found = devices_.find(sid);
  return found != devices_.end() ? found->second.get() : nullptr;
}

int DmaEngine::Open(uint32_t sid, bool bus_master) {
  int error = 0;
  mu_.Lock();
  if (Find(sid) == nullptr) {
    auto device = DmaDevice::Create(sid, &error);
    if (device != nullptr) {
      device->SetBusMaster(bus_master);
      devices_[sid] = std::move(device);
    }
  }
  mu_.Unlock();
  if (poller_) poller_->Wake();
  return error;
}

void DmaEngine::Close(uint32_t sid) {
  mu_.Lock();
  std::unique_ptr<DmaDevice> gone;
  const auto found = devices_.find(sid);
  if (found != devices_.end()) {
    gone = std::move(found->second);
    devices_.erase(found);
    watched_.erase(sid);
    config_.smmu->ClearAtc(sid);
  }
  mu_.Unlock();
}

void DmaEngine::Reset(uint32_t sid) {
  mu_.Lock();
  if (DmaDevice* device = Find(sid)) {
    device->Reset();
    config_.smmu->ClearAtc(sid);
  }
  mu_.Unlock();
}

void DmaEngine::SetBusMaster(uint32_t sid, bool enabled) {
  mu_.Lock();
  if (DmaDevice* device = Find(sid)) device->SetBusMaster(enabled);
  mu_.Unlock();
}

void DmaEngine::SetMemory(uint32_t sid, bool enabled) {
  mu_.Lock();
  if (DmaDevice* device = Find(sid)) device->SetMemory(enabled);
  mu_.Unlock();
}

// As Cmdqv::RetirePage0(), without the lock for the same reason. A device whose BAR cannot be
// mapped again stands still until the next call.
int DmaEngine::RetireBar(uint32_t sid) {
  mu_.Lock();
  DmaDevice* device = Find(sid);
  if (device != nullptr) device->LetGoOfBar();
  mu_.Unlock();
  if (device == nullptr) return 0;
  if (::fcntl(device->registers_fd(), F_ADD_SEALS, F_SEAL_WRITE) == 0) return 0;
  const int error = errno;
  if (error == EPERM) return 0;
  mu_.Lock();
  (void)device->TakeBar();
  mu_.Unlock();
  if (poller_) poller_->Wake();
  return -error;
}

bool DmaEngine::AssertsInterrupt(uint32_t sid) {
  mu_.Lock();
  const DmaDevice* device = Find(sid);
  const bool asserts = device != nullptr && device->asserts_interrupt();
  mu_.Unlock();
  return asserts;
}

void DmaEngine::Watch(uint32_t sid, UniqueFd eventfd) {
  mu_.Lock();
  watched_.erase(sid);
  if (eventfd.valid() && Find(sid) != nullptr) watched_[sid] = std::move(eventfd);
  mu_.Unlock();
}

// Never waits, though others read the eventfd and it may be a blocking one.
bool DmaEngine::TakeSignal(uint32_t sid) {
  const auto found = watched_.find(sid);
  if (found == watched_.end()) return false;
  uint64_t count = 0;
  iovec part = {&count, sizeof(count)};
  return ::preadv2(found->second.get(), &part, 1, -1, RWF_NOWAIT) == sizeof(count);
}

int DmaEngine::RegistersFd(uint32_t sid) {
  mu_.Lock();
  const DmaDevice* device = Find(sid);
  const int fd = device != nullptr ? device->registers_fd() : -ENOENT;
  mu_.Unlock();
  return fd;
}

bool DmaEngine::Poll() {
  if (poller_.has_value()) std::abort();
  return LookAround(0) >= Found::kWork;
}

PolledUnit::Found DmaEngine::LookAround(int /*worker*/) {
  std::vector<DmaNotice> notices;
  const Found found = LookAtAll(&notices);
  for (const DmaNotice& notice : notices) {
    if (config_.on_notice) config_.on_notice(notice);
  }
  return found;
}

PolledUnit::Found DmaEngine::LookAtAll(std::vector<DmaNotice>* notices) {
  Found found = Found::kNobody;
  // Devices may come and go between two of them.
  for (uint64_t next = 0;;) {
    while (!mu_.TryLock()) ::sched_yield();
    const auto device = devices_.lower_bound(static_cast<uint32_t>(next));
    if (device == devices_.end()) {
      mu_.Unlock();
      return found;
    }
    const uint32_t sid = device->first;
    if (device->second->SetPresent(!config_.is_gone || !config_.is_gone(sid))) {
      config_.smmu->ClearAtc(sid);
    }
    const DmaDevice::Sighting sighting = device->second->Look(config_.smmu);
    const bool watched = TakeSignal(sid);
    mu_.Unlock();
    found = std::max(found, sighting.worked || watched ? Found::kWork : Found::kNothing);
    if (sighting.interrupt || sighting.event || watched) {
      notices->push_back({sid, sighting.interrupt, sighting.event, watched});
    }
    next = uint64_t{sid} + 1;  // a StreamID has 20 bits
  }
}

}  // namespace berth::emulator
