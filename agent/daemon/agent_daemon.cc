// SPDX-License-Identifier: Apache-2.0
#include "agent/daemon/agent_daemon.h"

#include <fcntl.h>
#include <google/protobuf/util/message_differencer.h>
#include <grpcpp/impl/codegen/service_type.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "agent/audit/audit_report.h"
#include "agent/daemon/agent_metrics.h"
#include "agent/daemon/backend.h"
#include "agent/daemon/vmm_listener.h"
#include "agent/grants/grant_manager.h"
#include "agent/inventory/inventory.h"
#include "agent/journal/keeper.h"
#include "agent/link/agent_state.h"
#include "agent/link/controller_link.h"
#include "agent/local/local_service.h"
#include "agent/vmm/vmm_server.h"
#include "lib/base/status.h"
#include "lib/config/duration.h"
#include "lib/config/timestamp.h"
#include "lib/daemon/daemon.h"
#include "lib/rpc/channel.h"
#include "lib/rpc/server.h"
#include "lib/wire/server.h"

namespace berth {
namespace {

using internal::v1::AgentConfig;

constexpr int kLinkProtocolVersion = 1;
// How often it is asked whether the kernel still answers.
constexpr absl::Duration kHealthInterval = absl::Milliseconds(500);
// Audits that wait; the controller asks for one at a time.
constexpr size_t kWaitingAudits = 4;
constexpr absl::Duration kShutdownGrace = absl::Milliseconds(300);

TlsOptions ToTls(const internal::v1::TlsConfig& config) {
  TlsOptions tls;
  tls.certificate_file = config.certificate_file();
  tls.key_file = config.key_file();
  tls.ca_file = config.ca_file();
  return tls;
}

absl::Status MakeFolder(const std::string& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  return error ? ErrnoToStatus(error.value(), absl::StrCat("making the folder ", path))
               : absl::OkStatus();
}

}  // namespace

class AgentDaemon::Impl : public LinkDelegate {
 public:
  explicit Impl(Options options)
      : options_(std::move(options)),
        config_(options_.config),
        metrics_(options_.metrics),
        backend_(config_.backend()),
        inventory_(backend_.kernel(), options_.clock,
                   {.sysfs_root = backend_.sysfs_root(),
                    .config = config_.inventory(),
                    .labels = {config_.labels().begin(), config_.labels().end()},
                    .attach_endpoint = config_.vmm_socket()}),
        pool_(config_.limits().workers()) {}

  ~Impl() override { Stop(); }

  absl::Status Start() {
    start_time_ = options_.clock->Now();
    BERTH_RETURN_IF_ERROR(MakeFolder(config_.runtime_dir()));
    BERTH_ASSIGN_OR_RETURN(state_, AgentState::Open(config_.state_dir()));
    BERTH_RETURN_IF_ERROR(OpenKeeper());
    const absl::Status backend = backend_.Ensure();
    StartGrants();
    std::vector<AdoptedSession> adopted = AdoptGrants();
    // Units are probed while no other grant has a device of theirs.
    Look(backend);
    BERTH_RETURN_IF_ERROR(StartSockets(std::move(adopted)));
    StartLink();
    watcher_ = std::thread([this] { WatchHost(); });
    return absl::OkStatus();
  }

  void StoreAgain() {
    if (absl::Status status = StoreListener(options_.fd_store, listener_.get()); !status.ok()) {
      options_.log->Warn("the service manager does not keep the VMMs' socket", {{"error", status}});
    }
    grants_->StoreAgain();
  }

  agent::v1::Hello MakeHello() override {
    agent::v1::Hello hello;
    hello.set_host_id(config_.host_id());
    const internal::v1::AgentState state = state_->Snapshot();
    hello.set_host_uid(state.host_uid());
    hello.set_incarnation(state.incarnation());
    hello.set_agent_version(Version());
    hello.set_protocol_version(kLinkProtocolVersion);
    if (state.has_highest_epoch()) *hello.mutable_highest_epoch() = state.highest_epoch();
    *hello.mutable_inventory() = inventory_.Current();
    for (agent::v1::GrantStatus& status : grants_->Statuses())
      *hello.add_grants() = std::move(status);
    return hello;
  }

