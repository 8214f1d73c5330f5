// SPDX-License-Identifier: Apache-2.0
#include "berth/v1/quota_service.grpc.pb.h"
#include "ctl/controller/api/services.h"
#include "ctl/controller/api/unary.h"

namespace berth {
namespace {

using grpc::CallbackServerContext;
using grpc::ServerUnaryReactor;

// A service without methods would answer without an ErrorInfo.
class QuotaService : public v1::QuotaService::CallbackService {
 public:
  explicit QuotaService(const Authoriser* authoriser) : authoriser_(*authoriser) {}

  ServerUnaryReactor* GetQuota(CallbackServerContext* context, const v1::GetQuotaRequest*,
                               v1::Quota* response) override {
    return Refuse(context, "GetQuota", response);
  }
  ServerUnaryReactor* ListQuotas(CallbackServerContext* context, const v1::ListQuotasRequest*,
                                 v1::ListQuotasResponse* response) override {
    return Refuse(context, "ListQuotas", response);
  }
  ServerUnaryReactor* UpdateQuota(CallbackServerContext* context, const v1::UpdateQuotaRequest*,
                                  v1::Quota* response) override {
    return Refuse(context, "UpdateQuota", response);
  }
  ServerUnaryReactor* DeleteQuota(CallbackServerContext* context, const v1::DeleteQuotaRequest*,
                                  v1::Quota* response) override {
    return Refuse(context, "DeleteQuota", response);
  }

 private:
  template <typename Response>
  ServerUnaryReactor* Refuse(CallbackServerContext* context, const char* name, Response* response) {
    return RunUnaryNow<Response>(
        context, authoriser_, std::string("/berth.v1.QuotaService/") + name, response, [] {
          return Error(Reason::kUnsupported, "this version has no quotas: owners are unlimited");
        });
  }

  const Authoriser& authoriser_;
};

}  // namespace

std::unique_ptr<grpc::Service> MakeQuotaService(const Authoriser* authoriser) {
  return std::make_unique<QuotaService>(authoriser);
}

}  // namespace berth
