// SPDX-License-Identifier: Apache-2.0
#include "lib/daemon/logging.h"

#include <spdlog/logger.h>
#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/ostream_sink.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <utility>

#include "absl/strings/escaping.h"
#include "lib/base/absl_view.h"
#include "lib/base/reason.h"
#include "lib/base/status.h"

namespace berth {
namespace {

struct LevelRow {
  LogLevel level;
  std::string_view name;
  spdlog::level::level_enum impl;
  int priority;  // syslog(3)
};

constexpr LevelRow kLevels[] = {
    {LogLevel::kTrace, "trace", spdlog::level::trace, 7},
    {LogLevel::kDebug, "debug", spdlog::level::debug, 7},
    {LogLevel::kInfo, "info", spdlog::level::info, 6},
    {LogLevel::kWarn, "warn", spdlog::level::warn, 4},
    {LogLevel::kError, "error", spdlog::level::err, 3},
};

const LevelRow& Row(LogLevel level) { return kLevels[static_cast<size_t>(level)]; }

bool IsControl(char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }

void AppendValue(std::string_view value, std::string* line) {
  const bool bare = !value.empty() && std::none_of(value.begin(), value.end(), [](char c) {
    return IsControl(c) || c == ' ' || c == '"' || c == '=' || c == '\\';
  });
  if (bare) {
    line->append(value);
  } else {
    absl::StrAppend(line, "\"", absl::Utf8SafeCEscape(AbslView(value)), "\"");
  }
}

}  // namespace

std::optional<LogLevel> ParseLogLevel(std::string_view name) {
  if (name.empty()) return LogLevel::kInfo;
  for (const LevelRow& row : kLevels) {
    if (row.name == name) return row.level;
  }
  return std::nullopt;
}

std::string LogField::StatusText(const absl::Status& status) {
  if (status.ok()) return "OK";
  const Reason reason = ReasonOf(status);
  if (reason == Reason::kUnspecified) return status.ToString();
  return absl::StrCat(AbslView(ReasonName(reason)), ": ", status.message());
}

Logger::Logger(std::string_view name, LogLevel level, Format format, std::ostream* out)
    : format_(format) {
  auto sink = std::make_shared<spdlog::sinks::ostream_sink_mt>(*out, /*force_flush=*/true);
  impl_ = std::make_unique<spdlog::logger>(std::string(name), std::move(sink));
  impl_->set_level(Row(level).impl);
  const char* const pattern = format == Format::kPlain ? "%Y-%m-%dT%H:%M:%S.%eZ %v" : "%v";
  impl_->set_formatter(
      std::make_unique<spdlog::pattern_formatter>(pattern, spdlog::pattern_time_type::utc, "\n"));
}

Logger::~Logger() = default;

void Logger::Log(LogLevel level, std::string_view message, Fields fields) {
  const LevelRow& row = Row(level);
  if (!impl_->should_log(row.impl)) return;
  std::string line = format_ == Format::kJournal ? absl::StrCat("<", row.priority, ">")
                                                 : absl::StrCat(AbslView(row.name), " ");
  // Messages are Berth's own words, but an error text in one may hold anything.
  absl::StrAppend(&line, std::any_of(message.begin(), message.end(), IsControl)
                             ? absl::Utf8SafeCEscape(AbslView(message))
                             : std::string(message));
  for (const LogField& field : fields) {
    absl::StrAppend(&line, " ", AbslView(field.key), "=");
    AppendValue(field.value, &line);
  }
  impl_->log(row.impl, spdlog::string_view_t(line.data(), line.size()));
}

Logger::Format LogFormatFor(std::string_view journal_stream, int fd) {
  struct stat status = {};
  if (journal_stream.empty() || ::fstat(fd, &status) != 0) return Logger::Format::kPlain;
  return journal_stream == absl::StrCat(status.st_dev, ":", status.st_ino)
             ? Logger::Format::kJournal
             : Logger::Format::kPlain;
}

}  // namespace berth
