// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_AGENT_GRANTS_VINTF_USE_H_
#define BERTH_AGENT_GRANTS_VINTF_USE_H_

#include <cstddef>
#include <functional>
#include <map>
#include <memory>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "lib/base/ids.h"

namespace berth {

// Which grants of this agent may have a VINTF of each unit, so that one that nobody has, and that
// the hardware does not give, is known to be lost. Thread-safe.
class VintfUse {
 public:
  // kMayHave: at most one, or about to take one; kHas: exactly one.
  enum class Share { kMayHave, kHas };

  // What `uid` has of `unit` from now on. Before it takes a VINTF it must have said so. Waits while
  // VINTFs of the unit are counted.
  void Take(const AssignmentUid& uid, const UnitId& unit, Share share);
  // `uid` has none any more, of any unit. Waits as Take().
  void Return(const AssignmentUid& uid);

  struct Others {
    int grants = 0;         // that may have one
    bool all_have = false;  // each of them has
  };
  // Calls `count` with the grants but `uid` while nobody comes to, or goes from, `unit`. Of the
  // VINTFs that are free `count` has to leave one to each that may have one. It must not call this
  // object.
  void Count(const AssignmentUid& uid, const UnitId& unit,
             const std::function<void(const Others&)>& count);

 private:
  struct Unit {
    absl::Mutex mu;
    std::map<AssignmentUid, Share> grants ABSL_GUARDED_BY(mu);
  };
  Unit& At(const UnitId& unit);

  absl::Mutex mu_;
  std::map<UnitId, std::unique_ptr<Unit>> units_ ABSL_GUARDED_BY(mu_);  // never shrinks
};

}  // namespace berth

#endif  // BERTH_AGENT_GRANTS_VINTF_USE_H_
