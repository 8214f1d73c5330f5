// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_LIB_VMM_HANDOFF_QMP_CLIENT_H_
#define BERTH_LIB_VMM_HANDOFF_QMP_CLIENT_H_

#include <google/protobuf/struct.pb.h>

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "lib/base/unique_fd.h"

namespace berth::handoff {

// One monitor of QEMU (QEMU docs/interop/qmp-spec.rst), on a UNIX stream socket: one JSON object a
// line, a greeting first, events in between, which are ignored. Not thread-safe.
class QmpClient {
 public:
  // The longest line that is taken, and how long one answer may take.
  static constexpr size_t kMaxLine = size_t{1} << 20;
  static constexpr absl::Duration kPatience = absl::Seconds(30);

  // Connects, takes the greeting and leaves the negotiation mode. Errors: UNAVAILABLE (nobody
  // listens, or it is gone), DEADLINE_EXCEEDED, BAD_MESSAGE (no monitor speaks so), TOO_LARGE.
  static absl::StatusOr<QmpClient> Connect(const std::string& path);

  // Executes a command and waits for its answer. An fd goes along, if it is not -1. Errors: those
  // of Connect(); STATE_CONFLICT: QEMU has refused, and says why.
  absl::Status Execute(const std::string& command, const google::protobuf::Struct& arguments,
                       int fd = -1);

  [[nodiscard]] int fd() const { return socket_.get(); }

 private:
  explicit QmpClient(UniqueFd socket) : socket_(std::move(socket)) {}
  [[nodiscard]] absl::Status Send(const std::string& line, int fd) const;
  absl::StatusOr<google::protobuf::Struct> Receive(absl::Time deadline);
  absl::Status Fill(absl::Time deadline);

  UniqueFd socket_;
  std::string received_;  // behind the last line
  int last_id_ = 0;
};

}  // namespace berth::handoff

#endif  // BERTH_LIB_VMM_HANDOFF_QMP_CLIENT_H_
