// SPDX-License-Identifier: Apache-2.0
#include "lib/emulator/hardware/dma_device.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <utility>

#include "lib/base/status.h"

namespace berth::emulator {
namespace {

// Pieces of one look: 64 KiB at most, so that other devices and their owners do not wait long.
constexpr int kLookBudget = 16;

// Drivers write there at any time, so every access is a single atomic one.
uint64_t LoadFrom(const std::byte* page, size_t at, size_t bytes) {
  auto* reg = const_cast<std::byte*>(page) + at;
  if (bytes == sizeof(uint32_t)) {
    return std::atomic_ref(*reinterpret_cast<uint32_t*>(reg)).load(std::memory_order_acquire);
  }
  return std::atomic_ref(*reinterpret_cast<uint64_t*>(reg)).load(std::memory_order_acquire);
}

void StoreTo(std::byte* page, size_t at, uint64_t value, size_t bytes) {
  std::byte* reg = page + at;
  if (bytes == sizeof(uint32_t)) {
    std::atomic_ref(*reinterpret_cast<uint32_t*>(reg))
        .store(static_cast<uint32_t>(value), std::memory_order_release);
  } else {
    std::atomic_ref(*reinterpret_cast<uint64_t*>(reg)).store(value, std::memory_order_release);
  }
}

}  // namespace

std::unique_ptr<DmaDevice> DmaDevice::Create(uint32_t sid, int* error) {
  std::unique_ptr<DmaDevice> device(new DmaDevice(sid));
  device->fd_.Reset(::memfd_create("dma-device", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  const int fd = device->fd_.get();
  if (fd < 0 || ::ftruncate(fd, kDmaBarSize) != 0 ||
      ::fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) != 0) {
    *error = -errno;
    return nullptr;
  }
  *error = device->TakeBar();
  if (*error != 0) return nullptr;
  device->Reset();
  return device;
}

int DmaDevice::TakeBar() {
  auto mapping = Mapping::Map(fd_.get(), 0, kDmaBarSize, Mapping::Access::kReadWrite);
  if (!mapping.ok()) return -ErrnoOf(mapping.status());
  registers_ = *std::move(mapping);
  return 0;
}

uint64_t DmaDevice::Load(size_t at, size_t bytes) const {
  return LoadFrom(decodes_ ? registers_.data() : hidden_.data(), at, bytes);
}

// Read-only registers are put right where a driver wrote; others are only touched by Reset().
void DmaDevice::Store(size_t at, uint64_t value, size_t bytes) {
  if (Load(at, bytes) == value) return;
  StoreTo(decodes_ ? registers_.data() : hidden_.data(), at, value, bytes);
}

void DmaDevice::SetMemory(bool enabled) {
  memory_ = enabled;
  Show(memory_ && present_);
}

bool DmaDevice::SetPresent(bool present) {
  if (present == present_ || !registers_.valid()) return false;
  present_ = present;
  Show(memory_ && present_);
  Reset();
  return true;
}

void DmaDevice::Show(bool shown) {
  if (shown == decodes_) return;
  decodes_ = shown;
  for (size_t at = 0; at < kDmaBarSize; at += 8) {
    if (shown) {
      StoreTo(registers_.data(), at, LoadFrom(hidden_.data(), at, 8), 8);
    } else {
      StoreTo(hidden_.data(), at, LoadFrom(registers_.data(), at, 8), 8);
      StoreTo(registers_.data(), at, ~uint64_t{0}, 8);
    }
  }
}

// DONE last: software reads the others after it.
void DmaDevice::Publish() {
  Store(kDmaId, kDmaIdValue, 4);
  Store(kDmaCopied, copied_, 8);
  Store(kDmaFault, fault_, 8);
  Store(kDmaStatus, static_cast<uint32_t>(status_), 4);
  Store(kDmaDone, done_, 4);
}

void DmaDevice::Reset() {
  status_ = DmaStatus::kIdle;
  started_ = done_ = control_ = vector_ = raised_ = 0;
  source_ = destination_ = length_ = copied_ = fault_ = 0;
  for (const size_t at : {kDmaStart, kDmaControl, kDmaVector, kDmaAcknowledge}) Store(at, 0, 4);
  for (const size_t at : {kDmaSource, kDmaDestination, kDmaLength}) Store(at, 0, 8);
  Publish();
}

void DmaDevice::Start(uint32_t number) {
  started_ = number;
  control_ = static_cast<uint32_t>(Load(kDmaControl, 4));
  vector_ = static_cast<uint32_t>(Load(kDmaVector, 4));
  source_ = Load(kDmaSource, 8);
  destination_ = Load(kDmaDestination, 8);
  length_ = Load(kDmaLength, 8);
  copied_ = fault_ = 0;
  const bool valid = length_ > 0 && length_ <= kDmaMaxLength;
  status_ = valid ? DmaStatus::kBusy : DmaStatus::kBadLength;
}

DmaDevice::Sighting DmaDevice::Look(Smmu* smmu) {
  Sighting sighting;
  if (!registers_.valid() || !present_) return sighting;
  if (status_ != DmaStatus::kBusy) {
    const auto number = static_cast<uint32_t>(Load(kDmaStart, 4));
    if (number == started_) {
      Publish();
      return sighting;
    }
    Start(number);
  }
  sighting.worked = true;
  for (int i = 0; i < kLookBudget && status_ == DmaStatus::kBusy; ++i) {
    status_ = CopyPiece(smmu, &sighting.event);
  }
  if (status_ != DmaStatus::kBusy) {
    done_ = started_;
    if ((control_ & kDmaControlInterrupt) != 0) {
      sighting.interrupt = vector_;
      raised_ = started_;
    }
  }
  Publish();
  return sighting;
}

bool DmaDevice::asserts_interrupt() const {
  return registers_.data() != nullptr && Load(kDmaAcknowledge, 4) != raised_;
}

DmaStatus DmaDevice::CopyPiece(Smmu* smmu, std::optional<SmmuEvent>* event) {
  if (!bus_master_) return DmaStatus::kNotBusMaster;
  const auto translating =
      (control_ & kDmaControlAts) != 0 ? Translating::kByAts : Translating::kBySmmu;
  const uint64_t from = source_ + copied_;
  const uint64_t to = destination_ + copied_;
  const size_t size = std::min<uint64_t>(buffer_.size(), length_ - copied_);
  DmaResult result = smmu->Read(sid_, from, std::span(buffer_).first(size), translating);
  if (result.status != DmaResult::Status::kOk) {
    fault_ = from + result.done;
    *event = result.event;
    return result.status == DmaResult::Status::kDenied ? DmaStatus::kReadDenied
                                                       : DmaStatus::kReadFault;
  }
  result = smmu->Write(sid_, to, std::span<const std::byte>(buffer_).first(size), translating);
  copied_ += result.done;
  if (result.status != DmaResult::Status::kOk) {
    fault_ = to + result.done;
    *event = result.event;
    return result.status == DmaResult::Status::kDenied ? DmaStatus::kWriteDenied
                                                       : DmaStatus::kWriteFault;
  }
  return copied_ == length_ ? DmaStatus::kOk : DmaStatus::kBusy;
}

}  // namespace berth::emulator
