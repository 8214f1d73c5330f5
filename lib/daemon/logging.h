// SPDX-License-Identifier: Apache-2.0
//
// Logs: one line for each event, "message key=value key=value". Values are quoted when they hold
// blanks, quotes or control characters, so that nothing a peer sends can forge a line or a field.
#ifndef BERTH_LIB_DAEMON_LOGGING_H_
#define BERTH_LIB_DAEMON_LOGGING_H_

#include <initializer_list>
#include <memory>
#include <optional>
#include <ostream>
#include <string>
#include <string_view>
#include <type_traits>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"

namespace spdlog {
class logger;
}  // namespace spdlog

namespace berth {

enum class LogLevel { kTrace, kDebug, kInfo, kWarn, kError };

// "trace", "debug", "info", "warn" or "error"; empty is kInfo.
std::optional<LogLevel> ParseLogLevel(std::string_view name);

// One key=value pair. Takes strings, numbers, bools, ids (StringId), absl::Status, absl::Duration.
struct LogField {
  template <typename T>
  LogField(std::string_view k, const T& v) : key(k), value(Text(v)) {}

  std::string_view key;
  std::string value;

 private:
  template <typename T>
  static std::string Text(const T& v) {
    if constexpr (std::is_convertible_v<const T&, std::string_view>) {
      return std::string(std::string_view(v));
    } else if constexpr (std::is_same_v<T, bool>) {
      return v ? "true" : "false";
    } else if constexpr (std::is_same_v<T, absl::Status>) {
      return StatusText(v);
    } else if constexpr (std::is_same_v<T, absl::Duration>) {
      return absl::FormatDuration(v);
    } else if constexpr (requires { v.str(); }) {
      return v.str();
    } else {
      return absl::StrCat(v);
    }
  }
  static std::string StatusText(const absl::Status& status);
};

// Thread-safe. Passed by reference to constructors; there is no global logger.
class Logger {
 public:
  enum class Format {
    kPlain,    // "2026-01-02T03:04:05.678Z info message key=value"
    kJournal,  // "<6>message key=value": sd-daemon(3); the journal has the time
  };

  // Shows events of `level` and above. `out` must outlive the logger and have no other writer.
  Logger(std::string_view name, LogLevel level, Format format, std::ostream* out);
  ~Logger();
  Logger(const Logger&) = delete;
  Logger& operator=(const Logger&) = delete;

  using Fields = std::initializer_list<LogField>;
  void Log(LogLevel level, std::string_view message, Fields fields);
  void Trace(std::string_view message, Fields fields = {}) {
    Log(LogLevel::kTrace, message, fields);
  }
  void Debug(std::string_view message, Fields fields = {}) {
    Log(LogLevel::kDebug, message, fields);
  }
  void Info(std::string_view message, Fields fields = {}) { Log(LogLevel::kInfo, message, fields); }
  void Warn(std::string_view message, Fields fields = {}) { Log(LogLevel::kWarn, message, fields); }
  void Error(std::string_view message, Fields fields = {}) {
    Log(LogLevel::kError, message, fields);
  }

 private:
  const Format format_;
  std::unique_ptr<spdlog::logger> impl_;
};

// kJournal when `journal_stream` (the value of $JOURNAL_STREAM, "device:inode") names the file
// behind `fd`: systemd.exec(5). kPlain otherwise.
Logger::Format LogFormatFor(std::string_view journal_stream, int fd);

}  // namespace berth

#endif  // BERTH_LIB_DAEMON_LOGGING_H_
