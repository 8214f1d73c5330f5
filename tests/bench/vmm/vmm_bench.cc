// SPDX-License-Identifier: Apache-2.0
//
// A trapped batch through a running agent, beside the two things that it cannot do without: a round
// trip over a SEQPACKET socket, and the HWPT_INVALIDATE itself. And the same commands in a vCMDQ,
// which need neither, at the granules and threads of the table in the cover letter of the kernel's
// CMDQV series (v9, July 2025).
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <chrono>
#include <fstream>
#include <functional>
#include <iostream>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "lib/base/executor.h"
#include "lib/base/status.h"
#include "lib/base/unique_fd.h"
#include "lib/emulator/emulator_client.h"
#include "lib/iommufd/context.h"
#include "lib/iommufd/device.h"
#include "lib/iommufd/hwpt.h"
#include "lib/iommufd/ioas.h"
#include "lib/iommufd/viommu.h"
#include "lib/vmm/berth_vmm_wire.h"
#include "lib/vmm/example/guest.h"
#include "tests/bench/report.h"
#include "tests/bench/vmm/cores.h"

namespace berth::bench {
namespace {

using SteadyClock = std::chrono::steady_clock;
using example::Command;
using example::Guest;

constexpr int kSamples = 2000;
constexpr size_t kMostThreads = 2;
constexpr Command kTlbiAsid1 = {0x0001000000000011, 0};  // TLBI_NH_ASID, ASID 1

struct Options {
  std::string socket;
  std::string assignment;
  std::string token_file;
  std::string emulator;
  std::string device = "vfio3";
};

absl::Status Failed(const example::Outcome& outcome) {
  return outcome.ok() ? absl::OkStatus() : absl::InternalError(outcome.message);
}

// Another process at a socket that takes a packet and answers with one.
class PingPong {
 public:
  PingPong() {
    int ends[2] = {-1, -1};
    if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) return;
    ours_.Reset(ends[0]);
    UniqueFd theirs(ends[1]);
    child_ = ::fork();
    if (child_ != 0) return;
    ours_.Reset();
    std::vector<char> packet(1 << 16);
    const size_t answer = sizeof(::berth_vmm_invalidate_reply);
    while (::recv(theirs.get(), packet.data(), packet.size(), 0) > 0 &&
           ::send(theirs.get(), packet.data(), answer, MSG_NOSIGNAL) > 0) {
    }
    ::_exit(0);
  }
  ~PingPong() {
    ours_.Reset();
    if (child_ > 0) ::waitpid(child_, nullptr, 0);
  }
  PingPong(const PingPong&) = delete;
  PingPong& operator=(const PingPong&) = delete;

  [[nodiscard]] pid_t partner() const { return child_; }
  // Of a request with `commands`.
  absl::Status Turn(size_t commands) {
    packet_.resize(sizeof(struct ::berth_vmm_invalidate) + commands * sizeof(Command));
    if (::send(ours_.get(), packet_.data(), packet_.size(), MSG_NOSIGNAL) <= 0 ||
        ::recv(ours_.get(), packet_.data(), packet_.size(), 0) <= 0) {
      return absl::ErrnoToStatus(errno, "ping-pong");
    }
    return absl::OkStatus();
  }

 private:
  UniqueFd ours_;
  pid_t child_ = -1;
  std::vector<char> packet_;
};

// A vIOMMU of our own on the same emulator, on a device that nobody has.
struct OwnViommu {
  Context context;
  Device device;
  Ioas ioas;
  Hwpt parent;
  Viommu viommu;

