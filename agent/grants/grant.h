// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_AGENT_GRANTS_GRANT_H_
#define BERTH_AGENT_GRANTS_GRANT_H_

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "agent/grants/device_claims.h"
#include "agent/grants/event_account.h"
#include "agent/grants/event_forwarder.h"
#include "agent/grants/fd_poller.h"
#include "agent/grants/grant_manager.h"
#include "agent/grants/grant_plan.h"
#include "agent/grants/guest.h"
#include "agent/grants/hand_off.h"
#include "agent/grants/prepared_context.h"
#include "agent/grants/timer_queue.h"
#include "agent/grants/vintf_use.h"
#include "agent/journal/keeper.h"
#include "berth/internal/v1/journal.pb.h"
#include "lib/base/lifecycle.h"
#include "lib/wire/event_channel.h"
#include "lib/wire/message.h"

namespace berth {

// One assignment as it stands on this host: a state machine over a context. Everything that may
// wait for the kernel runs on the grant's own executor.
//
// A grant must not be destroyed on its own executor: tasks hold plain pointers, and only the
// manager and those who call from outside hold shared ones.
class Grant : public std::enable_shared_from_this<Grant> {
 public:
  // Shared by all grants of a manager; outlives them.
  struct Environment {
    GrantManager::Options options;
    TimerQueue* timers = nullptr;
    FdPoller* poller = nullptr;
    DeviceClaims* claims = nullptr;
    VintfUse* vintfs = nullptr;
    // The grant is GONE and nobody wants to hear of it any more.
    std::function<void(const AssignmentUid&)> on_forgotten;
  };
  struct Vmm {
    pid_t pid = 0;
    uid_t uid = 0;
  };
  // A session has ended: OK when its VMM left, else KERNEL_GONE or SHUTTING_DOWN. Called on the
  // executor; must not block.
  using EndListener = std::function<void(uint64_t session, const absl::Status& why)>;

  // Whether a VMM can have got the devices from an agent that ran here before.
  enum class Past { kNone, kUnknown };

  Grant(AssignmentUid uid, const Environment* environment, Past past);
  ~Grant();

  // ---- From any thread.

  // See GrantManager::Upsert(); `desired` has been checked. Errors: FENCED.
  absl::Status Want(const agent::v1::DesiredGrant& desired);
  // The controller does not know of it.
  void Disclaim();
  void Forget();
  void KernelGone();
  void DevicesChanged();
  // See GrantManager::StoreAgain().
  void StoreAgain();
  // Ends sessions (SHUTTING_DOWN) and destroys a context that no VMM has.
  void Shutdown();
  void Drain() { executor_.Drain(); }
  // Whether nothing is left of it and nobody wants to hear of it.
  [[nodiscard]] bool Removable() const;
  // Puts a VMM's call on the executor. OVERLOADED when too many wait.
  absl::Status Post(std::function<void()> call);
  // Puts on the executor what must not be lost.
  void Tell(std::function<void(Grant&)> news);

  // Takes up what an agent before this one has left of it (GrantManager::Adopt()); before any other
  // call. Errors: KERNEL_GONE: nothing is left of it.
  absl::StatusOr<std::optional<AdoptedSession>> Adopt(KeptGrant kept);

  [[nodiscard]] const AssignmentUid& uid() const { return uid_; }
  [[nodiscard]] agent::v1::GrantStatus status() const;
  [[nodiscard]] agent::v1::LocalGrant local() const;
  [[nodiscard]] std::vector<agent::v1::KernelObject> objects() const;

  // ---- On the executor: what a VMM asks for (agent/vmm).

