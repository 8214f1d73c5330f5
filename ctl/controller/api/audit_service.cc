// SPDX-License-Identifier: Apache-2.0
#include <utility>

#include "berth/v1/audit_service.grpc.pb.h"
#include "ctl/controller/api/services.h"
#include "ctl/controller/api/unary.h"

namespace berth {
namespace {

class AuditService : public v1::AuditService::CallbackService {
 public:
  AuditService(const Authoriser* authoriser, Auditor* auditor)
      : authoriser_(*authoriser), auditor_(auditor) {}

  grpc::ServerUnaryReactor* Audit(grpc::CallbackServerContext* context,
                                  const v1::AuditRequest* request,
                                  v1::AuditResponse* response) override {
    return RunUnary<v1::AuditResponse>(context, authoriser_, "/berth.v1.AuditService/Audit",
                                       response, [&](const std::string&, Auditor::Answer answer) {
                                         auditor_->Audit(*request, std::move(answer));
                                       });
  }

 private:
  const Authoriser& authoriser_;
  Auditor* const auditor_;
};

}  // namespace

std::unique_ptr<grpc::Service> MakeAuditService(const Authoriser* authoriser, Auditor* auditor) {
  return std::make_unique<AuditService>(authoriser, auditor);
}

}  // namespace berth
