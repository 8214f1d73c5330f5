// SPDX-License-Identifier: Apache-2.0
#include "lib/emulator/hardware/vintf.h"

#include <fcntl.h>
#include <sys/mman.h>

#include <cerrno>
#include <utility>

#include "lib/base/status.h"

namespace berth::emulator {
namespace {

constexpr uint32_t kMinLog2Size = 1;
constexpr uint32_t kMaxLog2Size = 19;  // the index and its wrap bit have 20 bits in all

}  // namespace

std::unique_ptr<Vintf> Vintf::Create(const CmdqvConfig& config, int index, uint64_t cookie,
                                     int* error) {
  std::unique_ptr<Vintf> vintf(new Vintf(config, index, cookie));
  UniqueFd fd(::memfd_create("vintf-page0", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd.valid() || ::ftruncate(fd.get(), kPage0Size) != 0 ||
      ::fcntl(fd.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) != 0) {
    *error = -errno;
    return nullptr;
  }
  vintf->fd_ = std::make_shared<const UniqueFd>(std::move(fd));
  *error = vintf->RestorePage0();
  return *error == 0 ? std::move(vintf) : nullptr;
}

Vintf::Vintf(const CmdqvConfig& config, int index, uint64_t cookie)
    : index_(index),
      cookie_(cookie),
      executor_(config),
      lvcmdqs_(config.vcmdqs / config.vintfs, Lvcmdq(config)) {}

int Vintf::RestorePage0() {
  if (page0_.valid()) return 0;
  auto mapping = Mapping::Map(fd_->get(), 0, kPage0Size, Mapping::Access::kReadWrite);
  if (!mapping.ok()) return -ErrnoOf(mapping.status());
  page0_ = *std::move(mapping);
  for (size_t i = 0; i < lvcmdqs_.size(); ++i) {
    lvcmdqs_[i].SetRegisters({page0_.data(), static_cast<int>(i)});
  }
  return 0;
}

void Vintf::DropPage0() {
  for (Lvcmdq& lvcmdq : lvcmdqs_) lvcmdq.SetRegisters({});
  page0_.Reset();
}

int Vintf::MapLvcmdq(int lvcmdq, QueueMemory memory, uint32_t log2size) {
  if (lvcmdq < 0 || lvcmdq >= std::ssize(lvcmdqs_)) return -EINVAL;
  if (log2size < kMinLog2Size || log2size > kMaxLog2Size ||
      memory.size() < sizeof(RawCommand) << log2size) {
    return -EINVAL;
  }
  if (lvcmdqs_[lvcmdq].mapped()) return -EEXIST;
  if (lvcmdq > 0 && !lvcmdqs_[lvcmdq - 1].mapped()) return -EIO;
  lvcmdqs_[lvcmdq].Map(std::move(memory), log2size);
  return 0;
}

int Vintf::UnmapLvcmdq(int lvcmdq) {
  if (lvcmdq < 0 || lvcmdq >= std::ssize(lvcmdqs_)) return -EINVAL;
  if (!lvcmdqs_[lvcmdq].mapped()) return -ENXIO;
  if (lvcmdq + 1 < std::ssize(lvcmdqs_) && lvcmdqs_[lvcmdq + 1].mapped()) return -EIO;
  lvcmdqs_[lvcmdq].Unmap();
  return 0;
}

bool Vintf::Look(std::vector<VintfError>* errors) {
  bool worked = false;
  for (Lvcmdq& lvcmdq : lvcmdqs_) {
    const Lvcmdq::Sighting sighting = lvcmdq.Look(executor_);
    worked |= sighting.worked;
    if (sighting.new_error) errors->push_back({index_, cookie_, ErrorMap()});
  }
  return worked;
}

LvcmdqErrorMap Vintf::ErrorMap() const {
  LvcmdqErrorMap map = {};
  for (size_t i = 0; i < lvcmdqs_.size(); ++i) {
    if (lvcmdqs_[i].in_error()) map[i / 64] |= uint64_t{1} << (i % 64);
  }
  return map;
}

VintfSnapshot Vintf::Snapshot() const {
  VintfSnapshot snapshot;
  snapshot.cookie = cookie_;
  snapshot.vmid = executor_.vmid();
  snapshot.lvcmdq_err_map = ErrorMap();
  snapshot.sid_slots = executor_.SidSlots();
  for (const Lvcmdq& lvcmdq : lvcmdqs_) snapshot.lvcmdqs.push_back(lvcmdq.Snapshot());
  return snapshot;
}

const Lvcmdq* Vintf::lvcmdq(int index) const {
  return index >= 0 && index < std::ssize(lvcmdqs_) ? &lvcmdqs_[index] : nullptr;
}

}  // namespace berth::emulator