  // How a VMM says that it is.
  struct Hello {
    std::string_view token;
    Vmm vmm;
    uint64_t resume = 0;  // the session to take up again; 0: a new one
    v1::AssignmentSpec::AttachMode mode = v1::AssignmentSpec::BROKERED;
  };
  // Begins a session, or takes one up again for the same process, of which `process` is a pidfd
  // (or invalid, where the kernel gives none). Returns its id. When it returns, all that the VMM
  // may get now outlives this process (Keeper). Errors: WRONG_TOKEN, WRONG_USER, STATE_CONFLICT
  // (the other attach mode), ALREADY_ATTACHED, NOT_READY, UNKNOWN_ASSIGNMENT (going or gone),
  // SESSION_UNKNOWN; those of Keeper::Keep().
  absl::StatusOr<uint64_t> Attach(const Hello& hello, UniqueFd process, wire::EventChannel events,
                                  EndListener on_end);
  // The last call of a session that has changed something, so that it is not executed again.
  struct Replay {
    uint64_t call_id = 0;
    std::vector<std::byte> call;
    std::shared_ptr<const wire::Message> reply;  // null: execute the call again
  };
  // Null unless `session` is attached.
  [[nodiscard]] Replay* replay(uint64_t session) {
    return attached(session) ? &session_->last : nullptr;
  }
  // Before and after a call that changes something, of the session that is attached: whenever this
  // process ends, the next one knows what came of it. Errors of BeginCall(): Keeper::Note(); then
  // the call must not be made. Of EndCall() there are none: where it cannot be noted, only the fds
  // are kept (condition Journaled).
  absl::Status BeginCall(internal::v1::JournaledCall call);
  void EndCall();
  // For a session that was taken up at the start of the agent. Calls `on_end` when it has ended
  // already.
  void SetEndListener(uint64_t session, EndListener on_end);
  // The connection of a session has ended; its process lives. It may come back for a while, or,
  // when it has confirmed a hand-off, for as long as it likes.
  void ConnectionLost(uint64_t session);
  // The VMM is gone: DETACH, or the end of its process.
  void VmmLeft(uint64_t session);
  [[nodiscard]] bool attached(uint64_t session) const {
    return session_.has_value() && session_->id == session;
  }
  // Who said HELLO; requires attached().
  [[nodiscard]] const Vmm& vmm() const { return session_->vmm; }
  // Null unless `session` is the one that is attached, and BROKERED.
  [[nodiscard]] Guest* guest(uint64_t session);
  // Null unless a context stands.
  [[nodiscard]] PreparedContext* context() { return context_.get(); }
  [[nodiscard]] v1::AssignmentSpec::Isolation isolation() const;

  // ---- On the executor: attach_mode HAND_OFF.

  [[nodiscard]] bool hand_off() const {
    return current_.attach_mode() == v1::AssignmentSpec::HAND_OFF;
  }
  [[nodiscard]] int unit_count() const { return current_.units_size(); }
  // In the order in which their fds are handed off.
  [[nodiscard]] std::span<const GrantDevice> devices() const { return held_; }
  // A fresh iommufd in RLIMIT_MODE and the unbound cdevs; the same until Confirm(). Errors:
  // NO_SESSION, STATE_CONFLICT (confirmed), HandOff::Open().
  absl::StatusOr<std::vector<UniqueFd>> HandOut(uint64_t session);
  // Whether Confirm() may be called. Errors: NO_SESSION, STATE_CONFLICT (confirmed already, or
  // nothing was handed off).
  [[nodiscard]] absl::Status CheckUnconfirmed(uint64_t session) const;
  // `holder` has the fds, and whoever calls this watches it. Closes the agent's own.
  // `process`: a pidfd of it. Errors: Keeper::Keep(); nothing has changed then.
  absl::Status Confirm(uint64_t session, const Vmm& holder, UniqueFd process);
  // The guest has begun anew: what its event queues said before is over.
  void EndEvents();
  // After each call on guest() or context(): shows what has changed, and sees to a dead kernel.
  void AfterCall(const absl::Status& status);

 private:
  // A condition: something holds what has to go, or a device that is to be had.
  static constexpr std::string_view kPinned = "Pinned";

  struct Session {
    uint64_t id;
    Vmm vmm;
    EndListener on_end;
    uint64_t losses = 0;  // of connections: tells a grace period from the next
    bool connected = true;
    bool confirmed = false;          // a hand-off
    Vmm holder = {};                 // of a hand-off that was confirmed
    wire::EventChannel events = {};  // of a hand-off, kept open; nothing comes on it
    UniqueFd process = {};           // a pidfd of whoever is watched
    uint64_t start_ticks = 0;        // of its process, in the kernel's ticks since boot
    Replay last = {};
    bool adopted = false;  // and not resumed yet
  };

  // Puts Run() on the executor, once.
  void ScheduleRun() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  // The state machine. A step does what the state asks for; false: nothing to do now.
  void Run();
  bool Step();
  bool StepGone();
  void Move(Observed to, std::optional<v1::Condition> why = std::nullopt);
  void AdoptDesired();
  [[nodiscard]] bool Wanted() const;
  [[nodiscard]] bool Coming() const;

