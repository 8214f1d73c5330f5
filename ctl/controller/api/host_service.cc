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

using CallbackService =
    v1::HostService::WithRawCallbackMethod_WatchHosts<v1::HostService::CallbackService>;

absl::StatusOr<WatchRequest> ToWatchRequest(const grpc::ByteBuffer& bytes) {
  BERTH_ASSIGN_OR_RETURN(const auto request, ParseRequest<v1::WatchHostsRequest>(bytes));
  return WatchRequest{
      .view = request.view() == v1::FULL ? WatchView::kFullHosts : WatchView::kBasicHosts,
      .token = request.watch_token(),
      .name = request.name()};
}

class HostService : public CallbackService {
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

  WatchWriter* WatchHosts(CallbackServerContext* context,
                          const grpc::ByteBuffer* request) override {
    return StartWatch(*context, authoriser_, Method("WatchHosts"), watches_,
                      ToWatchRequest(*request));
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
