// SPDX-License-Identifier: Apache-2.0
//
// The part of Grant that outlives the agent: what is kept while a VMM is attached, and how it is
// taken up again.
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <iterator>
#include <string>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "agent/grants/grant.h"
#include "agent/grants/grant_record.h"
#include "agent/grants/grant_view.h"
#include "lib/base/absl_view.h"
#include "lib/base/failpoint.h"
#include "lib/base/ids.h"
#include "lib/base/status.h"
#include "lib/iommufd/uapi/iommufd.h"
#include "lib/wire/encode.h"
#include "lib/wire/peer.h"

namespace berth {
namespace {

using internal::v1::JournaledCall;
using internal::v1::JournaledGrant;
using internal::v1::JournaledSession;

constexpr char kProcessRole[] = "process";
constexpr std::string_view kJournaled = "Journaled";

std::vector<std::byte> ToBytes(const std::string& text) {
  const auto* bytes = reinterpret_cast<const std::byte*>(text.data());
  return {bytes, bytes + text.size()};
}

std::string ToText(const std::vector<std::byte>& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// When the process began, in the kernel's ticks since boot; 0: it cannot be told.
uint64_t StartTicks(pid_t pid) {
  std::ifstream file(absl::StrCat("/proc/", pid, "/stat"));
  const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  // Behind the name, which may hold anything, comes the third field of proc_pid_stat(5).
  const size_t name = text.rfind(") ");
  if (name == std::string::npos) return 0;
  const std::vector<std::string> fields = absl::StrSplit(text.substr(name + 2), ' ');
  constexpr size_t kThird = 3;
  constexpr size_t kStartTime = 22;
  uint64_t ticks = 0;
  if (fields.size() <= kStartTime - kThird ||
      !absl::SimpleAtoi(fields[kStartTime - kThird], &ticks)) {
    return 0;
  }
  return ticks;
}

// A pidfd of the process that had the session, if it is there still.
UniqueFd FindProcess(const JournaledSession& session) {
  const auto pid = static_cast<pid_t>(session.confirmed() ? session.holder_pid() : session.pid());
  if (pid <= 0 || session.start_ticks() == 0) return {};
  UniqueFd process(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  // Asked last: it is the process of the pidfd that began then.
  if (StartTicks(pid) != session.start_ticks()) return {};
  return process;
}

// The answer to a call that has been executed, and would have had no other.
std::string SuccessOf(const std::string& call) {
  berth_vmm_header header = {};
  if (call.size() < sizeof(header)) return "";
  std::memcpy(&header, call.data(), sizeof(header));
  return ToText(wire::EncodeReply(header, berth_vmm_empty_reply{}).bytes);
}

// Whether the kernel behind a context is there, whatever is in it.
bool IsAlive(KernelApi& kernel, int context) {
  auto arg = Sized<uapi::IommuDestroy>();
  arg.id = UINT32_MAX;  // no object's
  const absl::Status status = CallKernel(kernel, context, uapi::kIommuDestroy, &arg, {});
  return ReasonOf(status) != Reason::kKernelGone;
}

}  // namespace

// ---- What is kept

JournaledGrant Grant::Record() const {
  JournaledGrant record;
  *record.mutable_desired() = current_;
  record.set_life(life_);
  if (context_ != nullptr) {
    context_->WriteTo(&record);
    guest_->WriteTo(&record);
  } else {
    for (const GrantDevice& device : held_) WriteDevice(device, record.add_devices());
  }
  JournaledSession* session = record.mutable_session();
  session->set_id(session_->id);
  session->set_pid(static_cast<uint32_t>(session_->vmm.pid));
  session->set_uid(session_->vmm.uid);
  session->set_holder_pid(static_cast<uint32_t>(session_->holder.pid));
  session->set_holder_uid(session_->holder.uid);
  session->set_confirmed(session_->confirmed);
  session->set_watched(session_->process.valid());
  session->set_start_ticks(session_->start_ticks);
  const Replay& last = session_->last;
  session->set_last_call_id(last.call_id);
  session->set_last_call(ToText(last.call));
  if (last.reply != nullptr) session->set_last_reply(ToText(last.reply->bytes));
  return record;
}

std::vector<Keeper::Fd> Grant::FdsToKeep() const {
  std::vector<Keeper::Fd> fds;
  if (context_ != nullptr) fds = context_->Fds();
  for (const auto& [role, fd] : degraded_fds_) fds.push_back({role, fd.get()});
  if (session_->process.valid()) fds.push_back({kProcessRole, session_->process.get()});
  return fds;
}

absl::Status Grant::Keep() {
  if (env_.options.keeper == nullptr) return absl::OkStatus();
  if (life_.empty()) life_ = absl::StrCat(absl::Hex(NewRandomId()));
  session_->start_ticks =
      StartTicks(session_->confirmed ? session_->holder.pid : session_->vmm.pid);
  absl::Status status = env_.options.keeper->Keep(Record(), FdsToKeep());
  journaled_ = status.ok();
  if (!status.ok()) life_.clear();
  return status;
}

void Grant::StoreAgain() {
  Tell([](Grant& grant) {
    if (grant.life_.empty() || !grant.session_.has_value()) return;
    grant.env_.options.keeper->StoreAgain(grant.uid_, grant.current_.generation(), grant.life_,
                                          grant.FdsToKeep());
  });
}

void Grant::Drop() {
  if (life_.empty()) return;
  env_.options.keeper->Drop(uid_);
  life_.clear();
  journaled_ = false;
}

absl::Status Grant::BeginCall(JournaledCall call) {
  if (!journaled_) return absl::OkStatus();
  BERTH_RETURN_IF_ERROR(HitFailpoint(Failpoint::kKeepBeginCall));
  JournaledGrant record = Record();
  *record.mutable_begun() = std::move(call);
  return Annotate(env_.options.keeper->Note(record), "the agent's journal");
}

void Grant::EndCall() {
  if (!journaled_ || !session_.has_value()) return;
  absl::Status status = HitFailpoint(Failpoint::kKeepEndCall);
  const JournaledGrant record = Record();
  if (status.ok()) status = env_.options.keeper->Note(record);
  CrashAt(Failpoint::kKeepAnswer);
  if (status.ok()) return;
  // As far as the journal knows the call has not ended, and the next agent would undo it.
  journaled_ = false;
  life_ = absl::StrCat(absl::Hex(NewRandomId()));
  env_.options.keeper->KeepFdsOnly(record, life_, FdsToKeep());
  SetCondition(kJournaled, false, status);
}

// ---- How it is taken up

absl::StatusOr<std::optional<AdoptedSession>> Grant::Adopt(KeptGrant kept) {
  CrashAt(Failpoint::kAdoptGrant);
  since_ = Now();
  life_ = kept.life;
  if (!kept.record.has_value()) return AdoptDegraded(std::move(kept));
  const JournaledGrant& record = *kept.record;
  const JournaledSession& session = record.session();
  current_ = record.desired();
  for (const auto& device : record.devices()) held_.push_back(ReadDevice(device));
  if (env_.claims->Claim(uid_, held_).ok()) env_.claims->NoteBound(uid_);
  last_vmm_ = {
      .pid = static_cast<pid_t>(session.confirmed() ? session.holder_pid() : session.pid()),
      .uid = session.confirmed() ? session.holder_uid() : session.uid()};
  const absl::Status status = hand_off() ? absl::OkStatus() : AdoptContext(kept);
  if (ReasonOf(status) == Reason::kKernelGone) return status;
  fds_given_ = hand_off() || !status.ok();
  TakeVintfs(fds_given_ ? VintfUse::Share::kMayHave : VintfUse::Share::kHas);
  std::optional<AdoptedSession> adopted;
  if (status.ok()) {
    observed_ = Observed::kAttached;
    adopted = AdoptSession(kept);
    journaled_ = true;
  } else {
    // Whatever is left of the fds would keep what the VMM still has.
    kept.fds.clear();
    env_.options.keeper->DropFds(uid_);
    observed_ = Observed::kOrphaned;
    context_lost_ = true;
  }
  {
    absl::MutexLock lock(&mu_);
    desired_ = current_;
    ScheduleRun();
  }
  Publish();
  return adopted;
}

absl::Status Grant::AdoptContext(KeptGrant& kept) {
  BERTH_ASSIGN_OR_RETURN(std::unique_ptr<PreparedContext> context,
                         PreparedContext::Adopt(env_.options.kernel, *kept.record, &kept.fds));
  absl::Status status = Equip(&context);
  if (status.ok()) {
    guest_->Adopt(*kept.record);
    status = kept.record->has_begun() ? SettleCall(&*kept.record) : absl::OkStatus();
    if (status.ok()) return status;
    context = std::move(context_);
    guest_->Abandon();
  }
  events_.reset();
  guest_.reset();
  // It is the VMM's, as long as that lives.
  context->Abandon();
  return status;
}

// In the record, too, a call that has been executed after all is the last one, with its answer.
absl::Status Grant::SettleCall(JournaledGrant* record) {
  CrashAt(Failpoint::kAdoptSettle);
  BERTH_ASSIGN_OR_RETURN(const Guest::Settled settled, guest_->Settle(*record));
  if (settled != Guest::Settled::kDone) return absl::OkStatus();
  const JournaledCall& call = record->begun();
  JournaledSession* session = record->mutable_session();
  session->set_last_call_id(call.id());
  session->set_last_call(call.call());
  session->set_last_reply(SuccessOf(call.call()));
  return absl::OkStatus();
}

AdoptedSession Grant::AdoptSession(KeptGrant& kept) {
  const JournaledSession& known = kept.record->session();
  Session session = {.id = known.id(),
                     .vmm = {.pid = static_cast<pid_t>(known.pid()), .uid = known.uid()},
                     .on_end = {},
                     .connected = false,
                     .confirmed = known.confirmed()};
  session.holder = {.pid = static_cast<pid_t>(known.holder_pid()), .uid = known.holder_uid()};
  session.start_ticks = known.start_ticks();
  session.adopted = true;
  session.last.call_id = known.last_call_id();
  session.last.call = ToBytes(known.last_call());
  if (!known.last_reply().empty()) {
    session.last.reply =
        std::make_shared<const wire::Message>(wire::Message{ToBytes(known.last_reply()), {}});
  }
  const auto process = kept.fds.find(kProcessRole);
  session.process = process != kept.fds.end() ? std::move(process->second) : FindProcess(known);
  AdoptedSession adopted = {.uid = uid_, .id = session.id, .process = {}};
  adopted.process.Reset(::fcntl(session.process.get(), F_DUPFD_CLOEXEC, 0));
  session_ = std::move(session);
  // A call that was settled is not to be settled again.
  if (kept.record->has_begun()) {
    journaled_ = true;
    EndCall();
  }
  return adopted;
}

// Nobody knows what is in the context: it is left alone until its VMM ends, and goes with its fds.
absl::StatusOr<std::optional<AdoptedSession>> Grant::AdoptDegraded(KeptGrant kept) {
  const auto gone = [](std::string_view why) {
    return Error(Reason::kKernelGone, std::string(why));
  };
  const auto process = kept.fds.find(kProcessRole);
  if (process == kept.fds.end()) return gone("no VMM is known whose end could be waited for");
  const auto context = kept.fds.find(PreparedContext::kContextRole);
  if (context != kept.fds.end() && !IsAlive(*env_.options.kernel, context->second.get())) {
    return gone("the kernel behind the context has ended");
  }
  const absl::StatusOr<wire::Peer> vmm = wire::ReadPidfd(process->second.get());
  session_ = Session{.id = NewRandomId(), .vmm = {}, .on_end = {}};
  if (vmm.ok()) session_->vmm = {.pid = vmm->pid, .uid = vmm->uid};
  session_->connected = false;
  session_->process = std::move(process->second);
  last_vmm_ = session_->vmm;
  AdoptedSession adopted = {.uid = uid_, .id = session_->id, .process = {}};
  adopted.process.Reset(::fcntl(session_->process.get(), F_DUPFD_CLOEXEC, 0));
  degraded_fds_ = std::move(kept.fds);
  current_.set_generation(kept.generation);
  observed_ = Observed::kDegraded;
  context_lost_ = true;
  fds_given_ = true;
  const absl::Status why = Error(Reason::kStoreCorrupt,
                                 "the journal knows nothing of this context: its VM runs on, its "
                                 "VMM can change nothing, and when it ends all is released");
  *status_.add_conditions() = ToCondition(kJournaled, false, why, Now());
  Publish();
  return adopted;
}

void Grant::SetEndListener(uint64_t session, EndListener on_end) {
  if (attached(session)) {
    session_->on_end = std::move(on_end);
  } else {
    on_end(session, absl::OkStatus());
  }
}

}  // namespace berth
