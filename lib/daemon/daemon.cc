// SPDX-License-Identifier: Apache-2.0
#include "lib/daemon/daemon.h"

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdint>
#include <iostream>
#include <map>
#include <memory>
#include <optional>
#include <string_view>
#include <variant>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/synchronization/mutex.h"
#include "lib/base/status.h"
#include "lib/config/config.h"

namespace berth {
namespace {

enum class Action { kRun, kCheckConfig, kPrintConfig };

struct CommandLine {
  Action action = Action::kRun;
  std::string config_path;
  const DaemonCommand* command = nullptr;  // null: serve
  std::vector<std::string> failpoints;     // as ArmedFailpoints::Arm()
  absl::Duration clock_offset;
};

// The command's groups, each with its commands; the one that is given goes to *chosen.
void AddCommands(const std::vector<DaemonCommand>& commands, CLI::App* app,
                 const DaemonCommand** chosen) {
  std::map<std::string, CLI::App*> groups;
  for (const DaemonCommand& command : commands) {
    CLI::App*& group = groups[command.group];
    if (group == nullptr) {
      group = app->add_subcommand(command.group, "Commands of an administrator");
      group->require_subcommand(0, 1)->fallthrough();
      // Not left to require_subcommand(1), which does not name a word that is no command.
      group->callback([chosen, name = command.group] {
        if (*chosen == nullptr) throw CLI::RequiredError(name + ": a command");
      });
    }
    CLI::App* parser = group->add_subcommand(command.name, command.description);
    // --config may stand after the command, too.
    parser->fallthrough();
    if (command.add_options) command.add_options(*parser);
    parser->callback([&command, chosen] { *chosen = &command; });
  }
}

void AddFailpoints(CLI::App* app, std::vector<std::string>* settings, bool* print) {
  app->add_option("--failpoint", *settings,
                  "For tests: die, stop or fail on purpose; NAME=crash, NAME=stop or "
                  "NAME=error:ERRNO, and @N for the N-th time alone")
      ->type_name("SETTING")
      ->allow_extra_args(false);
  app->add_subcommand("failpoints", "Print where --failpoint can strike, and exit")
      ->fallthrough()
      ->callback([print] { *print = true; });
}

void AddClockOffset(CLI::App* app, absl::Duration* offset) {
  app->add_option_function<std::string>(
         "--clock-offset",
         [offset](const std::string& text) {
           if (absl::ParseDuration(text, offset)) return;
           throw CLI::ValidationError("--clock-offset",
                                      text + ": expected a duration, e.g. -1h30m");
         },
         "For tests: the time is so much later than it is, or earlier")
      ->type_name("DURATION");
}

void PrintFailpoints(FailpointInfo::Home home, std::ostream& out) {
  for (const FailpointInfo& info : Failpoints()) {
    if (info.home != home) continue;
    const bool can_fail = info.can == FailpointInfo::Can::kError;
    out << info.name << (can_fail ? " crash,stop,error " : " crash,stop ") << info.text << "\n";
  }
}

// The command line, or the code to exit with when all has been said.
std::variant<CommandLine, int> ParseCommandLine(const DaemonSpec& spec, int argc,
                                                const char* const* argv,
                                                const DaemonEnvironment& environment) {
  CommandLine line;
  line.config_path = spec.default_config;
  CLI::App app(spec.description, spec.name);
  app.set_version_flag("--version", absl::StrCat(spec.name, " ", Version()));
  CLI::Option* config = app.add_option("-c,--config", line.config_path, "Configuration, YAML")
                            ->type_name("FILE")
                            ->capture_default_str();
  if (spec.default_config.empty()) config->required();
  CLI::Option* check = app.add_flag_callback(
      "--check-config", [&line] { line.action = Action::kCheckConfig; },
      "Check the configuration and exit");
  app.add_flag_callback(
         "--print-config", [&line] { line.action = Action::kPrintConfig; },
         "Print the configuration with all defaults and exit")
      ->excludes(check);
  if (spec.add_options) spec.add_options(app);
  AddCommands(spec.commands, &app, &line.command);
  bool print_failpoints = false;
  if (spec.failpoints.has_value()) {
    AddFailpoints(&app, &line.failpoints, &print_failpoints);
    AddClockOffset(&app, &line.clock_offset);
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    // Also thrown for --help and --version, with code 0.
    return app.exit(e, *environment.out, *environment.err) == 0 ? kExitOk : kExitUsage;
  }
  if (!print_failpoints) return line;
  PrintFailpoints(*spec.failpoints, *environment.out);
  return kExitOk;
}

absl::StatusOr<DaemonSettings> ReadConfig(const DaemonSpec& spec, const std::string& path) {
  BERTH_RETURN_IF_ERROR(LoadYamlFile(path, spec.config));
  BERTH_ASSIGN_OR_RETURN(DaemonSettings settings, spec.finish_config(path));
  if (!ParseLogLevel(settings.log_level).has_value()) {
    return Error(Reason::kInvalidField,
                 absl::StrCat("log level \"", settings.log_level,
                              "\": expected trace, debug, info, warn or error"));
  }
  return settings;
}

absl::StatusOr<ArmedFailpoints> Arm(const DaemonSpec& spec, const CommandLine& line) {
  return ArmedFailpoints::Arm(spec.failpoints.value_or(FailpointInfo::Home::kAgent),
                              line.failpoints);
}

absl::Status Run(const DaemonSpec& spec, const DaemonEnvironment& environment,
                 const DaemonSettings& settings, const CommandLine& line, Logger& log) {
  // Before the metrics server, which is the first to start threads.
  BERTH_ASSIGN_OR_RETURN(std::unique_ptr<ProcessSignals> signals, ProcessSignals::Block());
  Notifier notifier(environment.notify);
  Metrics metrics;
  log.Info("starting", {{"version", Version()}, {"pid", ::getpid()}});
  if (!settings.metrics_address.empty()) {
    BERTH_RETURN_IF_ERROR(metrics.Expose(settings.metrics_address));
    log.Info("serving metrics", {{"port", metrics.port()}});
  }
  OffsetClock clock(&Clock::Real(), line.clock_offset);
  Daemon daemon{log, metrics, *signals, notifier, line.failpoints, &clock, line.clock_offset};
  return spec.run(daemon);
}

}  // namespace

DaemonEnvironment ReadEnvironment(const char* const* envp) {
  DaemonEnvironment environment;
  environment.out = &std::cout;
  environment.err = &std::cerr;
  int64_t watchdog_us = 0;
  int64_t watchdog_pid = ::getpid();
  int64_t listen_pid = 0;
  for (; *envp != nullptr; ++envp) {
    const std::string_view entry = *envp;
    const size_t equals = entry.find('=');
    if (equals == std::string_view::npos) continue;
    const std::string_view name = entry.substr(0, equals);
    const std::string value(entry.substr(equals + 1));
    if (name == "NOTIFY_SOCKET") {
      environment.notify.socket = value;
    } else if (name == "WATCHDOG_USEC") {
      if (!absl::SimpleAtoi(value, &watchdog_us)) watchdog_us = 0;
    } else if (name == "WATCHDOG_PID") {
      if (!absl::SimpleAtoi(value, &watchdog_pid)) watchdog_pid = 0;
    } else if (name == "LISTEN_PID") {
      if (!absl::SimpleAtoi(value, &listen_pid)) listen_pid = 0;
    } else if (name == "LISTEN_FDS") {
      if (!absl::SimpleAtoi(value, &environment.passed_fds.count)) environment.passed_fds = {};
    } else if (name == "LISTEN_FDNAMES") {
      environment.passed_fds.names = absl::StrSplit(value, ':');
    } else if (name == "BERTH_DETECT_DEADLOCKS") {
      environment.detect_deadlocks = value == "1";
    } else if (name == "JOURNAL_STREAM") {
      environment.log_format = LogFormatFor(value, STDERR_FILENO);
    }
  }
  // They are another process's, whose environment was inherited.
  if (listen_pid != ::getpid()) environment.passed_fds = {};
  if (watchdog_us > 0 && watchdog_pid == ::getpid()) {
    environment.notify.watchdog = absl::Microseconds(watchdog_us);
  }
  return environment;
}

int RunDaemon(const DaemonSpec& spec, int argc, const char* const* argv,
              const DaemonEnvironment& environment) {
  const auto parsed = ParseCommandLine(spec, argc, argv, environment);
  if (const int* exit_code = std::get_if<int>(&parsed)) return *exit_code;
  const CommandLine& line = std::get<CommandLine>(parsed);
  const absl::StatusOr<DaemonSettings> settings = ReadConfig(spec, line.config_path);
  if (!settings.ok()) {
    *environment.err << spec.name << ": " << settings.status().message() << "\n";
    return kExitBadConfig;
  }
  switch (line.action) {
    case Action::kCheckConfig:
      *environment.out << line.config_path << ": ok\n";
      return kExitOk;
    case Action::kPrintConfig:
      *environment.out << ToYaml(*spec.config);
      return kExitOk;
    case Action::kRun:
      break;
  }
  const absl::StatusOr<ArmedFailpoints> armed = Arm(spec, line);
  if (!armed.ok()) {
    *environment.err << spec.name << ": " << armed.status().message() << "\n";
    return kExitUsage;
  }
  if (line.command != nullptr) {
    const absl::Status done = line.command->run(*environment.out);
    if (done.ok()) return kExitOk;
    *environment.err << spec.name << ": " << done.message() << "\n";
    return kExitFailed;
  }
  absl::SetMutexDeadlockDetectionMode(environment.detect_deadlocks
                                          ? absl::OnDeadlockCycle::kAbort
                                          : absl::OnDeadlockCycle::kIgnore);
  Logger log(spec.name, *ParseLogLevel(settings->log_level), environment.log_format,
             environment.err);
  for (const std::string& failpoint : line.failpoints) {
    log.Warn("armed to fail on purpose", {{"failpoint", failpoint}});
  }
  if (line.clock_offset != absl::ZeroDuration()) {
    log.Warn("goes by a wrong clock on purpose",
             {{"offset", absl::FormatDuration(line.clock_offset)}});
  }
  if (const absl::Status status = Run(spec, environment, *settings, line, log); !status.ok()) {
    log.Error("failed", {{"error", status}});
    return kExitFailed;
  }
  log.Info("stopped");
  return kExitOk;
}

void ServeUntilStopped(Daemon& daemon, const std::function<void()>& reload) {
  const auto tell = [&daemon](const absl::Status& status) {
    if (!status.ok()) daemon.log.Warn("cannot tell the service manager", {{"error", status}});
  };
  tell(daemon.notifier.Ready());
  daemon.log.Info("ready");
  for (;;) {
    const std::optional<Signal> signal = daemon.signals.Wait(daemon.notifier.watchdog_period());
    if (!signal.has_value()) {
      tell(daemon.notifier.Watchdog());
    } else if (*signal == Signal::kReload) {
      daemon.log.Info("reloading");
      if (reload) reload();
    } else {
      break;
    }
  }
  tell(daemon.notifier.Stopping());
  daemon.log.Info("stopping");
}

std::string Version() { return BERTH_VERSION; }

}  // namespace berth
