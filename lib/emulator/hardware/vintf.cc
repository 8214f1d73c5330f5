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
  vintf->fd_.Reset(::memfd_create("vintf-page0", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!vintf->fd_.valid() || ::ftruncate(vintf->fd_.get(), kPage0Size) != 0 ||
      ::fcntl(vintf->fd_.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) != 0) {
    *error = -errno;
    return nullptr;
  }
  *error = vintf->MapPage0();
  return *error == 0 ? std::move(vintf) : nullptr;
}

Vintf::Vintf(const CmdqvConfig& config, int index, uint64_t cookie)
    : index_(index),
      cookie_(cookie),
      executor_(config),
      lvcmdqs_(config.vcmdqs / config.vintfs, Lvcmdq(config)) {}

int Vintf::MapPage0() {
  auto mapping = Mapping::Map(fd_.get(), 0, kPage0Size, Mapping::Access::kReadWrite);
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

// F_SEAL_WRITE is refused while anyone has the file mapped shared and could write to it (Linux
// mm/memfd.c), which is just the question whether a page0 is still mapped somewhere.
int Vintf::RetirePage0() {
  const bool was_mapped = page0_.valid();
  DropPage0();
  if (::fcntl(fd_.get(), F_ADD_SEALS, F_SEAL_WRITE) == 0) return 0;
  const int error = errno;
  // EPERM: someone with the fd has sealed the seals, so that the question cannot be asked.
  // The page is out of use in any case, and nobody but that peer can have it mapped.
  if (error == EPERM) return 0;
  if (was_mapped) (void)MapPage0();
  return -error;
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
