// SPDX-License-Identifier: Apache-2.0
//
// One emulated Tegra241 CMDQV: the command queue virtualisation block in front of one SMMUv3, as
// its Linux driver sees it (drivers/iommu/arm/arm-smmu-v3/tegra241-cmdqv.c; no public register
// specification exists). The methods stand for what that driver writes to the configuration page;
// page0 of each VINTF is shared memory that a guest drives by itself.
#ifndef BERTH_LIB_EMULATOR_HARDWARE_CMDQV_H_
#define BERTH_LIB_EMULATOR_HARDWARE_CMDQV_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "absl/time/time.h"
#include "lib/base/unique_fd.h"
#include "lib/emulator/hardware/command.h"
#include "lib/emulator/hardware/queue_memory.h"

namespace berth::emulator {

class InvalidationSink;

// Bytes of page0: the registers of one VINTF's logical vCMDQs, 0x80 bytes each.
inline constexpr size_t kPage0Size = 0x10000;

// 128 bits, one for each LVCMDQ: the VINTF's LVCMDQ_ERR_MAP as two words.
using LvcmdqErrorMap = std::array<uint64_t, 2>;

// A new error on a queue of `vintf`.
struct VintfError {
  int vintf = 0;
  // What AllocVintf() was given: tells this owner of the index from the next.
  uint64_t cookie = 0;
  // All queues of the VINTF that were in error at that moment, the new one included.
  LvcmdqErrorMap lvcmdq_err_map = {};
};

// What to do with a PROD that is more than a whole ring ahead of CONS.
enum class ProdOverrun : uint8_t {
  kIllegal,  // an error at CONS with CONS.ERR 1; nothing is executed
  kIgnore,   // nothing is executed until PROD makes sense again
};

struct CmdqvConfig {
  // PARAM. VINTF 0 is the host's, so `vintfs` - 1 can be allocated. Powers of two, vintfs <= 64,
  // vintfs <= vcmdqs <= 128, sid_slots <= 16.
  int vintfs = 64;
  int vcmdqs = 128;
  int sid_slots = 16;
  int version = 1;

  // Where no public text says what the hardware does: the choices a correct driver cannot notice
  // and a wrong one cannot miss.
  Refusal forbidden_opcode = Refusal::kIllegal;
  Refusal unmatched_vsid = Refusal::kIllegal;
  ReservedBits reserved_bits = ReservedBits::kRefuse;
  ProdOverrun prod_overrun = ProdOverrun::kIllegal;

  // What executed commands act on; outlives the Cmdqv. Called with locks of the model held, so it
  // must not call back. Null: commands are only counted.
  InvalidationSink* sink = nullptr;

  // How the registers are watched. kManual: only by Poll(), for tests.
  enum class Polling : uint8_t { kThread, kManual };
  Polling polling = Polling::kThread;
  // The longest time between two looks at an idle queue.
  absl::Duration max_idle_wait = absl::Milliseconds(4);

  // Called once for each new error (the interrupt is edge-triggered; a bit that is set already does
  // not hide a new error), on the model's thread with no lock of the model held: it may take the
  // caller's locks and call any method here but the destructor. All polling of the unit waits for
  // it, so it should only queue the event. As an interrupt may, a call can come just after
  // FreeVintf() or UnmapLvcmdq() returned: compare the cookie. May be empty.
  std::function<void(const VintfError&)> on_error;
};

// Of one LVCMDQ, since AllocVintf(). Only executed commands count.
struct LvcmdqCounters {
  uint64_t tlbi_nh_asid = 0;
  uint64_t tlbi_nh_va = 0;
  uint64_t atc_inv = 0;
  uint64_t cmd_sync = 0;
  uint64_t other = 0;           // what only a queue with HYP_OWN=1 takes
  uint64_t command_errors = 0;  // queue stopped with CONS.ERR 1 or 4
  uint64_t fetch_errors = 0;    // queue stopped with CONS.ERR 2
  uint64_t atc_timeouts = 0;    // queue stopped at a CMD_SYNC with CONS.ERR 3
  uint64_t init_errors = 0;     // GERROR.CMDQ_INIT_ERR toggled
  uint64_t doorbells = 0;       // looks at PROD that found commands; one may merge several writes
  uint64_t full_rings = 0;      // doorbells that found the ring exactly full
  [[nodiscard]] uint64_t commands() const {
    return tlbi_nh_asid + tlbi_nh_va + atc_inv + cmd_sync + other;
  }
  bool operator==(const LvcmdqCounters&) const = default;
};

// One LVCMDQ at one moment.
struct LvcmdqSnapshot {
  bool mapped = false;
  bool enabled = false;  // STATUS.CMDQ_EN_OK
  uint32_t log2size = 0;
  uint32_t cons = 0;  // the register: index, wrap bit, ERR
  uint32_t prod = 0;
  uint32_t gerror = 0;
  LvcmdqCounters counters;
  std::optional<Command> last;  // the last command executed, with vmid and sid replaced
};

struct SidSlot {
  int slot = 0;
  uint32_t vsid = 0;
  uint32_t psid = 0;
};

struct VintfSnapshot {
  uint64_t cookie = 0;
  uint16_t vmid = 0;
  LvcmdqErrorMap lvcmdq_err_map = {};
  std::vector<SidSlot> sid_slots;
  std::vector<LvcmdqSnapshot> lvcmdqs;
};

// Thread-safe. Methods that return int return 0 or what they say, or a negative errno: -ENOENT for
// a VINTF that is not allocated, -EINVAL for an index, size or value outside its range. A method
// waits at most for the model to finish what it is executing (some thousand commands).
// When a method that takes something away has returned, the model does not touch it any more.
class Cmdqv {
 public:
  // A config outside the ranges above is a programming error.
  explicit Cmdqv(CmdqvConfig config);
  // Ends the thread. Frees what is allocated.
  ~Cmdqv();
  Cmdqv(const Cmdqv&) = delete;
  Cmdqv& operator=(const Cmdqv&) = delete;

