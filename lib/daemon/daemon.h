// SPDX-License-Identifier: Apache-2.0
//
// The shape that the daemons share. A main() makes a config message, says in a DaemonSpec how to
// check it and what to run, and returns RunDaemon(). Example: ctl/controller/main.cc.
#ifndef BERTH_LIB_DAEMON_DAEMON_H_
#define BERTH_LIB_DAEMON_DAEMON_H_

#include <functional>
#include <optional>
#include <ostream>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "lib/base/clock.h"
#include "lib/base/failpoint.h"
#include "lib/daemon/fd_store.h"
#include "lib/daemon/logging.h"
#include "lib/daemon/metrics.h"
#include "lib/daemon/notify.h"
#include "lib/daemon/signals.h"

namespace CLI {
class App;
}  // namespace CLI

namespace google::protobuf {
class Message;
}  // namespace google::protobuf

namespace berth {

// Exit codes of the daemons.
enum ExitCode : int {
  kExitOk = 0,
  kExitFailed = 1,     // could not start, or ended by an error
  kExitUsage = 2,      // wrong command line
  kExitBadConfig = 3,  // the configuration cannot be read or is wrong
};

// What a daemon takes from its environment and streams.
struct DaemonEnvironment {
  Notifier::Options notify;
  PassedFds passed_fds;
  Logger::Format log_format = Logger::Format::kPlain;
  std::ostream* out = nullptr;
  std::ostream* err = nullptr;  // also the log
  // BERTH_DETECT_DEADLOCKS=1: abort when the order in which mutexes are taken has a cycle. For
  // tests; otherwise off, because it costs time at every lock (Debian's Abseil has it on by
  // default).
  bool detect_deadlocks = false;
};

// From the third argument of main(): NOTIFY_SOCKET, WATCHDOG_USEC, WATCHDOG_PID, LISTEN_FDS,
// LISTEN_FDNAMES, LISTEN_PID, JOURNAL_STREAM; std::cout and std::cerr. Malformed values count as
// absent.
DaemonEnvironment ReadEnvironment(const char* const* envp);

// What of a configuration RunDaemon() itself needs.
struct DaemonSettings {
  std::string log_level;        // as ParseLogLevel()
  std::string metrics_address;  // as Metrics::Expose(); empty: none
};

// What a running daemon is given. Outlives run().
struct Daemon {
  Logger& log;
  Metrics& metrics;
  SignalSource& signals;
  Notifier& notifier;
  // What --failpoint armed, for one that starts another.
  std::vector<std::string> failpoints = {};
  // The machine's, or as --clock-offset, which is `clock_offset`, says.
  Clock* clock = &Clock::Real();
  absl::Duration clock_offset = {};
};

// `berth-controller store check`: something to do with the configuration instead of serving.
struct DaemonCommand {
  std::string group;        // "store"
  std::string name;         // "check"
  std::string description;  // one line for --help
  // Options and positionals, bound to variables of the caller. May be empty.
  std::function<void(CLI::App&)> add_options;
  // Results go to `out`. An error is printed, and makes kExitFailed.
  std::function<absl::Status(std::ostream& out)> run;
};

struct DaemonSpec {
  std::string name;            // "berth-agent"
  std::string description;     // one line for --help
  std::string default_config;  // path that is read when --config is not given; empty: required
  // Where the file goes; owned by the caller.
  google::protobuf::Message* config = nullptr;
  // Fills in defaults and checks values. Paths in the file may be relative to that of
  // `config_path`.
  std::function<absl::StatusOr<DaemonSettings>(const std::string& config_path)> finish_config;
  // Starts, serves (usually by ServeUntilStopped()), stops. Threads may be started only here.
  std::function<absl::Status(Daemon&)> run;
  // Further options and positionals, bound to variables of the caller. May be empty.
  std::function<void(CLI::App&)> add_options;
  std::vector<DaemonCommand> commands;
  // Whose failpoints it has: --failpoint arms some, the command `failpoints` prints all. One that
  // has any can be told to go by a wrong clock, too: --clock-offset.
  std::optional<FailpointInfo::Home> failpoints;
};

// Parses the command line (--config, --check-config, --print-config, --version, --help), reads the
// configuration and runs. Returns an ExitCode.
int RunDaemon(const DaemonSpec& spec, int argc, const char* const* argv,
              const DaemonEnvironment& environment);

// Tells the service manager that the daemon is ready, keeps its watchdog quiet, calls `reload` (if
// any) at kReload, and returns after kStop, having said that it is stopping.
void ServeUntilStopped(Daemon& daemon, const std::function<void()>& reload = nullptr);

// "0.1.0".
std::string Version();

}  // namespace berth

#endif  // BERTH_LIB_DAEMON_DAEMON_H_
