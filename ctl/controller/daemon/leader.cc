// SPDX-License-Identifier: Apache-2.0
#include "ctl/controller/daemon/leader.h"

#include <grpcpp/impl/codegen/service_type.h>

#include <algorithm>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "ctl/controller/api/services.h"
#include "ctl/controller/audit/auditor.h"
#include "ctl/controller/book/deadline_keeper.h"
#include "ctl/controller/book/fence_counts.h"
#include "ctl/controller/daemon/listen.h"
#include "ctl/controller/daemon/rpc_metrics.h"
#include "ctl/controller/link/agent_link_service.h"
#include "lib/base/executor.h"
#include "lib/base/status.h"
#include "lib/config/duration.h"
#include "lib/rpc/server.h"

namespace berth {
namespace {

using internal::v1::ControllerConfig;

// Threads that read what watches missed, and watches that may wait for them.
constexpr int kWatchThreads = 2;
constexpr size_t kWaitingWatches = 1000;
constexpr absl::Duration kShutdownGrace = absl::Seconds(1);
constexpr int kTicksPerSweep = 10;
constexpr absl::Duration kBookmarkInterval = absl::Seconds(10);

// Between two ticks; what takes longer is a pause.
absl::Duration LongestPause(absl::Duration interval) {
  return std::max(absl::Seconds(10), 3 * interval);
}

}  // namespace

class Leader::Impl {
 public:
  Impl(Options options, std::unique_ptr<Store> store)
      : options_(std::move(options)),
        config_(*options_.config),
        hub_({.watchers = static_cast<size_t>(config_.limits().watchers()),
              .buffered_changes = static_cast<size_t>(config_.limits().watch_buffer())}),
        fences_(options_.metrics),
        api_authoriser_(ApiPolicy(config_)),
        link_authoriser_(LinkPolicy(config_)),
        watch_pool_(kWatchThreads),
        store_(std::move(store)) {}

  ~Impl() { Stop(); }

  absl::Status Load() {
    BERTH_ASSIGN_OR_RETURN(TokenMaker tokens, TokenMaker::FromFile(config_.cluster_key_file()));
    tokens_.emplace(std::move(tokens));
    fleet_ = std::make_unique<Fleet>(Fleet::Options{
        .store = store_.get(),
        .clock = options_.clock,
        .hub = &hub_,
        .fences = &fences_,
        .on_store_failed = [this](const absl::Status& status) { options_.on_store_failed(status); },
        .on_broken_record =
            [this](const RecordKey& key, const absl::Status& status) {
              options_.log->Error("record left out",
                                  {{"kind", key.kind}, {"id", key.id}, {"error", status}});
            }});
    BERTH_RETURN_IF_ERROR(Annotate(fleet_->Load(), "loading the store"));
    BuildParts();
    return absl::OkStatus();
  }

  absl::Status Serve(const std::string& api_address, const std::string& agent_link_address) {
    if (options_.metrics != nullptr) rpc_metrics_.emplace(options_.metrics);
    RpcObserver* const observer = rpc_metrics_.has_value() ? &*rpc_metrics_ : nullptr;
    std::vector<grpc::Service*> services;
    for (const auto& service : services_) services.push_back(service.get());
    RpcServerOptions link = ServerOptionsOf(config_.agent_link());
    link.address = agent_link_address;
    BERTH_ASSIGN_OR_RETURN(link_server_, RpcServer::Start(link, {link_->service()}, observer));
    RpcServerOptions api = ServerOptionsOf(config_.api());
    api.address = api_address;
    BERTH_ASSIGN_OR_RETURN(api_, RpcServer::Start(api, services, observer));
    ticker_ = std::thread([this, started = options_.clock->Now()] { RunTicker(started); });
    options_.log->Info("serving", {{"api", api_->address()}, {"agents", link_server_->address()}});
    return absl::OkStatus();
  }

  const std::string& api_address() const { return api_->address(); }
  const std::string& agent_link_address() const { return link_server_->address(); }

