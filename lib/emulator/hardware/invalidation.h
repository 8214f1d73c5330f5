// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_LIB_EMULATOR_HARDWARE_INVALIDATION_H_
#define BERTH_LIB_EMULATOR_HARDWARE_INVALIDATION_H_

#include "lib/emulator/hardware/command.h"
#include "lib/emulator/hardware/registers.h"

namespace berth::emulator {

// What executed commands act on: the translation caches of one SMMU and of the devices behind it.
// Thread-safe: command queues of one unit execute on several threads, beside the trapped commands
// of HWPT_INVALIDATE.
class InvalidationSink {
 public:
  virtual ~InvalidationSink() = default;

  // Executes one decoded command. Its VMID and StreamID are physical ones: whoever calls has put
  // the VINTF's in place of the guest's. When this returns, no new translation uses what the
  // command took away; after the next Sync() no old one does either, on any device.
  virtual void Invalidate(const Command& command) = 0;

  // CMD_SYNC: waits for the DMA that began before it under what was invalidated since.
  // ConsError::kAtcTimeout when a device has not answered an ATC_INV (IHI 0070,
  // CERROR_ATC_INV_SYNC), else kNone.
  virtual ConsError Sync() = 0;
};

}  // namespace berth::emulator

#endif  // BERTH_LIB_EMULATOR_HARDWARE_INVALIDATION_H_
