// SPDX-License-Identifier: Apache-2.0
#include "lib/base/failpoint.h"

#include <array>
#include <csignal>
#include <iterator>
#include <optional>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "lib/base/absl_view.h"
#include "lib/base/status.h"

namespace berth {
namespace {

constexpr FailpointInfo kFailpoints[] = {
#define BERTH_FAILPOINT_ROW(enumerator, name, home, can, text) \
  {Failpoint::enumerator, name, FailpointInfo::Home::home, FailpointInfo::Can::can, text},
    BERTH_FAILPOINTS(BERTH_FAILPOINT_ROW)
#undef BERTH_FAILPOINT_ROW
};

struct Setting {
  int signal = 0;    // that it sends itself; 0: none
  int error = 0;     // 0: none
  uint64_t nth = 0;  // 0: every hit
  uint64_t hits = 0;
};

absl::Mutex mu(absl::kConstInit);
std::array<std::optional<Setting>, std::size(kFailpoints)> armed ABSL_GUARDED_BY(mu);

const FailpointInfo& InfoOf(Failpoint point) { return kFailpoints[static_cast<size_t>(point)]; }

// 0: there is none of this name.
int ErrnoOfName(std::string_view name) {
  return ErrnoOf(Error(Reason::kSystemError, "", {{"errno", std::string(name)}}));
}

absl::Status Malformed(std::string_view setting, std::string_view why) {
  return Error(Reason::kInvalidField,
               absl::StrCat("failpoint \"", AbslView(setting), "\": ", AbslView(why)));
}

absl::Status UnknownPoint(FailpointInfo::Home home, std::string_view setting) {
  std::string names;
  for (const FailpointInfo& info : kFailpoints) {
    if (info.home == home) absl::StrAppend(&names, names.empty() ? "" : ", ", AbslView(info.name));
  }
  return Malformed(setting, absl::StrCat("there is none of this name; there are ", names));
}

const FailpointInfo* Find(FailpointInfo::Home home, std::string_view name) {
  for (const FailpointInfo& info : kFailpoints) {
    if (info.home == home && info.name == name) return &info;
  }
  return nullptr;
}

absl::StatusOr<std::pair<Failpoint, Setting>> Parse(FailpointInfo::Home home,
                                                    std::string_view text) {
  const size_t equals = text.find('=');
  if (equals == std::string_view::npos) {
    return Malformed(text,
                     "expected NAME=crash, NAME=stop or NAME=error:ERRNO, and @N for the N-th "
                     "hit");
  }
  const FailpointInfo* info = Find(home, text.substr(0, equals));
  if (info == nullptr) return UnknownPoint(home, text);
  std::string_view action = text.substr(equals + 1);
  Setting setting;
  if (const size_t at = action.find('@'); at != std::string_view::npos) {
    if (!absl::SimpleAtoi(AbslView(action.substr(at + 1)), &setting.nth) || setting.nth == 0) {
      return Malformed(text, "after @ comes the number of the hit, from 1");
    }
    action = action.substr(0, at);
  }
  // Not abort(): that runs handlers and leaves a core.
  if (action == "crash") setting.signal = SIGKILL;
  if (action == "stop") setting.signal = SIGSTOP;
  if (setting.signal != 0) return std::pair(info->point, setting);
  constexpr std::string_view kError = "error:";
  if (action.substr(0, kError.size()) != kError) {
    return Malformed(text, "expected crash, stop or error:ERRNO after =");
  }
  if (info->can != FailpointInfo::Can::kError) {
    return Malformed(text, "nothing can fail there; it can only crash or stop");
  }
  setting.error = ErrnoOfName(action.substr(kError.size()));
  if (setting.error == 0) return Malformed(text, "no such errno; expected a name as ENOSPC");
  return std::pair(info->point, setting);
}

void Disarm() {
  absl::MutexLock lock(&mu);
  failpoint_internal::any_armed.store(false, std::memory_order_relaxed);
  armed.fill(std::nullopt);
}

}  // namespace

absl::Span<const FailpointInfo> Failpoints() { return kFailpoints; }

absl::StatusOr<ArmedFailpoints> ArmedFailpoints::Arm(FailpointInfo::Home home,
                                                     const std::vector<std::string>& settings) {
  std::vector<std::pair<Failpoint, Setting>> parsed;
  for (const std::string& text : settings) {
    BERTH_ASSIGN_OR_RETURN(auto one, Parse(home, text));
    parsed.push_back(one);
  }
  absl::MutexLock lock(&mu);
  for (const auto& [point, setting] : parsed) armed[static_cast<size_t>(point)] = setting;
  failpoint_internal::any_armed.store(!parsed.empty(), std::memory_order_relaxed);
  return ArmedFailpoints();
}

ArmedFailpoints::ArmedFailpoints(ArmedFailpoints&& other) noexcept
    : owns_(std::exchange(other.owns_, false)) {}

ArmedFailpoints::~ArmedFailpoints() {
  if (owns_) Disarm();
}

absl::Status failpoint_internal::Strike(Failpoint point) {
  Setting setting;
  {
    absl::MutexLock lock(&mu);
    std::optional<Setting>& known = armed[static_cast<size_t>(point)];
    if (!known.has_value()) return absl::OkStatus();
    ++known->hits;
    setting = *known;
  }
  if (setting.nth != 0 && setting.hits != setting.nth) return absl::OkStatus();
  if (setting.signal != 0) {
    (void)::raise(setting.signal);
    return absl::OkStatus();
  }
  const std::string_view name = InfoOf(point).name;
  const absl::Status status =
      ErrnoToStatus(setting.error, absl::StrCat("failpoint ", AbslView(name)));
  return WithMetadata(status, "step", name.substr(name.find('.') + 1));
}

}  // namespace berth
