// SPDX-License-Identifier: Apache-2.0
#include "lib/vmm/example/scenario.h"

#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "lib/vmm/example/guest.h"
#include "lib/vmm/example/player.h"
#include "lib/vmm/example/trace.h"

namespace berth::example {
namespace {

using SteadyClock = std::chrono::steady_clock;

constexpr std::chrono::seconds kEventPatience{20};
constexpr uint32_t kConsErrorIllegal = 1;

// Where `cmake --install` puts the traces, and the build folder has them too.
std::string InstalledTraces() {
  std::error_code error;
  const auto self = std::filesystem::read_symlink("/proc/self/exe", error);
  return (self.parent_path().parent_path() / "share/berth/traces").string();
}

Outcome LoadTraces(const Options& options, std::vector<Trace>* traces) {
  const std::string installed = InstalledTraces();
  std::vector<std::string> wanted = options.traces;
  if (wanted.empty()) BERTH_EXAMPLE_TRY(ListTraces(installed, &wanted));
  for (const std::string& name : wanted) {
    const std::filesystem::path path(name);
    const std::string folder = path.has_parent_path() ? path.parent_path().string() : installed;
    BERTH_EXAMPLE_TRY(LoadTrace(folder, path.filename().string(), &traces->emplace_back()));
  }
  return {};
}

// Waits for the event that says that vCMDQ 0 of `unit` is in error.
Outcome AwaitErrorEvent(Guest* guest, const Unit& unit) {
  const auto deadline = SteadyClock::now() + kEventPatience;
  while (SteadyClock::now() < deadline) {
    berth_vmm_event event = {};
    const int result = berth_vmm_read_event(guest->vmm(), &event, sizeof(event));
    if (result < 0) return guest->CallFailed("event");
    if (result > 0) {
      if (event.source == BERTH_VMM_EVENT_CMDQV && event.unit == unit.index &&
          (event.data[0] & 1) != 0) {
        return {};
      }
      continue;
    }
    pollfd poll_fd = {.fd = berth_vmm_event_fd(guest->vmm()), .events = POLLIN, .revents = 0};
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - SteadyClock::now());
    if (::poll(&poll_fd, 1, static_cast<int>(left.count())) < 0 && errno != EINTR) {
      return {ExitCode::kSystem, "poll failed"};
    }
  }
  return {ExitCode::kHardware, std::string("no event of vCMDQ 0 of ") + unit.info.id};
}

// A command that a guest may not send, and what its driver does about the error.
Outcome ProvokeAndRecover(Guest* guest, Unit* unit, Report* report) {
  CommandQueue& queue = unit->queues.front();
  const Command illegal = {static_cast<uint64_t>(Opcode::kCfgiSte), 1};
  const auto start = SteadyClock::now();
  queue.Submit(std::vector<Command>{kCmdSync, illegal, kCmdSync});
  BERTH_EXAMPLE_TRY(AwaitErrorEvent(guest, *unit));
  report->error_event_ns = static_cast<uint64_t>((SteadyClock::now() - start).count());
  report->error_unit = unit->info.id;
  if (!queue.in_error() || queue.error_code() != kConsErrorIllegal) {
    return {ExitCode::kHardware, "an event came, but GERROR and CONS do not show the error"};
  }
  queue.SkipBadCommand();
  BERTH_EXAMPLE_TRY(queue.Drain());
  report->recovered = true;
  return {};
}

// IDR0.ATS. The hardware information of an SMMUv3 is Linux's struct iommu_hw_info_arm_smmuv3.
bool HasAts(const Unit& unit) {
  constexpr uint32_t kArmSmmuv3 = 2;  // IOMMU_HW_INFO_TYPE_ARM_SMMUV3
  constexpr size_t kIdr0 = 8;
  uint32_t idr0 = 0;
  if (unit.info.hw_info_type != kArmSmmuv3 || unit.info.hw_info_length < kIdr0 + sizeof(idr0)) {
    return false;
  }
  std::memcpy(&idr0, unit.info.hw_info + kIdr0, sizeof(idr0));
  return (idr0 & 1u << 10) != 0;
}

// What a guest sends through the trapped queue of its vSMMU, because no vCMDQ takes it.
Outcome SendTrapped(Guest* guest, const Unit& unit, Report* report) {
  constexpr uint64_t kEverything = 52;  // ATC_INV size: 2^52 pages
  const uint64_t sid = unit.vsids.empty() ? 0 : uint64_t{unit.vsids.front()} << 32;
  std::vector<Command> batch = {{static_cast<uint64_t>(Opcode::kTlbiNhAll), 0}};
  if (!unit.vsids.empty()) {
    batch.push_back({static_cast<uint64_t>(Opcode::kCfgiCdAll) | sid, 0});
    if (HasAts(unit)) {
      batch.push_back({static_cast<uint64_t>(Opcode::kAtcInv) | sid, kEverything});
    }
  }
  uint32_t handled = 0;
  const auto* commands = reinterpret_cast<const uint64_t(*)[2]>(batch.data());
  if (berth_vmm_invalidate(guest->vmm(), unit.index, commands, static_cast<uint32_t>(batch.size()),
                           &handled) != 0 ||
      handled != batch.size()) {
    return guest->CallFailed("trapped commands");
  }
  report->trapped_commands += handled;
  return {};
}

void DescribeGuest(const Guest& guest, Report* report) {
  report->session = guest.info().session_id;
  report->isolation = guest.info().isolation;
  report->memory_bytes = guest.memory().size();
  report->page_bytes = guest.memory().page_size();
  report->guest_address = guest.memory().guest_address();
  for (const Unit& unit : guest.units()) {
    Report::UnitLine& line = report->units.emplace_back();
    line.id = unit.info.id;
    line.vcmdqs = unit.info.vcmdqs;
    line.sid_slots = unit.info.sid_slots;
    line.queue_log2 = unit.queues.empty() ? 0 : unit.queues.front().log2size();
    line.page0_length = unit.page0_length;
    line.executed.resize(unit.queues.size());
  }
  for (const Device& device : guest.devices()) {
    report->devices.push_back({.address = device.info.address,
                               .id = device.info.id,
                               .unit = device.info.unit,
                               .vsid = device.vsid,
                               .translated = device.mode == BERTH_VMM_STREAM_TRANSLATE});
  }
}

// Every queue has executed all of it, and none has an error that nobody saw.
Outcome CheckQueues(const Guest& guest, Report* report) {
  for (const Unit& unit : guest.units()) {
    for (const CommandQueue& queue : unit.queues) {
      if (!queue.drained() || queue.in_error()) {
        return {ExitCode::kHardware, "vCMDQ " + std::to_string(queue.index()) + " of " +
                                         unit.info.id + " has not executed everything"};
      }
      report->units[unit.index].executed[queue.index()] = queue.counts();
    }
  }
  report->complete = true;
  return {};
}

Outcome Attach(const Options& options, Guest* guest) {
  BERTH_EXAMPLE_TRY(guest->Attach(options.socket, options.assignment, options.token));
  BERTH_EXAMPLE_TRY(guest->AddMemory(options.memory));
  BERTH_EXAMPLE_TRY(guest->MapPage0());
  BERTH_EXAMPLE_TRY(guest->StartQueues(UINT32_MAX));
  return guest->StartStreams();
}

Outcome DriveQueues(const Options& options, const std::vector<Trace>& traces, Guest* guest,
                    Report* report) {
  for (const Trace& trace : traces) {
    BERTH_EXAMPLE_TRY(Play(trace, options.repeat, guest, &report->play));
    report->traces.push_back(trace.name);
  }
  report->played = true;
  for (Unit& unit : guest->units()) {
    if (unit.queues.empty() || !options.provoke) continue;
    BERTH_EXAMPLE_TRY(ProvokeAndRecover(guest, &unit, report));
    break;
  }
  return CheckQueues(*guest, report);
}

}  // namespace

Outcome RunScenario(const Options& options, const std::function<void()>& hold, Report* report) {
  report->assignment = options.assignment;
  std::vector<Trace> traces;
  BERTH_EXAMPLE_TRY(LoadTraces(options, &traces));
  Guest guest;
  BERTH_EXAMPLE_TRY(Attach(options, &guest));
  DescribeGuest(guest, report);
  BERTH_EXAMPLE_TRY(DriveQueues(options, traces, &guest, report));
  for (const Unit& unit : guest.units()) BERTH_EXAMPLE_TRY(SendTrapped(&guest, unit, report));
  if (hold) hold();
  BERTH_EXAMPLE_TRY(guest.ResetGuest());
  report->reset = true;
  BERTH_EXAMPLE_TRY(guest.Detach());
  report->detached = true;
  return {};
}

}  // namespace berth::example
