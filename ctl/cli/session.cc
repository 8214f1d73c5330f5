// SPDX-License-Identifier: Apache-2.0
#include "ctl/cli/session.h"

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "ctl/cli/client.h"
#include "lib/base/status.h"

namespace berth::cli {

Session::Session(const CliEnvironment& environment, const GlobalOptions& options)
    : environment_(environment), options_(options) {}

Session::~Session() = default;

ConfigFile Session::config_file() const {
  return FindConfigFile(options_.flags, environment_.variables, environment_.home);
}

absl::StatusOr<Settings> Session::settings() const {
  return ResolveSettings(options_.flags, environment_.variables, config_file());
}

absl::StatusOr<Client*> Session::client(Patience patience) {
  if (client_ != nullptr) return client_.get();
  BERTH_ASSIGN_OR_RETURN(const Settings resolved, settings());
  absl::Duration timeout =
      patience == Patience::kUnbounded ? absl::InfiniteDuration() : kDefaultTimeout;
  if (!options_.timeout.empty()) {
    BERTH_ASSIGN_OR_RETURN(timeout, ParseTimeout(options_.timeout));
  }
  ClientOptions options;
  options.addresses = resolved.addresses;
  options.tls = resolved.tls;
  options.deadline = now() + timeout;
  options.first_backoff = environment_.first_backoff;
  options.clock = environment_.clock;
  options.trace = options_.verbosity > 0 ? environment_.err : nullptr;
  BERTH_ASSIGN_OR_RETURN(client_, Client::Make(std::move(options)));
  return client_.get();
}

absl::Duration Session::given_timeout() const {
  return ParseTimeout(options_.timeout).value_or(absl::InfiniteDuration());
}

void Session::Report(const absl::Status& status) {
  if (status.ok()) return;
  out().flush();
  err() << FailureText(status) << std::flush;
  if (exit_code_ == kExitOk) exit_code_ = ExitCodeOf(status.code());
}

void Session::Conclude(ExitCode code) {
  if (exit_code_ == kExitOk) exit_code_ = code;
}

absl::StatusOr<absl::Duration> ParseTimeout(const std::string& text) {
  absl::Duration timeout;
  int64_t seconds = 0;
  if (absl::SimpleAtoi(text, &seconds)) {
    timeout = absl::Seconds(seconds);
  } else if (!absl::ParseDuration(text, &timeout)) {
    timeout = absl::ZeroDuration();
  }
  if (timeout <= absl::ZeroDuration()) {
    return UsageError(absl::StrCat("--timeout ", text, ": expected a duration: 30s, 1m30s"));
  }
  return timeout;
}

}  // namespace berth::cli