  absl::Status OnWelcome(const agent::v1::Welcome& welcome) override {
    BERTH_RETURN_IF_ERROR(Accept(welcome.epoch()));
    metrics_.NoteWelcome();
    options_.log->Info("connected to the controller", {{"desired", welcome.desired_size()}});
    // One grant that cannot be taken over does not end the session; its status says why.
    if (absl::Status status = grants_->Apply({welcome.desired().begin(), welcome.desired().end()});
        !status.ok()) {
      options_.log->Warn("desired grant refused", {{"error", status}});
    }
    return absl::OkStatus();
  }

  absl::Status OnDelta(const agent::v1::DesiredDelta& delta) override {
    BERTH_RETURN_IF_ERROR(Accept(delta.epoch()));
    for (const agent::v1::DesiredGrant& grant : delta.upserts()) {
      if (absl::Status status = grants_->Upsert(grant); !status.ok()) {
        options_.log->Warn("desired grant refused",
                           {{"assignment", grant.assignment()}, {"error", status}});
      }
    }
    for (const std::string& uid : delta.forget()) grants_->Forget(AssignmentUid(uid));
    return absl::OkStatus();
  }

  absl::Status OnAudit(const agent::v1::AuditRequest& request) override {
    BERTH_RETURN_IF_ERROR(Accept(request.epoch()));
    // One that comes while others wait is answered by theirs, or not at all: the controller goes
    // on.
    (void)audits_.TryAdd([this, request] { AnswerAudit(request); });
    return absl::OkStatus();
  }

 private:
  absl::Status Accept(const agent::v1::Epoch& epoch) {
    const absl::Status status = state_->Accept(epoch);
    metrics_.NoteEpoch(epoch, status);
    return status;
  }

  absl::Status OpenKeeper() {
    BERTH_ASSIGN_OR_RETURN(std::string boot_id, ReadBootId());
    BERTH_ASSIGN_OR_RETURN(keeper_,
                           Keeper::Open({.path = absl::StrCat(config_.runtime_dir(), "/journal.db"),
                                         .boot_id = std::move(boot_id),
                                         .store = options_.fd_store,
                                         .log = options_.log}));
    return absl::OkStatus();
  }

  std::vector<AdoptedSession> AdoptGrants() {
    std::vector<KeptGrant> kept = keeper_->Take(&options_.passed);
    const size_t found = kept.size();
    const std::vector<internal::v1::JournaledUnitFacts> units = keeper_->Units();
    if (found > 0) inventory_.Remember(units);
    inventory_.RememberLost(units);
    std::vector<AdoptedSession> adopted = grants_->Adopt(std::move(kept));
    metrics_.NoteAdopted(grants_->Statuses().size());
    if (found > 0) {
      options_.log->Info("took up what the agent before this one had",
                         {{"grants", found}, {"sessions", adopted.size()}});
    }
    return adopted;
  }

  void AnswerAudit(const agent::v1::AuditRequest& request) {
    AuditFacts facts = GatherAuditFacts(*grants_, *keeper_);
    if (request.try_devices()) {
      const agent::v1::Inventory inventory = inventory_.Current();
      std::vector<DeviceId> devices;
      for (const v1::Device& device : inventory.devices()) {
        if (device.assignable()) devices.emplace_back(device.id());
      }
      facts.held_devices = grants_->TryIdleDevices(devices);
    }
    agent::v1::AuditReport report = MakeAuditReport(facts, request.sequence());
    absl::MutexLock lock(&mu_);
    if (link_ != nullptr) link_->TellAudit(std::move(report));
  }

