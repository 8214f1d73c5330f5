// SPDX-License-Identifier: Apache-2.0
//
// VFIO cdevs: Linux drivers/vfio/{device_cdev.c,iommufd.c,vfio_main.c,pci/vfio_pci_core.c}.
#ifndef BERTH_LIB_EMULATOR_KERNEL_CDEV_H_
#define BERTH_LIB_EMULATOR_KERNEL_CDEV_H_

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "lib/emulator/kernel/context.h"
#include "lib/emulator/kernel/irqs.h"
#include "lib/emulator/kernel/user_call.h"

namespace berth::emulator {

// One open of a cdev. Not thread-safe: the kernel's lock covers it.
struct Cdev : IrqSource {
  // Finds the context behind an fd: 0 or -EBADFD.
  using ContextOf = std::function<int(int fd, Context** context)>;

  explicit Cdev(Function* the_function) : function(the_function) {}

  int Ioctl(UserCall& user, const ContextOf& context_of);
  // pread(2) and pwrite(2): bytes or a negative errno. -EIO: a BAR while COMMAND has memory off.
  int64_t Read(uint64_t offset, size_t size, std::vector<std::byte>* out);
  int64_t Write(uint64_t offset, std::span<const std::byte> bytes);
  // mmap(2): the memfd of the region, to be mapped from its start. 0 or -EINVAL.
  int Region(uint64_t offset, uint64_t length, UniqueFd* region);
  // No process has the fd any more: 0, or -EBUSY while one maps a BAR, which keeps the file open.
  int RetireBar();
  // The last close, after RetireBar(): detaches and unbinds. The context may have nothing left that
  // pins it then.
  void Unbind();

  // While bound.
  [[nodiscard]] uint32_t IrqCount(uint32_t index) const override;
  [[nodiscard]] bool TranslatesMsis() const override;
  [[nodiscard]] bool AssertsIntx() const override;
  void WatchUnmask(int eventfd) override;

  Function* function;
  Context* context = nullptr;  // bound to; pinned
  DeviceObject* device = nullptr;

 private:
  int Bind(UserCall& user, const ContextOf& context_of);
  int Attach(UserCall& user);
  int Detach(UserCall& user);
  int GetInfo(UserCall& user) const;
  int GetRegionInfo(UserCall& user) const;
  int Reset();
  // Pulled out; only while bound.
  [[nodiscard]] bool gone() const;
  // The memfd of BAR 0, with a device behind it from now on; a negative errno. -EINVAL: no BAR.
  [[nodiscard]] int Bar() const;
  [[nodiscard]] bool has_bar() const { return function->spec.model == DeviceModel::kDmaTest; }
  // BAR 2, with the table of MSI-X.
  [[nodiscard]] bool has_msix_bar() const { return function->spec.msix_vectors > 0; }
  // COMMAND.Memory Space Enable.
  [[nodiscard]] bool decodes_memory() const;
  // BAR 0, for *size bytes at `offset`, cut to what there is; or a negative errno.
  [[nodiscard]] int BarRange(uint64_t offset, size_t* size) const;
  // The same of BAR 2, which keeps nothing: 0, or a negative errno.
  [[nodiscard]] int MsixBarRange(uint64_t offset, size_t* size) const;
  [[nodiscard]] bool IsInConfig(uint64_t at, size_t size) const;
  void WriteConfig(uint64_t at, std::span<const std::byte> bytes);

  enum class Attachment : uint8_t { kNone, kPlain, kPasid0 };
  Attachment attachment_ = Attachment::kNone;
};

}  // namespace berth::emulator

#endif  // BERTH_LIB_EMULATOR_KERNEL_CDEV_H_
