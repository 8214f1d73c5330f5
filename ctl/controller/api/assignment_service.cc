// SPDX-License-Identifier: Apache-2.0
#include <utility>

#include "berth/v1/assignment_service.grpc.pb.h"
#include "ctl/controller/api/services.h"
#include "ctl/controller/api/unary.h"
#include "ctl/controller/api/watch_reactor.h"
#include "ctl/controller/book/convert.h"

namespace berth {
namespace {

using grpc::CallbackServerContext;
using grpc::ServerUnaryReactor;
using v1::Assignment;

constexpr char kService[] = "/berth.v1.AssignmentService/";

using CallbackService = v1::AssignmentService::WithRawCallbackMethod_WatchAssignments<
    v1::AssignmentService::CallbackService>;

absl::StatusOr<WatchRequest> ToWatchRequest(const grpc::ByteBuffer& bytes) {
  BERTH_ASSIGN_OR_RETURN(const auto request, ParseRequest<v1::WatchAssignmentsRequest>(bytes));
  return WatchRequest{
      .view = WatchView::kAssignments, .token = request.watch_token(), .name = request.name()};
}

class AssignmentService : public CallbackService {
 public:
  AssignmentService(const Authoriser* authoriser, AssignmentBook* book, WatchSource* watches)
      : authoriser_(*authoriser), book_(book), watches_(watches) {}

  ServerUnaryReactor* CreateAssignment(CallbackServerContext* context,
                                       const v1::CreateAssignmentRequest* request,
                                       Assignment* response) override {
    return RunMutationCall<Assignment>(
        context, authoriser_, Method("CreateAssignment"), *request, response,
        [&](const std::string& owner, AssignmentBook::Answer answer) {
          book_->Create(*request, owner, std::move(answer));
        });
  }

  ServerUnaryReactor* BatchCreateAssignments(
      CallbackServerContext* context, const v1::BatchCreateAssignmentsRequest* request,
      v1::BatchCreateAssignmentsResponse* response) override {
    return RunMutationCall<v1::BatchCreateAssignmentsResponse>(
        context, authoriser_, Method("BatchCreateAssignments"), *request, response,
        [&](const std::string& owner, AssignmentBook::BatchAnswer answer) {
          for (const v1::CreateAssignmentRequest& create : request->requests()) {
            if (absl::Status status = ValidateRequestId(create.request_id()); !status.ok()) {
              return answer(status);
            }
          }
          book_->BatchCreate(*request, owner, std::move(answer));
        });
  }

  ServerUnaryReactor* GetAssignment(CallbackServerContext* context,
                                    const v1::GetAssignmentRequest* request,
                                    Assignment* response) override {
    return RunUnaryNow<Assignment>(context, authoriser_, Method("GetAssignment"), response,
                                   [&] { return book_->Get(*request); });
  }

  ServerUnaryReactor* ListAssignments(CallbackServerContext* context,
                                      const v1::ListAssignmentsRequest* request,
                                      v1::ListAssignmentsResponse* response) override {
    return RunUnaryNow<v1::ListAssignmentsResponse>(context, authoriser_, Method("ListAssignments"),
                                                    response,
                                                    [&] { return book_->List(*request); });
  }

  WatchWriter* WatchAssignments(CallbackServerContext* context,
                                const grpc::ByteBuffer* request) override {
    return StartWatch(*context, authoriser_, Method("WatchAssignments"), watches_,
                      ToWatchRequest(*request));
  }

  ServerUnaryReactor* UpdateAssignment(CallbackServerContext* context,
                                       const v1::UpdateAssignmentRequest*,
                                       Assignment* response) override {
    return RunUnaryNow<Assignment>(context, authoriser_, Method("UpdateAssignment"), response, [] {
      return Error(
          Reason::kUnsupported,
          "UpdateAssignment is reserved for hot-plug; delete the assignment and create another");
    });
  }

  ServerUnaryReactor* DeleteAssignment(CallbackServerContext* context,
                                       const v1::DeleteAssignmentRequest* request,
                                       Assignment* response) override {
    return RunMutationCall<Assignment>(
        context, authoriser_, Method("DeleteAssignment"), *request, response,
        [&](const std::string& owner, AssignmentBook::Answer answer) {
          book_->Delete(*request, owner, std::move(answer));
        });
  }

  ServerUnaryReactor* RenewAssignment(CallbackServerContext* context,
                                      const v1::RenewAssignmentRequest* request,
                                      Assignment* response) override {
    return RunMutationCall<Assignment>(
        context, authoriser_, Method("RenewAssignment"), *request, response,
        [&](const std::string& owner, AssignmentBook::Answer answer) {
          book_->Renew(*request, owner, std::move(answer));
        });
  }

  ServerUnaryReactor* RotateToken(CallbackServerContext* context,
                                  const v1::RotateTokenRequest* request,
                                  Assignment* response) override {
    return RunMutationCall<Assignment>(
        context, authoriser_, Method("RotateToken"), *request, response,
        [&](const std::string& owner, AssignmentBook::Answer answer) {
          book_->RotateToken(*request, owner, std::move(answer));
        });
  }

  ServerUnaryReactor* ExplainPlacement(CallbackServerContext* context,
                                       const v1::ExplainPlacementRequest* request,
                                       v1::ExplainPlacementResponse* response) override {
    return RunUnaryNow<v1::ExplainPlacementResponse>(context, authoriser_,
                                                     Method("ExplainPlacement"), response,
                                                     [&] { return book_->Explain(*request); });
  }

 private:
  static std::string Method(const char* name) { return std::string(kService) + name; }

  const Authoriser& authoriser_;
  AssignmentBook* const book_;
  WatchSource* const watches_;
};

}  // namespace

std::unique_ptr<grpc::Service> MakeAssignmentService(const Authoriser* authoriser,
                                                     AssignmentBook* book, WatchSource* watches) {
  return std::make_unique<AssignmentService>(authoriser, book, watches);
}

}  // namespace berth
