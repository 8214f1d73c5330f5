// SPDX-License-Identifier: Apache-2.0
#include "lib/vmm/handoff/run.h"

#include <string>
#include <vector>

#include "lib/base/status.h"
#include "lib/vmm/handoff/attachment.h"
#include "lib/vmm/handoff/exec.h"
#include "lib/vmm/handoff/qemu.h"
#include "lib/vmm/handoff/qmp_client.h"

namespace berth::handoff {
namespace {

int Failed(ExitCode code, const absl::Status& status, std::ostream& err) {
  err << "berth-handoff: " << status.message() << " (" << ReasonName(ReasonOf(status)) << ")\n";
  return static_cast<int>(code);
}

int RunCommand(const Options& options, Attachment& attachment, std::ostream& err) {
  const auto command = Expand(options.command, attachment);
  if (!command.ok()) return Failed(ExitCode::kUsage, command.status(), err);
  // Before the command runs: from then on the agent watches this process, and what it becomes.
  if (const absl::Status status = attachment.Confirm(); !status.ok()) {
    return Failed(ExitCode::kRefused, status, err);
  }
  return Failed(ExitCode::kSystem, Exec(*command, attachment), err);
}

}  // namespace

int Run(const Options& options, std::ostream& err) {
  absl::StatusOr<QmpClient> qmp = absl::CancelledError();
  if (!options.qmp.empty()) {
    // First: a QEMU that is not there costs no attachment.
    qmp = QmpClient::Connect(options.qmp);
    if (!qmp.ok()) return Failed(ExitCode::kQemu, qmp.status(), err);
  }
  absl::StatusOr<Attachment> attachment =
      Attachment::Take(options.socket, options.assignment, options.token);
  if (!attachment.ok()) return Failed(ExitCode::kRefused, attachment.status(), err);
  if (!qmp.ok()) return RunCommand(options, *attachment, err);
  const absl::Status status = PlugInto(*qmp, options, *attachment);
  return status.ok() ? static_cast<int>(ExitCode::kDone) : Failed(ExitCode::kQemu, status, err);
}

}  // namespace berth::handoff
