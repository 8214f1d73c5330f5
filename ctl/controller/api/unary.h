// SPDX-License-Identifier: Apache-2.0
//
// The shape of every unary handler: authorise, then work, then answer with a grpc::Status that
// carries an ErrorInfo.
#ifndef BERTH_CTL_CONTROLLER_API_UNARY_H_
#define BERTH_CTL_CONTROLLER_API_UNARY_H_

#include <grpcpp/server_context.h>
#include <grpcpp/support/server_callback.h>

#include <functional>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/statusor.h"
#include "lib/base/status.h"
#include "lib/rpc/authorise.h"
#include "lib/rpc/error.h"
#include "lib/rpc/request.h"

namespace berth {

// Answers `context` when `work` does, on whatever thread. `work` is given who calls.
template <typename Response>
grpc::ServerUnaryReactor* RunUnary(
    grpc::CallbackServerContext* context, const Authoriser& authoriser, std::string_view method,
    Response* response,
    const std::function<void(const std::string& owner,
                             std::function<void(absl::StatusOr<Response>)>)>& work) {
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  const absl::StatusOr<PeerIdentity> peer = authoriser.Authorise(*context, method);
  if (!peer.ok()) {
    reactor->Finish(ToGrpcStatus(peer.status()));
    return reactor;
  }
  work(peer->name(), [reactor, response](absl::StatusOr<Response> result) {
    const grpc::Status status = ToGrpcStatus(result.status());
    if (result.ok()) *response = *std::move(result);
    reactor->Finish(status);
  });
  return reactor;
}

// For handlers that answer at once.
template <typename Response>
grpc::ServerUnaryReactor* RunUnaryNow(grpc::CallbackServerContext* context,
                                      const Authoriser& authoriser, std::string_view method,
                                      Response* response,
                                      const std::function<absl::StatusOr<Response>()>& work) {
  return RunUnary<Response>(
      context, authoriser, method, response,
      [&work](const std::string&, const std::function<void(absl::StatusOr<Response>)>& answer) {
        answer(work());
      });
}

// For mutations: also checks the request_id.
template <typename Response, typename Request>
grpc::ServerUnaryReactor* RunMutationCall(
    grpc::CallbackServerContext* context, const Authoriser& authoriser, std::string_view method,
    const Request& request, Response* response,
    const std::function<void(const std::string& owner,
                             std::function<void(absl::StatusOr<Response>)>)>& work) {
  return RunUnary<Response>(
      context, authoriser, method, response,
      [&](const std::string& owner, std::function<void(absl::StatusOr<Response>)> answer) {
        if (absl::Status status = ValidateRequestId(request.request_id()); !status.ok()) {
          return answer(status);
        }
        work(owner, std::move(answer));
      });
}

}  // namespace berth

#endif  // BERTH_CTL_CONTROLLER_API_UNARY_H_
