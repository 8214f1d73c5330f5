// SPDX-License-Identifier: Apache-2.0
#include "agent/vmm/vmm_server.h"

#include <fcntl.h>

#include <cstring>
#include <map>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "agent/grants/grant.h"
#include "agent/vmm/vmm_calls.h"
#include "lib/base/failpoint.h"
#include "lib/base/status.h"
#include "lib/wire/encode.h"
#include "lib/wire/event_channel.h"

namespace berth {
namespace {

using wire::ConnectionId;
using wire::WatchId;

constexpr ConnectionId kNoConnection = ConnectionId{0};

// One VMM's use of a grant. Its fields are the Impl's to guard.
struct Session {
  uint64_t id = 0;
  AssignmentUid uid;
  ConnectionId connection = kNoConnection;
  WatchId watch = WatchId{0};
  bool watched = false;
};

// A call on its way through an executor, whose tasks must be copyable.
struct Pending {
  wire::Call call;
  wire::ReplyHandle reply;
};

}  // namespace

class VmmServer::Impl : public wire::Handler, public std::enable_shared_from_this<Impl> {
 public:
  explicit Impl(GrantManager* grants) : grants_(grants) {}

  absl::Status Start(UniqueFd listener, const wire::ServerOptions& options,
                     std::vector<AdoptedSession> adopted) {
    // A connection may come before Start() has returned; its handler waits for the mutex.
    absl::MutexLock lock(&mu_);
    BERTH_ASSIGN_OR_RETURN(server_, wire::WireServer::Start(std::move(listener), this, options));
    for (AdoptedSession& session : adopted) Adopt(std::move(session));
    return absl::OkStatus();
  }

  void Stop() {
    std::unique_ptr<wire::WireServer> server;
    absl::ReleasableMutexLock lock(&mu_);
    server = std::move(server_);
    lock.Release();
    // Joins the thread, whose last calls need the mutex.
    server.reset();
  }

  void OnConnect(ConnectionId connection, wire::Peer peer) override {
    absl::MutexLock lock(&mu_);
    connections_.emplace(connection, Connection{std::move(peer), nullptr});
  }

  void OnDisconnect(ConnectionId connection) override {
    std::shared_ptr<Session> session;
    bool watched = false;
    {
      absl::MutexLock lock(&mu_);
      const auto it = connections_.find(connection);
      if (it == connections_.end()) return;
      session = std::move(it->second.session);
      connections_.erase(it);
      if (session == nullptr || session->connection != connection) return;
      session->connection = kNoConnection;
      watched = session->watched;
    }
    Tell(session->uid, [id = session->id, watched](Grant& grant) {
      watched ? grant.ConnectionLost(id) : grant.VmmLeft(id);
    });
  }

  void OnPeerExit(WatchId watch) override {
    std::shared_ptr<Session> session;
    {
      absl::MutexLock lock(&mu_);
      for (const auto& [id, known] : sessions_) {
        if (known->watched && known->watch == watch) session = known;
      }
    }
    if (session == nullptr) return;
    Tell(session->uid, [weak = weak_from_this(), session, watch](Grant& grant) {
      // By now it may be another process that has what was handed off.
      const std::shared_ptr<Impl> self = weak.lock();
      if (self == nullptr || self->Watches(*session, watch)) grant.VmmLeft(session->id);
    });
  }

  void OnCall(ConnectionId connection, wire::Call call, wire::ReplyHandle reply) override {
    auto pending = std::make_shared<Pending>(Pending{std::move(call), std::move(reply)});
    absl::Status status = std::holds_alternative<berth_vmm_hello>(pending->call.body)
                              ? Hello(connection, pending)
                              : SessionCall(connection, pending);
    if (!status.ok()) pending->reply.SendError(status);
  }

 private:
  struct Connection {
    wire::Peer peer;
    std::shared_ptr<Session> session;
  };

  // Runs `task` on the grant's executor, whatever waits there.
  void Tell(const AssignmentUid& uid, std::function<void(Grant&)> task) {
    if (const std::shared_ptr<Grant> grant = grants_->Find(uid)) grant->Tell(std::move(task));
  }

