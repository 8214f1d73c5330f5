// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_CTL_CONTROLLER_BOOK_ASSIGNMENT_BOOK_H_
#define BERTH_CTL_CONTROLLER_BOOK_ASSIGNMENT_BOOK_H_

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "berth/v1/assignment_service.pb.h"
#include "ctl/controller/book/fleet.h"
#include "ctl/controller/book/grant_tracker.h"
#include "ctl/controller/book/mutation.h"
#include "ctl/controller/book/token.h"

namespace berth {

// What users do with assignments. Authorisation is the caller's; `owner` is who calls. Thread-safe.
//
// Mutations answer through a callback: at once with an error that changed nothing, or on the
// store's thread when the change is durable. The callback must not call the book. Answers of Create
// and RotateToken carry the token.
class AssignmentBook {
 public:
  using Answer = std::function<void(absl::StatusOr<v1::Assignment>)>;
  using BatchAnswer = std::function<void(absl::StatusOr<v1::BatchCreateAssignmentsResponse>)>;

  // Creates of one atomic batch: they share a transaction of the store.
  static constexpr int kMaxAtomicBatch = 64;
  static constexpr int kMaxBatch = 128;

  struct Options {
    int64_t max_assignments = 1'000'000;
  };

  // All outlive the book.
  AssignmentBook(Fleet* fleet, GrantTracker* tracker, const TokenMaker* tokens, Options options)
      : fleet_(fleet), tracker_(tracker), tokens_(tokens), options_(options) {}

  void Create(const v1::CreateAssignmentRequest& request, const std::string& owner, Answer answer);
  void BatchCreate(const v1::BatchCreateAssignmentsRequest& request, const std::string& owner,
                   BatchAnswer answer);
  void Delete(const v1::DeleteAssignmentRequest& request, const std::string& owner, Answer answer);
  void Renew(const v1::RenewAssignmentRequest& request, const std::string& owner, Answer answer);
  void RotateToken(const v1::RotateTokenRequest& request, const std::string& owner, Answer answer);

  absl::StatusOr<v1::Assignment> Get(const v1::GetAssignmentRequest& request);
  absl::StatusOr<v1::ListAssignmentsResponse> List(const v1::ListAssignmentsRequest& request);
  absl::StatusOr<v1::ExplainPlacementResponse> Explain(const v1::ExplainPlacementRequest& request);

 private:
  using AssignmentChange = Decision<v1::Assignment>;

  // A record that is on its way into the book.
  struct Draft {
    std::string id;
    std::shared_ptr<internal::v1::AssignmentRecord> record;
  };
  // A valid one that is not placed yet.
  absl::StatusOr<Draft> MakeDraft(const v1::CreateAssignmentRequest& request,
                                  const std::string& owner)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(fleet_->mu);
  // Reserves the placement and notes it in the record. `use` is what else the owner is about to
  // hold; grows by it. QUOTA_EXCEEDED, with nothing reserved.
  absl::Status Charge(const placement::Placement& placement, const Draft& draft, QuotaUse* use)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(fleet_->mu);
  // Makes it PLACED, or PENDING when nothing fits and its spec says so.
  absl::Status PlaceOrQueue(const Draft& draft) ABSL_EXCLUSIVE_LOCKS_REQUIRED(fleet_->mu);
  void Release(const std::vector<Draft>& drafts) ABSL_EXCLUSIVE_LOCKS_REQUIRED(fleet_->mu);
  absl::StatusOr<std::string> NewId(const v1::CreateAssignmentRequest& request) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(fleet_->mu);
  absl::StatusOr<AssignmentChange> DecideCreate(const v1::CreateAssignmentRequest& request,
                                                const std::string& owner)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(fleet_->mu);
  static absl::StatusOr<placement::GangRequest> ToGang(
      const v1::BatchCreateAssignmentsRequest& request);
  absl::StatusOr<std::vector<Draft>> MakeDrafts(const v1::BatchCreateAssignmentsRequest& request,
                                                const std::string& owner)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(fleet_->mu);
  // Notes in each draft which gang it is a member of.
  static void MakeMembers(const placement::GangRequest& gang, const std::vector<Draft>& drafts);
  // Reserves a place for each, or for none: the engine's errors, QUOTA_EXCEEDED.
  absl::Status PlaceTogether(const placement::GangRequest& gang, const std::vector<Draft>& drafts)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(fleet_->mu);
  // Makes all of them wait for each other.
  void Queue(const absl::Status& why, const v1::BatchCreateAssignmentsRequest& request,
             const std::vector<Draft>& drafts) ABSL_EXCLUSIVE_LOCKS_REQUIRED(fleet_->mu);
  absl::StatusOr<Decision<v1::BatchCreateAssignmentsResponse>> DecideBatch(
      const v1::BatchCreateAssignmentsRequest& request, const std::string& owner)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(fleet_->mu);
  absl::StatusOr<AssignmentChange> DecideDelete(const v1::DeleteAssignmentRequest& request)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(fleet_->mu);
  absl::StatusOr<AssignmentChange> DecideRenew(const v1::RenewAssignmentRequest& request)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(fleet_->mu);
  absl::StatusOr<AssignmentChange> DecideRotate(const v1::RotateTokenRequest& request)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(fleet_->mu);
  void IndependentBatch(const v1::BatchCreateAssignmentsRequest& request, const std::string& owner,
                        BatchAnswer answer);
  // The entry that a mutation is about, by name and etag. NOT_FOUND, ETAG_MISMATCH.
  absl::StatusOr<AssignmentEntry*> FindForChange(const std::string& id, const std::string& etag)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(fleet_->mu);
  // A change to `record` of the entry `id`, of which its host is told.
  AssignmentChange ReplaceRecord(const std::string& id, const AssignmentRecordPtr& record)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(fleet_->mu);
  void AddToken(v1::Assignment* assignment) const;

  Fleet* const fleet_;
  GrantTracker* const tracker_;
  const TokenMaker* const tokens_;
  const Options options_;
};

// "assignments/x" -> "x". INVALID_FIELD when it is no such name.
absl::StatusOr<std::string> ParseAssignmentName(const std::string& name);

}  // namespace berth

#endif  // BERTH_CTL_CONTROLLER_BOOK_ASSIGNMENT_BOOK_H_
