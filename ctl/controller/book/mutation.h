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
#include "lib/config/timestamp.h"

namespace berth {

// What a mutation comes to.
template <typename Response>
struct Decision {
  // False: nothing changes, because it was asked for validation only, or is so already. The answer
  // is `response` as it is, and remembered under its request_id.
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
  // Adds what follows from the commit, where the decision has not said it: etag, token.
  std::function<void(Response*, Revision)> finish;
  std::function<void(absl::StatusOr<Response>)> answer;
};

// The etag of a resource that the commit of `revision` changed. One that has an etag was not
// changed by it, and one without a name is an empty answer.
template <typename Resource>
void FinishEtag(Resource* resource, Revision revision) {
  if (resource->name().empty() || !resource->etag().empty()) return;
  resource->set_etag(MakeEtag(revision));
}

// Answers one who waited for the first call of the same request_id, or came after it.
template <typename Response>
auto Replay(const MutationSpec<Response>& spec) {
  return [answer = spec.answer,
          finish = spec.finish](const absl::StatusOr<RequestTable::Remembered>& remembered) {
    if (!remembered.ok()) return answer(remembered.status());
    Response response;
    response.ParseFromString(remembered->response);
    finish(&response, remembered->revision);
    answer(std::move(response));
  };
}

// What happens when the commit is durable; takes the answer out of `decision`.
template <typename Response>
auto WhenCommitted(Fleet& fleet, const MutationSpec<Response>& spec,
                   std::optional<RequestTable::Key> key, internal::v1::RequestRecord record,
                   Decision<Response>& decision) {
  return [&fleet, key = std::move(key), record = std::move(record),
          response = std::move(decision.response), then = std::move(decision.then),
          finish = spec.finish, answer = spec.answer](Revision revision) mutable {
    std::vector<RequestTable::Waiter> waiters;
    if (key.has_value()) {
      absl::MutexLock lock(&fleet.mu);
      waiters = fleet.requests.Complete(*key, record, revision);
    }
    if (then) then();
    finish(&response, revision);
    answer(std::move(response));
    for (const RequestTable::Waiter& waiter : waiters) {
      waiter(RequestTable::Remembered{.response = record.response(), .revision = revision});
    }
  };
}

template <typename Response>
auto WhenNotCommitted(Fleet& fleet, const MutationSpec<Response>& spec,
                      std::optional<RequestTable::Key> key) {
  return [&fleet, key = std::move(key), answer = spec.answer](const absl::Status& status) {
    std::vector<RequestTable::Waiter> waiters;
    if (key.has_value()) {
      absl::MutexLock lock(&fleet.mu);
      waiters = fleet.requests.Abandon(*key);
    }
    answer(status);
    for (const RequestTable::Waiter& waiter : waiters) waiter(status);
  };
}

// A refusal that a client may take for the end of it: that what it wanted gone or there is so. An
// answer that only says "not now" may be out of date.
inline bool IsConclusive(const absl::Status& refusal) {
  return absl::IsNotFound(refusal) || absl::IsAlreadyExists(refusal);
}

// Answers what changes nothing, when an empty commit has proved that this controller still leads:
// one that was paused does not know what others have done since, until its store tells it.
template <typename Response>
void AnswerWhenProved(Fleet& fleet, const MutationSpec<Response>& spec,
                      absl::StatusOr<Response> result) ABSL_EXCLUSIVE_LOCKS_REQUIRED(fleet.mu) {
  const absl::Status status = fleet.Submit(
      {}, [answer = spec.answer, result = std::move(result)](Revision) { answer(result); },
      [answer = spec.answer](const absl::Status& failure) { answer(failure); });
  if (!status.ok()) spec.answer(status);
}

// `answer` may be called with the mutex held when it is called at once; it must not call the fleet.
template <typename Response>
void RunMutation(Fleet& fleet, const MutationSpec<Response>& spec) {
  absl::MutexLock lock(&fleet.mu);
  if (absl::Status status = fleet.CheckWritable(); !status.ok()) return spec.answer(status);
  const absl::Time now = fleet.clock().Now();
  std::optional<RequestTable::Key> key;
  if (!spec.request_id.empty()) {
    key = RequestTable::MakeKey(*spec.owner, spec.method, spec.request_id, *spec.request);
    absl::StatusOr<RequestTable::Turn> turn = fleet.requests.Begin(*key, now, Replay(spec));
    if (!turn.ok()) return spec.answer(turn.status());
    if (*turn == RequestTable::Turn::kHandled) return;
  }
  const auto abandon = [&]() ABSL_NO_THREAD_SAFETY_ANALYSIS {
    // Nobody waits yet: the mutex has been held since Begin().
    if (key.has_value()) (void)fleet.requests.Abandon(*key);
  };

  absl::StatusOr<Decision<Response>> change = spec.decide();
  if (!change.ok()) {
    abandon();
    if (!IsConclusive(change.status())) return spec.answer(change.status());
    return AnswerWhenProved<Response>(fleet, spec, change.status());
  }
  if (!change->store && !key.has_value()) {
    return AnswerWhenProved<Response>(fleet, spec, std::move(change->response));
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
  const std::vector<std::string> expired = fleet.requests.Expired(now, kSweep);
  for (const std::string& id : expired) {
    if (key.has_value() && id == key->id) continue;
    change->changes.request_deletes.push_back({.kind = kRequestKind, .id = id});
  }
  absl::Status status = fleet.Submit(std::move(change->changes),
                                     WhenCommitted(fleet, spec, key, std::move(record), *change),
                                     WhenNotCommitted(fleet, spec, key));
  if (status.ok()) return fleet.requests.Drop(expired);
  abandon();
  if (change->undo) change->undo();
  spec.answer(status);
}

}  // namespace berth

#endif  // BERTH_CTL_CONTROLLER_BOOK_MUTATION_H_
