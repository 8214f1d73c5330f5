// SPDX-License-Identifier: Apache-2.0
#include "lib/daemon/daemon.h"

#include <gmock/gmock.h>
#include <google/protobuf/type.pb.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <deque>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "lib/base/failpoint.h"
#include "lib/base/status.h"

namespace berth {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

using ::testing::StartsWith;

// A daemon whose configuration is a google.protobuf.Option: {name: ...}.
class DaemonTest : public ::testing::Test {
 protected:
  DaemonTest() {
    char pattern[] = "/tmp/berth-daemon-XXXXXX";
    folder_ = ::mkdtemp(pattern);
    path_ = folder_ + "/test.yaml";
    Configure("name: left\n");
    environment_.out = &out_;
    environment_.err = &err_;
    spec_.name = "berth-test";
    spec_.description = "A daemon for tests";
    spec_.config = &config_;
    spec_.finish_config = [this](const std::string& path) -> absl::StatusOr<DaemonSettings> {
      EXPECT_EQ(path, path_);
      if (config_.name().empty()) config_.set_name("default");
      return settings_;
    };
    spec_.run = [this](Daemon& daemon) {
      ++runs_;
      daemon.log.Info("at work", {{"name", config_.name()}});
      return run_result_;
    };
  }
  ~DaemonTest() override {
    ::unlink(path_.c_str());
    ::rmdir(folder_.c_str());
  }

  void Configure(const std::string& yaml) { std::ofstream(path_) << yaml; }

  int Run(std::vector<const char*> arguments) {
    arguments.insert(arguments.begin(), "berth-test");
    return RunDaemon(spec_, static_cast<int>(arguments.size()), arguments.data(), environment_);
  }

