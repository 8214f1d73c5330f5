// SPDX-License-Identifier: Apache-2.0
#include "lib/store/sqlite.h"

#include <fcntl.h>
#include <sqlite3.h>

#include <cerrno>
#include <cstdlib>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "lib/base/absl_view.h"
#include "lib/base/status.h"
#include "lib/base/unique_fd.h"

namespace berth {
namespace {

// Characters of a statement that an error repeats.
constexpr size_t kMaxWhat = 100;

void Must(int result) {
  if (result != SQLITE_OK) std::abort();
}

}  // namespace

absl::Status SqliteError(sqlite3* database, std::string_view what) {
  const int code = sqlite3_extended_errcode(database);
  const bool corrupt = (code & 0xff) == SQLITE_CORRUPT || (code & 0xff) == SQLITE_NOTADB;
  return Error(corrupt ? Reason::kStoreCorrupt : Reason::kStoreFailed,
               absl::StrCat(AbslView(what.substr(0, kMaxWhat)), ": ", sqlite3_errmsg(database)),
               {{"sqlite", absl::StrCat(code)}});
}

int SqliteCodeOf(const absl::Status& status) {
  const ErrorMetadata metadata = MetadataOf(status);
  const auto it = metadata.find("sqlite");
  int code = 0;
  return it != metadata.end() && absl::SimpleAtoi(it->second, &code) ? code : 0;
}

void SqliteStatement::Finalize::operator()(sqlite3_stmt* statement) const {
  // Repeats the error of the last step, which has been reported.
  sqlite3_finalize(statement);
}

SqliteStatement& SqliteStatement::Bind(int parameter, int64_t value) {
  Must(sqlite3_bind_int64(statement_.get(), parameter, value));
  return *this;
}

SqliteStatement& SqliteStatement::BindText(int parameter, std::string_view value) {
  Must(sqlite3_bind_text64(statement_.get(), parameter, value.data(), value.size(), SQLITE_STATIC,
                           SQLITE_UTF8));
  return *this;
}

SqliteStatement& SqliteStatement::BindBlob(int parameter, std::string_view value) {
  // A null pointer would bind NULL.
  const char* data = value.empty() ? "" : value.data();
  Must(sqlite3_bind_blob64(statement_.get(), parameter, data, value.size(), SQLITE_STATIC));
  return *this;
}

SqliteStatement& SqliteStatement::BindNull(int parameter) {
  Must(sqlite3_bind_null(statement_.get(), parameter));
  return *this;
}

absl::StatusOr<bool> SqliteStatement::Step() {
  const int result = sqlite3_step(statement_.get());
  if (result == SQLITE_ROW) return true;
  absl::Status status;
  if (result != SQLITE_DONE) {
    status = SqliteError(sqlite3_db_handle(statement_.get()), sqlite3_sql(statement_.get()));
  }
  Reset();
  if (!status.ok()) return status;
  return false;
}

absl::Status SqliteStatement::Run() { return Step().status(); }

void SqliteStatement::Reset() {
  sqlite3_reset(statement_.get());
  sqlite3_clear_bindings(statement_.get());
}

int64_t SqliteStatement::Int(int column) const {
  return sqlite3_column_int64(statement_.get(), column);
}

std::string SqliteStatement::Bytes(int column) const {
  const void* data = sqlite3_column_blob(statement_.get(), column);
  const int size = sqlite3_column_bytes(statement_.get(), column);
  return size == 0 ? std::string() : std::string(static_cast<const char*>(data), size);
}

bool SqliteStatement::IsNull(int column) const {
  return sqlite3_column_type(statement_.get(), column) == SQLITE_NULL;
}

void SqliteDatabase::Close::operator()(sqlite3* database) const { sqlite3_close_v2(database); }

absl::StatusOr<SqliteDatabase> SqliteDatabase::Open(const std::string& path, Mode mode) {
  int flags = SQLITE_OPEN_READWRITE;
  if (mode == Mode::kReadOnly) flags = SQLITE_OPEN_READONLY;
  if (mode == Mode::kReadWriteCreate) {
    // SQLite itself would create it with mode 0644 less the umask.
    const UniqueFd fd(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    if (!fd.valid()) return ErrnoToStatus(errno, absl::StrCat("open ", path));
  }
  sqlite3* raw = nullptr;
  // NOMUTEX: a connection has one user at a time, as the class says.
  const int result = sqlite3_open_v2(path.c_str(), &raw, flags | SQLITE_OPEN_NOMUTEX, nullptr);
  if (raw == nullptr) return Error(Reason::kStoreFailed, "sqlite3_open_v2: out of memory");
  SqliteDatabase database(raw);
  if (result != SQLITE_OK) return SqliteError(raw, absl::StrCat("open ", path));
  sqlite3_extended_result_codes(raw, 1);
  sqlite3_busy_timeout(raw, 5000);
  return database;
}

absl::Status SqliteDatabase::Execute(const std::string& sql) {
  if (sqlite3_exec(database_.get(), sql.c_str(), nullptr, nullptr, nullptr) != SQLITE_OK) {
    return SqliteError(database_.get(), sql);
  }
  return absl::OkStatus();
}

absl::StatusOr<SqliteStatement> SqliteDatabase::Prepare(std::string_view sql) {
  sqlite3_stmt* statement = nullptr;
  if (sqlite3_prepare_v3(database_.get(), sql.data(), static_cast<int>(sql.size()),
                         SQLITE_PREPARE_PERSISTENT, &statement, nullptr) != SQLITE_OK) {
    return SqliteError(database_.get(), sql);
  }
  return SqliteStatement(statement);
}

absl::StatusOr<int64_t> SqliteDatabase::QueryInt(std::string_view sql) {
  BERTH_ASSIGN_OR_RETURN(SqliteStatement statement, Prepare(sql));
  BERTH_ASSIGN_OR_RETURN(const bool row, statement.Step());
  if (!row) return Error(Reason::kStoreCorrupt, absl::StrCat(AbslView(sql), ": no row"));
  return statement.Int(0);
}

int64_t SqliteDatabase::Changes() const { return sqlite3_changes64(database_.get()); }

}  // namespace berth
