// SPDX-License-Identifier: Apache-2.0
#include "agent/link/controller_link.h"

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/support/client_callback.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "berth/agent/v1/agent_link.grpc.pb.h"
#include "lib/base/absl_view.h"
#include "lib/base/failpoint.h"
#include "lib/base/status.h"
#include "lib/config/duration.h"
#include "lib/rpc/error.h"
#include "lib/rpc/message_order.h"
#include "lib/rpc/why_not_connected.h"

namespace berth {

using agent::v1::AgentMessage;
using agent::v1::ControllerMessage;

// One stream. Reads without pause; writes what the link has to tell, one message at a time.
class ControllerLink::Session : public grpc::ClientBidiReactor<AgentMessage, ControllerMessage> {
 public:
  Session(ControllerLink* link, std::shared_ptr<grpc::Channel> channel)
      : link_(link), stub_(agent::v1::AgentLink::NewStub(std::move(channel))) {}

  void Start(agent::v1::Hello hello) {
    *out_.mutable_hello() = std::move(hello);
    {
      absl::MutexLock lock(&mu_);
      out_.set_number(sent_.Next());
    }
    stub_->async()->Session(&context_, this);
    StartRead(&in_);
    StartWrite(&out_);
    // Pump() writes from threads of its own, which must not meet a stream that is done.
    AddHold();
    StartCall();
  }

  // Sends what there is to send, unless a message is on its way.
  void Pump() {
    absl::MutexLock lock(&mu_);
    if (!welcomed_ || writing_ || ended_) return;
    std::optional<AgentMessage> next = link_->NextMessage();
    if (!next.has_value()) return;
    out_ = *std::move(next);
    out_.set_number(sent_.Next());
    writing_ = true;
    StartWrite(&out_);
  }

  void Cancel() { context_.TryCancel(); }

  // Why it ended: what the delegate said, else what the controller or the network said.
  absl::Status result() const {
    absl::MutexLock lock(&mu_);
    return result_;
  }

 private:
  void OnWriteDone(bool ok) override {
    {
      absl::MutexLock lock(&mu_);
      writing_ = false;
    }
    // A write that failed is followed by a read that fails.
    if (ok) Pump();
  }

  void OnReadDone(bool ok) override {
    if (!ok) return End(absl::OkStatus());
    absl::Status status = received_.Check(in_.number());
    if (status.ok()) status = link_->OnMessage(in_);
    if (!status.ok()) {
      context_.TryCancel();
      return End(status);
    }
    if (in_.has_welcome()) {
      absl::MutexLock lock(&mu_);
      welcomed_ = true;
    }
    Pump();
    StartRead(&in_);
  }

  void OnDone(const grpc::Status& status) override {
    {
      absl::MutexLock lock(&mu_);
      if (result_.ok()) {
        result_ = status.ok() ? Error(Reason::kUnavailable, "the controller ended the session")
                              : FromGrpcStatus(status);
      }
    }
    // The last that is done with this object: the link may destroy it as soon as it has seen this.
    ControllerLink* const link = link_;
    absl::MutexLock lock(&link->mu_);
    link->session_done_ = true;
  }

  // After the last read.
  void End(const absl::Status& status) {
    {
      absl::MutexLock lock(&mu_);
      result_ = status;
      ended_ = true;
    }
    RemoveHold();
  }