  void StartGrants() {
    GrantLimits limits;
    limits.memory_per_grant = static_cast<uint64_t>(config_.limits().memory_per_grant());
    // Said now, where it can be mended, and not by the kernel to the first VMM that is too large.
    if (const uint64_t lockable = backend_.lockable_memory(); lockable < limits.memory_per_grant) {
      options_.log->Warn(
          "RLIMIT_MEMLOCK is less than limits.memory_per_grant and takes its place; "
          "LimitMEMLOCK=infinity lifts it",
          {{"bytes", lockable}});
      limits.memory_per_grant = lockable;
    }
    limits.regions_per_grant = static_cast<size_t>(config_.limits().regions_per_grant());
    grants_ = std::make_unique<GrantManager>(GrantManager::Options{
        .kernel = backend_.kernel(),
        .devices = &inventory_,
        .pool = &pool_,
        .clock = options_.clock,
        .limits = limits,
        .keeper = keeper_.get(),
        .awaits_desired = config_.has_controller(),
        .on_status = [this](const agent::v1::GrantStatus& status) { OnGrantStatus(status); },
        .on_fenced = [this] { metrics_.NoteFencedGeneration(); },
        .on_unit_fault = [this](const AssignmentUid& by, const UnitId& unit,
                                const absl::Status& fault) { OnUnitFault(by, unit, fault); },
        .on_events = [this](const AssignmentUid& by,
                            const std::vector<EventNews>& news) { OnEvents(by, news); },
        .on_vintfs = [this](const UnitId& unit,
                            const GrantManager::VintfCount& count) { OnVintfs(unit, count); }});
  }

  void OnGrantStatus(const agent::v1::GrantStatus& status) {
    metrics_.NoteGrant(status);
    options_.log->Info("grant", {{"assignment_uid", status.assignment_uid()},
                                 {"observed", v1::Assignment::Observed_Name(status.observed())},
                                 {"failure", status.failure().message()}});
    absl::MutexLock lock(&mu_);
    if (link_ != nullptr) link_->TellGrant(status);
  }

  void OnUnitFault(const AssignmentUid& by, const UnitId& unit, const absl::Status& fault) {
    options_.log->Warn("unit refuses", {{"unit", unit.str()}, {"error", fault}});
    metrics_.NoteUnitFault(unit, fault);
    // Also those that come or go: one too many is found out by the next refusal, one too few by
    // nobody.
    int in_use = 0;
    for (const agent::v1::GrantStatus& status : grants_->Statuses()) {
      if (status.assignment_uid() == by.str()) continue;
      in_use += static_cast<int>(
          std::count_if(status.units().begin(), status.units().end(),
                        [&unit](const v1::UnitPlacement& u) { return u.unit() == unit.str(); }));
    }
    inventory_.NoteUnitFault(unit, fault, in_use);
    absl::MutexLock lock(&mu_);
    look_now_ = true;
  }

  void OnVintfs(const UnitId& unit, const GrantManager::VintfCount& count) {
    options_.log->Warn("unit has other VINTFs than it had", {{"unit", unit.str()},
                                                             {"usable", count.usable},
                                                             {"missing", count.missing},
                                                             {"lost_by", count.lost_by}});
    if (count.missing < 0 || !count.lost_by.empty()) {
      inventory_.NoteLostVintfs(unit, count.missing, count.lost_by);
    } else {
      inventory_.NoteUnitFault(unit, Error(Reason::kVintfExhausted, "counted"), count.usable);
    }
    absl::MutexLock lock(&mu_);
    look_now_ = true;
  }

  // Only for a taint the host is looked at at once: guests decide how often there is other news.
  void OnEvents(const AssignmentUid& by, const std::vector<EventNews>& news) {
    for (const EventNews& one : news) {
      if (one.kind != EventNews::Kind::kUnreadable) continue;
      options_.log->Error("events cannot be read", {{"unit", one.unit.str()}, {"error", one.last}});
      metrics_.NoteUnitFault(one.unit, Error(Reason::kSystemError, one.last));
    }
    if (!inventory_.NoteEvents(by, news)) return;
    absl::MutexLock lock(&mu_);
    look_now_ = true;
  }

