// SPDX-License-Identifier: Apache-2.0
#include "ctl/controller/daemon/standby.h"

#include <grpcpp/generic/async_generic_service.h>

#include <functional>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "ctl/controller/daemon/listen.h"
#include "lib/base/status.h"
#include "lib/rpc/error.h"

namespace berth {
namespace {

using internal::v1::ControllerConfig;
using internal::v1::EtcdLeader;

// For answers that are on their way.
constexpr absl::Duration kShutdownGrace = absl::Seconds(1);

// Answers every method with an error.
class Refusal : public grpc::CallbackGenericService {
 public:
  Refusal(AuthorisationPolicy policy, std::function<absl::Status()> why)
      : authoriser_(std::move(policy)), why_(std::move(why)) {}

  grpc::ServerGenericBidiReactor* CreateReactor(grpc::GenericCallbackServerContext* call) override {
    class Reactor : public grpc::ServerGenericBidiReactor {
     public:
      explicit Reactor(const grpc::Status& status) { Finish(status); }
      void OnDone() override { delete this; }
    };
    // A repetition at the same address, as lib/rpc/service_config.json has it, helps nobody (gRFC
    // A6).
    call->AddTrailingMetadata("grpc-retry-pushback-ms", "-1");
    // Who may not call is not told where to.
    const absl::Status refused = authoriser_.Authorise(*call, call->method()).status();
    return new Reactor(ToGrpcStatus(refused.ok() ? why_() : refused));
  }

 private:
  const Authoriser authoriser_;
  const std::function<absl::Status()> why_;
};

absl::Status NotLeader(const EtcdLeader& leader, const std::string& address) {
  if (!address.empty()) {
    return Error(Reason::kNotLeader,
                 absl::StrCat("this controller stands by; ", leader.description(), " leads"),
                 {{"leader", address}});
  }
  return Error(Reason::kNotLeader,
               absl::StrCat("this controller stands by, and none leads now",
                            leader.description().empty() ? "" : ": ", leader.description(),
                            leader.description().empty() ? "" : " holds the store"));
}

}  // namespace

class Standby::Impl {
 public:
  explicit Impl(const ControllerConfig& config)
      : api_refusal_(ApiPolicy(config),
                     [this] {
                       const EtcdLeader leader = this->leader();
                       return NotLeader(leader, leader.api_address());
                     }),
        link_refusal_(LinkPolicy(config), [this] {
          const EtcdLeader leader = this->leader();
          return NotLeader(leader, leader.agent_link_address());
        }) {}

  ~Impl() {
    for (const auto* server : {&api_, &link_}) {
      if (*server != nullptr) (*server)->Shutdown(kShutdownGrace);
    }
  }

  absl::Status Start(const ControllerConfig& config) {
    BERTH_ASSIGN_OR_RETURN(link_, Listen(config.agent_link(), &link_refusal_));
    BERTH_ASSIGN_OR_RETURN(api_, Listen(config.api(), &api_refusal_));
    return absl::OkStatus();
  }

  const RpcServer& api() const { return *api_; }
  const RpcServer& link() const { return *link_; }

  void SetLeader(const EtcdLeader& leader) {
    absl::MutexLock lock(&mu_);
    leader_ = leader;
  }

 private:
  static absl::StatusOr<std::unique_ptr<RpcServer>> Listen(const internal::v1::ListenConfig& listen,
                                                           Refusal* refusal) {
    RpcServerOptions options = ServerOptionsOf(listen);
    options.other_methods = refusal;
    BERTH_ASSIGN_OR_RETURN(std::unique_ptr<RpcServer> server,
                           RpcServer::Start(options, {}, nullptr));
    server->SetServing(Serving::kNo);
    return server;
  }

  EtcdLeader leader() const {
    absl::MutexLock lock(&mu_);
    return leader_;
  }

  mutable absl::Mutex mu_;
  EtcdLeader leader_ ABSL_GUARDED_BY(mu_);
  Refusal api_refusal_;
  Refusal link_refusal_;
  // They end before what they serve.
  std::unique_ptr<RpcServer> link_;
  std::unique_ptr<RpcServer> api_;
};

Standby::Standby(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Standby::~Standby() = default;

absl::StatusOr<std::unique_ptr<Standby>> Standby::Start(const ControllerConfig& config) {
  auto impl = std::make_unique<Impl>(config);
  BERTH_RETURN_IF_ERROR(impl->Start(config));
  return std::unique_ptr<Standby>(new Standby(std::move(impl)));
}

const std::string& Standby::api_address() const { return impl_->api().address(); }
const std::string& Standby::agent_link_address() const { return impl_->link().address(); }
void Standby::SetLeader(const EtcdLeader& leader) { impl_->SetLeader(leader); }

}  // namespace berth
