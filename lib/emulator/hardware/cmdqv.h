// SPDX-License-Identifier: Apache-2.0
//
// One emulated Tegra241 CMDQV: the command queue virtualisation block in front of one SMMUv3, as
// its Linux driver sees it (drivers/iommu/arm/arm-smmu-v3/tegra241-cmdqv.c; no public register
// specification exists). All of it is registers in shared memory (registers.h): the driver writes
// the configuration page, a guest page0 of its VINTF.
#ifndef BERTH_LIB_EMULATOR_HARDWARE_CMDQV_H_
#define BERTH_LIB_EMULATOR_HARDWARE_CMDQV_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "lib/emulator/hardware/command.h"
#include "lib/emulator/hardware/register_block.h"
#include "lib/emulator/hardware/registers.h"

namespace berth::emulator {

class InvalidationSink;
class PhysicalMemory;
class Poller;

// Bytes of page0: the registers of one VINTF's logical vCMDQs, 0x80 bytes each.
inline constexpr size_t kPage0Size = kRegisterPageSize;

// 128 bits, one for each LVCMDQ: the VINTF's LVCMDQ_ERR_MAP as two words.
using LvcmdqErrorMap = std::array<uint64_t, 2>;

// What to do with a PROD that is more than a whole ring ahead of CONS.
enum class ProdOverrun : uint8_t {
  kIllegal,  // an error at CONS with CONS.ERR 1; nothing is executed
  kIgnore,   // nothing is executed until PROD makes sense again
};

// Whether software can set HYP_OWN of a VINTF. Where it cannot, Linux takes itself for a guest and
// sends only what a guest may.
enum class HypOwn : uint8_t { kWritable, kWiredToZero };

// What hardware does wrong, now and then.
enum class HardwareFault : uint8_t {
  kAtcTimeout,   // a device does not answer an ATC_INV, and forgets nothing
  kStuckStatus,  // a STATUS does not follow its CONFIG
};

struct CmdqvConfig {
  // PARAM. Powers of two, vintfs <= 64,
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

  HypOwn hyp_own = HypOwn::kWritable;

  // What executed commands act on; outlives the Cmdqv. Called with locks of the model held, so it
  // must not call back. Null: commands are only counted.
  InvalidationSink* sink = nullptr;

  // Asked at each occasion, on any thread, with locks of the model held: whether that goes wrong
  // now, with kAtcTimeout for the device with StreamID `sid`. Empty: never.
  std::function<bool(HardwareFault, uint32_t sid)> goes_wrong;

  // Where BASE of a queue leads to; outlives the Cmdqv. Null: nowhere, every fetch aborts.
  PhysicalMemory* memory = nullptr;

  // How the registers are watched. kManual: only by Poll(), for tests.
  enum class Polling : uint8_t { kThread, kManual };
  Polling polling = Polling::kThread;
  // kThread: whose threads do it; outlives the Cmdqv. Null: one thread of its own.
  Poller* poller = nullptr;

