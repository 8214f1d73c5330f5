// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_CTL_CLI_SESSION_H_
#define BERTH_CTL_CLI_SESSION_H_

#include <istream>
#include <memory>
#include <ostream>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "ctl/cli/failure.h"
#include "ctl/cli/settings.h"
#include "lib/base/clock.h"

namespace berth::cli {

class Client;

// What main() takes from the process.
struct CliEnvironment {
  SettingsSource variables;  // BERTH_SERVER, BERTH_CONTEXT, BERTH_CONFIG
  std::string home;
  std::istream* in = nullptr;
  std::ostream* out = nullptr;
  std::ostream* err = nullptr;
  Clock* clock = nullptr;
  absl::Duration first_backoff = absl::Milliseconds(300);
};

// Flags that every command has.
struct GlobalOptions {
  SettingsSource flags;
  std::string timeout;
  int verbosity = 0;
};

inline constexpr absl::Duration kDefaultTimeout = absl::Seconds(30);

// One run of berthctl: what commands use. Not thread-safe.
class Session {
 public:
  Session(const CliEnvironment& environment, const GlobalOptions& options);
  ~Session();

  std::istream& in() { return *environment_.in; }
  // Data.
  std::ostream& out() { return *environment_.out; }
  // Everything else.
  std::ostream& err() { return *environment_.err; }
  absl::Time now() const { return environment_.clock->Now(); }

  ConfigFile config_file() const;
  absl::StatusOr<Settings> settings() const;

  // How long the command may take when nobody has said: kDefaultTimeout, or for ever.
  enum class Patience { kBounded, kUnbounded };
  // Made at the first call, when the command's time begins to run.
  absl::StatusOr<Client*> client(Patience patience = Patience::kBounded);

  // What --timeout says; for ever if it was not given or is wrong.
  absl::Duration given_timeout() const;

  // Prints an error and goes on; the first one decides the exit code. OK: nothing.
  void Report(const absl::Status& status);
  // What a command found is no error, but is told by the exit code, unless one was reported.
  void Conclude(ExitCode code);
  ExitCode exit_code() const { return exit_code_; }

 private:
  const CliEnvironment& environment_;
  const GlobalOptions& options_;
  std::unique_ptr<Client> client_;
  ExitCode exit_code_ = kExitOk;
};

// "30s", "1m30s", "10" (seconds). UsageError() unless positive.
absl::StatusOr<absl::Duration> ParseTimeout(const std::string& text);

}  // namespace berth::cli

#endif  // BERTH_CTL_CLI_SESSION_H_