  std::string folder_;
  std::string path_;
  google::protobuf::Option config_;
  DaemonSettings settings_;
  DaemonSpec spec_;
  DaemonEnvironment environment_;
  std::ostringstream out_;
  std::ostringstream err_;
  absl::Status run_result_;
  int runs_ = 0;
};

TEST_F(DaemonTest, ReadsItsConfigurationRunsAndLogs) {
  EXPECT_EQ(Run({"--config", path_.c_str()}), kExitOk);
  EXPECT_EQ(runs_, 1);
  EXPECT_THAT(err_.str(), AllOf(HasSubstr("starting version=" + Version()),
                                HasSubstr("at work name=left"), HasSubstr("stopped")));
  EXPECT_EQ(out_.str(), "");
}

TEST_F(DaemonTest, AFailedRunExitsWithOneAndSaysWhy) {
  run_result_ = Error(Reason::kStoreLocked, "held by pid 7");
  EXPECT_EQ(Run({"-c", path_.c_str()}), kExitFailed);
  EXPECT_THAT(err_.str(), HasSubstr("failed error=\"STORE_LOCKED: held by pid 7\""));
}

TEST_F(DaemonTest, TheDefaultConfigurationIsReadWhenNoneIsNamed) {
  EXPECT_EQ(Run({}), kExitUsage) << "there is no default";
  EXPECT_THAT(err_.str(), HasSubstr("--config is required"));
  spec_.default_config = path_;
  EXPECT_EQ(Run({}), kExitOk);
}

TEST_F(DaemonTest, AWrongCommandLineExitsWithTwo) {
  for (const std::vector<const char*>& arguments : std::vector<std::vector<const char*>>{
           {"-c", path_.c_str(), "--frobnicate"},
           {"-c", path_.c_str(), "extra"},
           {"-c", path_.c_str(), "--check-config", "--print-config"},
           {"--config"}}) {
    err_.str("");
    EXPECT_EQ(Run(arguments), kExitUsage) << arguments.back();
    EXPECT_NE(err_.str(), "");
  }
  EXPECT_EQ(runs_, 0);
  EXPECT_EQ(out_.str(), "");
}

TEST_F(DaemonTest, AMisspeltCommandIsNamedAndAMissingOneAskedFor) {
  int checks = 0;
  spec_.commands = {{.group = "store",
                     .name = "check",
                     .description = "look",
                     .add_options = nullptr,
                     .run = [&checks](std::ostream&) {
                       ++checks;
                       return absl::OkStatus();
                     }}};
  EXPECT_EQ(Run({"-c", path_.c_str(), "store", "chek"}), kExitUsage);
  EXPECT_THAT(err_.str(), ::testing::HasSubstr("chek"));
  err_.str("");
  EXPECT_EQ(Run({"-c", path_.c_str(), "store"}), kExitUsage);
  EXPECT_THAT(err_.str(), ::testing::HasSubstr("store: a command"));
  EXPECT_EQ(runs_ + checks, 0);
  EXPECT_EQ(Run({"store", "check", "-c", path_.c_str()}), kExitOk);
  EXPECT_EQ(checks, 1);
}

TEST_F(DaemonTest, FailpointsAreArmedWhileItRunsAndPrintedWithoutAConfiguration) {
  absl::Status hit;
  spec_.run = [&hit](Daemon&) {
    hit = HitFailpoint(Failpoint::kLinkDelta);
    return absl::OkStatus();
  };
  const char* const arguments[] = {"--failpoint", "link.delta=error:EIO"};
  EXPECT_EQ(Run({"-c", path_.c_str(), arguments[0], arguments[1]}), kExitUsage) << "it has none";
  spec_.failpoints = FailpointInfo::Home::kAgent;
  EXPECT_EQ(Run({"-c", path_.c_str(), arguments[0], arguments[1]}), kExitOk) << err_.str();
  EXPECT_EQ(ErrnoOf(hit), EIO);
  EXPECT_THAT(err_.str(), HasSubstr("armed to fail on purpose failpoint=\"link.delta=error:EIO\""));
  EXPECT_EQ(Run({"-c", path_.c_str()}), kExitOk);
  EXPECT_TRUE(hit.ok());
  EXPECT_EQ(Run({"-c", path_.c_str(), "--failpoint", "link.dleta=crash"}), kExitUsage);
  EXPECT_THAT(err_.str(), AllOf(HasSubstr("link.dleta"), HasSubstr("link.delta")));

  EXPECT_EQ(Run({"-c", "/nowhere", "failpoints"}), kExitOk);
  EXPECT_THAT(out_.str(),
              AllOf(HasSubstr("prepare.alloc_viommu crash,stop,error before VIOMMU_ALLOC\n"),
                    HasSubstr("link.hello crash,stop before Hello is sent\n"),
                    ::testing::Not(HasSubstr("commit.write"))));
}

TEST_F(DaemonTest, GoesByAWrongClockWhenToldTo) {
  spec_.failpoints = FailpointInfo::Home::kAgent;
  absl::Time now;
  spec_.run = [&now](Daemon& daemon) {
    now = daemon.clock->Now();
    return absl::OkStatus();
  };
  EXPECT_EQ(Run({"-c", path_.c_str(), "--clock-offset=-25h"}), kExitOk);
  EXPECT_LT(now, absl::Now() - absl::Hours(24));
  EXPECT_THAT(err_.str(), HasSubstr("goes by a wrong clock on purpose offset=-25h"));
  EXPECT_EQ(Run({"-c", path_.c_str()}), kExitOk);
  EXPECT_GT(now, absl::Now() - absl::Hours(1));
  EXPECT_EQ(Run({"-c", path_.c_str(), "--clock-offset=soon"}), kExitUsage);
  EXPECT_THAT(err_.str(), HasSubstr("soon: expected a duration"));
}

TEST_F(DaemonTest, HelpAndVersionGoToStdout) {
  EXPECT_EQ(Run({"--version"}), kExitOk);
  EXPECT_EQ(out_.str(), "berth-test " + Version() + "\n");
  out_.str("");
  EXPECT_EQ(Run({"--help"}), kExitOk);
  EXPECT_THAT(out_.str(), AllOf(HasSubstr("A daemon for tests"), HasSubstr("--check-config")));
  EXPECT_EQ(err_.str(), "");
}

TEST_F(DaemonTest, CheckConfigChecksAndDoesNotRun) {
  EXPECT_EQ(Run({"-c", path_.c_str(), "--check-config"}), kExitOk);
  EXPECT_EQ(out_.str(), path_ + ": ok\n");
  EXPECT_EQ(runs_, 0);
}

TEST_F(DaemonTest, PrintConfigShowsDefaultsToo) {
  Configure("");
  EXPECT_EQ(Run({"-c", path_.c_str(), "--print-config"}), kExitOk);
  EXPECT_EQ(out_.str(), "name: default\n");
  EXPECT_EQ(runs_, 0);
}

TEST_F(DaemonTest, ABadConfigurationExitsWithThreeAndNamesThePlace) {
  Configure("nmae: left\n");
  for (const char* action : {"--check-config", "--print-config", "--config"}) {
    err_.str("");
    std::vector<const char*> arguments = {"-c", path_.c_str(), action};
    if (std::string(action) == "--config") arguments = {action, path_.c_str()};
    EXPECT_EQ(Run(arguments), kExitBadConfig);
    EXPECT_THAT(err_.str(), StartsWith("berth-test: " + path_ + ":1:1: unknown key \"nmae\""));
  }
  Configure("name: left\n");
  settings_.log_level = "loud";
  EXPECT_EQ(Run({"-c", path_.c_str()}), kExitBadConfig);
  ::unlink(path_.c_str());
  EXPECT_EQ(Run({"-c", path_.c_str()}), kExitBadConfig);
  EXPECT_EQ(runs_, 0);
}

TEST_F(DaemonTest, SettingsDecideAboutLogAndMetrics) {
  settings_.log_level = "error";
  settings_.metrics_address = "127.0.0.1:0";
  int port = 0;
  spec_.run = [&port](Daemon& daemon) {
    port = daemon.metrics.port();
    return absl::OkStatus();
  };
  EXPECT_EQ(Run({"-c", path_.c_str()}), kExitOk);
  EXPECT_GT(port, 0);
  EXPECT_EQ(err_.str(), "");

  settings_.metrics_address = "nowhere";
  EXPECT_EQ(Run({"-c", path_.c_str()}), kExitFailed);
  EXPECT_THAT(err_.str(), HasSubstr("metrics address"));
}

TEST_F(DaemonTest, AMainMayAddOptionsOfItsOwn) {
  std::string socket;
  spec_.add_options = [&socket](CLI::App& app) { app.add_option("--socket", socket); };
  EXPECT_EQ(Run({"-c", path_.c_str(), "--socket", "/run/x"}), kExitOk);
  EXPECT_EQ(socket, "/run/x");
}

TEST(ReadEnvironmentTest, TakesWhatTheServiceManagerSays) {
  const std::string pid = "WATCHDOG_PID=" + std::to_string(::getpid());
  const char* const envp[] = {"PATH=/bin", "NOTIFY_SOCKET=@sd", "WATCHDOG_USEC=2000000",
                              pid.c_str(), "NOEQUALS",          nullptr};
  const DaemonEnvironment environment = ReadEnvironment(envp);
  EXPECT_EQ(environment.notify.socket, "@sd");
  EXPECT_EQ(environment.notify.watchdog, absl::Seconds(2));
  EXPECT_EQ(environment.log_format, Logger::Format::kPlain);
}

TEST(ReadEnvironmentTest, AForeignOrMalformedWatchdogCountsAsNone) {
  const char* const foreign[] = {"WATCHDOG_USEC=2000000", "WATCHDOG_PID=1", nullptr};
  EXPECT_EQ(ReadEnvironment(foreign).notify.watchdog, absl::InfiniteDuration());
  const char* const malformed[] = {"WATCHDOG_USEC=soon", nullptr};
  EXPECT_EQ(ReadEnvironment(malformed).notify.watchdog, absl::InfiniteDuration());
}

TEST(ReadEnvironmentTest, FdsThatWerePassedToThisProcess) {
  const std::string pid = "LISTEN_PID=" + std::to_string(::getpid());
  const char* const ours[] = {pid.c_str(), "LISTEN_FDS=2", "LISTEN_FDNAMES=a:b c", nullptr};
  const DaemonEnvironment environment = ReadEnvironment(ours);
  EXPECT_EQ(environment.passed_fds.count, 2);
  EXPECT_EQ(environment.passed_fds.names, (std::vector<std::string>{"a", "b c"}));
  const char* const foreign[] = {"LISTEN_PID=1", "LISTEN_FDS=2", "LISTEN_FDNAMES=a:b", nullptr};
  EXPECT_EQ(ReadEnvironment(foreign).passed_fds.count, 0);
  const char* const malformed[] = {pid.c_str(), "LISTEN_FDS=many", nullptr};
  EXPECT_EQ(ReadEnvironment(malformed).passed_fds.count, 0);
  const char* const unaddressed[] = {"LISTEN_FDS=2", nullptr};
  EXPECT_EQ(ReadEnvironment(unaddressed).passed_fds.count, 0);
}

// Gives prepared answers; nothing after them is a stop.
class ScriptedSignals : public SignalSource {
 public:
  explicit ScriptedSignals(std::deque<std::optional<Signal>> script) : script_(std::move(script)) {}
  std::optional<Signal> Wait(absl::Duration) override {
    if (script_.empty()) return Signal::kStop;
    const std::optional<Signal> next = script_.front();
    script_.pop_front();
    return next;
  }
  [[nodiscard]] int poll_fd() const override { return -1; }