  // The interrupt: edge-triggered, once for one or more new errors of VINTFs that INT_MASK does not
  // mask (a bit that is set already does not hide a new error). Called on a hardware thread with no
  // lock of the model held: it may take the caller's locks and call any method here but the
  // destructor. That thread polls nothing meanwhile. May be empty.
  std::function<void()> on_interrupt;
};

// Of one LVCMDQ, since its VINTF was enabled.
struct LvcmdqCounters {
  OpcodeCounts executed = {};   // a queue with HYP_OWN=0 takes but four opcodes
  uint64_t command_errors = 0;  // queue stopped with CONS.ERR 1 or 4
  uint64_t fetch_errors = 0;    // queue stopped with CONS.ERR 2
  uint64_t atc_timeouts = 0;    // queue stopped at a CMD_SYNC with CONS.ERR 3
  uint64_t unanswered = 0;      // executed ATC_INVs that their device did not answer
  uint64_t init_errors = 0;     // GERROR.CMDQ_INIT_ERR toggled
  uint64_t doorbells = 0;       // looks at PROD that found commands; one may merge several writes
  uint64_t full_rings = 0;      // doorbells that found the ring exactly full
  bool operator==(const LvcmdqCounters&) const = default;
};

// One LVCMDQ at one moment.
struct LvcmdqSnapshot {
  bool mapped = false;   // CMDQ_ALLOC has a vCMDQ for it
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
  uint16_t vmid = 0;
  bool hyp_own = false;
  LvcmdqErrorMap lvcmdq_err_map = {};
  std::vector<SidSlot> sid_slots;
  std::vector<LvcmdqSnapshot> lvcmdqs;
};

// Thread-safe. Methods that return int return 0 or what they say, or a negative errno: -EINVAL for
// a VINTF that does not exist.
class Cmdqv {
 public:
  // A config outside the ranges above is a programming error, as is a machine without memory for
  // the registers. They are private to this process but for what NewPage0() makes; what a driver
  // writes outside page0 is seen by Serve().
  explicit Cmdqv(CmdqvConfig config);
  // On registers that the caller has; where they are shared all of them are polled.
  Cmdqv(CmdqvConfig config, RegisterBlock registers);
  // Ends the polling.
  ~Cmdqv();
  Cmdqv(const Cmdqv&) = delete;
  Cmdqv& operator=(const Cmdqv&) = delete;

  [[nodiscard]] const CmdqvConfig& config() const;
  // The static partition: vcmdqs / vintfs.
  [[nodiscard]] int lvcmdqs_per_vintf() const;
  // The PARAM register: version and the three log2 counts.
  [[nodiscard]] uint32_t param() const;

  // All registers (registers.h), for a driver in this process.
  [[nodiscard]] RegisterView registers() const;
  // Looks at the configuration page for `vintf` and at CONFIG of its queues, in the calling thread:
  // when it returns, what was written there before has had its effect (but for commands, which
  // hardware threads execute, and for interrupts) and what was taken away is not touched any more.
  // A driver that cannot call this polls STATUS instead.
  void Serve(int vintf);

  // Puts page0 of `vintf` onto a new zeroed memfd: kPage0Size bytes, sealed against changes of
  // size. For a VINTF that is not enabled. Errors: -ENOMEM, -EMFILE, -ENFILE.
  int NewPage0(int vintf);
  // That memfd, owned by the model until DropPage0(). -ENOENT.
  [[nodiscard]] int Page0Fd(int vintf) const;
  // (No other method for this VINTF at the same time.) Tries to take page0 from everyone: drops the
  // model's mapping and seals the memfd against writing. 0: done, nobody has it mapped nor ever
  // will; its queues have stopped; DropPage0() is what remains. Idempotent. -EBUSY: some process
  // maps it shared from a writable fd; nothing has changed, all queues go on. -ENOENT. (A peer that
  // used F_ADD_SEALS on the memfd itself spoils only its own page: with F_SEAL_SEAL its mappings
  // are not found, 0; with F_SEAL_FUTURE_WRITE its queues do not go on after -EBUSY.)
  int RetirePage0(int vintf);
  // Back to registers that only the driver reaches. A peer that still maps the memfd is left with
  // dead memory.
  void DropPage0(int vintf);

  // nullopt unless enabled.
  [[nodiscard]] std::optional<VintfSnapshot> Snapshot(int vintf) const;
  [[nodiscard]] std::optional<LvcmdqCounters> Counters(int vintf, int lvcmdq) const;
  // Enabled ones, ascending.
  [[nodiscard]] std::vector<int> EnabledVintfs() const;

  // One look at every register that is watched, and the interrupt for what is found. Returns
  // whether anything was done. Only with Polling::kManual.
  bool Poll();

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace berth::emulator

#endif  // BERTH_LIB_EMULATOR_HARDWARE_CMDQV_H_
