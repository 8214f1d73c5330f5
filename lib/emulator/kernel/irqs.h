// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_LIB_EMULATOR_KERNEL_IRQS_H_
#define BERTH_LIB_EMULATOR_KERNEL_IRQS_H_

#include <cstdint>
#include <span>
#include <vector>

#include "lib/base/unique_fd.h"
#include "lib/emulator/kernel/user_call.h"
#include "lib/iommufd/uapi/vfio.h"

namespace berth::emulator {

// What Irqs must know of its function, and whom it asks to watch.
class IrqSource {
 public:
  virtual ~IrqSource() = default;
  // Interrupts of an index: vfio_pci_get_irq_count(). At most kMaxEventfds.
  [[nodiscard]] virtual uint32_t IrqCount(uint32_t index) const = 0;
  // Whether the device is attached to something that can translate the address of an MSI.
  [[nodiscard]] virtual bool TranslatesMsis() const = 0;
  // Whether the function asserts INTx now.
  [[nodiscard]] virtual bool AssertsIntx() const = 0;
  // From now on Irqs::Unmask() is called for each signal of this eventfd; -1: for none.
  virtual void WatchUnmask(int eventfd) = 0;
};

// The interrupts of one function, as vfio-pci hands them to eventfds (Linux
// drivers/vfio/pci/{vfio_pci_core.c,vfio_pci_intrs.c}). Every function has ERR and REQ, and one at
// a time of INTx, MSI and MSI-X. Not thread-safe: the kernel's lock covers it.
class Irqs {
 public:
  // VFIO_DEVICE_GET_IRQ_INFO and VFIO_DEVICE_SET_IRQS: 0 or a negative errno.
  static int GetInfo(UserCall& user, const IrqSource& source);
  int Set(UserCall& user, IrqSource& source);

  // The function raises its interrupt: by INTx, or the vector of MSI or MSI-X.
  void Raise(uint32_t vector, const IrqSource& source);
  // vfio_pci_intx_unmask_handler(), and the signal where the interrupt is still asserted.
  void Unmask(const IrqSource& source);
  // COMMAND.Interrupt Disable has been written (vfio_pci_config.c, vfio_basic_config_write()).
  void DisableIntx(bool disabled, const IrqSource& source);
  // The last close of the cdev.
  void Clear();

 private:
  struct Vector {
    bool allocated = false;  // also without an eventfd
    UniqueFd eventfd;
  };
  struct Arguments {
    uapi::VfioIrqSet set = {};
    std::vector<int32_t> values;  // of DATA_BOOL and DATA_EVENTFD
    [[nodiscard]] uint32_t data() const;
    [[nodiscard]] bool raises(uint32_t i) const;  // loopback, of DATA_NONE and DATA_BOOL
  };

  [[nodiscard]] bool is(uint32_t index) const { return type_ == index; }
  [[nodiscard]] bool is_none() const { return type_ == uapi::kVfioPciNumIrqs; }

  int MaskIntx(const Arguments& arguments);
  int UnmaskIntx(UserCall& user, const Arguments& arguments, IrqSource& source);
  int TriggerIntx(UserCall& user, const Arguments& arguments, IrqSource& source);
  int TriggerMsi(UserCall& user, const Arguments& arguments, const IrqSource& source);
  int TriggerSingle(UserCall& user, const Arguments& arguments);
  int EnableMsi(const uapi::VfioIrqSet& set, const IrqSource& source);
  int SetBlock(UserCall& user, const Arguments& arguments, const IrqSource& source);
  int SetVector(UserCall& user, uint32_t vector, int32_t eventfd, const IrqSource& source);
  void Assert(const IrqSource& source);
  void SendIntx() const;
  void Disable();

  uint32_t type_ = uapi::kVfioPciNumIrqs;  // what is on: INTx, MSI or MSI-X; else this
  std::vector<Vector> vectors_;            // of `type_`
  // INTx
  bool masked_ = false;
  bool disabled_ = false;  // by COMMAND
  UniqueFd unmask_;
  // ERR and REQ
  UniqueFd error_;
  UniqueFd request_;
};

}  // namespace berth::emulator

#endif  // BERTH_LIB_EMULATOR_KERNEL_IRQS_H_
