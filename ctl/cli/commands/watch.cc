// SPDX-License-Identifier: Apache-2.0
#include "ctl/cli/commands/watch.h"

#include <google/protobuf/message.h>

#include <CLI/CLI.hpp>
#include <set>

#include "absl/strings/str_cat.h"
#include "ctl/cli/client.h"
#include "ctl/cli/watcher.h"
#include "lib/base/status.h"

namespace berth::cli {
namespace {

struct Options {
  std::vector<std::string> words;
  ViewFlags view;
};

// Which changes are shown.
class Selection {
 public:
  Selection(const ResourceType& type, Filter filter, std::set<std::string> names)
      : type_(type), filter_(std::move(filter)), names_(std::move(names)) {}

  std::vector<Change> Take(const WatchBatch& batch) {
    std::vector<Change> shown;
    for (Change change : batch.changes) {
      const std::string& name = type_.NameOf(*change.resource);
      if (!names_.empty() && !names_.contains(name)) continue;
      if (change.type == Change::Type::kPut && type_.Matches(*change.resource, filter_)) {
        shown_.insert(name);
      } else if (shown_.erase(name) > 0) {
        change.type = Change::Type::kDelete;
      } else {
        continue;
      }
      shown.push_back(std::move(change));
    }
    return shown;
  }

 private:
  const ResourceType& type_;
  const Filter filter_;
  const std::set<std::string> names_;
  std::set<std::string> shown_;
};

absl::Status RunWatch(const Options& options, Session& session) {
  BERTH_ASSIGN_OR_RETURN(const std::vector<Target> targets, ParseTargets(options.words));
  return WatchTargets(targets, options.view, session);
}

}  // namespace

absl::Status WatchTargets(const std::vector<Target>& targets, const ViewFlags& view,
                          Session& session) {
  const ResourceType& type = *targets[0].type;
  BERTH_ASSIGN_OR_RETURN(Filter filter, view.filter());
  BERTH_ASSIGN_OR_RETURN(Client * client, session.client(Session::Patience::kUnbounded));
  std::set<std::string> names;
  for (const Target& target : targets) {
    if (target.type != &type) return UsageError("one watch shows one type of resource");
    if (target.name.empty()) continue;
    // A name that does not exist is an error here as it is for `get`.
    BERTH_RETURN_IF_ERROR(type.Get(*client, target.name).status());
    names.insert(target.name);
  }
  WatchQuery query;
  if (names.size() == 1) query.name = *names.begin();
  query.detail = IsData(view.format) ? Detail::kEverything : Detail::kRow;
  Selection selection(type, std::move(filter), std::move(names));
  ChangeWriter writer(type, view.format, view.headers);
  bool answered = false;
  absl::Status status =
      WatchChanges(*client, type, std::move(query), session.err(), [&](const WatchBatch& batch) {
        answered = true;
        const std::vector<Change> shown = selection.Take(batch);
        session.out() << writer.Write(shown, session.now()) << std::flush;
        return session.out().good() ? Next::kContinue : Next::kStop;
      });
  const absl::Duration timeout = session.given_timeout();
  // The controller was not silent: it is the user who wanted no more.
  if (answered && absl::IsDeadlineExceeded(status) && timeout != absl::InfiniteDuration()) {
    return Error(Reason::kDeadlineExceeded,
                 absl::StrCat("watch ended after ", absl::FormatDuration(timeout), " (--timeout)"));
  }
  return status;
}

void AddWatch(CLI::App& app, Run* run) {
  auto [command, options] = AddCommand(
      app, "watch", "Show assignments or hosts, and every change of them", run, &RunWatch);
  AddTargets(command, &options->words);
  AddViewFlags(command, &options->view);
}

}  // namespace berth::cli
