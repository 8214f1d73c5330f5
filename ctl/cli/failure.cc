// SPDX-License-Identifier: Apache-2.0
#include "ctl/cli/failure.h"

#include <cstddef>

#include "absl/strings/str_cat.h"
#include "lib/base/absl_view.h"
#include "lib/base/status.h"
#include "lib/rpc/text.h"

namespace berth::cli {
namespace {

constexpr size_t kMaxMessageBytes = 8192;

std::string_view HintFor(const absl::Status& status) {
  switch (ReasonOf(status)) {
    case Reason::kUnavailable:
      return "is berth-controller running there? --server, BERTH_SERVER or --context name another";
    case Reason::kNoCapacity:
    case Reason::kUnsatisfiable:
      return "`berthctl explain-placement -f FILE` tells which constraint fails on how many hosts";
    case Reason::kQuotaExceeded:
      return "delete assignments that are not needed, or ask an operator for a larger quota";
    case Reason::kRevisionCompacted:
    case Reason::kRevisionUnknown:
    case Reason::kWatchOverflow:
      return "changes were missed; run the command again to start from the present state";
    case Reason::kRequestIdReused:
      return "give another --request-id, or none";
    case Reason::kUnauthenticated:
      return "give a client certificate: --tls-cert and --tls-key, or tls in the context";
    default:
      return "";
  }
}

}  // namespace

ExitCode ExitCodeOf(absl::StatusCode code) {
  switch (code) {
    case absl::StatusCode::kOk:
      return kExitOk;
    case absl::StatusCode::kInvalidArgument:
      return kExitUsage;
    case absl::StatusCode::kNotFound:
      return kExitNotFound;
    case absl::StatusCode::kAlreadyExists:
    case absl::StatusCode::kFailedPrecondition:
    case absl::StatusCode::kAborted:
    case absl::StatusCode::kOutOfRange:
      return kExitConflict;
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kDeadlineExceeded:
      return kExitUnavailable;
    case absl::StatusCode::kPermissionDenied:
    case absl::StatusCode::kUnauthenticated:
      return kExitPermission;
    case absl::StatusCode::kResourceExhausted:
      return kExitExhausted;
    default:
      return kExitFailed;
  }
}

std::string FailureText(const absl::Status& status) {
  std::string text =
      absl::StrCat("Error: ", PrintableUtf8(std::string(status.message()), kMaxMessageBytes));
  const Reason reason = ReasonOf(status);
  if (reason != Reason::kUnspecified)
    absl::StrAppend(&text, " (", AbslView(ReasonName(reason)), ")");
  text += "\n";
  if (const std::string_view hint = HintFor(status); !hint.empty()) {
    absl::StrAppend(&text, "Hint: ", AbslView(hint), "\n");
  }
  return text;
}

absl::Status UsageError(std::string_view message) {
  return absl::InvalidArgumentError(AbslView(message));
}

std::string ExitCodesHelp() {
  return absl::StrCat(
      "Exit codes:\n", "  ", kExitOk, "    done\n", "  ", kExitFailed,
      "    failed in a way that no other code names\n", "  ", kExitUsage,
      "    the command line, a file or a field is wrong\n", "  ", kExitNotFound,
      "    no such resource\n", "  ", kExitConflict,
      "    the name is taken, not possible in this state, or on no host ever (UNSATISFIABLE)\n",
      "  ", kExitUnavailable, "    the controller cannot be reached, or not done in time\n", "  ",
      kExitPermission, "    not allowed, or not known\n", "  ", kExitExhausted,
      "    no capacity, quota used up, or a limit\n", "  ", kExitDiffers,
      "    audit found differences, or a host that it could not look at\n", "  ", kExitInterrupted,
      "  interrupted\n");
}

}  // namespace berth::cli
