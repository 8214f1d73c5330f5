// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_CTL_CONTROLLER_HOSTS_HOST_REGISTRY_H_
#define BERTH_CTL_CONTROLLER_HOSTS_HOST_REGISTRY_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "berth/agent/v1/agent_link.pb.h"
#include "berth/v1/host_service.pb.h"
#include "ctl/controller/book/fleet.h"
#include "ctl/controller/book/grant_tracker.h"
#include "ctl/controller/book/mutation.h"

namespace berth {

// Version of the agent link that this controller speaks; agents of one release around are
// understood.
inline constexpr int kAgentProtocolVersion = 1;

// Which hosts there are, which are alive, and what operators do with them. Thread-safe.
class HostRegistry {
 public:
  using Answer = std::function<void(absl::StatusOr<v1::Host>)>;

  struct Options {
    absl::Duration heartbeat_interval = absl::Seconds(1);
    absl::Duration suspect_after = absl::Seconds(3);
    absl::Duration lost_after = absl::Seconds(60);
    size_t max_hosts = 50'000;
  };

  // Both outlive the registry.
  HostRegistry(Fleet* fleet, GrantTracker* tracker, Options options)
      : fleet_(fleet), tracker_(tracker), options_(options) {}

  // An agent says Hello. OK: what it brought is on its way to the store; session->Welcome() follows
  // on the store's thread, with everything that the host is to have, and then what changes. Errors:
  // FENCED, HOST_NAME_TAKEN, VERSION_SKEW, BAD_INVENTORY, INVALID_FIELD, OVERLOADED. An older
  // session of the same agent is closed.
  absl::Status Connect(const agent::v1::Hello& hello, std::shared_ptr<HostSession> session);
  // Its stream has ended; `why`: OK when the agent ended it. Does nothing when another session has
  // taken its place.
  void Disconnect(const std::string& host_id, const HostSession* session,
                  const absl::Status& why = absl::OkStatus());

  // From connected agents. A new inventory that contradicts itself (BAD_INVENTORY) makes the host
  // BROKEN and keeps the old one for what stands on it. After any other error the inventory is
  // lost: end the session, so that Hello brings it again.
  void Heartbeat(const std::string& host_id, HostSession* session);
  absl::Status UpdateInventory(const std::string& host_id, const HostSession* session,
                               const agent::v1::Inventory& inventory);

  // Looks at who has been silent for how long, and goes on with hosts that are gone. Call it every
  // heartbeat interval.
  void Tick();

  absl::StatusOr<v1::Host> Get(const v1::GetHostRequest& request);
  absl::StatusOr<v1::ListHostsResponse> List(const v1::ListHostsRequest& request);
  void Update(const v1::UpdateHostRequest& request, const std::string& owner, Answer answer);
  void Cordon(const v1::CordonHostRequest& request, const std::string& owner, Answer answer);
  void Uncordon(const v1::UncordonHostRequest& request, const std::string& owner, Answer answer);
  void Drain(const v1::DrainHostRequest& request, const std::string& owner, Answer answer);
  void Delete(const v1::DeleteHostRequest& request, const std::string& owner, Answer answer);

 private:
  using HostChange = Decision<v1::Host>;
  using Edit = std::function<absl::Status(internal::v1::HostRecord*)>;

  // Whether the engine will take the host as it would be stored. BAD_INVENTORY.
  static absl::Status CheckRecord(const std::string& host_id,
                                  const internal::v1::HostRecord& record);
  absl::Status CheckHello(const agent::v1::Hello& hello) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(fleet_->mu);
  absl::Status CheckAgainstRecord(const agent::v1::Hello& hello, const HostEntry& entry) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(fleet_->mu);
  // What is to be stored of the host of an agent that may connect.
  absl::StatusOr<HostRecordPtr> CheckConnect(const agent::v1::Hello& hello) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(fleet_->mu);
  // After a change of its link's condition or taint: tells the engine and watchers.
  void OnLinkChanged(const std::string& id, HostEntry* entry)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(fleet_->mu);
  HostRecordPtr RecordOf(const agent::v1::Hello& hello, const HostEntry* entry) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(fleet_->mu);
  void OnConnected(const agent::v1::Hello& hello, const std::shared_ptr<HostSession>& session);
  void SetState(const std::string& id, HostEntry* entry) ABSL_EXCLUSIVE_LOCKS_REQUIRED(fleet_->mu);
  void SetConditions(const std::string& id, HostEntry* entry, std::vector<v1::Condition> conditions)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(fleet_->mu);
  v1::Host::State StateOf(const HostEntry& entry) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(fleet_->mu);
  // Ends what is placed on a host that is gone, some in each commit, and then forgets the host.
  void EndGone(const std::string& id) ABSL_LOCKS_EXCLUDED(fleet_->mu);
  // The host of `name` for a change by a user.
  absl::StatusOr<std::pair<std::string, HostEntry*>> FindForChange(const std::string& name,
                                                                   const std::string& etag)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(fleet_->mu);
  absl::StatusOr<HostChange> DecideEdit(const std::string& name, const std::string& etag,
                                        const Edit& edit) ABSL_EXCLUSIVE_LOCKS_REQUIRED(fleet_->mu);
  absl::StatusOr<HostChange> DecideGone(const std::string& id, const HostEntry& entry)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(fleet_->mu);
  absl::StatusOr<HostChange> DecideDelete(const v1::DeleteHostRequest& request)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(fleet_->mu);
  template <typename Request>
  void RunEdit(std::string_view method, const Request& request, const std::string& owner,
               const std::string& name, const std::string& etag, const Edit& edit, Answer&& answer);
  void RunChange(MutationSpec<v1::Host> spec);

  Fleet* const fleet_;
  GrantTracker* const tracker_;
  const Options options_;
};

}  // namespace berth

#endif  // BERTH_CTL_CONTROLLER_HOSTS_HOST_REGISTRY_H_
