// SPDX-License-Identifier: Apache-2.0
#include "ctl/cli/watcher.h"

#include <google/protobuf/message.h>

#include <algorithm>
#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
#include "lib/base/absl_view.h"
#include "lib/base/status.h"

namespace berth::cli {
namespace {

constexpr int kMaxFruitlessStreams = 10;
constexpr absl::Duration kMaxBackoff = absl::Seconds(5);
// How often a wait starts from the present state again because its position is lost.
constexpr int kMaxRestarts = 5;

// One wait: what is known of the resource, and the verdict once there is one.
class Waiter {
 public:
  Waiter(const Target& target, const Goal& goal) : target_(target), goal_(goal) {}

  // From the present state.
  absl::Status Run(Client& client, std::ostream& notes) {
    const ResourceType& type = *target_.type;
    // What the Get below shows is not older than this position, so nothing is missed in between.
    BERTH_ASSIGN_OR_RETURN(std::string token, type.Position(client));
    const auto resource = type.Get(client, target_.name);
    if (absl::IsNotFound(resource.status()) && goal_.deleted) return absl::OkStatus();
    BERTH_RETURN_IF_ERROR(resource.status());
    Take(**resource);
    if (verdict_.has_value()) return *verdict_;
    const absl::Status status =
        WatchChanges(client, type, {.name = target_.name, .token = std::move(token)}, notes,
                     [this](const WatchBatch& batch) {
                       for (const Change& change : batch.changes) Take(change);
                       return verdict_.has_value() ? Next::kStop : Next::kContinue;
                     });
    return verdict_.value_or(status);
  }

  absl::Status TimedOut() const {
    return Error(Reason::kDeadlineExceeded,
                 absl::StrCat("timed out waiting for ", target_.Label(), " to become ", goal_.text,
                              state_.empty() ? "" : absl::StrCat("; it is ", state_)));
  }

 private:
  void Take(const Change& change) {
    if (verdict_.has_value() || target_.type->NameOf(*change.resource) != target_.name) return;
    // Another resource of the same name is not the one that is waited for.
    if (change.type == Change::Type::kDelete || target_.type->UidOf(*change.resource) != uid_) {
      verdict_ =
          goal_.deleted
              ? absl::OkStatus()
              : Error(Reason::kNotFound,
                      absl::StrCat(target_.Label(), " was deleted before it became ", goal_.text));
      return;
    }
    Take(*change.resource);
  }

  void Take(const google::protobuf::Message& resource) {
    uid_ = target_.type->UidOf(resource);
    state_ = target_.type->StateOf(resource);
    if (goal_.deleted) return;
    const absl::StatusOr<bool> reached = goal_.reached(resource);
    if (!reached.ok()) {
      verdict_ = reached.status();
    } else if (*reached) {
      verdict_ = absl::OkStatus();
    }
  }

  const Target& target_;
  const Goal& goal_;
  std::string uid_;
  std::string state_;
  std::optional<absl::Status> verdict_;
};

bool LostItsPosition(const absl::Status& status) {
  const Reason reason = ReasonOf(status);
  return reason == Reason::kRevisionCompacted || reason == Reason::kRevisionUnknown ||
         reason == Reason::kWatchOverflow;
}

}  // namespace

absl::Status WatchChanges(Client& client, const ResourceType& type, WatchQuery query,
                          std::ostream& notes,
                          const std::function<Next(const WatchBatch&)>& on_batch) {
  absl::Duration backoff = client.first_backoff();
  for (int fruitless = 0;;) {
    bool stopped = false;
    absl::Status status = type.Watch(client, query, [&](const WatchBatch& batch) {
      fruitless = 0;
      backoff = client.first_backoff();
      if (!batch.token.empty()) query.token = batch.token;
      const Next next = on_batch(batch);
      stopped = next == Next::kStop;
      return next;
    });
    if (stopped) return absl::OkStatus();
    if (!status.ok() && !absl::IsUnavailable(status)) return status;
    const std::string why =
        status.ok() ? "the controller has ended it" : std::string(status.message());
    if (++fruitless == kMaxFruitlessStreams) {
      return Error(Reason::kUnavailable, absl::StrCat("the watch is lost: ", why));
    }
    notes << "watch interrupted (" << why << "); resuming" << std::endl;
    client.Pause(backoff);
    backoff = std::min(backoff * 2, kMaxBackoff);
  }
}

absl::Status WaitFor(Client& client, const Target& target, const Goal& goal, std::ostream& notes) {
  Waiter waiter(target, goal);
  absl::Status status;
  for (int i = 0; i < kMaxRestarts; ++i) {
    status = waiter.Run(client, notes);
    if (!LostItsPosition(status)) break;
  }
  return absl::IsDeadlineExceeded(status) ? waiter.TimedOut() : status;
}

}  // namespace berth::cli
