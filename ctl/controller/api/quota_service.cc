// SPDX-License-Identifier: Apache-2.0
#include <utility>

#include "berth/v1/quota_service.grpc.pb.h"
#include "ctl/controller/api/services.h"
#include "ctl/controller/api/unary.h"

namespace berth {
namespace {

using grpc::CallbackServerContext;
using grpc::ServerUnaryReactor;
using v1::Quota;

class QuotaService : public v1::QuotaService::CallbackService {
 public:
  QuotaService(const Authoriser* authoriser, QuotaBook* book)
      : authoriser_(*authoriser), book_(book) {}

  ServerUnaryReactor* GetQuota(CallbackServerContext* context, const v1::GetQuotaRequest* request,
                               Quota* response) override {
    return RunUnaryNow<Quota>(context, authoriser_, Method("GetQuota"), response,
                              [&] { return book_->Get(*request); });
  }

  ServerUnaryReactor* ListQuotas(CallbackServerContext* context,
                                 const v1::ListQuotasRequest* request,
                                 v1::ListQuotasResponse* response) override {
    return RunUnaryNow<v1::ListQuotasResponse>(context, authoriser_, Method("ListQuotas"), response,
                                               [&] { return book_->List(*request); });
  }

  ServerUnaryReactor* UpdateQuota(CallbackServerContext* context,
                                  const v1::UpdateQuotaRequest* request, Quota* response) override {
    return RunMutationCall<Quota>(context, authoriser_, Method("UpdateQuota"), *request, response,
                                  [&](const std::string& caller, QuotaBook::Answer answer) {
                                    book_->Update(*request, caller, std::move(answer));
                                  });
  }

  ServerUnaryReactor* DeleteQuota(CallbackServerContext* context,
                                  const v1::DeleteQuotaRequest* request, Quota* response) override {
    return RunMutationCall<Quota>(context, authoriser_, Method("DeleteQuota"), *request, response,
                                  [&](const std::string& caller, QuotaBook::Answer answer) {
                                    book_->Delete(*request, caller, std::move(answer));
                                  });
  }

 private:
  static std::string Method(const char* name) {
    return std::string("/berth.v1.QuotaService/") + name;
  }

  const Authoriser& authoriser_;
  QuotaBook* const book_;
};

}  // namespace

std::unique_ptr<grpc::Service> MakeQuotaService(const Authoriser* authoriser, QuotaBook* book) {
  return std::make_unique<QuotaService>(authoriser, book);
}

}  // namespace berth
