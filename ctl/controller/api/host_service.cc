// SPDX-License-Identifier: Apache-2.0
#include <utility>

#include "berth/v1/host_service.grpc.pb.h"
#include "ctl/controller/api/services.h"
#include "ctl/controller/api/unary.h"
#include "ctl/controller/api/watch_reactor.h"

namespace berth {
namespace {

using grpc::CallbackServerContext;
using grpc::ServerUnaryReactor;
using v1::Host;

class HostService : public v1::HostService::CallbackService {
 public:
  HostService(const Authoriser* authoriser, HostRegistry* registry, WatchSource* watches)
      : authoriser_(*authoriser), registry_(registry), watches_(watches) {}

  ServerUnaryReactor* GetHost(CallbackServerContext* context, const v1::GetHostRequest* request,
                              Host* response) override {
    return RunUnaryNow<Host>(context, authoriser_, Method("GetHost"), response,
                             [&] { return registry_->Get(*request); });
  }

  ServerUnaryReactor* ListHosts(CallbackServerContext* context, const v1::ListHostsRequest* request,
                                v1::ListHostsResponse* response) override {
    return RunUnaryNow<v1::ListHostsResponse>(context, authoriser_, Method("ListHosts"), response,
                                              [&] { return registry_->List(*request); });
  }

  grpc::ServerWriteReactor<v1::WatchHostsResponse>* WatchHosts(
      CallbackServerContext* context, const v1::WatchHostsRequest* request) override {
    const bool basic = request->view() != v1::FULL;
    const auto fill = [basic](const WatchBatch& batch, v1::WatchHostsResponse* response) {
      for (const WatchChange& change : batch.changes) {
        v1::HostEvent* event = response->add_events();
        event->set_type(change.deleted ? v1::HostEvent::DELETE : v1::HostEvent::PUT);
        event->mutable_host()->CheckTypeAndMergeFrom(
            static_cast<const google::protobuf::MessageLite&>(*change.resource));
        if (basic) event->mutable_host()->clear_devices();
      }
    };
    return StartWatch<v1::WatchHostsResponse>(
        context, authoriser_, Method("WatchHosts"), watches_,
        {.kind = WatchKind::kHosts, .token = request->watch_token(), .name = request->name()},
        fill);
  }

  ServerUnaryReactor* UpdateHost(CallbackServerContext* context,
                                 const v1::UpdateHostRequest* request, Host* response) override {
    return RunMutationCall<Host>(context, authoriser_, Method("UpdateHost"), *request, response,
                                 [&](const std::string& owner, HostRegistry::Answer answer) {
                                   registry_->Update(*request, owner, std::move(answer));
                                 });
  }
  ServerUnaryReactor* CordonHost(CallbackServerContext* context,
                                 const v1::CordonHostRequest* request, Host* response) override {
    return RunMutationCall<Host>(context, authoriser_, Method("CordonHost"), *request, response,
                                 [&](const std::string& owner, HostRegistry::Answer answer) {
                                   registry_->Cordon(*request, owner, std::move(answer));
                                 });
  }
  ServerUnaryReactor* UncordonHost(CallbackServerContext* context,
                                   const v1::UncordonHostRequest* request,
                                   Host* response) override {
    return RunMutationCall<Host>(context, authoriser_, Method("UncordonHost"), *request, response,
                                 [&](const std::string& owner, HostRegistry::Answer answer) {
                                   registry_->Uncordon(*request, owner, std::move(answer));
                                 });
  }
  ServerUnaryReactor* DrainHost(CallbackServerContext* context, const v1::DrainHostRequest* request,
                                Host* response) override {
    return RunMutationCall<Host>(context, authoriser_, Method("DrainHost"), *request, response,
                                 [&](const std::string& owner, HostRegistry::Answer answer) {
                                   registry_->Drain(*request, owner, std::move(answer));
                                 });
  }
  ServerUnaryReactor* DeleteHost(CallbackServerContext* context,
                                 const v1::DeleteHostRequest* request, Host* response) override {
    return RunMutationCall<Host>(context, authoriser_, Method("DeleteHost"), *request, response,
                                 [&](const std::string& owner, HostRegistry::Answer answer) {
                                   registry_->Delete(*request, owner, std::move(answer));
                                 });
  }

 private:
  static std::string Method(const char* name) {
    return std::string("/berth.v1.HostService/") + name;
  }

  const Authoriser& authoriser_;
  HostRegistry* const registry_;
  WatchSource* const watches_;
};

}  // namespace

std::unique_ptr<grpc::Service> MakeHostService(const Authoriser* authoriser, HostRegistry* registry,
                                               WatchSource* watches) {
  return std::make_unique<HostService>(authoriser, registry, watches);
}

}  // namespace berth
