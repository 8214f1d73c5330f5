// SPDX-License-Identifier: Apache-2.0
//
// What waits for capacity: assignments by themselves, and gangs as a whole.
#ifndef BERTH_CTL_CONTROLLER_BOOK_WAITING_H_
#define BERTH_CTL_CONTROLLER_BOOK_WAITING_H_

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "berth/internal/v1/records.pb.h"

namespace berth {

// Ids of the assignments whose committed intent is PENDING. Not thread-safe.
class WaitingTable {
 public:
  using RecordPtr = std::shared_ptr<const internal::v1::AssignmentRecord>;

  // `before` and `now`: what is committed of the assignment `id`; null: nothing.
  void Update(const std::string& id, const RecordPtr& before, const RecordPtr& now);

  [[nodiscard]] const std::set<std::string>& ids() const { return ids_; }
  // Members of the waiting gang with that uid.
  [[nodiscard]] std::set<std::string> Gang(const std::string& uid) const;

 private:
  std::set<std::string> ids_;
  std::map<std::string, std::set<std::string>> gangs_;  // by uid
};

// Whether what was refused so could be placed at another time.
bool MayWait(const absl::Status& status);

// Whether `record` waits as a member of a gang.
bool WaitsInGang(const internal::v1::AssignmentRecord& record);

}  // namespace berth

#endif  // BERTH_CTL_CONTROLLER_BOOK_WAITING_H_
