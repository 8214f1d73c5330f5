// SPDX-License-Identifier: Apache-2.0
//
// Debian's gRPC is not instrumented. What it orders by mutexes ThreadSanitizer sees (its mutexes
// are Abseil's, absl_mutex.cc); what it orders by atomics and queues without locks it does not.
// Each definition here stands before one of the library's, tells ThreadSanitizer of one such edge,
// and calls the library's. References are to gRPC 1.51.
#include <grpc/grpc.h>
#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/server.h>
#include <grpcpp/support/server_callback.h>
#include <sanitizer/tsan_interface.h>

#include <atomic>
#include <utility>

#include "absl/status/status.h"
#include "tests/tsan/real.h"

using berth::tsan::Real;

// A completion queue hands a tag over: whoever hears of it hears after the operation was started,
// and after what completed it: the last step of a batch, or the arrival of the call that a server
// asked for. In between are the queues of the call, of its transport and of the completion queue
// (src/core/lib/surface: call.cc, server.cc, completion_queue.cc). Callbacks of the C++ API are
// tags, too.
extern "C" {

grpc_call_error grpc_call_start_batch(grpc_call* call, const grpc_op* ops, size_t count, void* tag,
                                      void* reserved) {
  static const Real<grpc_call_error, grpc_call*, const grpc_op*, size_t, void*, void*> real(
      "grpc_call_start_batch");
  __tsan_release(tag);
  return real(call, ops, count, tag, reserved);
}

grpc_event grpc_completion_queue_next(grpc_completion_queue* queue, gpr_timespec deadline,
                                      void* reserved) {
  static const Real<grpc_event, grpc_completion_queue*, gpr_timespec, void*> real(
      "grpc_completion_queue_next");
  const grpc_event event = real(queue, deadline, reserved);
  if (event.type == GRPC_OP_COMPLETE) __tsan_acquire(event.tag);
  return event;
}

grpc_event grpc_completion_queue_pluck(grpc_completion_queue* queue, void* tag,
                                       gpr_timespec deadline, void* reserved) {
  static const Real<grpc_event, grpc_completion_queue*, void*, gpr_timespec, void*> real(
      "grpc_completion_queue_pluck");
  const grpc_event event = real(queue, tag, deadline, reserved);
  if (event.type == GRPC_OP_COMPLETE) __tsan_acquire(event.tag);
  return event;
}

}  // extern "C"

struct grpc_cq_completion;

// Internal to the library, but not to one of its files.
void grpc_cq_end_op(grpc_completion_queue* queue, void* tag, absl::Status error,
                    void (*done)(void* argument, grpc_cq_completion* storage), void* argument,
                    grpc_cq_completion* storage, bool internal) {
  static const Real<void, grpc_completion_queue*, void*, absl::Status, decltype(done), void*,
                    grpc_cq_completion*, bool>
      real(
          "_Z14grpc_cq_end_opP21grpc_completion_queuePvN4absl7debian36StatusE"
          "PFvS1_P18grpc_cq_completionES1_S6_b");
  __tsan_release(tag);
  real(queue, tag, std::move(error), done, argument, storage, internal);
}

// How a generic service answers is compiled into the library; elsewhere the same template is
// compiled with its callers. This instance stands before the library's, and is instrumented.
template class grpc::internal::CallbackBidiHandler<grpc::ByteBuffer, grpc::ByteBuffer>;

namespace grpc::internal {
namespace {

// ServerCallbackCall counts what has to happen before OnCancel and before OnDone in two atomics
// (grpcpp/support/server_callback.h): most is counted down in code of the header, which is
// instrumented, but the end of OnCancel in the library.
struct Counters {
  void* vtable;
  std::atomic_int before_cancel;
  std::atomic_int before_done;
};
static_assert(sizeof(Counters) == sizeof(ServerCallbackCall));

Counters& CountersOf(ServerCallbackCall* call) { return *reinterpret_cast<Counters*>(call); }

// Calls OnCancel of `reactor` and says that it is over, as the library will in the next moment.
class Cancelled : public ServerReactor {
 public:
  Cancelled(ServerReactor& reactor, Counters& counters) : reactor_(reactor), counters_(counters) {}
  void OnCancel() override {
    reactor_.OnCancel();
    __tsan_release(&counters_.before_done);
    delete this;
  }
  void OnDone() override {}
  bool InternalInlineable() override { return reactor_.InternalInlineable(); }

 private:
  ServerReactor& reactor_;
  Counters& counters_;
};

}  // namespace

void ServerCallbackCall::CallOnCancel(ServerReactor* reactor) {
  static const Real<void, ServerCallbackCall*, ServerReactor*> real(
      "_ZN4grpc8internal18ServerCallbackCall12CallOnCancelEPNS0_13ServerReactorE");
  Counters& counters = CountersOf(this);
  __tsan_acquire(&counters.before_cancel);
  real(this, new Cancelled(*reactor, counters));
}

void ServerCallbackCall::ScheduleOnDone(bool inline_ondone) {
  static const Real<void, ServerCallbackCall*, bool> real(
      "_ZN4grpc8internal18ServerCallbackCall14ScheduleOnDoneEb");
  __tsan_acquire(&CountersOf(this).before_done);
  real(this, inline_ondone);
}

}  // namespace grpc::internal

namespace grpc {

// A server counts its calls; Shutdown() waits for the last (src/cpp/server/server_cc.cc).
void Server::UnrefWithPossibleNotify() {
  static const Real<void, Server*> real("_ZN4grpc6Server23UnrefWithPossibleNotifyEv");
  __tsan_release(this);
  real(this);
}

void Server::UnrefAndWaitLocked() {
  static const Real<void, Server*> real("_ZN4grpc6Server18UnrefAndWaitLockedEv");
  real(this);
  __tsan_acquire(this);
}

}  // namespace grpc
