// SPDX-License-Identifier: Apache-2.0
#include "agent/grants/grant.h"

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "absl/strings/str_cat.h"
#include "agent/grants/grant_view.h"
#include "lib/base/failpoint.h"
#include "lib/base/status.h"
#include "lib/config/timestamp.h"

namespace berth {
namespace {

// Conditions of a grant, with Grant::kPinned.
constexpr std::string_view kKernelHealthy = "KernelHealthy";
constexpr std::string_view kClaimed = "Claimed";
constexpr std::string_view kDevicesPresent = "DevicesPresent";

// Whether what is built for one is right for the other.
bool SameBuild(const agent::v1::DesiredGrant& a, const agent::v1::DesiredGrant& b) {
  const auto hand_off = v1::AssignmentSpec::HAND_OFF;
  if ((a.attach_mode() == hand_off) != (b.attach_mode() == hand_off)) return false;
  if (a.units_size() != b.units_size()) return false;
  for (int i = 0; i < a.units_size(); ++i) {
    if (a.units(i).SerializeAsString() != b.units(i).SerializeAsString()) return false;
  }
  return true;
}

}  // namespace

Grant::Grant(AssignmentUid uid, const Environment* environment, Past past)
    : uid_(std::move(uid)),
      env_(*environment),
      may_be_held_(past == Past::kUnknown),
      executor_(environment->options.pool, environment->options.limits.waiting_calls) {}

Grant::~Grant() { executor_.Drain(); }

// ---- From any thread

void Grant::ScheduleRun() {
  if (std::exchange(run_pending_, true)) return;
  executor_.Add([this] { Run(); });
}

absl::Status Grant::Want(const agent::v1::DesiredGrant& desired) {
  absl::MutexLock lock(&mu_);
  const bool older = desired.generation() < desired_.generation();
  const bool backward =
      desired.generation() == desired_.generation() && desired.intent() != desired_.intent() &&
      !IsAllowed(static_cast<Intent>(desired_.intent()), static_cast<Intent>(desired.intent()));
  if (older || backward) {
    return Error(Reason::kFenced,
                 absl::StrCat("generation ", desired.generation(), " of ", uid_.str(),
                              " is older than ", desired_.generation(), ", or goes back on it"),
                 {{"generation", std::to_string(desired.generation())},
                  {"known_generation", std::to_string(desired_.generation())}});
  }
  desired_ = desired;
  disclaimed_ = false;
  forgotten_ = false;
  ScheduleRun();
  return absl::OkStatus();
}

void Grant::Disclaim() {
  absl::MutexLock lock(&mu_);
  disclaimed_ = true;
  ScheduleRun();
}

void Grant::Forget() {
  absl::MutexLock lock(&mu_);
  if (!gone_) return;
  CrashAt(Failpoint::kReleaseForget);
  forgotten_ = true;
  ScheduleRun();
}

void Grant::KernelGone() {
  absl::MutexLock lock(&mu_);
  check_kernel_ = true;
  ScheduleRun();
}

void Grant::DevicesChanged() {
  absl::MutexLock lock(&mu_);
  check_devices_ = true;
  ScheduleRun();
}

void Grant::Shutdown() {
  absl::MutexLock lock(&mu_);
  shutdown_ = true;
  ScheduleRun();
}

bool Grant::Removable() const {
  absl::MutexLock lock(&mu_);
  return gone_ && (forgotten_ || disclaimed_) && !run_pending_;
}

absl::Status Grant::Post(std::function<void()> call) {
  if (executor_.TryAdd(std::move(call))) return absl::OkStatus();
  return Error(Reason::kOverloaded, "too many calls of this assignment wait");
}

void Grant::Tell(std::function<void(Grant&)> news) {
  executor_.Add([this, news = std::move(news)] { news(*this); });
}

agent::v1::DesiredGrant Grant::desired() const {
  absl::MutexLock lock(&mu_);
  return desired_;
}

// ---- The state machine

void Grant::Run() {
  bool check_kernel = false;
  bool check_devices = false;
  bool shutdown = false;
  {
    absl::MutexLock lock(&mu_);
    run_pending_ = false;
    check_kernel = std::exchange(check_kernel_, false);
    check_devices = std::exchange(check_devices_, false);
    shutdown = shutdown_;
  }
  if (shutdown) return ShutDownNow();
  if (check_kernel && context_ != nullptr && !context_->CheckAlive().ok()) HandleKernelGone();
  if (check_devices) CheckDevices();
  while (Step()) {
  }
}

void Grant::AdoptDesired() {
  agent::v1::DesiredGrant wanted = desired();
  // What the controller knows of a grant that nothing was written down of.
  const bool found = current_.units_size() == 0 && wanted.generation() == current_.generation();
  const bool first = observed_ == Observed::kNone || found;
  const bool same = wanted.generation() == current_.generation() ||
                    wanted.intent() == v1::Assignment::RELEASING || SameBuild(wanted, current_);
  if (!first && !same) return;  // the old one has to go first
  if (!first) {
    *wanted.mutable_units() = current_.units();
    wanted.set_attach_mode(current_.attach_mode());
  }
  current_ = std::move(wanted);
  if (found && observed_ != Observed::kNone) TakeVintfs(VintfUse::Share::kMayHave);
}

bool Grant::Wanted() const {
  absl::MutexLock lock(&mu_);
  return !disclaimed_ && desired_.intent() == v1::Assignment::PLACED &&
         desired_.generation() == current_.generation();
}

bool Grant::Step() {
  if (observed_ == Observed::kGone) return StepGone();
  AdoptDesired();
  switch (observed_) {
    case Observed::kNone:
      Move(Observed::kPreparing);
      return true;
    case Observed::kPreparing:
      if (Wanted()) return Prepare();
      Move(Observed::kScrubbing);
      return true;
    case Observed::kPrepared:
      if (Wanted()) return false;
      Move(Observed::kScrubbing);
      return true;
    case Observed::kAttached: {
      absl::ReaderMutexLock lock(&mu_);
      if (!disclaimed_) return false;
      break;
    }
    case Observed::kRecycling:
      if (Wanted() && !TearDown()) return false;
      CrashAt(Failpoint::kRecycleAnew);
      Move(Wanted() ? Observed::kPreparing : Observed::kScrubbing);
      return true;
    case Observed::kScrubbing:
      if (!TearDown()) return false;
      bound_.reset();
      held_.clear();
      CrashAt(Failpoint::kReleaseGone);
      Move(Observed::kGone);
      return true;
    case Observed::kOrphaned:
      if (session_.has_value() || !TearDown()) return false;
      Move(Observed::kScrubbing);
      return true;
    case Observed::kDegraded:
    case Observed::kGone:
      return false;
  }
  const absl::Status why = Error(Reason::kUnknownAssignment,
                                 "the controller does not know of this grant; it is released when "
                                 "its VMM leaves");
  Move(Observed::kOrphaned, ToCondition(kClaimed, false, why, Now()));
  return false;
}

bool Grant::StepGone() {
  const agent::v1::DesiredGrant wanted = desired();
  if (Removable()) {
    env_.on_forgotten(uid_);
    return false;
  }
  const bool newer = wanted.generation() > current_.generation();
  const bool news = newer || wanted.intent() != current_.intent();
  current_ = wanted;
  // What failed is not tried again as it is; what only had to be let go of is.
  if (Wanted() && (newer || !status_.has_failure())) {
    Move(Observed::kPreparing);
    return true;
  }
  if (news) Publish();
  return false;
}

void Grant::Move(Observed to, std::optional<v1::Condition> why) {
  if (!IsAllowed(observed_, to)) std::abort();
  observed_ = to;
  since_ = Now();
  retry_delay_ = absl::ZeroDuration();
  status_.clear_conditions();
  if (why.has_value()) *status_.add_conditions() = *std::move(why);
  const bool has_context = to == Observed::kPrepared || to == Observed::kAttached ||
                           to == Observed::kOrphaned || to == Observed::kDegraded;
  if (!has_context) EndEvents();
  if (to == Observed::kPreparing) status_.clear_failure();
  if (to == Observed::kPrepared) may_be_held_ = true;
  if (to == Observed::kGone) {
    may_be_held_ = false;
    context_lost_ = false;
    Drop();
    env_.vintfs->Return(uid_);
    env_.claims->Release(uid_);
  }
  Publish();
}

bool Grant::Prepare() {
  const absl::Status status = Build();
  if (status.ok()) {
    if (!hand_off()) TakeVintfs(VintfUse::Share::kHas);
    Move(Observed::kPrepared);
    return true;
  }
  env_.vintfs->Return(uid_);
  NoteUnitFault(status);
  const Reason reason = ReasonOf(status);
  if (reason == Reason::kKernelGone) {
    SetCondition(kKernelHealthy, false, status);
    RetryLater();
    return false;
  }
  if (reason == Reason::kDeviceBusy && (may_be_held_ || Now() - since_ < limits().busy_patience)) {
    SetCondition(kPinned, true, status);
    RetryLater();
    return false;
  }
  // A VMM of before may have some of the devices also when another one made it fail.
  if (const absl::Status free = may_be_held_ ? ProveFree() : absl::OkStatus(); !free.ok()) {
    SetCondition(kPinned, true, free);
    RetryLater();
    return false;
  }
  bound_.reset();
  held_.clear();
  *status_.mutable_failure() = ToFailure(status, Now());
  Move(Observed::kGone);
  return true;
}

absl::Status Grant::Build() {
  BERTH_ASSIGN_OR_RETURN(const GrantPlan plan, MakePlan(current_, *env_.options.devices));
  BERTH_RETURN_IF_ERROR(env_.claims->Claim(uid_, plan.devices));
  held_ = plan.devices;
  if (hand_off()) return BuildHandOff(plan);
  std::optional<BoundContext> bound = std::exchange(bound_, std::nullopt);
  if (!bound.has_value() || bound->devices.size() != plan.devices.size()) {
    bound.reset();
    BERTH_ASSIGN_OR_RETURN(bound, BoundContext::Bind(env_.options.kernel, plan.devices, {}));
  }
  env_.claims->NoteBound(uid_);
  TakeVintfs(VintfUse::Share::kMayHave);
  BERTH_ASSIGN_OR_RETURN(auto context,
                         PreparedContext::Create(*std::move(bound), plan, limits().event_depth));
  BERTH_RETURN_IF_ERROR(HitFailpoint(Failpoint::kPrepareDone));
  return Equip(&context);
}

absl::Status Grant::Equip(std::unique_ptr<PreparedContext>* context) {
  const auto asked = static_cast<uint64_t>(current_.memory_limit_bytes());
  const uint64_t bytes =
      asked == 0 ? limits().memory_per_grant : std::min(asked, limits().memory_per_grant);
  auto guest = std::make_unique<Guest>(
      context->get(), GuestMemory::Limits{.bytes = bytes, .regions = limits().regions_per_grant});
  auto events = std::make_unique<EventForwarder>(
      env_.poller, context->get(),
      [weak = weak_from_this()](size_t queue) {
        if (const std::shared_ptr<Grant> grant = weak.lock()) {
          grant->executor_.Add([self = grant.get(), queue] { self->OnEvents(queue); });
        }
      },
      [this](uint32_t unit, Veventq::Type type, const absl::StatusOr<std::vector<Vevent>>& read) {
        NoteEvents(unit, type, read);
      });
  BERTH_RETURN_IF_ERROR(HitFailpoint(Failpoint::kPrepareWatchEvents));
  if (absl::Status status = events->Start(); !status.ok()) {
    return WithMetadata(status, "step", "watch_events");
  }
  context_ = std::move(*context);
  guest_ = std::move(guest);
  events_ = std::move(events);
  event_account_ = EventAccount();
  devices_reset_ = false;
  return absl::OkStatus();
}

void Grant::HandleKernelGone() {
  EndSession(Error(Reason::kKernelGone, "the kernel behind the context has ended"));
  Drop();
  events_.reset();
  guest_.reset();
  context_.reset();
  bound_.reset();
  fds_given_ = false;
  env_.vintfs->Return(uid_);
  if (observed_ == Observed::kPrepared) {
    Move(Observed::kPreparing);
  } else if (observed_ == Observed::kAttached) {
    Move(Wanted() ? Observed::kPreparing : Observed::kScrubbing);
  }
}

void Grant::CheckDevices() {
  if (observed_ != Observed::kPrepared && observed_ != Observed::kAttached) return;
  const absl::Status status = MakePlan(current_, *env_.options.devices).status();
  const Reason reason = ReasonOf(status);
  const bool gone = reason == Reason::kDeviceGone || reason == Reason::kUnitUnknown;
  if (observed_ == Observed::kPrepared) {
    // The kernel takes a device away only when nobody has it open (Linux drivers/vfio/vfio_main.c,
    // vfio_unregister_group_dev()).
    if (gone) Move(Observed::kScrubbing);
  } else if (gone) {
    SetCondition(kDevicesPresent, false, status);
  } else if (status.ok() && status_.conditions_size() > 0 &&
             status_.conditions(0).type() == kDevicesPresent) {
    status_.clear_conditions();
    Publish();
  }
}

// A unit that fails its grants fails others as well.
void Grant::NoteUnitFault(const absl::Status& status) const {
  const Reason reason = ReasonOf(status);
  if (reason != Reason::kVintfExhausted && reason != Reason::kHardwareTimeout) return;
  const ErrorMetadata metadata = MetadataOf(status);
  const auto unit = metadata.find("unit");
  if (unit == metadata.end() || !env_.options.on_unit_fault) return;
  env_.options.on_unit_fault(uid_, UnitId(unit->second), status);
}

void Grant::ShutDownNow() {
  if (session_.has_value()) {
    // The VM goes on with what its VMM's own fds hold.
    EndSession(Error(Reason::kShuttingDown, "the agent is stopping"));
    if (guest_ != nullptr) guest_->Abandon();
    events_.reset();
    if (context_ != nullptr) context_->Abandon();
  } else {
    DestroyContext().IgnoreError();
  }
  events_.reset();
  guest_.reset();
  context_.reset();
  bound_.reset();
}

void Grant::RetryLater() {
  if (std::exchange(retry_pending_, true)) return;
  retry_delay_ = std::clamp(retry_delay_ * 2, limits().retry_min, limits().retry_max);
  env_.timers->After(retry_delay_, [weak = weak_from_this()] {
    if (const std::shared_ptr<Grant> grant = weak.lock()) {
      grant->executor_.Add([self = grant.get()] {
        self->retry_pending_ = false;
        self->Run();
      });
    }
  });
}

// ---- What others see

void Grant::SetCondition(std::string_view type, bool holds, const absl::Status& status) {
  for (const v1::Condition& known : status_.conditions()) {
    // Nothing new: do not report every attempt.
    if (known.type() == type && known.reason() == ReasonName(ReasonOf(status))) return;
  }
  status_.clear_conditions();
  *status_.add_conditions() = ToCondition(type, holds, status, Now());
  Publish();
}

void Grant::Show() {
  absl::MutexLock lock(&mu_);
  *shown_.mutable_status() = status_;
  Vmm vmm;
  if (session_.has_value()) vmm = session_->confirmed ? session_->holder : session_->vmm;
  shown_.set_vmm_pid(vmm.pid);
  shown_.set_vmm_uid(vmm.uid);
  shown_.set_memory_bytes(guest_ != nullptr ? static_cast<int64_t>(guest_->memory().bytes()) : 0);
  shown_.set_queues(guest_ != nullptr ? static_cast<int32_t>(guest_->queue_count()) : 0);
  *shown_.mutable_observed_since() = ToTimestamp(since_);
  shown_objects_.clear();
  if (context_ != nullptr && guest_ != nullptr) shown_objects_ = ListObjects(*context_, *guest_);
  gone_ = observed_ == Observed::kGone;
}

void Grant::Publish() {
  status_.set_assignment_uid(uid_.str());
  status_.set_generation(current_.generation());
  status_.set_observed(static_cast<v1::Assignment::Observed>(observed_));
  *status_.mutable_units() = current_.units();
  if (observed_ == Observed::kGone) status_.clear_units();
  Show();
  if (env_.options.on_status) env_.options.on_status(status_);
}

agent::v1::GrantStatus Grant::status() const {
  absl::MutexLock lock(&mu_);
  return shown_.status();
}

agent::v1::LocalGrant Grant::local() const {
  absl::MutexLock lock(&mu_);
  agent::v1::LocalGrant local = shown_;
  // Heard, also when nothing could be done about it yet.
  local.set_assignment(desired_.assignment());
  local.set_intent(desired_.intent());
  return local;
}

std::vector<agent::v1::KernelObject> Grant::objects() const {
  absl::MutexLock lock(&mu_);
  return shown_objects_;
}

}  // namespace berth
