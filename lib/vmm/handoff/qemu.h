// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_LIB_VMM_HANDOFF_QEMU_H_
#define BERTH_LIB_VMM_HANDOFF_QEMU_H_

#include "absl/status/status.h"
#include "lib/vmm/handoff/attachment.h"
#include "lib/vmm/handoff/options.h"
#include "lib/vmm/handoff/qmp_client.h"

namespace berth::handoff {

// Plugs the devices into the QEMU at the other end of `qmp`: the object iommufd `options.id`, and a
// vfio-pci for each device. What was done before a step that fails is asked to be undone; QEMU lets
// go of a device when its guest does. Then confirms the hand-off for QEMU's process.
// Errors: QmpClient's; ListenerOn(), HolderOf() and CheckHolds(); INVALID_FIELD (a property of a
// device that is not there); Attachment::ConfirmFor().
absl::Status PlugInto(QmpClient& qmp, const Options& options, Attachment& attachment);

}  // namespace berth::handoff

#endif  // BERTH_LIB_VMM_HANDOFF_QEMU_H_
