// SPDX-License-Identifier: Apache-2.0
//
// The part of Grant that VMMs meet.
#include <utility>

#include "absl/strings/str_cat.h"
#include "agent/grants/attach_token.h"
#include "agent/grants/grant.h"
#include "lib/base/failpoint.h"
#include "lib/base/ids.h"
#include "lib/base/status.h"

namespace berth {

absl::StatusOr<uint64_t> Grant::Attach(const Hello& hello, UniqueFd process,
                                       wire::EventChannel events, EndListener on_end) {
  BERTH_RETURN_IF_ERROR(CheckHello(hello));
  uint64_t resume = hello.resume;
  const bool adopted =
      session_.has_value() && session_->adopted && session_->vmm.pid == hello.vmm.pid;
  if (adopted && resume == 0) {
    if (session_->last.call_id != 0) {
      // It has closed its session while no agent ran, and begins another.
      VmmLeft(session_->id);
      return Error(Reason::kNotReady, "the session of before is ending; retry");
    }
    // The agent before this one heard its HELLO, and the answer was lost.
    resume = session_->id;
  }
  if (resume != 0) {
    if (!session_.has_value() || session_->id != resume || session_->vmm.pid != hello.vmm.pid) {
      return Error(Reason::kSessionUnknown, "this process has no such session");
    }
    BERTH_RETURN_IF_ERROR(OpenEvents(resume, std::move(events)));
    ++session_->losses;
    session_->connected = true;
    session_->adopted = false;
    session_->on_end = std::move(on_end);
    return resume;
  }
  if (session_.has_value()) {
    return Error(Reason::kAlreadyAttached,
                 absl::StrCat("process ", session_->vmm.pid, " is attached"));
  }
  if (observed_ != Observed::kGone) AdoptDesired();
  if (observed_ == Observed::kPrepared && Wanted()) {
    return Begin(hello.vmm, std::move(process), std::move(events), std::move(on_end));
  }
  if (Coming()) {
    return Error(Reason::kNotReady,
                 absl::StrCat("the grant is ", std::string(ToString(observed_)), "; retry"));
  }
  return Error(Reason::kUnknownAssignment,
               absl::StrCat("the grant is ", std::string(ToString(observed_)), " on this host"));
}

// Whether the VMM may attach at all.
absl::Status Grant::CheckHello(const Hello& hello) const {
  const auto& [token, vmm, resume, mode] = hello;
  const agent::v1::DesiredGrant wanted = desired();
  // Nothing was written down of it, and the controller has not been heard.
  if (wanted.generation() == 0) return Error(Reason::kNotReady, "it is not known yet; retry");
  if (!TokenMatches(token, wanted.token_hash())) {
    return Error(Reason::kWrongToken, "the token is not this assignment's");
  }
  if (wanted.has_attach_uid() && wanted.attach_uid() != vmm.uid) {
    return Error(Reason::kWrongUser, absl::StrCat("uid ", vmm.uid, " may not attach; uid ",
                                                  wanted.attach_uid(), " may"));
  }
  constexpr auto kHandOff = v1::AssignmentSpec::HAND_OFF;
  if ((wanted.attach_mode() == kHandOff) == (mode == kHandOff)) return absl::OkStatus();
  return Error(
      Reason::kStateConflict,
      absl::StrCat("the assignment's attach_mode is ", mode == kHandOff ? "BROKERED" : "HAND_OFF",
                   ", the VMM asks for ", mode == kHandOff ? "HAND_OFF" : "BROKERED"));
}

// A new session, kept before anybody can have an fd of it.
absl::StatusOr<uint64_t> Grant::Begin(const Vmm& vmm, UniqueFd process, wire::EventChannel events,
                                      EndListener on_end) {
  if (Stopping()) return Error(Reason::kShuttingDown, "the agent is stopping");
  BERTH_RETURN_IF_ERROR(HitFailpoint(Failpoint::kAttachBegin));
  const uint64_t id = NewRandomId();
  session_ = Session{.id = id, .vmm = vmm, .on_end = std::move(on_end)};
  session_->process = std::move(process);
  absl::Status status = Keep();
  if (status.ok()) status = OpenEvents(id, std::move(events));
  if (!status.ok()) {
    session_.reset();
    Drop();
    return status;
  }
  last_vmm_ = vmm;
  Move(Observed::kAttached);
  return id;
}

absl::Status Grant::OpenEvents(uint64_t session, wire::EventChannel events) {
  if (!hand_off()) return events_->Open(session, std::move(events));
  session_->events = std::move(events);
  return absl::OkStatus();
}

bool Grant::Stopping() const {
  absl::MutexLock lock(&mu_);
  return shutdown_;
}

// Whether a context will be ready some time, if all goes well.
bool Grant::Coming() const {
  absl::MutexLock lock(&mu_);
  const bool failed = observed_ == Observed::kGone && status_.has_failure() &&
                      desired_.generation() == current_.generation();
  return !disclaimed_ && desired_.intent() == v1::Assignment::PLACED && !failed;
}

void Grant::ConnectionLost(uint64_t session) {
  if (!session_.has_value() || session_->id != session) return;
  session_->connected = false;
  const uint64_t loss = ++session_->losses;
  // Its process uses what it has without us, and its end will be seen.
  if (session_->confirmed) return;
  if (events_ != nullptr) events_->Close();
  env_.timers->After(limits().resume_grace, [weak = weak_from_this(), session, loss] {
    const std::shared_ptr<Grant> grant = weak.lock();
    if (grant == nullptr) return;
    grant->executor_.Add([self = grant.get(), session, loss] {
      const bool resumed = !self->session_.has_value() || self->session_->losses != loss;
      if (!resumed) self->VmmLeft(session);
    });
  });
}

void Grant::VmmLeft(uint64_t session) {
  if (!session_.has_value() || session_->id != session) return;
  CrashAt(Failpoint::kLeaveVmm);
  EndSession(absl::OkStatus());
  // What is kept keeps the context, too.
  Drop();
  degraded_fds_.clear();
  if (observed_ == Observed::kAttached) {
    AdoptDesired();
    Move(Wanted() ? Observed::kRecycling : Observed::kScrubbing);
  } else if (observed_ == Observed::kDegraded) {
    AdoptDesired();
    Move(Observed::kScrubbing);
  }
  // On a turn of its own: whoever called may answer its VMM first.
  absl::MutexLock lock(&mu_);
  ScheduleRun();
}

void Grant::EndSession(const absl::Status& why) {
  if (!session_.has_value()) return;
  const Session ended = *std::exchange(session_, std::nullopt);
  handed_.reset();
  if (events_ != nullptr) events_->Close();
  if (ended.on_end) ended.on_end(ended.id, why);
}

Guest* Grant::guest(uint64_t session) { return attached(session) ? guest_.get() : nullptr; }

v1::AssignmentSpec::Isolation Grant::isolation() const {
  return current_.isolation() == v1::AssignmentSpec::ISOLATION_UNSPECIFIED
             ? v1::AssignmentSpec::TRUSTED
             : current_.isolation();
}

void Grant::AfterCall(const absl::Status& status) {
  NoteUnitFault(status);
  if (ReasonOf(status) == Reason::kKernelGone) {
    HandleKernelGone();
    Run();
    return;
  }
  Show();
}

}  // namespace berth
