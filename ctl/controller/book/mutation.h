// SPDX-License-Identifier: Apache-2.0
//
// The shape of every mutation: once per request_id, decided under the fleet's mutex, answered when
// it is durable.
#ifndef BERTH_CTL_CONTROLLER_BOOK_MUTATION_H_
#define BERTH_CTL_CONTROLLER_BOOK_MUTATION_H_

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "ctl/controller/book/fleet.h"

namespace berth {

// What a mutation comes to.
template <typename Response>
struct Decision {
  // Nothing to store: the answer is `response` as it is (validate_only, or it was so already).
  bool store = true;
  ChangeSet changes;
  // Without what is known only after the commit: finish() adds that.
  Response response;
  // After the commit, on the store's thread, before the answer.
  std::function<void()> then;
  // When the store did not accept it; with the mutex held.
  std::function<void()> undo;
};

template <typename Response>
struct MutationSpec {
  std::string_view method;  // "CreateAssignment"
  const std::string* owner;
  const google::protobuf::Message* request;
  std::string request_id;                                      // empty: every call is a new one
  std::function<absl::StatusOr<Decision<Response>>()> decide;  // with the mutex held
  std::function<void(Response*, Revision)> finish;
  std::function<void(absl::StatusOr<Response>)> answer;
};

// `answer` may be called with the mutex held when it is called at once; it must not call the fleet.
template <typename Response>
void RunMutation(Fleet& fleet, const MutationSpec<Response>& spec) {
  absl::MutexLock lock(&fleet.mu);
  const absl::Time now = fleet.clock().Now();
  std::optional<RequestTable::Key> key;
  if (!spec.request_id.empty()) {
    key = RequestTable::MakeKey(*spec.owner, spec.method, spec.request_id, *spec.request);
    const auto replay = [answer = spec.answer,
                         finish = spec.finish](const RequestTable::Remembered& remembered) {
      Response response;
      response.ParseFromString(remembered.response);
      finish(&response, remembered.revision);
      answer(std::move(response));
    };
    absl::StatusOr<RequestTable::Turn> turn = fleet.requests.Begin(*key, now, replay);
    if (!turn.ok()) return spec.answer(turn.status());
    if (*turn == RequestTable::Turn::kHandled) return;
  }
  const auto abandon = [&]() ABSL_NO_THREAD_SAFETY_ANALYSIS {
    if (key.has_value()) fleet.requests.Abandon(*key);
  };

  absl::StatusOr<Decision<Response>> change = spec.decide();
  if (!change.ok() || !change->store) {
    abandon();
    return spec.answer(change.ok() ? absl::StatusOr<Response>(std::move(change->response))
                                   : change.status());
  }
  internal::v1::RequestRecord record;
  if (key.has_value()) {
    record.set_payload_hash(key->hash);
    record.set_response(change->response.SerializeAsString());
    *record.mutable_create_time() = ToTimestamp(now);
    change->changes.request_puts.push_back(
        {.key = {.kind = kRequestKind, .id = key->id}, .payload = record.SerializeAsString()});
  }
  // Every mutation sweeps a few, so that there are never many.
  constexpr size_t kSweep = 4;
  for (std::string& id : fleet.requests.TakeExpired(now, kSweep)) {
    if (key.has_value() && id == key->id) continue;
    change->changes.request_deletes.push_back({.kind = kRequestKind, .id = std::move(id)});
  }
  auto done = [&fleet, key, record, response = std::move(change->response),
               then = std::move(change->then), finish = spec.finish,
               answer = spec.answer](Revision revision) mutable {
    std::vector<RequestTable::Waiter> waiters;
    if (key.has_value()) {
      absl::MutexLock done_lock(&fleet.mu);
      waiters = fleet.requests.Complete(*key, record, revision);
    }
    if (then) then();
    finish(&response, revision);
    answer(std::move(response));
    for (const RequestTable::Waiter& waiter : waiters) {
      waiter({.response = record.response(), .revision = revision});
    }
  };
  if (absl::Status status = fleet.Submit(std::move(change->changes), std::move(done));
      !status.ok()) {
    abandon();
    if (change->undo) change->undo();
    spec.answer(status);
  }
}

}  // namespace berth

#endif  // BERTH_CTL_CONTROLLER_BOOK_MUTATION_H_