 private:
  std::deque<std::optional<Signal>> script_;
};

TEST(ServeUntilStoppedTest, ReloadsOnRequestAndReturnsAtStop) {
  std::ostringstream err;
  Logger log("test", LogLevel::kInfo, Logger::Format::kJournal, &err);
  Metrics metrics;
  ScriptedSignals signals({Signal::kReload, std::nullopt, Signal::kReload});
  Notifier notifier({});
  Daemon daemon{log, metrics, signals, notifier};
  int reloads = 0;
  ServeUntilStopped(daemon, [&reloads] { ++reloads; });
  EXPECT_EQ(reloads, 2);
  EXPECT_EQ(err.str(), "<6>ready\n<6>reloading\n<6>reloading\n<6>stopping\n");
}

TEST(ServeUntilStoppedTest, AManagerThatDoesNotListenIsOnlyWorthAWarning) {
  std::ostringstream err;
  Logger log("test", LogLevel::kWarn, Logger::Format::kJournal, &err);
  Metrics metrics;
  ScriptedSignals signals({});
  Notifier notifier({.socket = "/nonexistent/notify"});
  Daemon daemon{log, metrics, signals, notifier};
  ServeUntilStopped(daemon);
  EXPECT_THAT(err.str(), HasSubstr("<4>cannot tell the service manager error=\"NOT_FOUND"));
}

}  // namespace
}  // namespace berth