  ControllerLink* const link_;
  const std::unique_ptr<agent::v1::AgentLink::Stub> stub_;
  grpc::ClientContext context_;
  ControllerMessage in_;
  AgentMessage out_;
  MessageOrder received_;
  mutable absl::Mutex mu_;
  MessageOrder sent_ ABSL_GUARDED_BY(mu_);
  bool welcomed_ ABSL_GUARDED_BY(mu_) = false;
  bool writing_ ABSL_GUARDED_BY(mu_) = true;  // Hello
  bool ended_ ABSL_GUARDED_BY(mu_) = false;
  absl::Status result_ ABSL_GUARDED_BY(mu_);
};

ControllerLink::ControllerLink(Options options) : options_(std::move(options)) {}

ControllerLink::~ControllerLink() { Stop(); }

void ControllerLink::Start() {
  thread_ = std::thread([this] { Run(); });
}

void ControllerLink::Stop() {
  std::shared_ptr<Session> session;
  {
    absl::MutexLock lock(&mu_);
    stopping_ = true;
    session = session_;
  }
  if (session != nullptr) session->Cancel();
  if (thread_.joinable()) thread_.join();
}

void ControllerLink::TellGrant(const agent::v1::GrantStatus& status) {
  std::shared_ptr<Session> session;
  {
    absl::MutexLock lock(&mu_);
    grants_[status.assignment_uid()] = status;
    session = session_;
  }
  if (session != nullptr) session->Pump();
}

void ControllerLink::TellInventory(const agent::v1::Inventory& inventory) {
  std::shared_ptr<Session> session;
  {
    absl::MutexLock lock(&mu_);
    inventory_ = inventory;
    session = session_;
  }
  if (session != nullptr) session->Pump();
}

void ControllerLink::TellAudit(agent::v1::AuditReport report) {
  std::shared_ptr<Session> session;
  {
    absl::MutexLock lock(&mu_);
    audit_ = std::move(report);
    session = session_;
  }
  if (session != nullptr) session->Pump();
}

ControllerLink::Status ControllerLink::status() const {
  absl::MutexLock lock(&mu_);
  return status_;
}

std::optional<AgentMessage> ControllerLink::NextMessage() {
  // As GrantReport says.
  constexpr int kMaxGrants = 1024;
  absl::MutexLock lock(&mu_);
  AgentMessage message;
  if (inventory_.has_value()) {
    *message.mutable_inventory() = *std::move(inventory_);
    inventory_.reset();
  } else if (!grants_.empty()) {
    CrashAt(Failpoint::kLinkReport);
    agent::v1::GrantReport* report = message.mutable_grants();
    while (!grants_.empty() && report->grants_size() < kMaxGrants) {
      *report->add_grants() = std::move(grants_.begin()->second);
      grants_.erase(grants_.begin());
    }
  } else if (audit_.has_value()) {
    // Behind the news of grants: what is on its way is no difference.
    *message.mutable_audit() = *std::move(audit_);
    audit_.reset();
  } else if (heartbeat_due_) {
    heartbeat_due_ = false;
    message.mutable_heartbeat()->set_sequence(++heartbeat_sequence_);
    // An answer costs the controller as much as the heartbeat, and there are many agents.
    message.mutable_heartbeat()->set_needs_no_answer(options_.clock->Now() - last_heard_ <
                                                     SilenceLimit() / 2);
  } else {
    return std::nullopt;
  }
  return message;
}

absl::Duration ControllerLink::SilenceLimit() const {
  return std::max(options_.silence_max, 4 * heartbeat_interval_);
}

absl::Status ControllerLink::OnWelcome(const agent::v1::Welcome& welcome) {
  BERTH_RETURN_IF_ERROR(HitFailpoint(Failpoint::kLinkWelcome));
  BERTH_RETURN_IF_ERROR(options_.delegate->OnWelcome(welcome));
  BERTH_RETURN_IF_ERROR(HitFailpoint(Failpoint::kLinkWelcomed));
  absl::MutexLock lock(&mu_);
  const absl::Duration asked = FromProtoDuration(welcome.heartbeat_interval());
  heartbeat_interval_ = std::clamp(asked, absl::Milliseconds(10), absl::Minutes(1));
  status_.connected = true;
  status_.last_error.clear();
  ++status_.sessions;
  return absl::OkStatus();
}

absl::Status ControllerLink::OnMessage(const ControllerMessage& message) {
  bool connected = false;
  {
    absl::MutexLock lock(&mu_);
    last_heard_ = options_.clock->Now();
    connected = status_.connected;
  }
  if (message.has_welcome() == connected) {
    return Error(Reason::kBadMessage,
                 "the controller broke the protocol: Welcome comes first, and once");
  }
  switch (message.message_case()) {
    case ControllerMessage::kWelcome:
      return OnWelcome(message.welcome());
    case ControllerMessage::kDelta:
      BERTH_RETURN_IF_ERROR(HitFailpoint(Failpoint::kLinkDelta));
      return options_.delegate->OnDelta(message.delta());
    case ControllerMessage::kAudit:
      return options_.delegate->OnAudit(message.audit());
    case ControllerMessage::kHeartbeatAck:
    // A newer controller may say what this agent does not know.
    case ControllerMessage::MESSAGE_NOT_SET:
      return absl::OkStatus();
  }
  return absl::OkStatus();
}

std::string ControllerLink::RunSession(const std::string& address) {
  absl::StatusOr<std::shared_ptr<grpc::Channel>> channel = options_.channel(address);
  if (!channel.ok()) {
    SetLastError(address, channel.status());
    return "";
  }
  auto session = std::make_shared<Session>(this, *std::move(channel));
  {
    absl::MutexLock lock(&mu_);
    if (stopping_) return "";
    // Hello says it all; what changes from here on is told after Welcome, at worst twice.
    grants_.clear();
    inventory_.reset();
    audit_.reset();
    heartbeat_due_ = false;
    heartbeat_sequence_ = 0;
    status_.connected = false;
    last_heard_ = options_.clock->Now();
    session_ = session;
    session_done_ = false;
  }
  CrashAt(Failpoint::kLinkHello);
  session->Start(options_.delegate->MakeHello());
  const absl::Status gave_up = AwaitEnd(session.get());
  {
    absl::MutexLock lock(&mu_);
    session_.reset();
    status_.connected = false;
    if (stopping_) return "";
  }
  const absl::Status result = gave_up.ok() ? session->result() : gave_up;
  SetLastError(address, result);
  return ReasonOf(result) == Reason::kNotLeader ? MetadataOf(result)["leader"] : "";
}

absl::Status ControllerLink::AwaitEnd(Session* session) {
  absl::Status gave_up;
  for (;;) {
    bool cancel = false;
    {
      absl::MutexLock lock(&mu_);
      const absl::Duration interval = heartbeat_interval_;
      // Welcome may ask for another interval than the one that is being waited for.
      const auto wakes = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
        return session_done_ || heartbeat_interval_ != interval;
      };
      options_.clock->AwaitWithDeadline(&mu_, absl::Condition(&wakes),
                                        options_.clock->Now() + interval);
      if (session_done_) return gave_up;
      if (heartbeat_interval_ != interval) continue;
      const absl::Duration silence = options_.clock->Now() - last_heard_;
      if (silence > SilenceLimit()) {
        cancel = true;
        gave_up = Error(Reason::kUnavailable, absl::StrCat("the controller said nothing for ",
                                                           absl::FormatDuration(silence)));
      }
      cancel = cancel || stopping_;
      heartbeat_due_ = status_.connected;
    }
    if (cancel) session->Cancel();
    session->Pump();
  }
}