  void Adopt(AdoptedSession adopted) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  Grant::EndListener EndListener();
  absl::Status Hello(ConnectionId connection, const std::shared_ptr<Pending>& pending);
  // On the executor.
  absl::StatusOr<wire::Message> Attach(ConnectionId connection, const wire::Call& call,
                                       Grant& grant);
  std::shared_ptr<Session> Bind(ConnectionId connection, uint64_t id, const AssignmentUid& uid,
                                UniqueFd process);
  absl::Status SessionCall(ConnectionId connection, const std::shared_ptr<Pending>& pending);
  // These three on the executor.
  void Execute(Session& session, Grant& grant, Pending& pending);
  CallResult Perform(Session& session, Grant& grant, wire::Call& call);
  absl::Status Confirm(Session& session, Grant& grant, wire::Call& call);
  absl::Status WatchHolder(Session& session, UniqueFd pidfd);
  bool Watches(const Session& session, WatchId watch);
  void SessionEnded(uint64_t id, const absl::Status& why);

  GrantManager* const grants_;
  absl::Mutex mu_;
  std::unique_ptr<wire::WireServer> server_ ABSL_GUARDED_BY(mu_);
  std::map<ConnectionId, Connection> connections_ ABSL_GUARDED_BY(mu_);
  std::map<uint64_t, std::shared_ptr<Session>> sessions_ ABSL_GUARDED_BY(mu_);
};

Grant::EndListener VmmServer::Impl::EndListener() {
  return [weak = weak_from_this()](uint64_t ended, const absl::Status& why) {
    if (const std::shared_ptr<Impl> self = weak.lock()) self->SessionEnded(ended, why);
  };
}

void VmmServer::Impl::Adopt(AdoptedSession adopted) {
  auto session = std::make_shared<Session>();
  session->id = adopted.id;
  session->uid = adopted.uid;
  if (adopted.process.valid()) {
    const absl::StatusOr<WatchId> watch = server_->WatchExit(std::move(adopted.process));
    session->watched = watch.ok();
    if (watch.ok()) session->watch = *watch;
  }
  sessions_[session->id] = session;
  Tell(session->uid,
       [listener = EndListener(), id = session->id, watched = session->watched](Grant& grant) {
         grant.SetEndListener(id, listener);
         // Its connection has ended, and nothing else would tell.
         if (!watched) grant.VmmLeft(id);
       });
}

absl::Status VmmServer::Impl::Hello(ConnectionId connection,
                                    const std::shared_ptr<Pending>& pending) {
  const auto& hello = std::get<berth_vmm_hello>(pending->call.body);
  if (hello.version_min > BERTH_VMM_VERSION || hello.version_max < BERTH_VMM_VERSION) {
    return Error(Reason::kVersionSkew,
                 absl::StrCat("this agent speaks version ", BERTH_VMM_VERSION, ", the VMM ",
                              hello.version_min, " to ", hello.version_max));
  }
  {
    absl::MutexLock lock(&mu_);
    const auto it = connections_.find(connection);
    if (it != connections_.end() && it->second.session != nullptr) {
      return Error(Reason::kStateConflict, "this connection has a session already");
    }
  }
  const AssignmentUid uid{std::string(hello.assignment_uid)};
  const std::shared_ptr<Grant> grant = grants_->Find(uid);
  if (grant == nullptr && grants_->awaits_desired()) {
    return Error(Reason::kNotReady, "the agent has not heard from its controller yet; retry");
  }
  if (grant == nullptr) {
    return Error(Reason::kUnknownAssignment,
                 absl::StrCat("this host has no assignment with uid ", uid.str()));
  }
  return grant->Post([self = shared_from_this(), connection, pending, target = grant.get()] {
    absl::StatusOr<wire::Message> reply = self->Attach(connection, pending->call, *target);
    target->AfterCall(reply.status());
    if (!reply.ok()) return pending->reply.SendError(reply.status());
    pending->reply.Send(std::make_shared<wire::Message>(*std::move(reply)));
  });
}

absl::StatusOr<wire::Message> VmmServer::Impl::Attach(ConnectionId connection,
                                                      const wire::Call& call, Grant& grant) {
  const auto& hello = std::get<berth_vmm_hello>(call.body);
  Grant::Vmm vmm;
  UniqueFd process;
  {
    absl::MutexLock lock(&mu_);
    const auto it = connections_.find(connection);
    if (it == connections_.end()) return Error(Reason::kCancelled, "the connection has ended");
    const wire::Peer& peer = it->second.peer;
    vmm = {.pid = peer.pid, .uid = peer.uid};
    if (peer.pidfd.valid()) process.Reset(::fcntl(peer.pidfd.get(), F_DUPFD_CLOEXEC, 0));
  }
  // Of its own: the connection, and its pidfd, may end before the session is there.
  UniqueFd watched;
  if (process.valid()) watched.Reset(::fcntl(process.get(), F_DUPFD_CLOEXEC, 0));
  BERTH_ASSIGN_OR_RETURN(wire::EventChannel::Pair events, wire::EventChannel::Create());
  BERTH_ASSIGN_OR_RETURN(const uint64_t id,
                         grant.Attach({.token = hello.token,
                                       .vmm = vmm,
                                       .resume = call.header.session_id,
                                       .mode = (hello.flags & BERTH_VMM_HELLO_HAND_OFF) != 0
                                                   ? v1::AssignmentSpec::HAND_OFF
                                                   : v1::AssignmentSpec::BROKERED},
                                      std::move(process), std::move(events.agent), EndListener()));
  const std::shared_ptr<Session> session = Bind(connection, id, grant.uid(), std::move(watched));
  if (session == nullptr) {
    grant.ConnectionLost(id);
    return Error(Reason::kCancelled, "the connection has ended");
  }
  CrashAt(Failpoint::kAttachAttached);
  std::vector<UniqueFd> fds;
  fds.push_back(std::move(events.vmm));
  return wire::EncodeReply(call.header, HelloReply(id, grant.replay(id)->call_id, grant),
                           std::move(fds));
}

// Makes `connection` the one of session `id`, which is new or taken up again; a new one lasts as
// long as the process of the pidfd `process`. Null when the connection has ended meanwhile.
std::shared_ptr<Session> VmmServer::Impl::Bind(ConnectionId connection, uint64_t id,
                                               const AssignmentUid& uid, UniqueFd process) {
  absl::MutexLock lock(&mu_);
  std::shared_ptr<Session>& session = sessions_[id];
  const auto it = connections_.find(connection);
  if (session == nullptr) {
    session = std::make_shared<Session>();
    session->id = id;
    session->uid = uid;
    if (process.valid() && server_ != nullptr) {
      const absl::StatusOr<WatchId> watch = server_->WatchExit(std::move(process));
      session->watched = watch.ok();
      if (watch.ok()) session->watch = *watch;
    }
  }
  const bool ended = it == connections_.end();
  const ConnectionId before =
      std::exchange(session->connection, ended ? kNoConnection : connection);
  if (const auto old = connections_.find(before); old != connections_.end()) {
    old->second.session = nullptr;
    if (server_ != nullptr) server_->CloseConnection(before);
  }
  if (ended) return nullptr;
  it->second.session = session;
  return session;
}

absl::Status VmmServer::Impl::SessionCall(ConnectionId connection,
                                          const std::shared_ptr<Pending>& pending) {
  std::shared_ptr<Session> session;
  {
    absl::MutexLock lock(&mu_);
    const auto it = connections_.find(connection);
    if (it != connections_.end()) session = it->second.session;
  }
  if (session == nullptr) return Error(Reason::kNoSession, "the first message must be HELLO");
  if (pending->call.header.session_id != session->id) {
    return Error(Reason::kSessionUnknown, "session_id is not that of this connection");
  }
  const std::shared_ptr<Grant> grant = grants_->Find(session->uid);
  if (grant == nullptr) return Error(Reason::kNoSession, "the session has ended");
  return grant->Post([self = shared_from_this(), session, pending, target = grant.get()] {
    self->Execute(*session, *target, *pending);
  });
}

bool VmmServer::Impl::Watches(const Session& session, WatchId watch) {
  absl::MutexLock lock(&mu_);
  return session.watched && session.watch == watch;
}

// From now on the session lasts as long as the process of `pidfd`; without one, as long as that
// which said HELLO, as before.
absl::Status VmmServer::Impl::WatchHolder(Session& session, UniqueFd pidfd) {
  absl::MutexLock lock(&mu_);
  if (!pidfd.valid()) {
    if (session.watched) return absl::OkStatus();
    return Error(Reason::kUnsupported,
                 "the kernel gives no pidfd of this process: its end could not be seen");
  }
  if (server_ == nullptr) return Error(Reason::kShuttingDown, "the agent is stopping");
  BERTH_ASSIGN_OR_RETURN(const WatchId watch, server_->WatchExit(std::move(pidfd)));
  if (session.watched) server_->StopWatching(session.watch);
  session.watch = watch;
  session.watched = true;
  return absl::OkStatus();
}

absl::Status VmmServer::Impl::Confirm(Session& session, Grant& grant, wire::Call& call) {
  BERTH_RETURN_IF_ERROR(CheckMode(call, grant));
  BERTH_RETURN_IF_ERROR(grant.CheckUnconfirmed(session.id));
  Grant::Vmm holder = grant.vmm();
  if (call.fd.valid()) {
    BERTH_ASSIGN_OR_RETURN(const wire::Peer process, wire::ReadPidfd(call.fd.get()));
    holder = {.pid = process.pid, .uid = process.uid};
  }
  UniqueFd process;
  if (call.fd.valid()) process.Reset(::fcntl(call.fd.get(), F_DUPFD_CLOEXEC, 0));
  BERTH_RETURN_IF_ERROR(WatchHolder(session, std::move(call.fd)));
  return grant.Confirm(session.id, holder, std::move(process));
}

void VmmServer::Impl::Execute(Session& session, Grant& grant, Pending& pending) {
  wire::Call& call = pending.call;
  Grant::Replay* const last = grant.replay(session.id);
  if (last == nullptr) {
    return pending.reply.SendError(Error(Reason::kNoSession, "the session has ended; say HELLO"));
  }
  const bool repeated = call.header.call_id == last->call_id && call.bytes == last->call;
  if (call.header.call_id <= last->call_id && !repeated) {
    return pending.reply.SendError(
        Error(Reason::kCallReplayed,
              absl::StrCat("call ", call.header.call_id,
                           " was used with another payload, or comes after ", last->call_id)));
  }
  if (repeated && last->reply != nullptr) return pending.reply.Send(last->reply);

  if (std::holds_alternative<berth_vmm_detach>(call.body)) {
    // First, so that the VMM can say HELLO as soon as it has the answer.
    grant.VmmLeft(session.id);
    return pending.reply.Send(
        std::make_shared<wire::Message>(wire::EncodeReply(call.header, berth_vmm_empty_reply{})));
  }
  CallResult result = Perform(session, grant, call);
  const bool repeatable = IsRepeatable(call);
  const bool quiet = std::holds_alternative<wire::Invalidate>(call.body) || repeatable;
  const bool noted = ToJournal(call).has_value();
  auto reply = std::make_shared<const wire::Message>(std::move(result.reply));
  *last = {call.header.call_id, std::move(call.bytes), repeatable ? nullptr : reply};
  if (noted) grant.EndCall();
  pending.reply.Send(std::move(reply));
  if (!quiet || !result.status.ok()) grant.AfterCall(result.status);
}

CallResult VmmServer::Impl::Perform(Session& session, Grant& grant, wire::Call& call) {
  absl::Status status;
  if (std::holds_alternative<berth_vmm_confirm_hand_off>(call.body)) {
    status = Confirm(session, grant, call);
    if (status.ok()) return {wire::EncodeReply(call.header, berth_vmm_empty_reply{}), status};
  } else {
    if (auto noted = ToJournal(call)) status = grant.BeginCall(*std::move(noted));
    if (status.ok()) return PerformCall(call, session.id, grant);
  }
  return {wire::EncodeError(call.header, status), status};
}

void VmmServer::Impl::SessionEnded(uint64_t id, const absl::Status& why) {
  absl::MutexLock lock(&mu_);
  const auto it = sessions_.find(id);
  if (it == sessions_.end()) return;
  const std::shared_ptr<Session> session = std::move(it->second);
  sessions_.erase(it);
  if (session->watched && server_ != nullptr) server_->StopWatching(session->watch);
  const auto connection = connections_.find(session->connection);
  if (connection == connections_.end()) return;
  connection->second.session = nullptr;
  if (!why.ok() && server_ != nullptr) server_->CloseConnection(session->connection);
}

absl::StatusOr<std::unique_ptr<VmmServer>> VmmServer::Start(UniqueFd listener, GrantManager* grants,
                                                            const wire::ServerOptions& options,
                                                            std::vector<AdoptedSession> adopted) {
  auto impl = std::make_shared<Impl>(grants);
  BERTH_RETURN_IF_ERROR(impl->Start(std::move(listener), options, std::move(adopted)));
  return std::unique_ptr<VmmServer>(new VmmServer(std::move(impl)));
}

VmmServer::~VmmServer() { impl_->Stop(); }

}  // namespace berth
