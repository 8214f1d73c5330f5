// SPDX-License-Identifier: Apache-2.0
#include "lib/store/sqlite_medium.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <utility>

#include "absl/strings/str_cat.h"
#include "lib/base/status.h"
#include "lib/base/unique_fd.h"
#include "lib/store/file_lock.h"
#include "lib/store/sqlite.h"
#include "lib/store/sqlite_reader.h"
#include "lib/store/sqlite_schema.h"
#include "lib/store/transaction.h"

namespace berth {
namespace {

// Beside a database in WAL mode; SQLite finds them by its name.
constexpr const char* kCompanions[] = {"-wal", "-shm"};

bool Exists(const std::string& path) { return ::access(path.c_str(), F_OK) == 0; }

absl::Status RemoveAll(const std::string& path) {
  for (const char* suffix : {"", kCompanions[0], kCompanions[1]}) {
    const std::string file = path + suffix;
    if (::unlink(file.c_str()) != 0 && errno != ENOENT) return ErrnoToStatus(errno, file);
  }
  return absl::OkStatus();
}

// Everything that is committed into the database itself; one that is damaged stays as it is.
void EmptyWal(const std::string& path) {
  absl::StatusOr<SqliteDatabase> database =
      SqliteDatabase::Open(path, SqliteDatabase::Mode::kReadWrite);
  if (database.ok()) database->Execute("PRAGMA wal_checkpoint(TRUNCATE)").IgnoreError();
}

// `made` becomes `path`, in one step: whoever is interrupted leaves the one store or the other,
// never none, in whose place a controller would begin an empty one.
absl::Status Replace(const std::string& made, const std::string& path) {
  const std::string kept = path + ".replaced";
  if (Exists(path)) {
    EmptyWal(path);
    BERTH_RETURN_IF_ERROR(RemoveAll(kept));
    if (::link(path.c_str(), kept.c_str()) != 0) return ErrnoToStatus(errno, kept);
    for (const char* suffix : kCompanions) {
      const std::string file = path + suffix;
      if (::rename(file.c_str(), (kept + suffix).c_str()) != 0 && errno != ENOENT) {
        return ErrnoToStatus(errno, file);
      }
    }
  }
  return ::rename(made.c_str(), path.c_str()) == 0 ? absl::OkStatus() : ErrnoToStatus(errno, path);
}

absl::Status SyncFolderOf(const std::string& path) {
  const size_t slash = path.rfind('/');
  const std::string folder = slash == std::string::npos ? "." : path.substr(0, slash + 1);
  const UniqueFd fd(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.valid() || ::fsync(fd.get()) != 0) return ErrnoToStatus(errno, folder);
  return absl::OkStatus();
}

absl::Status Fill(SqliteDatabase& database, const StoreSnapshot& snapshot) {
  BERTH_RETURN_IF_ERROR(database.Execute("PRAGMA synchronous = FULL; BEGIN IMMEDIATE"));
  BERTH_ASSIGN_OR_RETURN(
      SqliteStatement head,
      database.Prepare("UPDATE store SET uid = ?1, restore_count = ?2, term = ?3, revision = ?4,"
                       " compacted = ?4"));
  head.BindText(1, snapshot.epoch.uid)
      .Bind(2, snapshot.epoch.restore_count)
      .Bind(3, snapshot.epoch.term)
      .Bind(4, snapshot.revision);
  BERTH_RETURN_IF_ERROR(head.Run());
  BERTH_ASSIGN_OR_RETURN(SqliteStatement insert,
                         database.Prepare("INSERT INTO records (kind, id, revision, checksum,"
                                          " payload) VALUES (?1, ?2, ?3, ?4, ?5)"));
  for (const Record& record : snapshot.records) {
    insert.BindText(1, record.key.kind)
        .BindText(2, record.key.id)
        .Bind(3, record.revision)
        .Bind(4, RecordChecksum(record))
        .BindBlob(5, record.payload);
    BERTH_RETURN_IF_ERROR(insert.Run());
  }
  return database.Execute("COMMIT");
}

class SqliteFile : public StoreMedium {
 public:
  explicit SqliteFile(std::string path) : path_(std::move(path)) {}

  std::string Name() const override { return path_; }

  absl::StatusOr<StoreSnapshot> Read(const Store::OnBroken& on_broken) override {
    if (!Exists(path_)) {
      return Error(Reason::kNotFound, absl::StrCat("there is no store ", path_), {{"path", path_}});
    }
    BERTH_RETURN_IF_ERROR(CheckSqliteSchema(path_));
    BERTH_ASSIGN_OR_RETURN(const std::unique_ptr<SqliteReader> reader, SqliteReader::Open(path_));
    return reader->Snapshot(on_broken);
  }

  absl::StatusOr<std::shared_ptr<const void>> Hold() override {
    BERTH_ASSIGN_OR_RETURN(FileLock lock, FileLock::AcquireBeside(path_));
    return std::make_shared<const FileLock>(std::move(lock));
  }

  absl::Status Write(const StoreSnapshot& snapshot, IfExists if_exists) override {
    BERTH_ASSIGN_OR_RETURN(const FileLock lock, FileLock::AcquireBeside(path_));
    if (if_exists == IfExists::kRefuse && Exists(path_)) {
      return Error(Reason::kAlreadyExists, absl::StrCat(path_, " is there already"),
                   {{"path", path_}});
    }
    const std::string made = path_ + ".made";
    BERTH_RETURN_IF_ERROR(RemoveAll(made));
    BERTH_RETURN_IF_ERROR(Make(made, snapshot));
    BERTH_RETURN_IF_ERROR(Replace(made, path_));
    return SyncFolderOf(path_);
  }

 private:
  static absl::Status Make(const std::string& path, const StoreSnapshot& snapshot) {
    BERTH_ASSIGN_OR_RETURN(SqliteDatabase database,
                           SqliteDatabase::Open(path, SqliteDatabase::Mode::kReadWriteCreate));
    BERTH_RETURN_IF_ERROR(MigrateSqliteSchema(database, path));
    return Fill(database, snapshot);
  }

  const std::string path_;
};

}  // namespace

std::unique_ptr<StoreMedium> SqliteMedium(std::string path) {
  return std::make_unique<SqliteFile>(std::move(path));
}

}  // namespace berth
