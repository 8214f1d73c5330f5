// SPDX-License-Identifier: Apache-2.0
//
// A thin owner of SQLite's handles: errors as Status, nothing to finalise by hand.
#ifndef BERTH_LIB_STORE_SQLITE_H_
#define BERTH_LIB_STORE_SQLITE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

struct sqlite3;
struct sqlite3_stmt;

namespace berth {

// A prepared statement. Parameters count from 1, columns from 0. Move-only; not thread-safe; must
// not outlive its database.
class SqliteStatement {
 public:
  // Binding fails on programming errors only, and then aborts. Bytes are not copied: what `value`
  // points to must live until Step() is done or Reset().
  SqliteStatement& Bind(int parameter, int64_t value);
  SqliteStatement& BindText(int parameter, std::string_view value);
  SqliteStatement& BindBlob(int parameter, std::string_view value);
  SqliteStatement& BindNull(int parameter);

  // True: there is a row. False: done, and the statement is reset.
  absl::StatusOr<bool> Step();
  // Step() of a statement that returns no rows.
  absl::Status Run();
  // Forgets rows and bindings; before the next Bind().
  void Reset();

  [[nodiscard]] int64_t Int(int column) const;
  // Text or blob.
  [[nodiscard]] std::string Bytes(int column) const;
  [[nodiscard]] bool IsNull(int column) const;

 private:
  friend class SqliteDatabase;
  struct Finalize {
    void operator()(sqlite3_stmt* statement) const;
  };
  explicit SqliteStatement(sqlite3_stmt* statement) : statement_(statement) {}

  std::unique_ptr<sqlite3_stmt, Finalize> statement_;
};

// One connection. Move-only; not thread-safe.
class SqliteDatabase {
 public:
  enum class Mode { kReadOnly, kReadWrite, kReadWriteCreate };

  // A new file gets mode 0600. Errors as SqliteError().
  static absl::StatusOr<SqliteDatabase> Open(const std::string& path, Mode mode);

  // One or more statements; rows are dropped.
  absl::Status Execute(const std::string& sql);
  absl::StatusOr<SqliteStatement> Prepare(std::string_view sql);
  // The first column of the first row. kStoreCorrupt when there is none.
  absl::StatusOr<int64_t> QueryInt(std::string_view sql);
  // Rows that the last statement changed.
  [[nodiscard]] int64_t Changes() const;

 private:
  struct Close {
    void operator()(sqlite3* database) const;
  };
  explicit SqliteDatabase(sqlite3* database) : database_(database) {}

  std::unique_ptr<sqlite3, Close> database_;
};

// The error of a failed call on `database`: kStoreCorrupt for files that are damaged or no
// database, else kStoreFailed. Metadata "sqlite": the extended result code's number; see
// https://www.sqlite.org/rescode.html.
absl::Status SqliteError(sqlite3* database, std::string_view what);

// The extended result code in an error of this file, or 0.
int SqliteCodeOf(const absl::Status& status);

}  // namespace berth

#endif  // BERTH_LIB_STORE_SQLITE_H_