 private:
  void BuildParts() {
    tracker_ =
        std::make_unique<GrantTracker>(fleet_.get(), &*tokens_, [this](const absl::Status& status) {
          options_.log->Warn("grant tracker", {{"error", status}});
        });
    const auto& liveness = config_.liveness();
    deadlines_ = std::make_unique<DeadlineKeeper>(
        fleet_.get(), tracker_.get(),
        DeadlineKeeper::Options{
            .longest_pause = LongestPause(FromProtoDuration(liveness.heartbeat_interval())),
            .on_release =
                [this](const std::string& name, const absl::Status& why) {
                  options_.log->Info("released by itself", {{"name", name}, {"why", why}});
                },
            .on_error =
                [this](const absl::Status& status) {
                  options_.log->Warn("deadline", {{"error", status}});
                }});
    registry_ = std::make_unique<HostRegistry>(
        fleet_.get(), tracker_.get(),
        HostRegistry::Options{
            .heartbeat_interval = FromProtoDuration(liveness.heartbeat_interval()),
            .suspect_after = FromProtoDuration(liveness.suspect_after()),
            .lost_after = FromProtoDuration(liveness.lost_after()),
            .max_hosts = static_cast<size_t>(config_.limits().hosts())});
    auditor_ = std::make_unique<Auditor>(
        fleet_.get(), Auditor::Options{.interval = FromProtoDuration(config_.audit().interval()),
                                       .metrics = options_.metrics,
                                       .log = options_.log});
    book_ = std::make_unique<AssignmentBook>(
        fleet_.get(), tracker_.get(), &*tokens_,
        AssignmentBook::Options{.max_assignments = config_.limits().assignments()});
    quotas_ = std::make_unique<QuotaBook>(fleet_.get(), tracker_.get());
    watch_executor_ = std::make_unique<SerialExecutor>(&watch_pool_, kWaitingWatches);
    watches_ = std::make_unique<WatchSource>(fleet_.get(), [this](std::function<void()> task) {
      return watch_executor_->TryAdd(std::move(task));
    });
    // Twice, for agents that dial again before their old stream is found dead.
    link_ = std::make_unique<AgentLinkService>(
        AgentLinkOptions{.fleet = fleet_.get(),
                         .registry = registry_.get(),
                         .tracker = tracker_.get(),
                         .auditor = auditor_.get(),
                         .authoriser = &link_authoriser_,
                         .log = options_.log,
                         .max_sessions = 2 * static_cast<size_t>(config_.limits().hosts())});
    services_.push_back(MakeAssignmentService(&api_authoriser_, book_.get(), watches_.get()));
    services_.push_back(MakeHostService(&api_authoriser_, registry_.get(), watches_.get()));
    services_.push_back(MakeCapacityService(&api_authoriser_, fleet_.get()));
    services_.push_back(MakeAuditService(&api_authoriser_, auditor_.get()));
    services_.push_back(MakeQuotaService(&api_authoriser_, quotas_.get()));
  }

  // What happens by time alone.
  void RunTicker(absl::Time started) {
    const absl::Duration interval = FromProtoDuration(config_.liveness().heartbeat_interval());
    absl::Time now = started;
    absl::Time bookmark = started + kBookmarkInterval;
    for (int ticks = 1;; ++ticks) {
      {
        absl::MutexLock lock(&mu_);
        if (options_.clock->AwaitWithDeadline(&mu_, absl::Condition(&stopping_), now + interval)) {
          return;
        }
      }
      now = options_.clock->Now();
      registry_->Tick();
      deadlines_->Tick();
      auditor_->Tick();
      if (ticks % kTicksPerSweep == 0) tracker_->Sweep();
      if (now >= bookmark) {
        bookmark = now + kBookmarkInterval;
        auto batch = std::make_shared<WatchBatch>();
        absl::MutexLock lock(&fleet_->mu);
        batch->position = fleet_->Position();
        hub_.Publish(std::move(batch));
      }
    }
  }

  void Stop() {
    {
      absl::MutexLock lock(&mu_);
      stopping_ = true;
    }
    if (ticker_.joinable()) ticker_.join();
    if (api_ != nullptr) api_->SetServing(Serving::kNo);
    hub_.Close(Error(Reason::kShuttingDown,
                     "the controller is stopping; watch again from the last token"));
    if (auditor_ != nullptr) auditor_->Close();
    if (link_ != nullptr) link_->Close();
    if (api_ != nullptr) api_->Shutdown(kShutdownGrace);
    if (link_server_ != nullptr) link_server_->Shutdown(kShutdownGrace);
    watch_executor_.reset();
    // What was accepted is committed, and its callbacks run, before anything that they use goes.
    store_.reset();
  }

  const Options options_;
  const ControllerConfig& config_;
  std::optional<TokenMaker> tokens_;
  WatchHub hub_;
  FenceCounts fences_;
  const Authoriser api_authoriser_;
  const Authoriser link_authoriser_;
  ThreadPool watch_pool_;
  std::unique_ptr<Store> store_;
  std::unique_ptr<Fleet> fleet_;
  std::unique_ptr<GrantTracker> tracker_;
  std::unique_ptr<DeadlineKeeper> deadlines_;
  std::unique_ptr<HostRegistry> registry_;
  std::unique_ptr<Auditor> auditor_;
  std::unique_ptr<AssignmentBook> book_;
  std::unique_ptr<QuotaBook> quotas_;
  std::unique_ptr<SerialExecutor> watch_executor_;
  std::unique_ptr<WatchSource> watches_;
  std::unique_ptr<AgentLinkService> link_;
  std::vector<std::unique_ptr<grpc::Service>> services_;
  std::optional<RpcMetrics> rpc_metrics_;
  std::unique_ptr<RpcServer> link_server_;
  std::unique_ptr<RpcServer> api_;
  absl::Mutex mu_;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  std::thread ticker_;
};

Leader::Leader(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Leader::~Leader() = default;

absl::StatusOr<std::unique_ptr<Leader>> Leader::Load(Options options,
                                                     std::unique_ptr<Store> store) {
  auto impl = std::make_unique<Impl>(std::move(options), std::move(store));
  BERTH_RETURN_IF_ERROR(impl->Load());
  return std::unique_ptr<Leader>(new Leader(std::move(impl)));
}

absl::Status Leader::Serve(const std::string& api_address, const std::string& agent_link_address) {
  return impl_->Serve(api_address, agent_link_address);
}

const std::string& Leader::api_address() const { return impl_->api_address(); }
const std::string& Leader::agent_link_address() const { return impl_->agent_link_address(); }

}  // namespace berth
