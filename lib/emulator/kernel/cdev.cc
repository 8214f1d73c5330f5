// SPDX-License-Identifier: Apache-2.0
#include "lib/emulator/kernel/cdev.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "lib/emulator/kernel/ops.h"
#include "lib/iommufd/uapi/vfio.h"

namespace berth::emulator {
namespace {

// vfio_pci_core.h, VFIO_PCI_INDEX_TO_OFFSET().
constexpr int kRegionShift = 40;
constexpr uint64_t kConfigOffset = uint64_t{uapi::kVfioPciConfigRegion} << kRegionShift;
// The registers that a driver writes and this model stores: COMMAND. All others are read-only.
constexpr uint64_t kCommand = 4;
constexpr std::byte kCommandMemory{2};
constexpr std::byte kCommandIntxDisable{4};  // of the second byte
constexpr uint64_t kOffsetMask = (uint64_t{1} << kRegionShift) - 1;
constexpr uint64_t kMsixRegion = uapi::kVfioPciBar0Region + 2;
constexpr size_t kMsixEntrySize = 16;
constexpr size_t kTokenSize = 16;

}  // namespace

bool Cdev::decodes_memory() const {
  return (function->config[kCommand] & kCommandMemory) != std::byte{0};
}

int Cdev::Bind(UserCall& user, const ContextOf& context_of) {
  constexpr size_t kMinSize = offsetof(uapi::VfioDeviceBindIommufd, token_uuid_ptr);
  if (user.user_size() < kMinSize) return -EINVAL;
  if (int rc = user.CheckTail(sizeof(uapi::VfioDeviceBindIommufd)); rc != 0) return rc;
  const size_t size = std::min<size_t>(user.user_size(), sizeof(uapi::VfioDeviceBindIommufd));
  if (int rc = user.LoadPrefix(size); rc != 0) return rc;
  auto& cmd = user.As<uapi::VfioDeviceBindIommufd>();
  if ((cmd.flags & ~uapi::kVfioBindFlagToken) != 0 || cmd.iommufd < 0) return -EINVAL;
  if (device != nullptr) return -EINVAL;
  if ((cmd.flags & uapi::kVfioBindFlagToken) != 0) {
    std::byte token[kTokenSize];
    if (int rc = user.CopyFromUser(0, token, sizeof(token)); rc != 0) return rc;
    // vfio_pci_core_match_token_uuid(): no function here is a VF, or the PF of any.
    return -EINVAL;
  }
  UniqueFd fd;
  if (int rc = user.TakeInnerFd(&fd); rc != 0) return rc;
  Context* target = nullptr;
  if (int rc = context_of(fd.get(), &target); rc != 0) return rc;
  if (function->bound != nullptr) return -EINVAL;
  NewObject<DeviceObject> object(target);
  if (object.error() != 0) return object.error();
  if (!function->group->MayBelongTo(target)) return -EPERM;
  object->Own(target, function);
  cmd.out_devid = object->id;
  if (int rc = user.Respond(); rc != 0) return rc;
  ++object->users;  // VFIO's own
  device = object.Install();
  context = target;
  ++context->pins;
  function->bound = this;
  // vfio_pci_core_enable(): pci_enable_device() lets it decode the BARs that it has.
  if (has_bar()) function->config[kCommand] |= kCommandMemory;
  return 0;
}

int Cdev::RetireBar() {
  return device != nullptr && has_bar() ? function->unit->dma->RetireBar(function->sid()) : 0;
}

void Cdev::Unbind() {
  if (device == nullptr) return;
  if (attachment_ != Attachment::kNone) DetachDevice(device);
  attachment_ = Attachment::kNone;
  // A vDEVICE that is still there goes first, and its id stays taken for good (iommufd device.c,
  // iommufd_device_pre_destroy()).
  if (device->vdevice != nullptr) context->DestroyToTombstone(device->vdevice->id);
  --device->users;
  context->Remove(std::exchange(device, nullptr));
  // vfio_pci_core_disable(): no bus master from here on.
  function->config = ConfigSpace(function->spec);
  if (has_bar()) function->unit->dma->Close(function->sid());
  function->irqs.Clear();
  function->bound = nullptr;
  --std::exchange(context, nullptr)->pins;
}

int Cdev::Attach(UserCall& user) {
  constexpr size_t kMinSize = offsetof(uapi::VfioDeviceAttachIommufdPt, pasid);
  if (int rc = user.LoadPrefix(kMinSize); rc != 0) return rc;
  if (user.user_size() < kMinSize) return -EINVAL;
  const uint32_t flags = user.As<uapi::VfioDeviceAttachIommufdPt>().flags;
  if ((flags & ~uapi::kVfioAttachFlagPasid) != 0) return -EINVAL;
  const bool with_pasid = (flags & uapi::kVfioAttachFlagPasid) != 0;
  if (with_pasid) {
    if (user.user_size() < sizeof(uapi::VfioDeviceAttachIommufdPt)) return -EINVAL;
    if (int rc = user.LoadPrefix(sizeof(uapi::VfioDeviceAttachIommufdPt)); rc != 0) return rc;
  }
  auto& cmd = user.As<uapi::VfioDeviceAttachIommufdPt>();
  if (with_pasid && cmd.pasid != 0) {
    // ida_alloc_range() of an id beyond INT_MAX.
    if (cmd.pasid > INT32_MAX) return -ENOSPC;
    // No function here has PASIDs.
    return context->FindAny(cmd.pt_id) == nullptr ? -ENOENT : -EINVAL;
  }
  // PASID 0 is the RID itself, which VFIO keeps in another book than the plain attachment.
  const Attachment kind = with_pasid ? Attachment::kPasid0 : Attachment::kPlain;
  const int rc =
      attachment_ == kind ? ReplaceDevice(device, &cmd.pt_id) : AttachDevice(device, &cmd.pt_id);
  if (rc != 0) return rc;
  attachment_ = kind;
  const int fault = user.Respond();
  // What is undone is the plain attachment, whatever was asked for.
  if (fault != 0 && kind == Attachment::kPlain) {
    DetachDevice(device);
    attachment_ = Attachment::kNone;
  }
  return fault;
}

int Cdev::Detach(UserCall& user) {
  constexpr size_t kMinSize = offsetof(uapi::VfioDeviceDetachIommufdPt, pasid);
  if (int rc = user.LoadPrefix(kMinSize); rc != 0) return rc;
  if (user.user_size() < kMinSize) return -EINVAL;
  const uint32_t flags = user.As<uapi::VfioDeviceDetachIommufdPt>().flags;
  if ((flags & ~uapi::kVfioAttachFlagPasid) != 0) return -EINVAL;
  Attachment kind = Attachment::kPlain;
  if ((flags & uapi::kVfioAttachFlagPasid) != 0) {
    if (user.user_size() < sizeof(uapi::VfioDeviceDetachIommufdPt)) return -EINVAL;
    if (int rc = user.LoadPrefix(sizeof(uapi::VfioDeviceDetachIommufdPt)); rc != 0) return rc;
    if (user.As<uapi::VfioDeviceDetachIommufdPt>().pasid != 0) return 0;
    kind = Attachment::kPasid0;
  }
  if (attachment_ != kind) return 0;
  DetachDevice(device);
  attachment_ = Attachment::kNone;
  return 0;
}

int Cdev::GetInfo(UserCall& user) const {
  constexpr size_t kMinSize = offsetof(uapi::VfioDeviceInfo, cap_offset);
  if (int rc = user.LoadPrefix(kMinSize); rc != 0) return rc;
  if (user.user_size() < kMinSize) return -EINVAL;
  const size_t size = std::min<size_t>(user.user_size(), sizeof(uapi::VfioDeviceInfo));
  if (int rc = user.LoadPrefix(size); rc != 0) return rc;
  auto& cmd = user.As<uapi::VfioDeviceInfo>();
  const uint32_t argsz = cmd.argsz;
  cmd = {};
  cmd.argsz = argsz;
  cmd.flags = uapi::kVfioDeviceFlagsPci;
  if (!function->spec.reset_method.empty()) cmd.flags |= uapi::kVfioDeviceFlagsReset;
  cmd.num_regions = uapi::kVfioPciNumRegions;
  cmd.num_irqs = uapi::kVfioPciNumIrqs;
  return user.Respond();
}

int Cdev::GetRegionInfo(UserCall& user) const {
  if (int rc = user.LoadPrefix(sizeof(uapi::VfioRegionInfo)); rc != 0) return rc;
  auto& cmd = user.As<uapi::VfioRegionInfo>();
  if (cmd.argsz < sizeof(cmd) || cmd.index >= uapi::kVfioPciNumRegions) return -EINVAL;
  // vfio-pci knows no VGA region on a device that is none.
  if (cmd.index == uapi::kVfioPciVgaRegion) return -EINVAL;
  const bool bar = cmd.index == uapi::kVfioPciBar0Region && has_bar();
  cmd.size = 0;
  if (cmd.index == uapi::kVfioPciConfigRegion) cmd.size = function->config.size();
  if (bar) cmd.size = kDmaBarSize;
  if (cmd.index == kMsixRegion && has_msix_bar()) cmd.size = kMsixBarSize;
  cmd.flags = cmd.size > 0 ? uapi::kVfioRegionFlagRead | uapi::kVfioRegionFlagWrite : 0;
  if (bar) cmd.flags |= uapi::kVfioRegionFlagMmap;
  cmd.offset = uint64_t{cmd.index} << kRegionShift;
  return user.Respond();
}

bool Cdev::gone() const { return context->machine().IsGone(*function); }

int Cdev::Reset() {
  if (function->spec.reset_method.empty()) return -EINVAL;
  // Linux drivers/pci/pci.c, pci_dev_wait(): not ready after the reset; giving up.
  if (gone()) return -ENOTTY;
  // pci_try_reset_function(): COMMAND is cleared before (pci_dev_save_and_disable()), so that
  // nothing is under way, and all of config space is as it was after (pci_dev_restore()).
  if (has_bar()) {
    DmaEngine& dma = *function->unit->dma;
    dma.SetBusMaster(function->sid(), false);
    dma.Reset(function->sid());
    dma.SetBusMaster(function->sid(), function->bus_master());
  }
  ReattachAfterReset(device);
  return 0;
}

int Cdev::Bar() const {
  if (device == nullptr || !has_bar()) return -EINVAL;
  DmaEngine& dma = *function->unit->dma;
  if (const int rc = dma.Open(function->sid(), function->bus_master()); rc != 0) return rc;
  dma.SetMemory(function->sid(), decodes_memory());
  return dma.RegistersFd(function->sid());
}

int Cdev::Region(uint64_t offset, uint64_t length, UniqueFd* region) {
  if (offset != uint64_t{uapi::kVfioPciBar0Region} << kRegionShift || length == 0 ||
      length > kDmaBarSize) {
    return -EINVAL;
  }
  const int bar = Bar();
  if (bar < 0) return bar;
  region->Reset(::fcntl(bar, F_DUPFD_CLOEXEC, 0));
  return region->valid() ? 0 : -errno;
}

int Cdev::Ioctl(UserCall& user, const ContextOf& context_of) {
  if (user.request() == uapi::kVfioDeviceBindIommufd) return Bind(user, context_of);
  if (device == nullptr) return -EINVAL;
  switch (user.request()) {
    case uapi::kVfioDeviceAttachIommufdPt:
      return Attach(user);
    case uapi::kVfioDeviceDetachIommufdPt:
      return Detach(user);
    case uapi::kVfioDeviceGetInfo:
      return GetInfo(user);
    case uapi::kVfioDeviceGetRegionInfo:
      return GetRegionInfo(user);
    case uapi::kVfioDeviceGetIrqInfo:
      return Irqs::GetInfo(user, *this);
    case uapi::kVfioDeviceReset:
      return Reset();
    case uapi::kVfioDeviceSetIrqs:
      return function->irqs.Set(user, *this);
    default:
      return -ENOTTY;
  }
}

// vfio_pci_rw(), vfio_pci_bar_rw(), vfio_pci_core_do_io_rw(): which bytes of BAR 0, after all
// checks.
int Cdev::BarRange(uint64_t offset, size_t* size) const {
  const int bar = Bar();
  if (bar < 0) return bar;
  if (offset >= kDmaBarSize) return -EINVAL;
  if (!decodes_memory()) return -EIO;
  *size = std::min<size_t>(*size, kDmaBarSize - offset);
  return bar;
}

// vfio_pci_core_do_io_rw(): the table of MSI-X is the kernel's own, and nothing is read of it or
// written there; a driver's pending bits follow, all zero as no vector is ever masked.
int Cdev::MsixBarRange(uint64_t offset, size_t* size) const {
  if (!has_msix_bar() || offset >= kMsixBarSize) return -EINVAL;
  *size = std::min<size_t>(*size, kMsixBarSize - offset);
  const size_t table = kMsixEntrySize * static_cast<size_t>(function->spec.msix_vectors);
  return offset + *size <= table || decodes_memory() ? 0 : -EIO;
}

// vfio_config_do_rw(): all or nothing.
bool Cdev::IsInConfig(uint64_t at, size_t size) const {
  return at < function->config.size() && size <= function->config.size() - at;
}

int64_t Cdev::Read(uint64_t offset, size_t size, std::vector<std::byte>* out) {
  if (device == nullptr) return -EINVAL;
  if (size == 0) return 0;  // vfio_pci_core_read()
  const uint64_t region = offset >> kRegionShift;
  if (region == uapi::kVfioPciConfigRegion) {
    const uint64_t at = offset - kConfigOffset;
    if (!IsInConfig(at, size)) return -EFAULT;
    const auto begin = function->config.begin() + static_cast<ptrdiff_t>(at);
    out->assign(begin, begin + static_cast<ptrdiff_t>(size));
  } else if (region == kMsixRegion) {
    const uint64_t at = offset & kOffsetMask;
    if (int rc = MsixBarRange(at, &size); rc != 0) return rc;
    out->assign(size, std::byte{0});
    const size_t table = kMsixEntrySize * static_cast<size_t>(function->spec.msix_vectors);
    for (size_t i = 0; i < size && at + i < table; ++i) (*out)[i] = std::byte{0xff};
  } else {
    const int bar = region == uapi::kVfioPciBar0Region ? BarRange(offset, &size) : -EINVAL;
    if (bar < 0) return bar;
    out->resize(size);
    if (::pread(bar, out->data(), size, static_cast<off_t>(offset)) < 0) return -errno;
  }
  // PCI: nobody answers the read, so all bits are ones.
  if (gone()) std::ranges::fill(*out, std::byte{0xff});
  return static_cast<int64_t>(size);
}

int64_t Cdev::Write(uint64_t offset, std::span<const std::byte> bytes) {
  if (device == nullptr) return -EINVAL;
  size_t size = bytes.size();
  if (size == 0) return 0;  // vfio_pci_core_write()
  const uint64_t region = offset >> kRegionShift;
  if (region == uapi::kVfioPciConfigRegion) {
    const uint64_t at = offset - kConfigOffset;
    if (!IsInConfig(at, size)) return -EFAULT;
    if (!gone()) WriteConfig(at, bytes);
    return static_cast<int64_t>(size);
  }
  if (region == kMsixRegion) {
    const int rc = MsixBarRange(offset & kOffsetMask, &size);
    return rc != 0 ? rc : static_cast<int64_t>(size);
  }
  const int bar = region == uapi::kVfioPciBar0Region ? BarRange(offset, &size) : -EINVAL;
  if (bar < 0) return bar;
  if (!gone() && ::pwrite(bar, bytes.data(), size, static_cast<off_t>(offset)) < 0) return -errno;
  return static_cast<int64_t>(size);
}

void Cdev::WriteConfig(uint64_t at, std::span<const std::byte> bytes) {
  for (size_t i = 0; i < bytes.size(); ++i) {
    if (at + i == kCommand || at + i == kCommand + 1) function->config[at + i] = bytes[i];
  }
  const std::byte disabled = function->config[kCommand + 1] & kCommandIntxDisable;
  function->irqs.DisableIntx(disabled != std::byte{0}, *this);
  if (!has_bar()) return;
  function->unit->dma->SetBusMaster(function->sid(), function->bus_master());
  function->unit->dma->SetMemory(function->sid(), decodes_memory());
}

uint32_t Cdev::IrqCount(uint32_t index) const {
  switch (index) {
    case uapi::kVfioPciIntxIrq:
      return function->spec.intx ? 1 : 0;
    case uapi::kVfioPciMsiIrq:
      return static_cast<uint32_t>(function->spec.msi_vectors);
    case uapi::kVfioPciMsixIrq:
      return static_cast<uint32_t>(function->spec.msix_vectors);
    case uapi::kVfioPciErrIrq:
    case uapi::kVfioPciReqIrq:
      return 1;
    default:
      return 0;
  }
}

bool Cdev::TranslatesMsis() const { return IsAttached(device); }

bool Cdev::AssertsIntx() const {
  return has_bar() && function->unit->dma->AssertsInterrupt(function->sid());
}

void Cdev::WatchUnmask(int eventfd) {
  if (Bar() < 0) return;  // powered up
  UniqueFd copy(eventfd >= 0 ? ::fcntl(eventfd, F_DUPFD_CLOEXEC, 0) : -1);
  function->unit->dma->Watch(function->sid(), std::move(copy));
}

}  // namespace berth::emulator
