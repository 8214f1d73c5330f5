// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_CTL_CONTROLLER_API_WATCH_REACTOR_H_
#define BERTH_CTL_CONTROLLER_API_WATCH_REACTOR_H_

#include <grpcpp/impl/codegen/proto_utils.h>
#include <grpcpp/server_context.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include <string_view>

#include "absl/status/statusor.h"
#include "ctl/controller/watch/watcher.h"
#include "lib/base/status.h"
#include "lib/rpc/authorise.h"

namespace berth {

// Handlers of watches take and give messages as they are on the wire ("raw" methods of the
// generated code), so that a change is encoded once and not once for each watcher.
using WatchWriter = grpc::ServerWriteReactor<grpc::ByteBuffer>;

// What the handler of a watch returns: the watch, or its refusal. `request`: what was asked for, or
// why that cannot be.
WatchWriter* StartWatch(const grpc::CallbackServerContext& context, const Authoriser& authoriser,
                        std::string_view method, WatchSource* source,
                        absl::StatusOr<WatchRequest> request);

// BAD_MESSAGE.
template <typename Request>
absl::StatusOr<Request> ParseRequest(grpc::ByteBuffer bytes) {
  Request request;
  if (grpc::SerializationTraits<Request>::Deserialize(&bytes, &request).ok()) return request;
  return Error(Reason::kBadMessage, "the request cannot be parsed");
}

}  // namespace berth

#endif  // BERTH_CTL_CONTROLLER_API_WATCH_REACTOR_H_
