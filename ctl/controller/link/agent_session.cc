// SPDX-License-Identifier: Apache-2.0
#include "ctl/controller/link/agent_session.h"

#include <utility>

#include "lib/base/failpoint.h"
#include "lib/base/status.h"
#include "lib/rpc/error.h"

namespace berth {

using agent::v1::AgentMessage;
using agent::v1::ControllerMessage;

bool AgentSession::Handle::Welcome(agent::v1::Welcome welcome) {
  CrashAt(Failpoint::kSessionWelcome);
  absl::MutexLock lock(&mu_);
  if (session_ == nullptr) return false;
  epoch_ = welcome.epoch();
  welcome_ = std::move(welcome);
  Pump();
  return true;
}

void AgentSession::Handle::Upsert(agent::v1::DesiredGrant grant) {
  CrashAt(Failpoint::kSessionTell);
  absl::MutexLock lock(&mu_);
  forget_.erase(grant.assignment_uid());
  upserts_[grant.assignment_uid()] = std::move(grant);
  Pump();
}

void AgentSession::Handle::Forget(const std::string& assignment_uid) {
  CrashAt(Failpoint::kSessionForget);
  absl::MutexLock lock(&mu_);
  upserts_.erase(assignment_uid);
  forget_.insert(assignment_uid);
  Pump();
}

bool AgentSession::Handle::Audit(agent::v1::AuditRequest request) {
  absl::MutexLock lock(&mu_);
  if (session_ == nullptr) return false;
  audit_ = std::move(request);
  Pump();
  return true;
}

void AgentSession::Handle::Close(const absl::Status& status) {
  absl::MutexLock lock(&mu_);
  if (!end_.has_value()) end_ = status;
  Pump();
}

void AgentSession::Handle::Ack(int64_t sequence, const agent::v1::Epoch& epoch) {
  absl::MutexLock lock(&mu_);
  ack_.emplace();
  ack_->set_sequence(sequence);
  *ack_->mutable_epoch() = epoch;
  Pump();
}

std::optional<ControllerMessage> AgentSession::Handle::NextMessage() {
  // Welcome comes first, and its desired set may be older than what waits here.
  if (!welcomed_ && !welcome_.has_value()) return std::nullopt;
  ControllerMessage message;
  if (welcome_.has_value()) {
    *message.mutable_welcome() = *std::move(welcome_);
    welcome_.reset();
    welcomed_ = true;
  } else if (!upserts_.empty() || !forget_.empty()) {
    // So that a message stays far below the limit of gRPC.
    constexpr int kMaxChanges = 512;
    agent::v1::DesiredDelta* delta = message.mutable_delta();
    *delta->mutable_epoch() = epoch_;
    while (!upserts_.empty() && delta->upserts_size() < kMaxChanges) {
      *delta->add_upserts() = std::move(upserts_.begin()->second);
      upserts_.erase(upserts_.begin());
    }
    while (!forget_.empty() && delta->forget_size() < kMaxChanges) {
      delta->add_forget(*forget_.begin());
      forget_.erase(forget_.begin());
    }
  } else if (audit_.has_value()) {
    // Behind all changes: what the agent has not heard is no difference.
    *message.mutable_audit() = *std::move(audit_);
    audit_.reset();
  } else if (ack_.has_value()) {
    *message.mutable_heartbeat_ack() = *std::move(ack_);
    ack_.reset();
  } else {
    return std::nullopt;
  }
  return message;
}

void AgentSession::Handle::Pump() {
  if (session_ == nullptr || writing_ || finished_) return;
  if (end_.has_value()) {
    finished_ = true;
    session_->Finish(ToGrpcStatus(*end_));
    return;
  }
  std::optional<ControllerMessage> next = NextMessage();
  if (!next.has_value()) return;
  session_->out_ = *std::move(next);
  session_->out_.set_number(sent_.Next());
  writing_ = true;
  session_->StartWrite(&session_->out_);
}

AgentSession::AgentSession(const AgentLinkOptions& options,
                           std::function<void(const std::shared_ptr<Handle>&)> on_done)
    : options_(options), on_done_(std::move(on_done)), handle_(std::make_shared<Handle>(this)) {}

void AgentSession::OnWriteDone(bool ok) {
  absl::MutexLock lock(&handle_->mu_);
  handle_->writing_ = false;
  if (!ok && !handle_->end_.has_value())
    handle_->end_ = Error(Reason::kCancelled, "the agent has gone");
  handle_->Pump();
}

void AgentSession::OnReadDone(bool ok) {
  if (!ok) return handle_->Close(absl::OkStatus());
  if (absl::Status status = OnMessage(); !status.ok()) {
    options_.log->Warn("agent session refused", {{"host", host_id_}, {"error", status}});
    return handle_->Close(status);
  }
  StartRead(&in_);
}

absl::Status AgentSession::OnMessage() {
  BERTH_RETURN_IF_ERROR(received_.Check(in_.number()));
  if (in_.has_hello() != host_id_.empty()) {
    return Error(Reason::kBadMessage, "Hello comes first, and once");
  }
  switch (in_.message_case()) {
    case AgentMessage::kHello:
      // Refused if it is longer; until then it goes into logs.
      host_id_ = in_.hello().host_id().substr(0, 80);
      if (host_id_.empty()) return Error(Reason::kMissingField, "host_id is missing");
      BERTH_RETURN_IF_ERROR(HitFailpoint(Failpoint::kSessionHello));
      BERTH_RETURN_IF_ERROR(options_.registry->Connect(in_.hello(), handle_));
      options_.log->Info("agent connected", {{"host", host_id_},
                                             {"incarnation", in_.hello().incarnation()},
                                             {"grants", in_.hello().grants_size()}});
      return absl::OkStatus();
    case AgentMessage::kInventory: {
      // The session stays: what stands on the host is still this agent's.
      absl::Status status =
          options_.registry->UpdateInventory(host_id_, handle_.get(), in_.inventory());
      if (ReasonOf(status) != Reason::kBadInventory) return status;
      options_.log->Warn("inventory refused", {{"host", host_id_}, {"error", status}});
      return absl::OkStatus();
    }
    case AgentMessage::kGrants:
      BERTH_RETURN_IF_ERROR(HitFailpoint(Failpoint::kSessionReport));
      options_.tracker->Report(host_id_, handle_.get(),
                               {in_.grants().grants().begin(), in_.grants().grants().end()});
      return absl::OkStatus();
    case AgentMessage::kHeartbeat:
      options_.registry->Heartbeat(host_id_, handle_.get());
      if (!in_.heartbeat().needs_no_answer()) {
        handle_->Ack(in_.heartbeat().sequence(), options_.fleet->epoch());
      }
      return absl::OkStatus();
    case AgentMessage::kAudit:
      options_.auditor->Report(host_id_, handle_.get(), in_.audit());
      return absl::OkStatus();
    // A newer agent may say what this controller does not know.
    case AgentMessage::MESSAGE_NOT_SET:
      return absl::OkStatus();
  }
  return absl::OkStatus();
}

void AgentSession::OnDone() {
  absl::Status why;
  {
    absl::MutexLock lock(&handle_->mu_);
    handle_->session_ = nullptr;
    if (handle_->end_.has_value()) why = *handle_->end_;
  }
  if (!host_id_.empty()) {
    options_.registry->Disconnect(host_id_, handle_.get(), why);
    options_.auditor->Disconnected(host_id_, handle_.get());
    options_.log->Info("agent disconnected", {{"host", host_id_}});
  }
  on_done_(handle_);
  delete this;
}

}  // namespace berth