void ControllerLink::SetLastError(const std::string& address, const absl::Status& status) {
  const std::string message(status.message());
  const std::string_view why =
      ReasonOf(status) == Reason::kUnavailable ? WhyNotConnected(message) : "";
  const std::string text = absl::StrCat(address, ": ", AbslView(why), why.empty() ? "" : " (",
                                        message, why.empty() ? "" : ")");
  {
    absl::MutexLock lock(&mu_);
    if (std::exchange(status_.last_error, text) == text) return;
  }
  if (options_.on_failure) options_.on_failure(text);
}

void ControllerLink::Run() {
  absl::Duration backoff = options_.backoff_min;
  std::string leader;  // where the last one sent it; empty: nowhere
  for (size_t turn = 0;;) {
    const int64_t sessions = status().sessions;
    const bool was_sent = !leader.empty();
    if (was_sent) {
      leader = RunSession(leader);
    } else {
      leader = RunSession(options_.addresses[turn++ % options_.addresses.size()]);
    }
    const bool welcomed = status().sessions > sessions;
    // Longer after each round over all of them, not after each of those who stand by.
    if (welcomed) {
      backoff = options_.backoff_min;
    } else if (turn % options_.addresses.size() == 0) {
      backoff = std::min(2 * backoff, options_.backoff_max);
    }
    // Controllers that send it to and fro do not keep it from the other addresses.
    if (was_sent && !welcomed) leader.clear();
    absl::MutexLock lock(&mu_);
    const absl::Duration pause = leader.empty() ? backoff : absl::ZeroDuration();
    options_.clock->AwaitWithDeadline(&mu_, absl::Condition(&stopping_),
                                      options_.clock->Now() + pause);
    if (stopping_) return;
  }
}

}  // namespace berth
