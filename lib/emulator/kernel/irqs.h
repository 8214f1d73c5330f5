// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_LIB_EMULATOR_KERNEL_IRQS_H_
#define BERTH_LIB_EMULATOR_KERNEL_IRQS_H_

#include <array>
#include <cstdint>

#include "lib/base/unique_fd.h"
#include "lib/emulator/kernel/user_call.h"
#include "lib/iommufd/uapi/vfio.h"

namespace berth::emulator {

// The interrupts of one function, as vfio-pci hands them to eventfds (Linux
// drivers/vfio/pci/{vfio_pci_core.c,vfio_pci_intrs.c}). Every function has ERR and REQ; MSI with
// one vector; there is no INTx and no MSI-X. Not thread-safe: the kernel's lock covers it.
class Irqs {
 public:
  // VFIO_DEVICE_GET_IRQ_INFO and VFIO_DEVICE_SET_IRQS: 0 or a negative errno.
  static int GetInfo(UserCall& user);
  int Set(UserCall& user);

  // The function raises its interrupt: signals the eventfd, if there is one.
  void RaiseMsi() const { Signal(uapi::kVfioPciMsiIrq); }
  // The last close of the cdev.
  void Clear();

 private:
  int TriggerMsi(UserCall& user, const uapi::VfioIrqSet& set, int32_t value);
  int TriggerSingle(UserCall& user, const uapi::VfioIrqSet& set, int32_t value);
  int SetVector(UserCall& user, int32_t fd);
  void DisableMsi();
  void Signal(uint32_t index) const;

  std::array<UniqueFd, uapi::kVfioPciNumIrqs> eventfds_;  // by index
  bool msi_enabled_ = false;                              // also without an eventfd
};

}  // namespace berth::emulator

#endif  // BERTH_LIB_EMULATOR_KERNEL_IRQS_H_