  bool Prepare();
  absl::Status Build();
  // Makes the context the grant's own. After an error it is the caller's still.
  absl::Status Equip(std::unique_ptr<PreparedContext>* context);
  absl::Status BuildHandOff(const GrantPlan& plan);
  absl::Status ResetHandedOff();
  // What its units have for it, as VintfUse::Take().
  void TakeVintfs(VintfUse::Share share);
  // Requires `bound_`. What its VMM has not given back is told to Options::on_vintfs.
  void CountVintfs();
  bool CountVintfsOf(const UnitId& unit, const Device& device, const VintfUse::Others& others);
  [[nodiscard]] absl::Status CheckHello(const Hello& hello) const;
  absl::StatusOr<uint64_t> Begin(const Vmm& vmm, UniqueFd process, wire::EventChannel events,
                                 EndListener on_end);
  absl::Status OpenEvents(uint64_t session, wire::EventChannel events);
  [[nodiscard]] bool Stopping() const;
  bool TearDown();
  absl::Status DestroyContext();
  absl::Status ProveFree();
  void HandleKernelGone();
  void CheckDevices();
  void NoteUnitFault(const absl::Status& status) const;
  void ShutDownNow();
  void EndSession(const absl::Status& why);
  void OnEvents(size_t queue);
  void NoteEvents(uint32_t unit, Veventq::Type type,
                  const absl::StatusOr<std::vector<Vevent>>& read);
  void RetryLater();

  // What outlives the agent (grant_keep.cc).
  [[nodiscard]] internal::v1::JournaledGrant Record() const;
  [[nodiscard]] std::vector<Keeper::Fd> FdsToKeep() const;
  absl::Status Keep();
  void Drop();
  absl::Status AdoptContext(KeptGrant& kept);
  absl::Status SettleCall(internal::v1::JournaledGrant* record);
  AdoptedSession AdoptSession(KeptGrant& kept);
  absl::StatusOr<std::optional<AdoptedSession>> AdoptDegraded(KeptGrant kept);

  // What others see.
  void SetCondition(std::string_view type, bool holds, const absl::Status& status);
  void Publish();
  void Show();
  [[nodiscard]] agent::v1::DesiredGrant desired() const;
  [[nodiscard]] absl::Time Now() const { return env_.options.clock->Now(); }
  [[nodiscard]] const GrantLimits& limits() const { return env_.options.limits; }

  const AssignmentUid uid_;
  const Environment& env_;

  mutable absl::Mutex mu_;
  agent::v1::DesiredGrant desired_ ABSL_GUARDED_BY(mu_);
  bool disclaimed_ ABSL_GUARDED_BY(mu_) = false;
  bool forgotten_ ABSL_GUARDED_BY(mu_) = false;
  bool gone_ ABSL_GUARDED_BY(mu_) = false;
  bool check_kernel_ ABSL_GUARDED_BY(mu_) = false;
  bool check_devices_ ABSL_GUARDED_BY(mu_) = false;
  bool shutdown_ ABSL_GUARDED_BY(mu_) = false;
  bool run_pending_ ABSL_GUARDED_BY(mu_) = false;
  agent::v1::LocalGrant shown_ ABSL_GUARDED_BY(mu_);
  std::vector<agent::v1::KernelObject> shown_objects_ ABSL_GUARDED_BY(mu_);

  // Below: on the executor only.
  Observed observed_ = Observed::kNone;
  agent::v1::DesiredGrant current_;  // what the present life is built for
  agent::v1::GrantStatus status_;
  absl::Time since_;            // of observed_
  absl::Duration retry_delay_;  // 0: the first attempt
  bool retry_pending_ = false;
  std::vector<GrantDevice> held_;      // devices of the last context
  std::optional<BoundContext> bound_;  // from the proof that they are free
  std::unique_ptr<PreparedContext> context_;
  std::unique_ptr<Guest> guest_;  // together with context_
  std::unique_ptr<EventForwarder> events_;
  EventAccount event_account_;     // of the queues of events_
  bool events_noted_ = false;      // on_events was told something that is not over
  std::optional<HandOff> handed_;  // until it is confirmed
  // A VMM may have its devices: it was PREPARED, here or by an agent before this one, and not GONE
  // since. Then it is not GONE before they are free.
  bool may_be_held_;
  bool devices_reset_ = false;
  // A VMM has had an iommufd of its own since VINTFs were counted.
  bool fds_given_ = false;
  // It was taken up without its context: the devices are reset when they can be bound again.
  bool context_lost_ = false;
  std::map<std::string, UniqueFd> degraded_fds_;  // that keep a context nobody knows alive
  std::string life_;                              // of what is kept; empty: nothing is
  bool journaled_ = false;
  std::optional<Session> session_;
  Vmm last_vmm_;

  SerialExecutor executor_;  // last: what it runs uses everything above
};

}  // namespace berth

#endif  // BERTH_AGENT_GRANTS_GRANT_H_