  absl::Status StartSockets(std::vector<AdoptedSession> adopted) {
    BERTH_ASSIGN_OR_RETURN(UniqueFd listener,
                           ListenForVmms(config_.vmm_socket(), options_.fd_store,
                                         std::move(options_.passed), options_.log));
    listener_.Reset(::fcntl(listener.get(), F_DUPFD_CLOEXEC, 0));
    wire::ServerOptions wire_options;
    wire_options.max_connections = static_cast<size_t>(config_.limits().vmm_connections());
    BERTH_ASSIGN_OR_RETURN(vmm_, VmmServer::Start(std::move(listener), grants_.get(), wire_options,
                                                  std::move(adopted)));

    local_service_ =
        MakeLocalService({.grants = grants_.get(), .inventory = &inventory_, .status = [this] {
                            return MakeStatus();
                          }});
    RpcServerOptions rpc;
    rpc.address = config_.local_api().address();
    rpc.tls = ToTls(config_.local_api().tls());
    BERTH_ASSIGN_OR_RETURN(local_, RpcServer::Start(rpc, {local_service_.get()}, nullptr));
    options_.log->Info("serving", {{"vmm", config_.vmm_socket()}, {"local", local_->address()}});
    return absl::OkStatus();
  }

  void StartLink() {
    if (!config_.has_controller()) return;
    ControllerLink::Options link;
    link.addresses = {config_.controller().addresses().begin(),
                      config_.controller().addresses().end()};
    link.channel = [this](const std::string& address) {
      return MakeChannel({.address = address,
                          .tls = ToTls(config_.controller().tls()),
                          .plaintext = Plaintext::kLocalOnly,
                          .server_name = "",
                          .keepalive = ChannelOptions::Keepalive::kAlways});
    };
    link.delegate = this;
    link.on_failure = [this](const std::string& why) {
      options_.log->Warn("not connected to the controller", {{"error", why}});
    };
    link.clock = options_.clock;
    absl::MutexLock lock(&mu_);
    link_ = std::make_unique<ControllerLink>(std::move(link));
    link_->Start();
  }

  agent::v1::AgentStatus MakeStatus() {
    agent::v1::AgentStatus status;
    const internal::v1::AgentState state = state_->Snapshot();
    status.set_host_id(config_.host_id());
    status.set_incarnation(state.incarnation());
    status.set_version(Version());
    status.set_backend(backend_.name());
    if (state.has_highest_epoch()) *status.mutable_epoch() = state.highest_epoch();
    *status.mutable_start_time() = ToTimestamp(start_time_);
    status.set_kernel_healthy(inventory_.healthy());
    status.set_attach_endpoint(config_.vmm_socket());
    absl::MutexLock lock(&mu_);
    if (link_ != nullptr) {
      const ControllerLink::Status link = link_->status();
      status.set_connected(link.connected);
      status.set_last_error(link.last_error);
    }
    return status;
  }

  // Looks at the kernel and at what is plugged in, and tells the controller what has changed.
  // `backend` is what is known already of the kernel.
  void Look(const absl::Status& backend) {
    // Also when the emulator could not be started: the condition says why.
    const absl::Status status = inventory_.Refresh(backend);
    if (status != kernel_) {
      if (status.ok()) {
        options_.log->Info("kernel answers", {{"backend", backend_.name()}});
      } else {
        options_.log->Error("host is broken", {{"backend", backend_.name()}, {"error", status}});
        if (kernel_.ok() && grants_ != nullptr) grants_->KernelGone();
      }
      kernel_ = status;
    }
    RememberUnits();
    agent::v1::Inventory now = inventory_.Current();
    if (google::protobuf::util::MessageDifferencer::Equals(now, told_)) return;
    told_ = std::move(now);
    metrics_.ShowLostVintfs(told_);
    if (grants_ != nullptr) grants_->DevicesChanged();
    absl::MutexLock lock(&mu_);
    if (link_ != nullptr) link_->TellInventory(told_);
  }

