// SPDX-License-Identifier: Apache-2.0
#include "lib/base/lifecycle.h"

#include <algorithm>
#include <cstdlib>

namespace berth {
namespace {

constexpr Edge<Intent> kIntentEdges[] = {
    {Intent::kNone, Intent::kPlaced, Owner::kUser, "Create, and a host fits"},
    {Intent::kNone, Intent::kPending, Owner::kUser, "Create with QUEUE, and nothing fits"},
    {Intent::kPending, Intent::kPlaced, Owner::kController, "capacity came"},
    {Intent::kPending, Intent::kNone, Owner::kUser,
     "Delete, or its lease is over: no host knows of it"},
    {Intent::kPlaced, Intent::kPending, Owner::kController,
     "prepare failed, nobody attached, nothing else fits, and it may wait"},
    {Intent::kPlaced, Intent::kFailed, Owner::kController,
     "prepare failed on three hosts or no other fits, or its host is gone"},
    {Intent::kPlaced, Intent::kReleasing, Owner::kUser,
     "Delete, a deadline of its spec, or an eviction"},
    {Intent::kFailed, Intent::kReleasing, Owner::kUser,
     "Delete while a host still holds something"},
    {Intent::kFailed, Intent::kNone, Owner::kUser,
     "Delete, or its lease is over, and no host holds anything"},
    {Intent::kReleasing, Intent::kNone, Owner::kController,
     "the agent reported GONE, or its host is gone"},
};

constexpr Edge<Observed> kObservedEdges[] = {
    {Observed::kNone, Observed::kPreparing, Owner::kController, "desired by the controller"},
    {Observed::kPreparing, Observed::kPrepared, Owner::kAgent, "every step succeeded"},
    {Observed::kPreparing, Observed::kGone, Owner::kAgent, "a step failed and all were undone"},
    {Observed::kPreparing, Observed::kScrubbing, Owner::kController, "released while preparing"},
    {Observed::kPrepared, Observed::kAttached, Owner::kVmm, "a VMM showed the token"},
    {Observed::kPrepared, Observed::kScrubbing, Owner::kController,
     "released before anybody attached"},
    {Observed::kPrepared, Observed::kPreparing, Owner::kAgent,
     "the kernel behind the context ended"},
    {Observed::kAttached, Observed::kRecycling, Owner::kVmm, "detach, or the VMM died"},
    {Observed::kAttached, Observed::kScrubbing, Owner::kVmm,
     "detach or death while being released"},
    {Observed::kAttached, Observed::kDegraded, Owner::kAgent, "journal lost"},
    {Observed::kAttached, Observed::kOrphaned, Owner::kAgent, "fd store lost"},
    {Observed::kAttached, Observed::kPreparing, Owner::kAgent,
     "the kernel behind the context ended"},
    {Observed::kRecycling, Observed::kPreparing, Owner::kAgent, "the old context is gone"},
    {Observed::kRecycling, Observed::kScrubbing, Owner::kController, "released while recycling"},
    {Observed::kRecycling, Observed::kOrphaned, Owner::kAgent, "a holder that nobody can reach"},
    {Observed::kDegraded, Observed::kScrubbing, Owner::kVmm, "the VMM ended"},
    {Observed::kDegraded, Observed::kOrphaned, Owner::kAgent, "a holder that nobody can reach"},
    {Observed::kScrubbing, Observed::kGone, Owner::kAgent,
     "VINTF destroyed, devices reset and rebindable"},
    {Observed::kScrubbing, Observed::kOrphaned, Owner::kAgent, "a holder that nobody can reach"},
    {Observed::kOrphaned, Observed::kScrubbing, Owner::kAgent, "the scratch bind succeeded"},
    {Observed::kGone, Observed::kPreparing, Owner::kController, "placed on this host anew"},
};

template <typename State>
bool Has(absl::Span<const Edge<State>> edges, State from, State to) {
  return std::any_of(edges.begin(), edges.end(),
                     [&](const Edge<State>& edge) { return edge.from == from && edge.to == to; });
}

}  // namespace

absl::Span<const Edge<Intent>> IntentEdges() { return kIntentEdges; }
absl::Span<const Edge<Observed>> ObservedEdges() { return kObservedEdges; }

bool IsAllowed(Intent from, Intent to) { return Has(IntentEdges(), from, to); }
bool IsAllowed(Observed from, Observed to) { return Has(ObservedEdges(), from, to); }

std::string_view ToString(Intent intent) {
  switch (intent) {
    case Intent::kNone:
      return "NONE";
    case Intent::kPending:
      return "PENDING";
    case Intent::kPlaced:
      return "PLACED";
    case Intent::kReleasing:
      return "RELEASING";
    case Intent::kFailed:
      return "FAILED";
  }
  std::abort();
}

std::string_view ToString(Observed observed) {
  switch (observed) {
    case Observed::kNone:
      return "NONE";
    case Observed::kPreparing:
      return "PREPARING";
    case Observed::kPrepared:
      return "PREPARED";
    case Observed::kAttached:
      return "ATTACHED";
    case Observed::kRecycling:
      return "RECYCLING";
    case Observed::kScrubbing:
      return "SCRUBBING";
    case Observed::kOrphaned:
      return "ORPHANED";
    case Observed::kDegraded:
      return "DEGRADED";
    case Observed::kGone:
      return "GONE";
  }
  std::abort();
}

std::string_view ToString(Owner owner) {
  switch (owner) {
    case Owner::kUser:
      return "user";
    case Owner::kController:
      return "controller";
    case Owner::kAgent:
      return "agent";
    case Owner::kVmm:
      return "VMM";
  }
  std::abort();
}

bool IsCharged(Intent intent, Observed observed) {
  switch (intent) {
    case Intent::kNone:
    case Intent::kPending:
      return false;
    case Intent::kPlaced:
    case Intent::kReleasing:
      return true;
    // A failed prepare was undone; until the host says so its parts may still be held.
    case Intent::kFailed:
      return observed != Observed::kGone && observed != Observed::kNone;
  }
  std::abort();
}

}  // namespace berth
