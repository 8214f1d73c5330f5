// SPDX-License-Identifier: Apache-2.0
#include "ctl/controller/daemon/controller_daemon.h"

#include <optional>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "ctl/controller/book/token.h"
#include "ctl/controller/daemon/leader.h"
#include "ctl/controller/daemon/open_store.h"
#include "ctl/controller/daemon/standby.h"
#include "lib/base/status.h"

namespace berth {
namespace {

using internal::v1::EtcdLeader;

// After an attempt to lead that found the store out of reach.
constexpr absl::Duration kRetry = absl::Seconds(1);

}  // namespace

class ControllerDaemon::Impl {
 public:
  explicit Impl(Options options) : options_(std::move(options)) {
    if (options_.metrics != nullptr) {
      leads_.emplace(options_.metrics->AddGauge(
          "berth_controller_leads", "1 while this controller leads, 0 while it stands by"));
    }
  }

  ~Impl() {
    {
      absl::MutexLock lock(&mu_);
      stopping_ = true;
    }
    if (campaign_.joinable()) campaign_.join();
  }

  absl::Status Start() {
    if (options_.open_store || !IsShared(options_.config)) return LeadAlone();
    BERTH_ASSIGN_OR_RETURN(const TokenMaker tokens,
                           TokenMaker::FromFile(options_.config.cluster_key_file()));
    key_fingerprint_ = tokens.fingerprint();
    BERTH_ASSIGN_OR_RETURN(standby_, Standby::Start(options_.config));
    addresses_ = {standby_->api_address(), standby_->agent_link_address()};
    campaign_ = std::thread([this] { Campaign(); });
    absl::MutexLock lock(&mu_);
    mu_.Await(absl::Condition(&started_));
    return failed_;
  }

  const std::string& api_address() const { return addresses_.api; }
  const std::string& agent_link_address() const { return addresses_.agent_link; }

 private:
  struct Addresses {
    std::string api;
    std::string agent_link;
  };

  absl::Status LeadAlone() {
    absl::StatusOr<std::unique_ptr<Store>> store =
        options_.open_store ? options_.open_store() : OpenStore(options_.config);
    BERTH_RETURN_IF_ERROR(store.status());
    BERTH_ASSIGN_OR_RETURN(leader_, Load(*std::move(store)));
    BERTH_RETURN_IF_ERROR(
        leader_->Serve(options_.config.api().address(), options_.config.agent_link().address()));
    addresses_ = {leader_->api_address(), leader_->agent_link_address()};
    if (leads_.has_value()) leads_->Set(1);
    return absl::OkStatus();
  }

  absl::StatusOr<std::unique_ptr<Leader>> Load(std::unique_ptr<Store> store) {
    return Leader::Load(
        {.config = &options_.config,
         .clock = options_.clock,
         .log = options_.log,
         .metrics = options_.metrics,
         .on_store_failed =
             [this](const absl::Status& status) {
               options_.log->Error("store failed; ending, to read it back", {{"error", status}});
               End(status);
             }},
        std::move(store));
  }

  // The thread of a controller whose store others want, too: stands by until it leads.
  void Campaign() {
    for (;;) {
      const absl::Status status = TryToLead();
      absl::MutexLock lock(&mu_);
      if (status.ok() || stopping_) break;
      // What is wrong at the start may be the configuration. Later on it is waited out, as long as
      // there is somebody who answers.
      if (!started_ || standby_ == nullptr || ReasonOf(status) == Reason::kInvalidField) {
        if (started_) {
          options_.log->Error("cannot lead; ending", {{"error", status}});
          End(status);
        }
        failed_ = status;
        break;
      }
      const std::string why(status.message());
      if (std::exchange(known_obstacle_, why) != why) {
        options_.log->Warn("cannot lead yet", {{"error", status}});
      }
      options_.clock->AwaitWithDeadline(&mu_, absl::Condition(&stopping_),
                                        options_.clock->Now() + kRetry);
    }
    absl::MutexLock lock(&mu_);
    started_ = true;
  }

