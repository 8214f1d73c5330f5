// SPDX-License-Identifier: Apache-2.0
//
// The life of an assignment as data: what is wanted (Intent, in the controller's store) and what is
// seen on the host (Observed, reported by the agent). They are two things and never one enum. Every
// change of either, in the controller and in the agent, is checked against these tables;
// tests/base/lifecycle_test.cc enumerates them.
#ifndef BERTH_LIB_BASE_LIFECYCLE_H_
#define BERTH_LIB_BASE_LIFECYCLE_H_

#include <cstdint>
#include <string_view>

#include "absl/types/span.h"

namespace berth {

// Numbers equal berth.v1.Assignment.Intent.
enum class Intent : uint8_t {
  kNone = 0,       // not in the store: before Create and after the last trace is gone
  kPending = 1,    // waits for capacity
  kPlaced = 2,     // has a host, units and devices
  kReleasing = 3,  // is to go
  kFailed = 4,     // could not be prepared anywhere; kept until deleted
};

// Numbers equal berth.v1.Assignment.Observed.
enum class Observed : uint8_t {
  kNone = 0,       // no agent has spoken of it
  kPreparing = 1,  // the grant is being built
  kPrepared = 2,   // a VMM may attach
  kAttached = 3,   // a VMM has the context
  kRecycling = 4,  // the VMM left; a fresh context is being built
  kScrubbing = 5,  // being torn down: reset, drain, scratch bind
  kOrphaned = 6,   // something out of reach pins the context; charged
  kDegraded = 7,   // a VMM runs, but the object ids inside its context are lost
  kGone = 8,       // nothing of it is left on the host
};

enum class Owner : uint8_t {
  kUser,        // a public RPC
  kController,  // placement, deadlines, the agent's reports
  kAgent,       // what happens on the host
  kVmm,         // attach, detach, death of the VMM
};

template <typename State>
struct Edge {
  State from;
  State to;
  Owner owner;
  std::string_view cause;
};

absl::Span<const Edge<Intent>> IntentEdges();
absl::Span<const Edge<Observed>> ObservedEdges();

// Whether the table has an edge from `from` to `to`. A state to itself is not a change: false.
bool IsAllowed(Intent from, Intent to);
bool IsAllowed(Observed from, Observed to);

std::string_view ToString(Intent intent);
std::string_view ToString(Observed observed);
std::string_view ToString(Owner owner);

// Whether an assignment in this state counts against its host's capacity.
bool IsCharged(Intent intent, Observed observed);

}  // namespace berth

#endif  // BERTH_LIB_BASE_LIFECYCLE_H_
