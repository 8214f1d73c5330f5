// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_AGENT_INVENTORY_EVENT_HEALTH_H_
#define BERTH_AGENT_INVENTORY_EVENT_HEALTH_H_

#include <cstdint>
#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "agent/grants/event_news.h"
#include "berth/v1/device.pb.h"
#include "lib/base/clock.h"
#include "lib/base/ids.h"

namespace berth {

// Conditions of devices and units that come from the event queues of grants.
//
// What a guest can cause is a condition of its own device, or says on the unit whose queue it was,
// and never a taint: a guest that faults on purpose, or that lets its events overflow, would
// otherwise keep everybody else off the unit. Records that the kernel garbles no guest can cause:
// they taint the unit, until the grant that met them has gone and the next one gets queues anew.
//
// Thread-safe. Bounded by the devices and units that grants hold.
class EventHealth {
 public:
  static constexpr char kUnreadableTaint[] = "berth/events-unreadable";
  // What a guest has caused is over when nothing more of it came for so long, or when it reset
  // itself or left.
  static constexpr absl::Duration kQuiet = absl::Minutes(5);
  // A condition that stands tells a new count once in so long: each change of an inventory is
  // stored by the controller.
  static constexpr absl::Duration kRetell = absl::Minutes(1);

  explicit EventHealth(Clock* clock) : clock_(clock) {}  // outlives it

  // Returns whether a taint came.
  bool Note(const AssignmentUid& by, const std::vector<EventNews>& news);
  // All that came of a grant is over. Returns whether a taint went.
  bool Forget(const AssignmentUid& by);
  // The kernel behind all of it has ended.
  void Clear();
  // Ends what was quiet for long enough. Call it before what is shown is built anew.
  void Review();

  void AddTo(v1::Unit* unit) const;
  void AddTo(v1::Device* device) const;

 private:
  struct Key {
    AssignmentUid by;
    EventNews::Kind kind;
    std::string subject;  // a device's or a unit's id
    bool operator<(const Key& other) const {
      return std::tie(by, kind, subject) < std::tie(other.by, other.kind, other.subject);
    }
  };
  struct Entry {
    uint64_t count = 0;
    std::string last;
    absl::Time since;
    absl::Time latest;
    absl::Time told;  // when `shown` was made
    std::string shown;
  };
  void NoteOne(const Key& key, const EventNews& news, absl::Time now)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // The condition that all entries of a kind about `subject` make, if there are any.
  void AddCondition(EventNews::Kind kind, const std::string& subject,
                    google::protobuf::RepeatedPtrField<v1::Condition>* conditions) const
      ABSL_SHARED_LOCKS_REQUIRED(mu_);

  Clock* const clock_;
  mutable absl::Mutex mu_;
  std::map<Key, Entry> entries_ ABSL_GUARDED_BY(mu_);
};

}  // namespace berth

#endif  // BERTH_AGENT_INVENTORY_EVENT_HEALTH_H_