  // Waits for the place, takes it and serves. OK also when it was told to stop.
  absl::Status TryToLead() {
    absl::Status other_key;
    absl::StatusOr<std::unique_ptr<Store>> store = OpenSharedStore(
        options_.config, options_.clock,
        {.api_address = Advertised(options_.config.advertise().api(), addresses_.api),
         .agent_link_address =
             Advertised(options_.config.advertise().agent_link(), addresses_.agent_link),
         .cluster_key_fingerprint = key_fingerprint_,
         .keep_waiting =
             [&](const EtcdLeader& leader) {
               other_key = CheckKey(leader);
               return other_key.ok() && StandBy(leader);
             },
         .on_lost =
             [this](const absl::Status& status) {
               options_.log->Error("store lost; ending, since another controller may lead",
                                   {{"error", status}});
               End(status);
             }});
    BERTH_RETURN_IF_ERROR(other_key);
    BERTH_RETURN_IF_ERROR(store.status());
    BERTH_ASSIGN_OR_RETURN(leader_, Load(*std::move(store)));
    // From here to the end of Serve() nobody answers: clients try again.
    standby_.reset();
    BERTH_RETURN_IF_ERROR(leader_->Serve(addresses_.api, addresses_.agent_link));
    if (leads_.has_value()) leads_->Set(1);
    return absl::OkStatus();
  }

  static const std::string& Advertised(const std::string& configured, const std::string& bound) {
    return configured.empty() ? bound : configured;
  }

  // Two that do not share a key would make the tokens of each other void.
  absl::Status CheckKey(const EtcdLeader& leader) const {
    const std::string& its = leader.cluster_key_fingerprint();
    if (its.empty() || its == key_fingerprint_) return absl::OkStatus();
    return Error(Reason::kInvalidField,
                 absl::StrCat("cluster_key_file: ", options_.config.cluster_key_file(),
                              " is another key than that of ", leader.description(),
                              ": all controllers of a cluster need the same file"));
  }

  // Another one leads. Whether to go on waiting.
  bool StandBy(const EtcdLeader& leader) {
    standby_->SetLeader(leader);
    absl::MutexLock lock(&mu_);
    if (std::exchange(known_leader_, leader.description()) != leader.description()) {
      options_.log->Info("standing by", {{"api", addresses_.api},
                                         {"agents", addresses_.agent_link},
                                         {"leader", leader.description()}});
    }
    started_ = true;
    return !stopping_;
  }

  void End(const absl::Status& status) {
    if (options_.on_fatal) options_.on_fatal(status);
  }

  const Options options_;
  std::optional<Gauge> leads_;
  Addresses addresses_;          // fixed when Start() returns
  std::string key_fingerprint_;  // the same; empty unless the store is shared
  std::unique_ptr<Standby> standby_;
  std::unique_ptr<Leader> leader_;

  absl::Mutex mu_;
  // It leads, or stands by, or has failed.
  bool started_ ABSL_GUARDED_BY(mu_) = false;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  absl::Status failed_ ABSL_GUARDED_BY(mu_);
  // Said in the log already.
  std::string known_leader_ ABSL_GUARDED_BY(mu_);
  std::string known_obstacle_ ABSL_GUARDED_BY(mu_);
  std::thread campaign_;
};

ControllerDaemon::ControllerDaemon(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
ControllerDaemon::~ControllerDaemon() = default;

absl::StatusOr<std::unique_ptr<ControllerDaemon>> ControllerDaemon::Start(Options options) {
  auto impl = std::make_unique<Impl>(std::move(options));
  BERTH_RETURN_IF_ERROR(impl->Start());
  return std::unique_ptr<ControllerDaemon>(new ControllerDaemon(std::move(impl)));
}

std::string ControllerDaemon::api_address() const { return impl_->api_address(); }
std::string ControllerDaemon::agent_link_address() const { return impl_->agent_link_address(); }

}  // namespace berth
