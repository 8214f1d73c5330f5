// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_AGENT_LINK_AGENT_STATE_H_
#define BERTH_AGENT_LINK_AGENT_STATE_H_

#include <memory>
#include <optional>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "berth/agent/v1/agent_link.pb.h"
#include "berth/internal/v1/agent_state.pb.h"
#include "lib/base/unique_fd.h"

namespace berth {

// What the agent keeps over boots: who it is, and the highest epoch that it has accepted.
// Thread-safe.
class AgentState {
 public:
  // Reads STATE_DIR/agent.json, makes it where there is none (and the folder, mode 0700), counts
  // the incarnation up and stores that before it returns. Errors: SYSTEM_ERROR and others of the
  // file system; STATE_CONFLICT while another AgentState, of any process, is open there;
  // INVALID_FIELD for a file that is not one of ours, which is left alone.
  static absl::StatusOr<std::unique_ptr<AgentState>> Open(const std::string& state_dir);
  // The file that is locked as long as one is open there. It has the number of its process.
  static std::string LockPath(const std::string& state_dir);

  // Lets the next epoch be of any store, durably. For `berth-agent accept-store`, while no agent
  // runs; it counts no start. Returns the epoch that is forgotten, nothing where none was known.
  // Errors: as Open().
  static absl::StatusOr<std::optional<agent::v1::Epoch>> ForgetStore(const std::string& state_dir);

  const std::string& host_uid() const { return host_uid_; }
  int64_t incarnation() const { return incarnation_; }
  internal::v1::AgentState Snapshot() const;

  // The fence. OK when `epoch` is at least the highest accepted one, which it then becomes,
  // durably, before this returns. FENCED when it is older, or of another store: that one is only
  // taken after ForgetStore(). Metadata of FENCED: "store_uid", "restore_count", "term" of the
  // accepted one.
  absl::Status Accept(const agent::v1::Epoch& epoch);

 private:
  AgentState(UniqueFd lock, std::string path, internal::v1::AgentState state);

  const UniqueFd lock_;  // keeps others out of the folder
  const std::string path_;
  const std::string host_uid_;
  const int64_t incarnation_;
  mutable absl::Mutex mu_;
  internal::v1::AgentState state_ ABSL_GUARDED_BY(mu_);
};

}  // namespace berth

#endif  // BERTH_AGENT_LINK_AGENT_STATE_H_