  [[nodiscard]] const CmdqvConfig& config() const;
  // The static partition: vcmdqs / vintfs.
  [[nodiscard]] int lvcmdqs_per_vintf() const;
  // The PARAM register: version and the three log2 counts.
  [[nodiscard]] uint32_t param() const;

  // Takes the lowest free index from 1 on, with a new zeroed page0, VMID 0, no SID slots, no mapped
  // queues, enabled with HYP_OWN=0. `cookie` comes back in VintfError.
  // Errors: -ENOSPC; -ENOMEM, -EMFILE, -ENFILE when no page0 can be made.
  int AllocVintf(uint64_t cookie);
  // Ends the VINTF, mapped queues (descending) and SID slots included, and drops page0. A peer that
  // still maps it is left with dead memory: each allocation has a page0 of its own.
  int FreeVintf(int vintf);
  int SetVmid(int vintf, uint16_t vmid);

  // The memfd of page0: kPage0Size bytes, sealed against changes of size, same fd for each call,
  // owned by the model until FreeVintf(). -ENOENT.
  int Page0Fd(int vintf) const;
  // (No other method for this VINTF at the same time.) Tries to take page0 from everyone: drops the
  // model's mapping and seals the memfd against writing. 0: done, nobody has it mapped nor ever
  // will; mapped queues have stopped; FreeVintf() is what remains. Idempotent. -EBUSY: some process
  // maps it shared from a writable fd; nothing has changed, all queues go on. (A peer that used
  // F_ADD_SEALS on the memfd itself spoils only its own page: with F_SEAL_SEAL its mappings are not
  // found, 0; with F_SEAL_FUTURE_WRITE its queues do not go on after -EBUSY.)
  int RetirePage0(int vintf);

  // SID_REPLACE and SID_MATCH of the lowest free slot. Both ids have 20 bits. Returns the slot.
  // Errors: -ENOSPC; -EEXIST when the vSID has a slot.
  int AddSid(int vintf, uint32_t vsid, uint32_t psid);
  int RemoveSid(int vintf, int slot);

  // Maps LVCMDQ `lvcmdq` (from 0): CMDQ_ALLOC.ALLOCATED=1, the driver's reset (CONFIG=0, PROD=0,
  // CONS=0, GERRORN=GERROR), BASE. Enabling it is left to the guest. 1 <= log2size <= 19 and
  // memory.size() >= 16 << log2size.
  // Errors: -EEXIST; -EIO when the one below is not mapped (queues are mapped upward).
  int MapLvcmdq(int vintf, int lvcmdq, QueueMemory memory, uint32_t log2size);
  // The same reset, then ALLOCATED=0; drops the memory. Errors: -ENXIO when not mapped; -EIO when
  // the one above is still mapped.
  int UnmapLvcmdq(int vintf, int lvcmdq);

  [[nodiscard]] std::optional<VintfSnapshot> Snapshot(int vintf) const;
  [[nodiscard]] std::optional<LvcmdqCounters> Counters(int vintf, int lvcmdq) const;
  // Allocated indices, ascending.
  [[nodiscard]] std::vector<int> AllocatedVintfs() const;

  // One look at every queue, and on_error for what is found. Returns whether anything was done.
  // Only with Polling::kManual.
  bool Poll();

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace berth::emulator

#endif  // BERTH_LIB_EMULATOR_HARDWARE_CMDQV_H_