  void RememberUnits() {
    for (const internal::v1::JournaledUnitFacts& unit : inventory_.ToRemember()) {
      std::string record = unit.SerializeAsString();
      if (std::exchange(remembered_[unit.id()], record) != record) keeper_->NoteUnit(unit);
    }
  }

  void WatchHost() {
    const absl::Duration interval = FromProtoDuration(config_.inventory().interval());
    absl::Time next = options_.clock->Now() + interval;
    for (;;) {
      bool due = false;
      {
        absl::MutexLock lock(&mu_);
        const absl::Time wake = options_.clock->Now() + std::min(interval, kHealthInterval);
        const auto woken = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
          return stopping_ || look_now_;
        };
        options_.clock->AwaitWithDeadline(&mu_, absl::Condition(&woken), wake);
        if (stopping_) return;
        due = std::exchange(look_now_, false);
      }
      due = due || options_.clock->Now() >= next;
      if (kernel_.ok()) {
        const absl::Status answer = backend_.kernel()->OpenContext().status();
        if (answer.ok() && !due) continue;
        // Told before another emulator is started: what this one held is gone.
        if (!answer.ok()) Look(answer);
      }
      Look(backend_.Ensure());
      if (due) next = options_.clock->Now() + interval;
    }
  }

  void Stop() {
    {
      absl::MutexLock lock(&mu_);
      stopping_ = true;
    }
    if (watcher_.joinable()) watcher_.join();
    if (local_ != nullptr) local_->Shutdown(kShutdownGrace);
    // The last words of grants that end now are not told: the next session's Hello is.
    std::unique_ptr<ControllerLink> link;
    {
      absl::MutexLock lock(&mu_);
      link = std::move(link_);
    }
    link.reset();
    audits_.Drain();
    // Before the VMMs' connections close: that would look as if the VMMs had left.
    if (grants_ != nullptr) grants_->Stop();
    vmm_.reset();
    listener_.Reset();
  }

  Options options_;
  const AgentConfig& config_;
  AgentMetrics metrics_;
  absl::Time start_time_;
  Backend backend_;
  Inventory inventory_;
  ThreadPool pool_;
  std::unique_ptr<AgentState> state_;
  std::unique_ptr<Keeper> keeper_;
  std::unique_ptr<GrantManager> grants_;
  // Of its own: what tries devices waits for the kernel.
  ThreadPool audit_pool_{1};
  SerialExecutor audits_{&audit_pool_, kWaitingAudits};
  std::unique_ptr<VmmServer> vmm_;
  UniqueFd listener_;  // a dup of what it listens on, to be stored again
  std::unique_ptr<grpc::Service> local_service_;
  std::unique_ptr<RpcServer> local_;

  // Of the watching thread, and of Start() before it.
  absl::Status kernel_;  // what it was when last looked at
  agent::v1::Inventory told_;
  std::map<std::string, std::string> remembered_;  // records of units in the journal

  absl::Mutex mu_;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  bool look_now_ ABSL_GUARDED_BY(mu_) = false;  // without waiting for the interval
  std::unique_ptr<ControllerLink> link_ ABSL_GUARDED_BY(mu_);
  std::thread watcher_;
};

AgentDaemon::AgentDaemon(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
AgentDaemon::~AgentDaemon() = default;
void AgentDaemon::StoreAgain() { impl_->StoreAgain(); }

absl::StatusOr<std::unique_ptr<AgentDaemon>> AgentDaemon::Start(Options options) {
  auto impl = std::make_unique<Impl>(std::move(options));
  BERTH_RETURN_IF_ERROR(impl->Start());
  return std::unique_ptr<AgentDaemon>(new AgentDaemon(std::move(impl)));
}

}  // namespace berth
