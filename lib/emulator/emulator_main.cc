// SPDX-License-Identifier: Apache-2.0
#include "lib/emulator/emulator_main.h"

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <atomic>
#include <cerrno>
#include <filesystem>
#include <string>

#include "absl/strings/str_cat.h"
#include "lib/base/status.h"
#include "lib/base/unique_fd.h"
#include "lib/config/config.h"
#include "lib/daemon/daemon.h"
#include "lib/daemon/signals.h"
#include "lib/emulator/control_service.h"
#include "lib/emulator/faults/fault_service.h"
#include "lib/emulator/hardware_main.h"
#include "lib/emulator/host_file.h"
#include "lib/emulator/host_tree.h"
#include "lib/emulator/kernel/ops.h"
#include "lib/emulator/server.h"
#include "lib/rpc/channel.h"
#include "lib/rpc/error.h"
#include "lib/rpc/server.h"

namespace berth::emulator {
namespace {

namespace pb = berth::internal::v1;

struct Flags {
  std::string runtime_dir;
  std::string host_file;
  double idle_exit = 0;  // seconds; 0: never
  int report_fd = -1;
  bool stats = false;
  bool list_unsupported = false;
  bool version = false;
  HardwareFlags hardware;
};

void AddFlags(CLI::App& app, Flags* flags) {
  app.add_option("--runtime-dir", flags->runtime_dir, "folder of the sockets and the sysfs tree");
  app.add_option("--host", flags->host_file, "YAML file that describes the host to play");
  app.add_option("--idle-exit", flags->idle_exit,
                 "end after so many seconds without clients, open fds and mappings")
      ->check(CLI::PositiveNumber);
  app.add_option("--report-fd", flags->report_fd,
                 "write there, too, why it did not start, and close it when it listens")
      ->check(CLI::NonNegativeNumber);
  app.add_flag("--stats", flags->stats, "print what a running emulator counts, as JSON");
  app.add_flag("--list-unsupported", flags->list_unsupported,
               "print what Linux does and this does not");
  app.add_flag("--version", flags->version, "print the version");
  AddHardwareFlags(app, &flags->hardware);
}

std::string ControlAddress(const Flags& flags) {
  // gRPC wants an absolute path or one without a leading slash; absolute it is.
  return absl::StrCat("unix:", std::filesystem::absolute(flags.runtime_dir).string(),
                      "/control.sock");
}

absl::Status PrintStats(const Flags& flags, std::ostream& out) {
  ChannelOptions options;
  options.address = ControlAddress(flags);
  BERTH_ASSIGN_OR_RETURN(const auto channel, MakeChannel(options));
  const auto stub = pb::EmulatorControl::NewStub(channel);
  grpc::ClientContext context;
  pb::EmulatorStats stats;
  const grpc::Status status = stub->GetStats(&context, {}, &stats);
  if (!status.ok()) return FromGrpcStatus(status);
  out << ToJson(stats, JsonStyle::kPretty);
  return absl::OkStatus();
}

// Every context, cdev and event queue is an fd of this process.
void RaiseFdLimit() {
  rlimit limit;
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

// `report` is closed when it listens.
absl::Status Serve(const Flags& flags, HostSpec host, UniqueFd& report) {
  BERTH_ASSIGN_OR_RETURN(const auto signals, ProcessSignals::Block());
  RaiseFdLimit();
  std::error_code error;
  std::filesystem::create_directories(flags.runtime_dir, error);
  if (error) return Annotate(ErrnoToStatus(error.value(), "creating"), flags.runtime_dir);
  std::atomic<bool> idle = false;
  Server::Options options;
  options.socket_path = flags.runtime_dir + "/emulator.sock";
  options.host = host;
  if (flags.idle_exit > 0) options.idle_after = absl::Seconds(flags.idle_exit);
  options.on_idle = [&idle] { idle = true; };
  HostTree tree(flags.runtime_dir + "/sys", host);
  std::unique_ptr<ControlService> control;
  std::unique_ptr<FaultService> faults;
  std::unique_ptr<RpcServer> rpc;
  options.before_listening = [&](Kernel& kernel) -> absl::Status {
    BERTH_RETURN_IF_ERROR(WriteHostTree(flags.runtime_dir + "/sys", host));
    control = std::make_unique<ControlService>(&kernel);
    faults = std::make_unique<FaultService>(&host, &kernel.faults(), [&tree, &kernel] {
      return tree.Update(
          [&kernel](const std::string& address) { return kernel.faults().IsGone(address); });
    });
    RpcServerOptions rpc_options;
    rpc_options.address = ControlAddress(flags);
    rpc_options.unix_socket_mode = 0600;
    BERTH_ASSIGN_OR_RETURN(rpc,
                           RpcServer::Start(rpc_options, {control.get(), faults.get()}, nullptr));
    return absl::OkStatus();
  };
  BERTH_ASSIGN_OR_RETURN(auto server, Server::Start(std::move(options)));
  report.Reset();
  const absl::Duration look =
      flags.idle_exit > 0 ? absl::Milliseconds(200) : absl::InfiniteDuration();
  while (!idle && signals->Wait(look) != Signal::kStop) {
  }
  rpc.reset();  // before what it shows
  server.reset();
  return absl::OkStatus();
}

// Best effort: who started it may have gone.
void Report(const UniqueFd& fd, const absl::Status& status) {
  if (!fd.valid()) return;
  const std::string text(status.message());
  ssize_t written;
  do {
    written = ::write(fd.get(), text.data(), text.size());
  } while (written < 0 && errno == EINTR);
}

int Fail(const absl::Status& status, int code, std::ostream& err) {
  err << "berth-emulator: " << status.message() << " (" << ReasonName(ReasonOf(status)) << ")\n";
  return code;
}

}  // namespace

int EmulatorMain(int argc, const char* const* argv, std::ostream& out, std::ostream& err) {
  Flags flags;
  CLI::App app("An emulated kernel with iommufd, VFIO cdevs and SMMUv3 command queues.",
               "berth-emulator");
  AddFlags(app, &flags);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error, out, err) == 0 ? kExitOk : kExitUsage;
  }
  if (flags.version) {
    out << "berth-emulator " << Version() << "\n";
    return kExitOk;
  }
  if (flags.list_unsupported) {
    for (const std::string& line : ListUnsupported()) out << line << "\n";
    return kExitOk;
  }
  if (!flags.hardware.registers.empty()) {
    const absl::Status status = ServeHardware(flags.hardware, out);
    return status.ok() ? kExitOk : Fail(status, kExitFailed, err);
  }
  if (flags.runtime_dir.empty() || (flags.host_file.empty() && !flags.stats)) {
    err << "berth-emulator: --runtime-dir and --host are required; see --help\n";
    return kExitUsage;
  }
  if (flags.stats) {
    const absl::Status status = PrintStats(flags, out);
    return status.ok() ? kExitOk : Fail(status, kExitFailed, err);
  }
  UniqueFd report(flags.report_fd);
  auto host = LoadHostFile(flags.host_file);
  const bool good_file = host.ok();
  const absl::Status status = good_file ? Serve(flags, *std::move(host), report) : host.status();
  if (status.ok()) return kExitOk;
  Report(report, status);
  return Fail(status, good_file ? kExitFailed : kExitBadConfig, err);
}

}  // namespace berth::emulator
