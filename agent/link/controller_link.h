// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_AGENT_LINK_CONTROLLER_LINK_H_
#define BERTH_AGENT_LINK_CONTROLLER_LINK_H_

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "berth/agent/v1/agent_link.pb.h"
#include "lib/base/clock.h"

namespace grpc {
class Channel;
}  // namespace grpc

namespace berth {

// What the link is for. Called from the link's and from gRPC's threads, one call at a time; must
// not wait for the kernel.
class LinkDelegate {
 public:
  virtual ~LinkDelegate() = default;
  // Who this agent is and all that it holds, at this moment.
  virtual agent::v1::Hello MakeHello() = 0;
  // An error (FENCED) ends the session; the link dials again later.
  virtual absl::Status OnWelcome(const agent::v1::Welcome& welcome) = 0;
  virtual absl::Status OnDelta(const agent::v1::DesiredDelta& delta) = 0;
  // The answer follows by TellAudit(), when it is there.
  virtual absl::Status OnAudit(const agent::v1::AuditRequest& request) = 0;
};

// Keeps one session with a controller, for ever: dials the addresses in turn (and the leader's,
// when a controller that stands by names it: NOT_LEADER), says Hello, takes Welcome, then passes
// changes both ways; whatever ends a session, the next one starts from the beginning. What is to be
// told waits here, bounded: the last status of each grant, the last inventory, the last audit.
// Thread-safe.
class ControllerLink {
 public:
  using ChannelFactory =
      std::function<absl::StatusOr<std::shared_ptr<grpc::Channel>>(const std::string& address)>;

  struct Options {
    std::vector<std::string> addresses;  // at least one
    ChannelFactory channel;
    LinkDelegate* delegate = nullptr;  // outlives the link
    Clock* clock = nullptr;            // outlives the link
    absl::Duration backoff_min = absl::Milliseconds(100);
    absl::Duration backoff_max = absl::Seconds(5);
    // Silence after which a session is given up; 4 heartbeats if that is more. When half of it has
    // passed the controller is asked for answers.
    absl::Duration silence_max = absl::Seconds(10);
    // Told from the link's thread why it is not connected, once for each new reason. May be null.
    std::function<void(const std::string&)> on_failure = nullptr;
  };

  explicit ControllerLink(Options options);
  ~ControllerLink();  // Stop()
  ControllerLink(const ControllerLink&) = delete;
  ControllerLink& operator=(const ControllerLink&) = delete;

  void Start();
  // Ends the session and joins. Idempotent.
  void Stop();

  void TellGrant(const agent::v1::GrantStatus& status);
  void TellInventory(const agent::v1::Inventory& inventory);
  void TellAudit(agent::v1::AuditReport report);

  struct Status {
    bool connected = false;  // Welcome was taken
    std::string last_error;  // of the last session that ended by itself
    int64_t sessions = 0;    // that got as far as Welcome
  };
  Status status() const;

 private:
  class Session;
  friend class Session;

  void Run();
  // The address that it was sent on to; empty: none.
  std::string RunSession(const std::string& address);
  // Keeps `session` alive until gRPC is done with it. An error says why the link gave it up.
  absl::Status AwaitEnd(Session* session);
  void SetLastError(const std::string& address, const absl::Status& status);
  // The next message worth sending, or nothing.
  std::optional<agent::v1::AgentMessage> NextMessage();
  absl::Duration SilenceLimit() const ABSL_SHARED_LOCKS_REQUIRED(mu_);
  absl::Status OnMessage(const agent::v1::ControllerMessage& message);
  absl::Status OnWelcome(const agent::v1::Welcome& welcome);

  const Options options_;

  // Taken after a session's own mutex, never before it.
  mutable absl::Mutex mu_;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  std::map<std::string, agent::v1::GrantStatus> grants_ ABSL_GUARDED_BY(mu_);
  std::optional<agent::v1::Inventory> inventory_ ABSL_GUARDED_BY(mu_);
  std::optional<agent::v1::AuditReport> audit_ ABSL_GUARDED_BY(mu_);
  bool heartbeat_due_ ABSL_GUARDED_BY(mu_) = false;
  int64_t heartbeat_sequence_ ABSL_GUARDED_BY(mu_) = 0;
  absl::Duration heartbeat_interval_ ABSL_GUARDED_BY(mu_) = absl::Seconds(1);
  absl::Time last_heard_ ABSL_GUARDED_BY(mu_);
  std::shared_ptr<Session> session_ ABSL_GUARDED_BY(mu_);
  bool session_done_ ABSL_GUARDED_BY(mu_) = false;  // gRPC is done with session_
  Status status_ ABSL_GUARDED_BY(mu_);
  std::thread thread_;
};

}  // namespace berth

#endif  // BERTH_AGENT_LINK_CONTROLLER_LINK_H_
