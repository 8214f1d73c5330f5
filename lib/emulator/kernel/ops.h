// SPDX-License-Identifier: Apache-2.0
//
// The ioctls of a context, one function each, in one file for each family. Every function checks in
// the order of Linux 7.3 and returns 0 or a negative errno; the struct is loaded already.
#ifndef BERTH_LIB_EMULATOR_KERNEL_OPS_H_
#define BERTH_LIB_EMULATOR_KERNEL_OPS_H_

#include <functional>
#include <string>
#include <vector>

#include "lib/emulator/kernel/context.h"
#include "lib/emulator/kernel/user_call.h"

namespace berth::emulator {

// What an ioctl can reach.
struct Ucmd {
  Context& context;
  UserCall& user;
  // Makes the fd of an event queue and ties the two together. 0 or -EMFILE.
  std::function<int(EventQueue*, UniqueFd*)> open_events;

  template <typename T>
  T& As() {
    return user.As<T>();
  }
};

int IoasAlloc(Ucmd& ucmd);
int IoasAllowIovas(Ucmd& ucmd);
int IoasCopy(Ucmd& ucmd);
int IoasIovaRanges(Ucmd& ucmd);
int IoasMap(Ucmd& ucmd);
int IoasMapFile(Ucmd& ucmd);
int IoasUnmap(Ucmd& ucmd);
int IoasChangeProcess(Ucmd& ucmd);
int VfioIoas(Ucmd& ucmd);
int Option(Ucmd& ucmd);
int HwptAlloc(Ucmd& ucmd);
int HwptInvalidate(Ucmd& ucmd);
int HwptSetDirtyTracking(Ucmd& ucmd);
int HwptGetDirtyBitmap(Ucmd& ucmd);
int GetHwInfo(Ucmd& ucmd);
int ViommuAlloc(Ucmd& ucmd);
int VdeviceAlloc(Ucmd& ucmd);
int VeventqAlloc(Ucmd& ucmd);
int FaultQueueAlloc(Ucmd& ucmd);
int HwQueueAlloc(Ucmd& ucmd);

// Runs an ioctl on a context: finds the op, loads the struct, executes.
int ContextIoctl(Ucmd& ucmd);
// What Linux 7.3 does and this does not: requests by name, with what they answer and why.
std::vector<std::string> ListUnsupported();

// hw_pagetable.c: a paging domain on `unit` for `ioas`; then puts all that `ioas` maps into it.
int AllocDomain(HwptPaging* hwpt, Ioas* ioas, Unit* unit, uint32_t flags);
int AddToIoas(HwptPaging* hwpt);

// device.c: attaches, or with an attachment replaces. *pt_id is in and out.
int AttachDevice(DeviceObject* device, uint32_t* pt_id);
int ReplaceDevice(DeviceObject* device, uint32_t* pt_id);
void DetachDevice(DeviceObject* device);
// Whether its group is attached to anything, by whatever device of it.
bool IsAttached(DeviceObject* device);
// iommu.c, pci_dev_reset_iommu_prepare(), pci_dev_reset_iommu_done(): a function with ATS is
// blocked while it is reset, and attached anew afterwards, which looks for its vDEVICE again. Where
// there is none any more and its vSTE translates, it stays blocked.
void ReattachAfterReset(DeviceObject* device);

}  // namespace berth::emulator

#endif  // BERTH_LIB_EMULATOR_KERNEL_OPS_H_
