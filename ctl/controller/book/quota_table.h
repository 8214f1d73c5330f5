// SPDX-License-Identifier: Apache-2.0
//
// What each owner holds, and may hold.
#ifndef BERTH_CTL_CONTROLLER_BOOK_QUOTA_TABLE_H_
#define BERTH_CTL_CONTROLLER_BOOK_QUOTA_TABLE_H_

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "berth/internal/v1/records.pb.h"
#include "berth/v1/assignment.pb.h"
#include "berth/v1/quota_service.pb.h"
#include "lib/store/store.h"

namespace berth {

using QuotaRecordPtr = std::shared_ptr<const internal::v1::QuotaRecord>;

// VINTFs, one for each unit touched, and devices, those that only travel with
// their IOMMU group included.
struct QuotaUse {
  int64_t vintfs = 0;
  std::map<std::string, int64_t> devices;  // by class

  QuotaUse& operator+=(const QuotaUse& other);
  QuotaUse& operator-=(const QuotaUse& other);
};

// What a placed assignment holds; nothing when it is not placed.
QuotaUse UseOf(const v1::Assignment& assignment);

// Not thread-safe.
class QuotaTable {
 public:
  // As AssignmentEntry (fleet.h).
  struct Entry {
    QuotaRecordPtr committed;
    QuotaRecordPtr latest;
    Revision revision = 0;
  };
  // By id: OwnerElement() of the owner. Changed by the fleet, with the store.
  std::map<std::string, Entry> entries;
  // The same of quotas whose records were left out: nobody knows the limits, so that their owners
  // get no more until a quota is set, or deleted.
  std::set<std::string> unreadable;

  void Add(const std::string& owner, const QuotaUse& use);
  void Remove(const std::string& owner, const QuotaUse& use);
  QuotaUse UsedBy(const std::string& owner) const;

  // Whether the owner may hold `more` besides what it has. QUOTA_EXCEEDED, with
  // metadata "owner", "limit" ("vintfs" or "devices/{class}"), "max", "used",
  // "wanted". What does not grow may be above a limit that was lowered.
  absl::Status Check(const std::string& owner, const QuotaUse& more) const;

 private:
  absl::flat_hash_map<std::string, QuotaUse> used_;
};

}  // namespace berth

#endif  // BERTH_CTL_CONTROLLER_BOOK_QUOTA_TABLE_H_
