// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_CTL_CONTROLLER_BOOK_REQUEST_TABLE_H_
#define BERTH_CTL_CONTROLLER_BOOK_REQUEST_TABLE_H_

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "berth/internal/v1/records.pb.h"
#include "lib/store/store.h"

namespace google::protobuf {
class Message;
}  // namespace google::protobuf

namespace berth {

inline constexpr absl::Duration kRequestRetention = absl::Hours(24);
inline constexpr size_t kMaxRequestsPerOwner = 100'000;

// An owner is whatever its certificate says; in a record id it must be one short path element, and
// never that of another owner.
std::string OwnerElement(std::string_view owner);

// Which request has been answered with what. Makes mutations idempotent: the first call with an id
// does the work, those that come meanwhile wait for its answer, later ones get it from here.
// Failures are not remembered. Not thread-safe.
class RequestTable {
 public:
  // The serialised answer as it was stored, and the revision of its commit.
  struct Remembered {
    std::string response;
    Revision revision = 0;
  };
  // Given the answer, or why there will be none.
  using Waiter = std::function<void(const absl::StatusOr<Remembered>&)>;

  // What a call is recognised by.
  struct Key {
    std::string id;  // owner/method/request_id: the id of its record
    std::string owner;
    std::string hash;  // of the payload
  };
  // `request` without its field request_id is what is hashed.
  static Key MakeKey(std::string_view owner, std::string_view method, std::string_view request_id,
                     const google::protobuf::Message& request);

  enum class Turn {
    kDoIt,    // the caller does the work and then calls Complete() or Abandon()
    kHandled  // `waiter` is called with the answer: now, or when it is there
  };
  // Errors: REQUEST_ID_REUSED; OVERLOADED (too many of this owner are remembered).
  absl::StatusOr<Turn> Begin(const Key& key, absl::Time now, Waiter waiter);

  // The work is durable. Returns those who wait for the answer; call them without locks.
  std::vector<Waiter> Complete(const Key& key, internal::v1::RequestRecord record,
                               Revision revision);
  // The work failed: the next call with this id starts anew. Returns as Complete().
  std::vector<Waiter> Abandon(const Key& key);

  // A record from the store.
  void Restore(const std::string& id, internal::v1::RequestRecord record, Revision revision);
  // Up to `limit` ids that are older than the retention: to be deleted from the store, and when
  // that has been accepted, dropped here.
  std::vector<std::string> Expired(absl::Time now, size_t limit);
  void Drop(const std::vector<std::string>& ids);

  size_t size() const { return completed_.size(); }

 private:
  std::vector<Waiter> TakeWaiters(const Key& key);

  struct InFlight {
    std::string hash;
    std::vector<Waiter> waiters;
  };
  struct Completed {
    internal::v1::RequestRecord record;
    Revision revision = 0;
  };

  absl::flat_hash_map<std::string, Completed> completed_;
  absl::flat_hash_map<std::string, InFlight> in_flight_;
  absl::flat_hash_map<std::string, size_t> per_owner_;
  std::multimap<int64_t, std::string> by_age_;  // seconds -> id
};

}  // namespace berth

#endif  // BERTH_CTL_CONTROLLER_BOOK_REQUEST_TABLE_H_
