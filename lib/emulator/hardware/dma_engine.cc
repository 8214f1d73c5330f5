// SPDX-License-Identifier: Apache-2.0
#include "lib/emulator/hardware/dma_engine.h"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <utility>

namespace berth::emulator {

DmaEngine::DmaEngine(Config config) : config_(std::move(config)) {
  if (config_.polling == Config::Polling::kManual) return;
  poller_.emplace(
      &mu_, config_.max_idle_wait,
      [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return Sweep(&swept_); },
      [this] { Deliver(&swept_); });
}

DmaEngine::~DmaEngine() = default;

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
  mu_.UnlockAndWake();
  return error;
}

void DmaEngine::Close(uint32_t sid) {
  mu_.Lock();
  std::unique_ptr<DmaDevice> gone;
  const auto found = devices_.find(sid);
  if (found != devices_.end()) {
    gone = std::move(found->second);
    devices_.erase(found);
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

int DmaEngine::RegistersFd(uint32_t sid) {
  mu_.Lock();
  const DmaDevice* device = Find(sid);
  const int fd = device != nullptr ? device->registers_fd() : -ENOENT;
  mu_.Unlock();
  return fd;
}

bool DmaEngine::Poll() {
  if (poller_.has_value()) std::abort();
  std::vector<DmaNotice> notices;
  mu_.Lock();
  const Found found = Sweep(&notices);
  mu_.Unlock();
  Deliver(&notices);
  return found >= Found::kWork;
}

DmaEngine::Found DmaEngine::Sweep(std::vector<DmaNotice>* notices) {
  Found found = Found::kNobody;
  // Devices may come and go whenever others are let in.
  for (auto device = devices_.begin(); device != devices_.end();) {
    const uint32_t sid = device->first;
    DmaDevice::Sighting sighting = device->second->Look(config_.smmu);
    found = std::max(found, sighting.worked ? Found::kWork : Found::kNothing);
    if (sighting.interrupt || sighting.event) {
      notices->push_back({sid, sighting.interrupt, sighting.event});
    }
    mu_.GiveWay();
    device = devices_.upper_bound(sid);
  }
  return notices->empty() ? found : Found::kEvents;
}

void DmaEngine::Deliver(std::vector<DmaNotice>* notices) {
  for (const DmaNotice& notice : *notices) {
    if (config_.on_notice) config_.on_notice(notice);
  }
  notices->clear();
}

}  // namespace berth::emulator
