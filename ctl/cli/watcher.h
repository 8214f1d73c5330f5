// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_CTL_CLI_WATCHER_H_
#define BERTH_CTL_CLI_WATCHER_H_

#include <functional>
#include <ostream>

#include "absl/status/status.h"
#include "ctl/cli/resource.h"

namespace berth::cli {

// Watches as `query` says until `on_batch` says kStop (OK then). A stream that ends or is lost is
// opened again where it was, at the next controller if need be; `notes` gets a line about it.
// kUnavailable after ten attempts that brought nothing; all other errors at once, those of
// positions that are too old (kRevisionCompacted) among them.
absl::Status WatchChanges(Client& client, const ResourceType& type, WatchQuery query,
                          std::ostream& notes,
                          const std::function<Next(const WatchBatch&)>& on_batch);

// Waits until the goal is reached, by watching. Errors: kNotFound when there is no such resource or
// it goes away meanwhile (unless that is the goal), what the goal says when there is no hope,
// kDeadlineExceeded with the state that it is in, and those of WatchChanges().
absl::Status WaitFor(Client& client, const Target& target, const Goal& goal, std::ostream& notes);

}  // namespace berth::cli

#endif  // BERTH_CTL_CLI_WATCHER_H_