  static absl::StatusOr<OwnViommu> Create(KernelApi* kernel, const std::string& name) {
    BERTH_ASSIGN_OR_RETURN(Context context, Context::Open(kernel));
    BERTH_ASSIGN_OR_RETURN(Device device, Device::Open(context, name));
    BERTH_ASSIGN_OR_RETURN(Ioas ioas, Ioas::Create(context));
    BERTH_ASSIGN_OR_RETURN(Hwpt parent, Hwpt::CreateNestingParent(device, ioas));
    BERTH_ASSIGN_OR_RETURN(Viommu viommu,
                           Viommu::Create(device, parent, Viommu::Type::kTegra241Cmdqv));
    return OwnViommu{std::move(context), std::move(device), std::move(ioas), std::move(parent),
                     std::move(viommu)};
  }
};

// What is compared, once each in turns.
struct Contender {
  std::function<absl::Status()> once;
  std::vector<double> samples_us = {};

  absl::Status Sample() {
    const auto start = SteadyClock::now();
    BERTH_RETURN_IF_ERROR(once());
    samples_us.push_back(
        std::chrono::duration<double, std::micro>(SteadyClock::now() - start).count());
    return absl::OkStatus();
  }
  [[nodiscard]] double p50() const { return QuantilesOf(samples_us).p50; }
};

// Everything that takes a batch of invalidations.
struct Paths {
  Guest* guest;
  OwnViommu* own;

  // The three ways of `batch`; a CMD_SYNC follows in the vCMDQ, where the driver has to ask for
  // what the ioctl does by itself.
  absl::Status Direct(size_t queue, std::vector<Command> batch) const {
    batch.push_back(example::kCmdSync);
    example::CommandQueue& ring = guest->units().front().queues.at(queue);
    ring.Submit(batch);
    return Failed(ring.Drain());
  }
  absl::Status ByAgent(const std::vector<Command>& batch) const {
    const auto* list = reinterpret_cast<const uint64_t(*)[2]>(batch.data());
    const int result =
        berth_vmm_invalidate(guest->vmm(), 0, list, static_cast<uint32_t>(batch.size()), nullptr);
    return result == 0 ? absl::OkStatus() : Failed(guest->CallFailed("invalidate"));
  }
  absl::Status Bare(const std::vector<Command>& batch) const {
    std::vector<uapi::IommuViommuArmSmmuv3Invalidate> commands;
    for (const Command& command : batch) commands.push_back({.cmd = {command[0], command[1]}});
    return own->viommu.Invalidate(commands).status;
  }
};

// Who takes part, and who runs where. To wake a thread of an idle core takes about ten times as
// long as to go on with one of the same core. Left to itself the scheduler decides anew in each run
// which of the three ways crosses cores, and a ratio of ways that wake differently says nothing of
// them.
struct Cast {
  std::vector<int> cores;
  pid_t agent = 0;
  pid_t emulator = 0;
  PingPong* ping_pong = nullptr;
  // Does the bare HWPT_INVALIDATE where the agent does it: a thread that was woken for it.
  ThreadPool caller{1};

