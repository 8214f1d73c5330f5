// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_CTL_CONTROLLER_BOOK_QUOTA_BOOK_H_
#define BERTH_CTL_CONTROLLER_BOOK_QUOTA_BOOK_H_

#include <functional>
#include <string>

#include "absl/status/statusor.h"
#include "berth/v1/quota_service.pb.h"
#include "ctl/controller/book/fleet.h"
#include "ctl/controller/book/grant_tracker.h"
#include "ctl/controller/book/mutation.h"

namespace berth {

// What operators do with quotas. Authorisation is the caller's; `caller` is who
// calls. Thread-safe. Mutations answer as those of AssignmentBook. What is held
// already stays when a quota is lowered; what waits is placed when one is
// raised.
class QuotaBook {
 public:
  using Answer = std::function<void(absl::StatusOr<v1::Quota>)>;

  static constexpr size_t kMaxQuotas = 100'000;

  // Both outlive the book.
  QuotaBook(Fleet* fleet, GrantTracker* tracker) : fleet_(fleet), tracker_(tracker) {}

  absl::StatusOr<v1::Quota> Get(const v1::GetQuotaRequest& request);
  absl::StatusOr<v1::ListQuotasResponse> List(const v1::ListQuotasRequest& request);
  void Update(const v1::UpdateQuotaRequest& request, const std::string& caller, Answer answer);
  void Delete(const v1::DeleteQuotaRequest& request, const std::string& caller, Answer answer);

 private:
  absl::StatusOr<Decision<v1::Quota>> DecideUpdate(const v1::UpdateQuotaRequest& request)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(fleet_->mu);
  absl::StatusOr<Decision<v1::Quota>> DecideDelete(const v1::DeleteQuotaRequest& request)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(fleet_->mu);
  // ETAG_MISMATCH unless `etag` is empty or that of the entry (nullptr: there
  // is none).
  static absl::Status CheckEtag(const QuotaTable::Entry* entry, const v1::Quota& named,
                                const std::string& etag);
  // With what is used.
  v1::Quota Render(const internal::v1::QuotaRecord& record) const
      ABSL_SHARED_LOCKS_REQUIRED(fleet_->mu);

  Fleet* const fleet_;
  GrantTracker* const tracker_;
};

}  // namespace berth

#endif  // BERTH_CTL_CONTROLLER_BOOK_QUOTA_BOOK_H_
