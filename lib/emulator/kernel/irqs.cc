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
int TakeEventfd(UserCall& user, UniqueFd* eventfd) {
  UniqueFd fd;
  if (int rc = user.TakeInnerFd(&fd); rc != 0) return rc;
  if (int rc = CheckEventfd(fd.get()); rc != 0) return rc;
  *eventfd = std::move(fd);
  return 0;
}

// vfio_pci_get_irq_count().
uint32_t Count(uint32_t index) {
  switch (index) {
    case uapi::kVfioPciMsiIrq:
    case uapi::kVfioPciErrIrq:
    case uapi::kVfioPciReqIrq:
      return 1;
    default:
      return 0;
  }
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

int Irqs::GetInfo(UserCall& user) {
  if (int rc = user.LoadPrefix(sizeof(uapi::VfioIrqInfo)); rc != 0) return rc;
  auto& cmd = user.As<uapi::VfioIrqInfo>();
  if (cmd.argsz < sizeof(cmd) || cmd.index >= uapi::kVfioPciNumIrqs) return -EINVAL;
  cmd.flags = uapi::kVfioIrqInfoEventfd;
  cmd.flags |= cmd.index == uapi::kVfioPciIntxIrq
                   ? uapi::kVfioIrqInfoMaskable | uapi::kVfioIrqInfoAutomasked
                   : uapi::kVfioIrqInfoNoresize;
  cmd.count = Count(cmd.index);
  return user.Respond();
}

int Irqs::Set(UserCall& user) {
  uapi::VfioIrqSet set = {};
  if (int rc = user.LoadPrefix(sizeof(set)); rc != 0) return rc;
  set = user.As<uapi::VfioIrqSet>();
  size_t size = 0;
  if (int rc = Validate(set, Count(set.index), &size); rc != 0) return rc;
  // At most one element, as no index has more.
  int32_t value = 0;
  if (set.count * size > 0) {
    if (int rc = user.LoadPrefix(sizeof(set) + size); rc != 0) return rc;
    std::memcpy(&value, &user.As<std::array<std::byte, 24>>()[sizeof(set)], size);
  }
  // vfio_pci_set_irqs_ioctl(): there is nothing to mask but INTx.
  if ((set.flags & kActions) != uapi::kVfioIrqSetActionTrigger) return -ENOTTY;
  return set.index == uapi::kVfioPciMsiIrq ? TriggerMsi(user, set, value)
                                           : TriggerSingle(user, set, value);
}

// vfio_pci_set_msi_trigger().
int Irqs::TriggerMsi(UserCall& user, const uapi::VfioIrqSet& set, int32_t value) {
  const uint32_t data = set.flags & kDataTypes;
  if (data == uapi::kVfioIrqSetDataEventfd) {
    if (msi_enabled_) return set.count == 0 ? 0 : SetVector(user, value);
    // vfio_msi_enable(): drivers/pci/msi/msi.c, __pci_enable_msi_range() of 1 to 0 vectors.
    if (set.count == 0) return -ERANGE;
    const int rc = SetVector(user, value);
    msi_enabled_ = rc == 0;
    return rc;
  }
  if (!msi_enabled_) return -EINVAL;
  if (set.count == 0) {
    if (data == uapi::kVfioIrqSetDataNone) DisableMsi();
    return 0;
  }
  if (data == uapi::kVfioIrqSetDataNone || value != 0) Signal(uapi::kVfioPciMsiIrq);
  return 0;
}

// vfio_msi_set_block() of one vector: what it had is gone before the new eventfd is looked at.
int Irqs::SetVector(UserCall& user, int32_t fd) {
  UniqueFd& vector = eventfds_[uapi::kVfioPciMsiIrq];
  vector.Reset();
  return fd < 0 ? 0 : TakeEventfd(user, &vector);
}

void Irqs::DisableMsi() {
  eventfds_[uapi::kVfioPciMsiIrq].Reset();
  msi_enabled_ = false;
}

// vfio_pci_set_ctx_trigger_single(), of ERR and REQ.
int Irqs::TriggerSingle(UserCall& user, const uapi::VfioIrqSet& set, int32_t value) {
  UniqueFd& eventfd = eventfds_[set.index];
  const uint32_t data = set.flags & kDataTypes;
  if (data == uapi::kVfioIrqSetDataNone) {
    if (!eventfd.valid()) return -EINVAL;
    if (set.count == 0) {
      eventfd.Reset();
    } else {
      Signal(set.index);
    }
    return 0;
  }
  if (set.count == 0) return -EINVAL;
  if (data == uapi::kVfioIrqSetDataBool) {
    if (value != 0) Signal(set.index);
    return 0;
  }
  if (value == -1) {
    eventfd.Reset();
    return 0;
  }
  return value < 0 ? -EINVAL : TakeEventfd(user, &eventfd);
}

void Irqs::Signal(uint32_t index) const {
  const UniqueFd& eventfd = eventfds_[index];
  if (!eventfd.valid()) return;
  // The kernel drops a signal that would overflow the counter; write(2) would wait.
  pollfd room = {eventfd.get(), POLLOUT, 0};
  if (::poll(&room, 1, 0) != 1 || (room.revents & POLLOUT) == 0) return;
  const uint64_t one = 1;
  (void)!::write(eventfd.get(), &one, sizeof(one));
}

void Irqs::Clear() {
  for (UniqueFd& eventfd : eventfds_) eventfd.Reset();
  msi_enabled_ = false;
}

}  // namespace berth::emulator
