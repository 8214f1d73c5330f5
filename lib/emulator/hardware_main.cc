// SPDX-License-Identifier: Apache-2.0
#include "lib/emulator/hardware_main.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <CLI/CLI.hpp>
#include <bit>
#include <cerrno>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "lib/base/status.h"
#include "lib/base/unique_fd.h"
#include "lib/daemon/signals.h"
#include "lib/emulator/hardware/cmdqv.h"
#include "lib/emulator/hardware/physical_memory.h"

namespace berth::emulator {
namespace {

// The RAM of a VM that is a file, from one physical address on.
class FileMemory : public PhysicalMemory {
 public:
  FileMemory(UniqueFd fd, uint64_t address, uint64_t size)
      : fd_(std::make_shared<const UniqueFd>(std::move(fd))), address_(address), size_(size) {}

  QueueMemory Open(uint64_t address, size_t size) override {
    if (address < address_ || address - address_ > size_ || size > size_ - (address - address_)) {
      return {};
    }
    return QueueMemory::FromFile(fd_, address - address_, size);
  }

 private:
  const std::shared_ptr<const UniqueFd> fd_;
  const uint64_t address_;
  const uint64_t size_;
};

absl::StatusOr<UniqueFd> OpenFile(const std::string& path, int mode) {
  UniqueFd fd(::open(path.c_str(), mode | O_CLOEXEC));
  if (!fd.valid()) return Annotate(ErrnoToStatus(errno, "open"), path);
  return fd;
}

absl::Status CheckCounts(const HardwareFlags& flags) {
  const auto power = [](int count, int most) {
    return count > 0 && count <= most && std::has_single_bit(static_cast<unsigned>(count));
  };
  if (power(flags.vintfs, kMaxVintfs) && power(flags.vcmdqs, kMaxVcmdqs) &&
      flags.vcmdqs >= flags.vintfs && power(flags.sid_slots, kMaxSidSlots)) {
    return absl::OkStatus();
  }
  return Error(Reason::kInvalidField,
               "a CMDQV has up to 64 VINTFs, up to 128 vCMDQs and at least one for each VINTF, up "
               "to 16 SID slots; all are powers of two");
}

// What the queues executed since their VINTF was enabled last, looked at now and then: a kernel
// that is shut down disables its VINTFs, and the hardware forgets.
class Executed {
 public:
  void Look(const Cmdqv& cmdqv) {
    for (const int vintf : cmdqv.EnabledVintfs()) {
      for (int index = 0; index < cmdqv.lvcmdqs_per_vintf(); ++index) {
        const auto counters = cmdqv.Counters(vintf, index);
        if (counters.has_value()) counters_[{vintf, index}] = *counters;
      }
    }
  }

  void Print(std::ostream& out) const {
    for (const auto& [queue, counters] : counters_) {
      const uint64_t errors = counters.command_errors + counters.fetch_errors +
                              counters.atc_timeouts + counters.init_errors;
      out << absl::StrCat("VINTF ", queue.first, " LVCMDQ ", queue.second, ": ",
                          counters.executed.total(), " commands", ByOpcode(counters.executed), ", ",
                          errors, " errors\n");
    }
    out << std::flush;
  }

 private:
  // " (TLBI_NH_VA 63, CMD_SYNC 1)", or nothing when there were none.
  static std::string ByOpcode(const OpcodeCounts& counts) {
    std::vector<std::string> words;
    counts.ForEach([&](Opcode opcode, uint64_t count) {
      words.push_back(absl::StrCat(std::string(ToString(opcode)), " ", count));
    });
    return words.empty() ? "" : absl::StrCat(" (", absl::StrJoin(words, ", "), ")");
  }

  std::map<std::pair<int, int>, LvcmdqCounters> counters_;
};

}  // namespace

void AddHardwareFlags(CLI::App& app, HardwareFlags* flags) {
  CLI::Option* hardware = app.add_option(
      "--hardware", flags->registers,
      "serve only the registers of one CMDQV, in this file that a VM has as a device");
  const auto add = [&](const char* name, auto* value, const char* help) {
    app.add_option(name, *value, help)->needs(hardware);
  };
  add("--guest-memory", &flags->guest_memory, "the file that is that VM's RAM");
  add("--guest-memory-at", &flags->guest_memory_at, "the physical address of that RAM");
  add("--vintfs", &flags->vintfs, "with the host's own");
  add("--vcmdqs", &flags->vcmdqs, "of all VINTFs together");
  add("--sid-slots", &flags->sid_slots, "of each VINTF");
  app.add_flag("--guest-only", flags->guest_only,
               "wire HYP_OWN to zero: the kernel sends what a guest may send")
      ->needs(hardware);
}

absl::Status ServeHardware(const HardwareFlags& flags, std::ostream& out) {
  BERTH_RETURN_IF_ERROR(CheckCounts(flags));
  BERTH_ASSIGN_OR_RETURN(const auto signals, ProcessSignals::Block());
  CmdqvConfig config;
  config.vintfs = flags.vintfs;
  config.vcmdqs = flags.vcmdqs;
  config.sid_slots = flags.sid_slots;
  config.hyp_own = flags.guest_only ? HypOwn::kWiredToZero : HypOwn::kWritable;
  std::unique_ptr<FileMemory> memory;
  if (!flags.guest_memory.empty()) {
    BERTH_ASSIGN_OR_RETURN(UniqueFd fd, OpenFile(flags.guest_memory, O_RDONLY));
    struct stat status = {};
    if (::fstat(fd.get(), &status) != 0) return ErrnoToStatus(errno, "fstat");
    memory = std::make_unique<FileMemory>(std::move(fd), flags.guest_memory_at,
                                          static_cast<uint64_t>(status.st_size));
    config.memory = memory.get();
  }
  BERTH_ASSIGN_OR_RETURN(const UniqueFd registers, OpenFile(flags.registers, O_RDWR));
  auto block = RegisterBlock::OnFile(registers.get(), 0, flags.vintfs);
  if (!block.ok()) return Annotate(block.status(), flags.registers);
  const Cmdqv cmdqv(config, *std::move(block));
  out << "ready" << std::endl;
  Executed executed;
  for (;;) {
    const std::optional<Signal> signal = signals->Wait(absl::Milliseconds(100));
    executed.Look(cmdqv);
    if (signal.has_value()) executed.Print(out);
    if (signal == Signal::kStop) return absl::OkStatus();
  }
}

}  // namespace berth::emulator