  absl::Status Call(const std::function<absl::Status()>& task) {
    absl::Status status;
    absl::Notification done;
    caller.Add([&] {
      status = task();
      done.Notify();
    });
    done.WaitForNotification();
    return status;
  }
  // The VMM and the emulator on some cores, the agent, who talks to both, on others.
  absl::Status Place(const std::vector<int>& outer, const std::vector<int>& between) {
    BERTH_RETURN_IF_ERROR(PinThread(0, outer));
    BERTH_RETURN_IF_ERROR(PinProcess(emulator, outer));
    BERTH_RETURN_IF_ERROR(PinProcess(agent, between));
    BERTH_RETURN_IF_ERROR(PinProcess(ping_pong->partner(), between));
    return Call([&] { return PinThread(0, between); });
  }
};

// A trapped batch through the agent, against the two things that it cannot do without.
absl::Status TrappedOverhead(const Paths& paths, Cast& cast, uint32_t commands,
                             const std::string& placement) {
  const std::vector<Command> batch(commands, kTlbiAsid1);
  Contender trapped = {[&] { return paths.ByAgent(batch); }};
  Contender socket = {[&] { return cast.ping_pong->Turn(commands); }};
  Contender bare = {[&] { return paths.Bare(batch); }};
  for (int i = 0; i < kSamples; ++i) {
    BERTH_RETURN_IF_ERROR(trapped.Sample());
    BERTH_RETURN_IF_ERROR(socket.Sample());
    BERTH_RETURN_IF_ERROR(cast.Call([&] { return bare.Sample(); }));
  }
  const double parts = socket.p50() + bare.p50();
  std::vector<double> ratios;
  for (const double sample : trapped.samples_us) ratios.push_back(sample / parts);
  PrintMeasure("trapped_overhead", "ratio", trapped.p50() / parts, QuantilesOf(ratios),
               {{"commands", absl::StrCat(commands)},
                {"placement", JsonText(placement)},
                {"trapped_p50_us", JsonNumber(trapped.p50())},
                {"socket_ping_pong_p50_us", JsonNumber(socket.p50())},
                {"hwpt_invalidate_p50_us", JsonNumber(bare.p50())}});
  return absl::OkStatus();
}

// On one core all wake-ups are switches between threads; on two each is one of the other core, but
// for those inside the agent.
absl::Status TrappedOverheads(const Paths& paths, Cast& cast) {
  const std::vector<int> first = {cast.cores.front()};
  const std::vector<int> last = {cast.cores.back()};
  for (const uint32_t commands : {1U, 16U, 64U}) {
    BERTH_RETURN_IF_ERROR(cast.Place(first, first));
    BERTH_RETURN_IF_ERROR(TrappedOverhead(paths, cast, commands, "one core"));
    if (cast.cores.size() > 1) {
      BERTH_RETURN_IF_ERROR(cast.Place(first, last));
      BERTH_RETURN_IF_ERROR(TrappedOverhead(paths, cast, commands, "two cores"));
    }
  }
  return cast.Place(cast.cores, cast.cores);
}

// What a guest's driver sends for the unmapping of `kib` without range invalidations: a TLBI for
// each 4 KiB page (Linux arm-smmu-v3.c, __arm_smmu_tlb_inv_range).
std::vector<Command> UnmapBatch(uint32_t kib) {
  std::vector<Command> batch;
  for (uint64_t page = 0; page < kib / 4; ++page) {
    batch.push_back({0x0001000000000012, 0xff000000 + page * 4096 + 1});  // ASID 1, leaf
  }
  return batch;
}

// Samples of `threads` threads that do the same at the same time, each with its number.
absl::StatusOr<std::vector<double>> InThreads(
    size_t threads, const std::function<absl::Status(size_t thread)>& once) {
  std::vector<Contender> contenders;
  for (size_t t = 0; t < threads; ++t) contenders.push_back({[&once, t] { return once(t); }});
  std::vector<absl::Status> statuses(threads);
  std::vector<std::thread> running;
  for (size_t t = 0; t < threads; ++t) {
    running.emplace_back([&, t] {
      for (int i = 0; i < kSamples && statuses[t].ok(); ++i) statuses[t] = contenders[t].Sample();
    });
  }
  for (std::thread& thread : running) thread.join();
  std::vector<double> samples;
  for (size_t t = 0; t < threads; ++t) {
    BERTH_RETURN_IF_ERROR(statuses[t]);
    samples.insert(samples.end(), contenders[t].samples_us.begin(), contenders[t].samples_us.end());
  }
  return samples;
}

// The same unmapping by a vCMDQ for each thread, and trapped: a guest without vCMDQs has one queue,
// so that threads wait for one another.
absl::Status DirectOverTrapped(const Paths& paths, size_t threads, uint32_t kib) {
  const std::vector<Command> batch = UnmapBatch(kib);
  std::mutex one_queue;
  const auto in_turn = [&](const std::function<absl::Status()>& call) {
    const std::lock_guard lock(one_queue);
    return call();
  };
  BERTH_ASSIGN_OR_RETURN(const std::vector<double> direct, InThreads(threads, [&](size_t thread) {
                           return paths.Direct(thread, batch);
                         }));
  const double direct_p50 = QuantilesOf(direct).p50;
  for (const char* path : {"bare", "agent"}) {
    const bool bare = path == std::string("bare");
    BERTH_ASSIGN_OR_RETURN(
        const std::vector<double> trapped, InThreads(threads, [&](size_t) {
          return in_turn([&] { return bare ? paths.Bare(batch) : paths.ByAgent(batch); });
        }));
    const Quantiles of = QuantilesOf(trapped);
    PrintMeasure("direct_over_trapped", "ratio", of.p50 / direct_p50,
                 {of.p50 / direct_p50, of.p99 / direct_p50},
                 {{"threads", absl::StrCat(threads)},
                  {"granule", JsonText(absl::StrCat(kib, "K"))},
                  {"path", JsonText(path)},
                  {"commands", absl::StrCat(batch.size())},
                  {"iotlb", JsonText("empty")},
                  {"direct_p50_us", JsonNumber(direct_p50)},
                  {"trapped_p50_us", JsonNumber(of.p50)}});
  }
  return absl::OkStatus();
}

absl::Status Bench(const Options& options) {
  PingPong ping_pong;  // forks, so before there are threads
  std::string token;
  std::getline(std::ifstream(options.token_file), token);
  Guest guest;
  BERTH_RETURN_IF_ERROR(Failed(guest.Attach(options.socket, options.assignment, token)));
  BERTH_RETURN_IF_ERROR(Failed(guest.AddMemory(size_t{16} << 20)));
  BERTH_RETURN_IF_ERROR(Failed(guest.MapPage0()));
  BERTH_RETURN_IF_ERROR(Failed(guest.StartQueues(kMostThreads)));
  BERTH_RETURN_IF_ERROR(Failed(guest.StartStreams()));
  if (guest.units().empty() || guest.units().front().queues.size() < kMostThreads) {
    return absl::InvalidArgumentError("the assignment has too few vCMDQs");
  }
  emulator::EmulatorClient kernel(options.emulator);
  {
    BERTH_ASSIGN_OR_RETURN(OwnViommu own, OwnViommu::Create(&kernel, options.device));
    const Paths paths = {&guest, &own};
    Cast cast;
    cast.ping_pong = &ping_pong;
    BERTH_ASSIGN_OR_RETURN(cast.cores, OwnCores());
    BERTH_ASSIGN_OR_RETURN(cast.agent, ListenerAt(options.socket));
    BERTH_ASSIGN_OR_RETURN(cast.emulator, ListenerAt(options.emulator));
    BERTH_RETURN_IF_ERROR(TrappedOverheads(paths, cast));
    for (const size_t threads : {size_t{1}, kMostThreads}) {
      for (const uint32_t kib : {4U, 16U, 64U, 128U, 256U}) {
        BERTH_RETURN_IF_ERROR(DirectOverTrapped(paths, threads, kib));
      }
    }
  }
  return Failed(guest.Detach());
}

}  // namespace
}  // namespace berth::bench

int main(int argc, char** argv) {
  CLI::App app("Measures what a VMM does through a running agent. tests/bench/run starts it.");
  berth::bench::Options options;
  app.add_option("--socket", options.socket, "the agent's VMM socket")->required();
  app.add_option("--assignment", options.assignment, "uid, with a vCMDQ")->required();
  app.add_option("--token-file", options.token_file, "file with the attach token")->required();
  app.add_option("--emulator", options.emulator, "socket of the host's emulator")->required();
  app.add_option("--device", options.device, "cdev of a device that nobody has, with a vCMDQ");
  CLI11_PARSE(app, argc, argv);
  const absl::Status status = berth::bench::Bench(options);
  if (!status.ok()) std::cerr << "vmm_bench: " << status << "\n";
  return status.ok() ? 0 : 1;
}
