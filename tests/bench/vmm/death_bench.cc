// SPDX-License-Identifier: Apache-2.0
//
// vmm_death_noticed: from the SIGKILL of an attached VMM until its grant has left ATTACHED, as the
// agent's own socket tells it.
#include <fcntl.h>
#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <chrono>
#include <functional>
#include <iostream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "berth/agent/v1/agent_local.grpc.pb.h"
#include "lib/base/status.h"
#include "lib/base/unique_fd.h"
#include "lib/rpc/channel.h"
#include "lib/rpc/error.h"
#include "tests/bench/report.h"

extern char** environ;

namespace berth::bench {
namespace {

using SteadyClock = std::chrono::steady_clock;
using v1::Assignment;

constexpr std::chrono::seconds kPatience{30};
constexpr std::chrono::microseconds kPause{200};

double MicrosSince(SteadyClock::time_point start) {
  return std::chrono::duration<double, std::micro>(SteadyClock::now() - start).count();
}

void Pause() {
  const timespec pause = {.tv_sec = 0, .tv_nsec = std::chrono::nanoseconds(kPause).count()};
  ::ppoll(nullptr, 0, &pause, nullptr);
}

// The agent's only grant, by its local socket.
class Agent {
 public:
  using Condition = std::function<bool(const agent::v1::LocalGrant&)>;

  explicit Agent(const std::shared_ptr<grpc::Channel>& channel)
      : stub_(agent::v1::AgentLocal::NewStub(channel)) {}

  absl::StatusOr<agent::v1::LocalGrant> Grant() {
    grpc::ClientContext context;
    agent::v1::ListGrantsResponse response;
    const grpc::Status status = stub_->ListGrants(&context, {}, &response);
    if (!status.ok()) return FromGrpcStatus(status);
    if (response.grants_size() != 1) return Error(Reason::kNotFound, "the host has not one grant");
    return response.grants(0);
  }

  absl::Status Await(const std::string& what, const Condition& holds) {
    const auto deadline = SteadyClock::now() + kPatience;
    for (;;) {
      BERTH_ASSIGN_OR_RETURN(const agent::v1::LocalGrant grant, Grant());
      if (holds(grant)) return absl::OkStatus();
      if (SteadyClock::now() > deadline) {
        return Error(Reason::kUnavailable, "waited in vain until " + what);
      }
      Pause();
    }
  }

 private:
  const std::unique_ptr<agent::v1::AgentLocal::Stub> stub_;
};

Assignment::Observed ObservedOf(const agent::v1::LocalGrant& grant) {
  return grant.status().observed();
}
bool IsPrepared(const agent::v1::LocalGrant& grant) {
  return ObservedOf(grant) == Assignment::PREPARED;
}
bool HasQueues(const agent::v1::LocalGrant& grant) {
  return ObservedOf(grant) == Assignment::ATTACHED && grant.queues() > 0;
}
bool HasLeft(const agent::v1::LocalGrant& grant) {
  return ObservedOf(grant) != Assignment::ATTACHED;
}

// A VMM that holds what it has attached to, until it is killed.
class Vmm {
 public:
  static absl::StatusOr<std::unique_ptr<Vmm>> Start(std::vector<std::string>& command) {
    int in[2] = {-1, -1};
    if (::pipe2(in, O_CLOEXEC) != 0) return ErrnoToStatus(errno, "pipe2");
    const UniqueFd child_in(in[0]);
    std::unique_ptr<Vmm> vmm(new Vmm(UniqueFd(in[1])));
    std::vector<char*> argv;
    for (std::string& word : command) argv.push_back(word.data());
    argv.push_back(nullptr);
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawn_file_actions_adddup2(&actions, child_in.get(), STDIN_FILENO);
    // Its words are not measures.
    ::posix_spawn_file_actions_adddup2(&actions, STDERR_FILENO, STDOUT_FILENO);
    const int error = ::posix_spawn(&vmm->pid_, argv[0], &actions, nullptr, argv.data(), environ);
    ::posix_spawn_file_actions_destroy(&actions);
    if (error != 0) return ErrnoToStatus(error, "posix_spawn");
    return vmm;
  }
  ~Vmm() { Kill(); }
  Vmm(const Vmm&) = delete;
  Vmm& operator=(const Vmm&) = delete;

  void Kill() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    pid_ = 0;
  }
  void Signal() const { ::kill(pid_, SIGKILL); }

 private:
  explicit Vmm(UniqueFd in) : in_(std::move(in)) {}

  UniqueFd in_;  // open as long as it is to hold
  pid_t pid_ = 0;
};

struct Options {
  std::string local;
  int samples = 50;
  std::vector<std::string> command;
};

absl::Status Measure(Options options) {
  BERTH_ASSIGN_OR_RETURN(const auto channel, MakeChannel({.address = options.local}));
  Agent agent(channel);
  std::vector<double> samples;
  std::vector<double> asking;
  for (int i = 0; i < options.samples; ++i) {
    BERTH_RETURN_IF_ERROR(agent.Await("it is PREPARED", IsPrepared));
    BERTH_ASSIGN_OR_RETURN(const std::unique_ptr<Vmm> vmm, Vmm::Start(options.command));
    BERTH_RETURN_IF_ERROR(agent.Await("a VMM has queues", HasQueues));
    const auto asked = SteadyClock::now();
    BERTH_RETURN_IF_ERROR(agent.Grant().status());
    asking.push_back(MicrosSince(asked));
    const auto killed = SteadyClock::now();
    vmm->Signal();
    BERTH_RETURN_IF_ERROR(agent.Await("the death is noticed", HasLeft));
    samples.push_back(MicrosSince(killed));
  }
  PrintLatency("vmm_death_noticed", QuantilesOf(samples),
               {{"samples", JsonNumber(options.samples)},
                {"asking_p50", JsonNumber(QuantilesOf(asking).p50)},
                {"target", "100000"}});
  return absl::OkStatus();
}

int Main(int argc, char** argv) {
  Options options;
  CLI::App app("Kills attached VMMs and waits until the agent has noticed");
  app.add_option("--local", options.local, "the agent's local API")->required();
  app.add_option("--samples", options.samples)->capture_default_str();
  app.add_option("command", options.command, "a VMM that holds its grant, with its arguments")
      ->required();
  CLI11_PARSE(app, argc, argv);
  const absl::Status status = Measure(options);
  if (!status.ok()) std::cerr << "vmm_death_bench: " << status.message() << "\n";
  return status.ok() ? 0 : 1;
}

}  // namespace
}  // namespace berth::bench

int main(int argc, char** argv) { return berth::bench::Main(argc, argv); }
