// SPDX-License-Identifier: Apache-2.0
#include "lib/emulator/kernel/irqs.h"

#include <poll.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>

namespace berth::emulator {
namespace {

constexpr uint32_t kDataTypes =
    uapi::kVfioIrqSetDataNone | uapi::kVfioIrqSetDataBool | uapi::kVfioIrqSetDataEventfd;
constexpr uint32_t kActions =
    uapi::kVfioIrqSetActionMask | uapi::kVfioIrqSetActionUnmask | uapi::kVfioIrqSetActionTrigger;

// eventfd_ctx_fdget(): 0 or -EINVAL.
int CheckEventfd(int fd) {
  std::array<char, 64> name;
  const std::string link = "/proc/self/fd/" + std::to_string(fd);
  const ssize_t size = ::readlink(link.c_str(), name.data(), name.size());
  if (size < 0) return -EINVAL;
  const std::string_view target(name.data(), static_cast<size_t>(size));
  return target == "anon_inode:[eventfd]" ? 0 : -EINVAL;
}

// What was there stays when there is an error.
int TakeEventfd(UserCall& user, int32_t number, UniqueFd* eventfd) {
  UniqueFd fd;
  if (int rc = user.TakeEventfd(number, &fd); rc != 0) return rc;
  if (int rc = CheckEventfd(fd.get()); rc != 0) return rc;
  *eventfd = std::move(fd);
  return 0;
}

void Signal(const UniqueFd& eventfd) {
  if (!eventfd.valid()) return;
  // The kernel drops a signal that would overflow the counter; write(2) would wait.
  pollfd room = {eventfd.get(), POLLOUT, 0};
  if (::poll(&room, 1, 0) != 1 || (room.revents & POLLOUT) == 0) return;
  const uint64_t one = 1;
  (void)!::write(eventfd.get(), &one, sizeof(one));
}

// vfio_set_irqs_validate_and_prepare(). *size is that of one element.
int Validate(const uapi::VfioIrqSet& set, uint32_t available, size_t* size) {
  if (set.argsz < sizeof(set) || set.index >= uapi::kVfioPciNumIrqs ||
      set.count >= UINT32_MAX - set.start || (set.flags & ~(kDataTypes | kActions)) != 0) {
    return -EINVAL;
  }
  if (set.start >= available || set.start + set.count > available) return -EINVAL;
  switch (set.flags & kDataTypes) {
    case uapi::kVfioIrqSetDataNone:
      *size = 0;
      break;
    case uapi::kVfioIrqSetDataBool:
      *size = sizeof(uint8_t);
      break;
    case uapi::kVfioIrqSetDataEventfd:
      *size = sizeof(int32_t);
      break;
    default:
      return -EINVAL;
  }
  return set.argsz - sizeof(set) < set.count * *size ? -EINVAL : 0;
}

}  // namespace

uint32_t Irqs::Arguments::data() const { return set.flags & kDataTypes; }

bool Irqs::Arguments::raises(uint32_t i) const {
  return data() == uapi::kVfioIrqSetDataNone || values[i] != 0;
}

int Irqs::GetInfo(UserCall& user, const IrqSource& source) {
  if (int rc = user.LoadPrefix(sizeof(uapi::VfioIrqInfo)); rc != 0) return rc;
  auto& cmd = user.As<uapi::VfioIrqInfo>();
  if (cmd.argsz < sizeof(cmd) || cmd.index >= uapi::kVfioPciNumIrqs) return -EINVAL;
  cmd.flags = uapi::kVfioIrqInfoEventfd;
  cmd.count = source.IrqCount(cmd.index);
  // pci_msix_can_alloc_dyn(): behind a GICv3's ITS (irq-gic-its-msi-parent.c) all that have MSI-X.
  const bool grows = cmd.index == uapi::kVfioPciMsixIrq && cmd.count > 0;
  if (cmd.index == uapi::kVfioPciIntxIrq) {
    cmd.flags |= uapi::kVfioIrqInfoMaskable | uapi::kVfioIrqInfoAutomasked;
  } else if (!grows) {
    cmd.flags |= uapi::kVfioIrqInfoNoresize;
  }
  return user.Respond();
}

int Irqs::Set(UserCall& user, IrqSource& source) {
  Arguments arguments;
  uapi::VfioIrqSet& set = arguments.set;
  if (int rc = user.LoadPrefix(sizeof(set)); rc != 0) return rc;
  set = user.As<uapi::VfioIrqSet>();
  size_t size = 0;
  if (int rc = Validate(set, source.IrqCount(set.index), &size); rc != 0) return rc;
  if (size > 0) {
    std::vector<std::byte> data(set.count * size);
    if (int rc = user.CopyFromStruct(sizeof(set), data); rc != 0) return rc;
    arguments.values.resize(set.count);
    for (size_t i = 0; i < set.count; ++i) {
      std::memcpy(&arguments.values[i], &data[i * size], size);
    }
  }
  // vfio_pci_set_irqs_ioctl(): one action, and there is nothing to mask but INTx.
  const uint32_t action = set.flags & kActions;
  if (set.index == uapi::kVfioPciIntxIrq) {
    if (action == uapi::kVfioIrqSetActionMask) return MaskIntx(arguments);
    if (action == uapi::kVfioIrqSetActionUnmask) return UnmaskIntx(user, arguments, source);
  }
  if (action != uapi::kVfioIrqSetActionTrigger) return -ENOTTY;
  switch (set.index) {
    case uapi::kVfioPciIntxIrq:
      return TriggerIntx(user, arguments, source);
    case uapi::kVfioPciMsiIrq:
    case uapi::kVfioPciMsixIrq:
      return TriggerMsi(user, arguments, source);
    default:
      return TriggerSingle(user, arguments);
  }
}

// vfio_pci_set_intx_mask().
int Irqs::MaskIntx(const Arguments& arguments) {
  if (!is(uapi::kVfioPciIntxIrq) || arguments.set.count != 1) return -EINVAL;
  if (arguments.data() == uapi::kVfioIrqSetDataEventfd) return -ENOTTY;
  if (arguments.raises(0)) masked_ = true;
  return 0;
}

// vfio_pci_set_intx_unmask(); virqfd.c, vfio_virqfd_enable().
int Irqs::UnmaskIntx(UserCall& user, const Arguments& arguments, IrqSource& source) {
  if (!is(uapi::kVfioPciIntxIrq) || arguments.set.count != 1) return -EINVAL;
  if (arguments.data() != uapi::kVfioIrqSetDataEventfd) {
    if (arguments.raises(0)) Unmask(source);
    return 0;
  }
  UniqueFd eventfd;
  if (arguments.values[0] >= 0) {
    if (int rc = TakeEventfd(user, arguments.values[0], &eventfd); rc != 0) return rc;
    if (unmask_.valid()) return -EBUSY;
  }
  unmask_ = std::move(eventfd);
  source.WatchUnmask(unmask_.get());
  return 0;
}

// vfio_pci_set_intx_trigger().
int Irqs::TriggerIntx(UserCall& user, const Arguments& arguments, IrqSource& source) {
  const bool on = is(uapi::kVfioPciIntxIrq);
  if (on && arguments.set.count == 0 && arguments.data() == uapi::kVfioIrqSetDataNone) {
    source.WatchUnmask(-1);
    Disable();
    return 0;
  }
  if ((!on && !is_none()) || arguments.set.count != 1) return -EINVAL;
  if (arguments.data() != uapi::kVfioIrqSetDataEventfd) {
    if (!on) return -EINVAL;
    if (arguments.raises(0)) SendIntx();
    return 0;
  }
  UniqueFd eventfd;
  if (arguments.values[0] >= 0) {
    if (int rc = TakeEventfd(user, arguments.values[0], &eventfd); rc != 0) return rc;
  }
  if (!on) {  // vfio_intx_enable()
    type_ = uapi::kVfioPciIntxIrq;
    vectors_.resize(1);
    masked_ = disabled_;
  }
  vectors_[0] = {.allocated = true, .eventfd = std::move(eventfd)};
  if (!on) Assert(source);
  return 0;
}

// vfio_intx_handler().
void Irqs::Assert(const IrqSource& source) {
  if (!is(uapi::kVfioPciIntxIrq) || masked_ || !source.AssertsIntx()) return;
  masked_ = true;
  SendIntx();
}

void Irqs::Unmask(const IrqSource& source) {
  if (!is(uapi::kVfioPciIntxIrq) || !masked_ || disabled_) return;
  masked_ = source.AssertsIntx();
  if (masked_) SendIntx();
}

// vfio_send_intx_eventfd().
void Irqs::SendIntx() const {
  if (is(uapi::kVfioPciIntxIrq) && !disabled_) Signal(vectors_[0].eventfd);
}

void Irqs::DisableIntx(bool disabled, const IrqSource& source) {
  if (disabled == disabled_) return;
  disabled_ = disabled;
  if (disabled) {
    masked_ = true;
  } else {
    Unmask(source);
  }
}

// vfio_pci_set_msi_trigger().
int Irqs::TriggerMsi(UserCall& user, const Arguments& arguments, const IrqSource& source) {
  const uapi::VfioIrqSet& set = arguments.set;
  const bool on = is(set.index);
  if (on && set.count == 0 && arguments.data() == uapi::kVfioIrqSetDataNone) {
    Disable();
    return 0;
  }
  if (!on && !is_none()) return -EINVAL;
  if (arguments.data() == uapi::kVfioIrqSetDataEventfd) {
    if (on) return SetBlock(user, arguments, source);
    if (int rc = EnableMsi(set, source); rc != 0) return rc;
    const int rc = SetBlock(user, arguments, source);
    if (rc != 0) Disable();
    return rc;
  }
  if (!on) return -EINVAL;
  for (uint32_t i = 0; i < set.count; ++i) {
    if (arguments.raises(i)) Signal(vectors_[set.start + i].eventfd);
  }
  return 0;
}

// vfio_msi_enable(): all vectors up to the last one named.
int Irqs::EnableMsi(const uapi::VfioIrqSet& set, const IrqSource& source) {
  const uint32_t count = set.start + set.count;
  // drivers/pci/msi/msi.c, __pci_enable_msi_range() and __pci_enable_msix_range() of 1 to 0.
  if (count == 0) return -ERANGE;
  // drivers/iommu/iommu.c, iommu_dma_prepare_msi(): the blocking domain has no room for the MSI's
  // page; kernel/irq/msi.c, msi_handle_pci_fail().
  if (!source.TranslatesMsis()) return -ENOSPC;
  type_ = set.index;
  vectors_.resize(source.IrqCount(set.index));
  for (uint32_t i = 0; i < count; ++i) vectors_[i].allocated = true;
  return 0;
}

// vfio_msi_set_block().
int Irqs::SetBlock(UserCall& user, const Arguments& arguments, const IrqSource& source) {
  const uapi::VfioIrqSet& set = arguments.set;
  int rc = 0;
  uint32_t tried = 0;
  for (; tried < set.count && rc == 0; ++tried) {
    rc = SetVector(user, set.start + tried, arguments.values[tried], source);
  }
  for (uint32_t i = 0; rc != 0 && i < tried; ++i) vectors_[set.start + i].eventfd.Reset();
  return rc;
}

// vfio_msi_set_vector_signal(): what it had is gone before the new eventfd is looked at.
int Irqs::SetVector(UserCall& user, uint32_t vector, int32_t eventfd, const IrqSource& source) {
  Vector& slot = vectors_[vector];
  slot.eventfd.Reset();
  if (eventfd < 0) return 0;
  // vfio_msi_alloc_irq(): vectors of MSI-X can be added, and stay until it is off.
  if (!slot.allocated) {
    if (!is(uapi::kVfioPciMsixIrq)) return -EINVAL;
    if (!source.TranslatesMsis()) return -ENOSPC;
    slot.allocated = true;
  }
  return TakeEventfd(user, eventfd, &slot.eventfd);
}

// vfio_pci_set_ctx_trigger_single(), of ERR and REQ.
int Irqs::TriggerSingle(UserCall& user, const Arguments& arguments) {
  UniqueFd& eventfd = arguments.set.index == uapi::kVfioPciErrIrq ? error_ : request_;
  if (arguments.data() == uapi::kVfioIrqSetDataNone) {
    if (!eventfd.valid()) return -EINVAL;
    if (arguments.set.count == 0) {
      eventfd.Reset();
    } else {
      Signal(eventfd);
    }
    return 0;
  }
  if (arguments.set.count == 0) return -EINVAL;
  const int32_t value = arguments.values[0];
  if (arguments.data() == uapi::kVfioIrqSetDataBool) {
    if (value != 0) Signal(eventfd);
    return 0;
  }
  if (value == -1) {
    eventfd.Reset();
    return 0;
  }
  return value < 0 ? -EINVAL : TakeEventfd(user, value, &eventfd);
}

void Irqs::Raise(uint32_t vector, const IrqSource& source) {
  if (is(uapi::kVfioPciIntxIrq)) {
    Assert(source);
  } else if (vector < vectors_.size()) {
    Signal(vectors_[vector].eventfd);
  }
}

void Irqs::Disable() {
  type_ = uapi::kVfioPciNumIrqs;
  vectors_.clear();
  unmask_.Reset();
  masked_ = false;
}

void Irqs::Clear() {
  Disable();
  disabled_ = false;
  error_.Reset();
  request_.Reset();
}

}  // namespace berth::emulator
