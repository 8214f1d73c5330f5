// SPDX-License-Identifier: Apache-2.0
#include "ctl/controller/daemon/store_commands.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>
#include <ostream>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "ctl/controller/book/check_store.h"
#include "ctl/controller/daemon/controller_config.h"
#include "ctl/controller/daemon/open_store.h"
#include "lib/base/status.h"
#include "lib/config/config.h"
#include "lib/store/backup/backup_file.h"

namespace berth {
namespace {

using internal::v1::ControllerConfig;
using IfExists = StoreMedium::IfExists;

struct StoreArguments {
  std::string file;       // of backup and restore
  std::string to_config;  // of migrate
  bool replace = false;

  [[nodiscard]] IfExists if_exists() const {
    return replace ? IfExists::kReplace : IfExists::kRefuse;
  }
};

struct Source {
  const ControllerConfig* config;
  Clock* clock;

  [[nodiscard]] absl::StatusOr<std::unique_ptr<StoreMedium>> Medium() const {
    return StoreMediumOf(*config, clock);
  }
};

std::string Text(const StoreEpoch& epoch) {
  return absl::StrCat(epoch.uid, ", restored ", epoch.restore_count, " times, term ", epoch.term);
}

// A whole store: what is not there cannot be found again later.
absl::StatusOr<StoreSnapshot> ReadWhole(StoreMedium& medium) {
  absl::Status broken;
  size_t count = 0;
  BERTH_ASSIGN_OR_RETURN(StoreSnapshot snapshot,
                         medium.Read([&](const RecordKey&, const absl::Status& why) {
                           if (count++ == 0) broken = why;
                         }));
  if (count == 0) return snapshot;
  return Annotate(broken, absl::StrCat(medium.Name(), ": ", count,
                                       " records cannot be read (see store check), the first"));
}

absl::Status Check(const Source& source, std::ostream& out) {
  BERTH_ASSIGN_OR_RETURN(const std::unique_ptr<StoreMedium> medium, source.Medium());
  BERTH_ASSIGN_OR_RETURN(const StoreReport report, CheckStore(*medium, source.clock));
  out << "store:       " << medium->Name() << "\n"
      << "epoch:       " << Text(report.epoch) << "\n"
      << "revision:    " << report.revision << "\n"
      << "assignments: " << report.assignments << "\n"
      << "hosts:       " << report.hosts << "\n"
      << "requests:    " << report.requests << "\n";
  for (const std::string& problem : report.problems) out << "problem:     " << problem << "\n";
  if (report.problems.empty()) {
    out << "ok\n";
    return absl::OkStatus();
  }
  return Error(Reason::kStoreCorrupt, absl::StrCat(report.problems.size(),
                                                   " problems; a controller leaves out the records"
                                                   " that are named"));
}

absl::Status MakeBackup(const Source& source, const StoreArguments& arguments, std::ostream& out) {
  BERTH_ASSIGN_OR_RETURN(const std::unique_ptr<StoreMedium> medium, source.Medium());
  BERTH_ASSIGN_OR_RETURN(StoreSnapshot snapshot, ReadWhole(*medium));
  const Backup backup{
      .snapshot = std::move(snapshot),
      .created = source.clock->Now(),
      .made_by = absl::StrCat("berth-controller ", Version(), " from ", medium->Name())};
  BERTH_RETURN_IF_ERROR(WriteBackup(arguments.file, backup));
  out << arguments.file << ": " << backup.snapshot.records.size() << " records at revision "
      << backup.snapshot.revision << " of " << Text(backup.snapshot.epoch) << "\n";
  return absl::OkStatus();
}

// Agents refuse what is older than they have heard, so the new history must count as newer than
// what the store in this place has told them since `snapshot` was taken.
StoreEpoch NextEpoch(const StoreEpoch& from, StoreMedium& to) {
  StoreEpoch epoch = from;
  const auto there = to.Read([](const RecordKey&, const absl::Status&) {});
  if (there.ok() && there->epoch.uid == from.uid) {
    epoch.restore_count = std::max(epoch.restore_count, there->epoch.restore_count);
    epoch.term = std::max(epoch.term, there->epoch.term);
  }
  ++epoch.restore_count;
  return epoch;
}

absl::Status WriteNext(StoreSnapshot snapshot, StoreMedium& to, IfExists if_exists,
                       std::ostream& out) {
  snapshot.epoch = NextEpoch(snapshot.epoch, to);
  const absl::Status written = to.Write(snapshot, if_exists);
  if (ReasonOf(written) == Reason::kAlreadyExists) {
    return Annotate(written, "give --replace to put it in its place");
  }
  BERTH_RETURN_IF_ERROR(written);
  out << to.Name() << ": " << snapshot.records.size() << " records at revision "
      << snapshot.revision << "; now " << Text(snapshot.epoch) << "\n";
  return absl::OkStatus();
}

absl::Status Restore(const Source& source, const StoreArguments& arguments, std::ostream& out) {
  BERTH_ASSIGN_OR_RETURN(const std::unique_ptr<StoreMedium> medium, source.Medium());
  BERTH_ASSIGN_OR_RETURN(Backup backup, ReadBackup(arguments.file));
  out << arguments.file << ": made "
      << absl::FormatTime(absl::RFC3339_sec, backup.created, absl::UTCTimeZone()) << " by "
      << backup.made_by << "\n";
  return WriteNext(std::move(backup.snapshot), *medium, arguments.if_exists(), out);
}

absl::Status Migrate(const Source& source, const StoreArguments& arguments, std::ostream& out) {
  ControllerConfig config;
  BERTH_RETURN_IF_ERROR(LoadYamlFile(arguments.to_config, &config));
  BERTH_RETURN_IF_ERROR(FinishControllerConfig(arguments.to_config, &config));
  BERTH_ASSIGN_OR_RETURN(const std::unique_ptr<StoreMedium> from, source.Medium());
  BERTH_ASSIGN_OR_RETURN(const std::unique_ptr<StoreMedium> to,
                         StoreMediumOf(config, source.clock));
  if (from->Name() == to->Name()) {
    return Error(Reason::kInvalidField,
                 absl::StrCat(arguments.to_config, " names the same store, ", to->Name()));
  }
  // What is committed after this would be lost: nobody may have it open.
  BERTH_ASSIGN_OR_RETURN(const std::shared_ptr<const void> held, from->Hold());
  BERTH_ASSIGN_OR_RETURN(StoreSnapshot snapshot, ReadWhole(*from));
  return WriteNext(std::move(snapshot), *to, arguments.if_exists(), out);
}

}  // namespace

std::vector<DaemonCommand> StoreCommands(const ControllerConfig* config, Clock* clock) {
  const Source source{config, clock};
  const auto arguments = std::make_shared<StoreArguments>();
  const auto file = [arguments](const char* what) {
    return [arguments, what](CLI::App& app) {
      app.add_option("file", arguments->file, what)->required()->type_name("FILE");
    };
  };
  const auto replace = [arguments](CLI::App& app) {
    app.add_flag("--replace", arguments->replace, "Put it in the place of a store that is there");
  };
  return {
      {.group = "store",
       .name = "check",
       .description = "Read the store as a controller does, and say what is wrong with it",
       .add_options = nullptr,
       .run = [source](std::ostream& out) { return Check(source, out); }},
      {.group = "store",
       .name = "backup",
       .description = "Write the store to a new file; a controller may be running",
       .add_options = file("The file to make"),
       .run = [source,
               arguments](std::ostream& out) { return MakeBackup(source, *arguments, out); }},
      {.group = "store",
       .name = "restore",
       .description = "Make the store of a backup; no controller may be running",
       .add_options =
           [file, replace](CLI::App& app) {
             file("The backup")(app);
             replace(app);
           },
       .run = [source, arguments](std::ostream& out) { return Restore(source, *arguments, out); }},
      {.group = "store",
       .name = "migrate",
       .description = "Move the store to that of another configuration, e.g. from SQLite to etcd",
       .add_options =
           [arguments, replace](CLI::App& app) {
             app.add_option("--to", arguments->to_config,
                            "Configuration that names the other store")
                 ->required()
                 ->type_name("FILE");
             replace(app);
           },
       .run = [source, arguments](std::ostream& out) { return Migrate(source, *arguments, out); }},
  };
}

}  // namespace berth
