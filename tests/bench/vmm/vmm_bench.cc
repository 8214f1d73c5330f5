// SPDX-License-Identifier: Apache-2.0
//
// A trapped batch through a running agent, beside the two things that it cannot do without: a round
// trip over a SEQPACKET socket, and the HWPT_INVALIDATE itself. And beside the same commands in a
// vCMDQ, which need neither.
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <fstream>
#include <functional>
#include <iostream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
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

namespace berth::bench {
namespace {

using SteadyClock = std::chrono::steady_clock;
using example::Command;
using example::Guest;

constexpr int kSamples = 3000;
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
};

absl::Status Compare(Guest& guest, OwnViommu& own, PingPong& ping_pong, uint32_t commands) {
  const std::vector<std::array<uint64_t, 2>> batch(commands, kTlbiAsid1);
  const std::vector<uapi::IommuViommuArmSmmuv3Invalidate> invalidate(
      commands, {.cmd = {kTlbiAsid1[0], kTlbiAsid1[1]}});
  std::vector<Command> ring_batch(batch.begin(), batch.end());
  ring_batch.push_back(example::kCmdSync);
  example::CommandQueue& queue = guest.units().front().queues.front();

  Contender trapped = {[&] {
    const auto* list = reinterpret_cast<const uint64_t(*)[2]>(batch.data());
    const int result = berth_vmm_invalidate(guest.vmm(), 0, list, commands, nullptr);
    return result == 0 ? absl::OkStatus() : Failed(guest.CallFailed("invalidate"));
  }};
  Contender socket = {[&] { return ping_pong.Turn(commands); }};
  Contender kernel = {[&] { return own.viommu.Invalidate(invalidate).status; }};
  const auto drive = [&] {
    queue.Submit(ring_batch);
    return Failed(queue.Drain());
  };
  Contender direct = {drive};
  for (int i = 0; i < kSamples; ++i) {
    for (Contender* contender : {&trapped, &socket, &kernel}) {
      BERTH_RETURN_IF_ERROR(contender->Sample());
    }
    BERTH_RETURN_IF_ERROR(drive());  // so that the queue is hot
    BERTH_RETURN_IF_ERROR(direct.Sample());
  }
  const Quantiles of = QuantilesOf(trapped.samples_us);
  const double ping = QuantilesOf(socket.samples_us).p50;
  const double call = QuantilesOf(kernel.samples_us).p50;
  const double own_queue = QuantilesOf(direct.samples_us).p50;
  PrintLatency("trapped_latency", of,
               {{"commands", absl::StrCat(commands)},
                {"socket_ping_pong_p50", JsonNumber(ping)},
                {"hwpt_invalidate_p50", JsonNumber(call)},
                {"ratio_to_both", JsonNumber(of.p50 / (ping + call))},
                {"direct_p50", JsonNumber(own_queue)},
                {"trapped_over_direct", JsonNumber(of.p50 / own_queue)}});
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
  BERTH_RETURN_IF_ERROR(Failed(guest.StartQueues(1)));
  BERTH_RETURN_IF_ERROR(Failed(guest.StartStreams()));
  if (guest.units().empty() || guest.units().front().queues.empty()) {
    return absl::InvalidArgumentError("the assignment has no vCMDQ");
  }
  emulator::EmulatorClient kernel(options.emulator);
  {
    BERTH_ASSIGN_OR_RETURN(OwnViommu own, OwnViommu::Create(&kernel, options.device));
    for (const uint32_t commands : {1U, 16U, 64U}) {
      BERTH_RETURN_IF_ERROR(Compare(guest, own, ping_pong, commands));
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
