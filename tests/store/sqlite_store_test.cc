// SPDX-License-Identifier: Apache-2.0
#include "lib/store/sqlite_store.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "absl/strings/numbers.h"
#include "lib/base/unique_fd.h"
#include "lib/store/sqlite.h"
#include "lib/store/sqlite_medium.h"
#include "lib/store/sqlite_schema.h"
#include "tests/store/medium_suite.h"
#include "tests/store/store_suite.h"

namespace berth {
namespace {

using testing::HasSubstr;

class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = testing::TempDir() + "berth-store-XXXXXX";
    if (mkdtemp(name.data()) == nullptr) std::abort();
    path_ = name;
  }
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }
  std::string File(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

SqliteDatabase OpenRaw(const std::string& path) {
  auto database = SqliteDatabase::Open(path, SqliteDatabase::Mode::kReadWriteCreate);
  EXPECT_TRUE(database.ok()) << database.status();
  return *std::move(database);
}

class SqliteHarness : public StoreHarness {
 public:
  absl::StatusOr<std::unique_ptr<Store>> Open(const StoreOptions& options) override {
    return OpenSqliteStore(folder_.File("berth.db"), {options});
  }
  void Damage(const RecordKey& key) override {
    SqliteDatabase database = OpenRaw(folder_.File("berth.db"));
    auto update = database.Prepare("UPDATE records SET payload = ?1 WHERE kind = ?2 AND id = ?3");
    ASSERT_TRUE(update.ok());
    ASSERT_TRUE(update->BindBlob(1, "rotten").BindText(2, key.kind).BindText(3, key.id).Run().ok());
    ASSERT_EQ(database.Changes(), 1);
  }
  StoreMedium& medium() override { return *medium_; }

 private:
  TemporaryFolder folder_;
  const std::unique_ptr<StoreMedium> medium_ = SqliteMedium(folder_.File("berth.db"));
};

const auto kHarness = testing::Values(
    std::make_pair("sqlite", HarnessMaker([] { return std::make_unique<SqliteHarness>(); })));
INSTANTIATE_TEST_SUITE_P(Sqlite, StoreSuite, kHarness);
INSTANTIATE_TEST_SUITE_P(Sqlite, MediumSuite, kHarness);

class SqliteStoreTest : public testing::Test {
 protected:
  absl::StatusOr<std::unique_ptr<Store>> Open(const SqliteStoreOptions& options = {}) {
    return OpenSqliteStore(path_, options);
  }

  TemporaryFolder folder_;
  const std::string path_ = folder_.File("berth.db");
};

TEST_F(SqliteStoreTest, FilesAreForTheOwnerOnly) {
  ASSERT_TRUE(Open().ok());
  for (const char* suffix : {"", ".lock"}) {
    struct stat info = {};
    ASSERT_EQ(stat((path_ + suffix).c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 0777, 0600u) << suffix;
  }
}

TEST_F(SqliteStoreTest, ASecondProcessIsToldWhoHoldsTheStore) {
  int ready[2];
  int stop[2];
  ASSERT_EQ(pipe(ready), 0);
  ASSERT_EQ(pipe(stop), 0);
  const pid_t child = fork();
  if (child == 0) {
    close(stop[1]);
    const auto store = Open();
    char byte = store.ok() ? 'y' : 'n';
    (void)!write(ready[1], &byte, 1);
    (void)!read(stop[0], &byte, 1);
    _exit(0);
  }
  close(stop[0]);
  char byte = 0;
  ASSERT_EQ(read(ready[0], &byte, 1), 1);
  ASSERT_EQ(byte, 'y');
  const absl::Status second = Open().status();
  EXPECT_EQ(ReasonOf(second), Reason::kStoreLocked) << second;
  EXPECT_EQ(MetadataOf(second)["pid"], std::to_string(child));
  EXPECT_THAT(std::string(second.message()), HasSubstr(std::to_string(child)));
  close(stop[1]);
  int wait_status = 0;
  ASSERT_EQ(waitpid(child, &wait_status, 0), child);
  close(ready[0]);
  close(ready[1]);
  EXPECT_TRUE(Open().ok());
}

TEST_F(SqliteStoreTest, ASecondOneIsRefusedByWhateverNameItReachesTheFile) {
  const std::string link = folder_.File("link.db");
  const std::string dangling = folder_.File("other.db");
  const std::string folder = folder_.File("folder");
  std::filesystem::create_symlink("berth.db", link);
  std::filesystem::create_directory_symlink(".", folder);
  std::filesystem::create_symlink(folder + "/later.db", dangling);
  {
    const auto first = Open();
    ASSERT_TRUE(first.ok()) << first.status();
    for (const std::string& name : {link, folder + "/berth.db", folder + "/link.db"}) {
      EXPECT_EQ(ReasonOf(OpenSqliteStore(name).status()), Reason::kStoreLocked) << name;
    }
  }
  // The file is not there yet when the first is opened.
  const auto first = OpenSqliteStore(dangling);
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_EQ(ReasonOf(OpenSqliteStore(folder_.File("later.db")).status()), Reason::kStoreLocked);
}

// Files of this process cannot grow beyond `bytes`, which shows as EFBIG, an I/O error.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) : handler_(signal(SIGXFSZ, SIG_IGN)) {
    getrlimit(RLIMIT_FSIZE, &before_);
    rlimit low = before_;
    low.rlim_cur = bytes;
    EXPECT_EQ(setrlimit(RLIMIT_FSIZE, &low), 0);
  }
  ~FileSizeLimit() {
    setrlimit(RLIMIT_FSIZE, &before_);
    (void)signal(SIGXFSZ, handler_);
  }
  FileSizeLimit(const FileSizeLimit&) = delete;
  FileSizeLimit& operator=(const FileSizeLimit&) = delete;

 private:
  const sighandler_t handler_;
  rlimit before_ = {};
};

TEST_F(SqliteStoreTest, AfterACommitOfUnknownOutcomeNothingIsWrittenUntilItIsReadBack) {
  auto store = Open();
  ASSERT_TRUE(store.ok()) << store.status();
  ASSERT_TRUE(CommitSync(**store, PutOne("before", "1")).ok());
  absl::Status unknown;
  {
    const FileSizeLimit limit(std::filesystem::file_size(path_ + "-wal"));
    unknown = CommitSync(**store, PutOne("lost", "1")).status();
  }
  EXPECT_EQ(ReasonOf(unknown), Reason::kStoreFailed) << unknown;
  EXPECT_EQ(MetadataOf(unknown)["outcome"], "unknown");
  const absl::Status after = CommitSync(**store, PutOne("after", "1")).status();
  EXPECT_EQ(ReasonOf(after), Reason::kStoreFailed) << after;
  EXPECT_EQ(MetadataOf(after)["outcome"], "not_committed");
  EXPECT_FALSE((*store)->Compact(1).ok());

  store->reset();
  store = Open();
  ASSERT_TRUE(store.ok()) << store.status();
  EXPECT_EQ(ReasonOf((*store)->Get(Key("lost")).status()), Reason::kNotFound) << "read back";
  EXPECT_TRUE((*store)->Get(Key("before")).ok());
  EXPECT_EQ(CommitSync(**store, PutOne("lost", "2")).value_or(-1), 2);
}

// In the child: commits three records per transaction and writes each number to `acks` when its
// commit was acknowledged, until it is killed.
[[noreturn]] void CommitForever(const std::string& path, int acks) {
  auto store = OpenSqliteStore(path);
  if (!store.ok()) _exit(1);
  for (int n = (*store)->CurrentRevision();; ++n) {
    Transaction three;
    for (const char* part : {"x", "y", "z"}) {
      three.puts.push_back({Key(std::to_string(n) + part), std::string(2000, 'p')});
    }
    const absl::Status accepted =
        (*store)->Commit(std::move(three), [acks, n](const absl::StatusOr<Revision>& outcome) {
          if (!outcome.ok() || write(acks, &n, sizeof(n)) != sizeof(n)) _exit(1);
        });
    if (!accepted.ok() && ReasonOf(accepted) != Reason::kOverloaded) _exit(1);
    if (!accepted.ok()) --n;
  }
}

TEST_F(SqliteStoreTest, KilledInTheMiddleItKeepsWhatWasAcknowledgedAndNothingIsHalf) {
  int last_acknowledged = -1;
  // Every round goes on in the file that the one before left.
  for (const int acks_before_kill : {1, 7, 40, 300, 1}) {
    int pipe_fds[2];
    ASSERT_EQ(pipe(pipe_fds), 0);
    const pid_t child = fork();
    if (child == 0) CommitForever(path_, pipe_fds[1]);
    close(pipe_fds[1]);
    const UniqueFd acks(pipe_fds[0]);
    for (int i = 0; i < acks_before_kill; ++i) {
      ASSERT_EQ(read(acks.get(), &last_acknowledged, sizeof(int)), ssize_t{sizeof(int)});
    }
    ASSERT_EQ(kill(child, SIGKILL), 0);
    ASSERT_EQ(waitpid(child, nullptr, 0), child);
    while (read(acks.get(), &last_acknowledged, sizeof(int)) == ssize_t{sizeof(int)}) {
    }

    auto store = Open();
    ASSERT_TRUE(store.ok()) << store.status();
    std::map<int, int> parts;
    for (const auto& [id, payload] : Contents(**store)) {
      int n = 0;
      ASSERT_TRUE(absl::SimpleAtoi(id.substr(0, id.size() - 1), &n));
      ++parts[n];
    }
    for (const auto& [n, count] : parts) EXPECT_EQ(count, 3) << "transaction " << n;
    for (int n = 0; n <= last_acknowledged; ++n) EXPECT_TRUE(parts.contains(n)) << n;
    EXPECT_EQ(static_cast<Revision>(parts.size()), (*store)->CurrentRevision());
  }
}

TEST_F(SqliteStoreTest, AFullDiskFailsTheCommitAndNotTheStore) {
  SqliteStoreOptions options;
  options.max_bytes = 256 * 1024;
  auto store = Open(options);
  ASSERT_TRUE(store.ok()) << store.status();
  absl::StatusOr<Revision> outcome = Revision{0};
  int count = 0;
  for (; outcome.ok() && count < 1000; ++count) {
    outcome = CommitSync(**store, PutOne(std::to_string(count), std::string(8192, 'x')));
  }
  EXPECT_EQ(ReasonOf(outcome.status()), Reason::kStoreFailed) << outcome.status();
  EXPECT_EQ(MetadataOf(outcome.status())["outcome"], "not_committed");
  EXPECT_EQ((*store)->CurrentRevision(), count - 1);
  EXPECT_EQ(Contents(**store).size(), static_cast<size_t>(count - 1));
  // The book goes on: the log is trimmed, records go, and then there is room.
  ASSERT_TRUE((*store)->Compact((*store)->CurrentRevision()).ok());
  EXPECT_TRUE(CommitSync(**store, DeleteOne("0")).ok());
  EXPECT_TRUE(CommitSync(**store, PutOne("small", "x")).ok());
}

TEST_F(SqliteStoreTest, OneTransactionThatDoesNotFitTakesNoOthersWithIt) {
  SqliteStoreOptions options;
  options.max_bytes = 512 * 1024;
  auto store = Open(options);
  ASSERT_TRUE(store.ok()) << store.status();
  absl::Mutex gate;
  std::vector<bool> outcomes;
  {
    absl::MutexLock lock(&gate);
    ASSERT_TRUE((*store)->Commit({}, [&gate](const auto&) { absl::MutexLock wait(&gate); }).ok());
    for (const size_t size : {10, 900'000, 20}) {
      ASSERT_TRUE((*store)
                      ->Commit(PutOne(std::to_string(size), std::string(size, 'x')),
                               [&outcomes](const auto& r) { outcomes.push_back(r.ok()); })
                      .ok());
    }
  }
  ASSERT_TRUE(CommitSync(**store, {}).ok());
  EXPECT_THAT(outcomes, testing::ElementsAre(true, false, true));
  EXPECT_EQ((*store)->Get(Key("20"))->revision, 3);
}

TEST_F(SqliteStoreTest, FilesOfOthersAreRefusedAndLeftAlone) {
  {
    std::ofstream(path_) << "this is a letter, and a rather long one, to somebody else entirely; "
                            "it goes on until it is as long as the header of a database.";
  }
  const auto size = std::filesystem::file_size(path_);
  EXPECT_EQ(ReasonOf(Open().status()), Reason::kStoreCorrupt);
  EXPECT_EQ(std::filesystem::file_size(path_), size);

  std::filesystem::remove(path_);
  ASSERT_TRUE(OpenRaw(path_).Execute("CREATE TABLE recipes (name TEXT)").ok());
  const absl::Status foreign = Open().status();
  EXPECT_EQ(ReasonOf(foreign), Reason::kStoreCorrupt);
  EXPECT_THAT(std::string(foreign.message()), HasSubstr("another application"));
  EXPECT_EQ(*OpenRaw(path_).QueryInt("SELECT count(*) FROM sqlite_schema"), 1);
}

TEST_F(SqliteStoreTest, AStoreOfANewerVersionIsRefused) {
  ASSERT_TRUE(Open().ok());
  const int newer = NewestSqliteSchema() + 1;
  ASSERT_TRUE(OpenRaw(path_).Execute("PRAGMA user_version = " + std::to_string(newer)).ok());
  const absl::Status refused = Open().status();
  EXPECT_EQ(ReasonOf(refused), Reason::kVersionSkew) << refused;
  EXPECT_EQ(MetadataOf(refused)["schema"], std::to_string(newer));
}

TEST_F(SqliteStoreTest, AStoreWhosePagesAreOverwrittenIsCorruptAndNoCrash) {
  {
    auto store = Open();
    ASSERT_TRUE(store.ok());
    for (int i = 0; i < 200; ++i) {
      ASSERT_TRUE(CommitSync(**store, PutOne(std::to_string(i), std::string(500, 'x'))).ok());
    }
  }
  {
    std::fstream file(path_, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(4096);
    file << std::string(std::filesystem::file_size(path_) - 4096, '\xa5');
  }
  const absl::Status refused = Open().status();
  EXPECT_EQ(ReasonOf(refused), Reason::kStoreCorrupt) << refused;
}

TEST_F(SqliteStoreTest, AFolderThatIsNotThereIsSaid) {
  const absl::Status missing = OpenSqliteStore(folder_.File("no/berth.db")).status();
  EXPECT_EQ(ReasonOf(missing), Reason::kNotFound);
  EXPECT_THAT(std::string(missing.message()), HasSubstr("no/berth.db"));
}

TEST_F(SqliteStoreTest, WhatIsReplacedIsKeptBeside) {
  ASSERT_TRUE(CommitSync(**Open(), PutOne("old", "1")).ok());
  const std::unique_ptr<StoreMedium> medium = SqliteMedium(path_);
  const StoreSnapshot other{.epoch = {"uid", 0, 1}, .revision = 5, .records = {}};
  ASSERT_TRUE(medium->Write(other, StoreMedium::IfExists::kReplace).ok());
  EXPECT_TRUE(Contents(**Open()).empty());
  const auto replaced = OpenSqliteStore(path_ + ".replaced");
  ASSERT_TRUE(replaced.ok()) << replaced.status();
  EXPECT_EQ(Contents(**replaced), (std::map<std::string, std::string>{{"old", "1"}}));
}

TEST_F(SqliteStoreTest, AMediumReadsNoFileOfOthersAndMakesNoneByReading) {
  const std::unique_ptr<StoreMedium> medium = SqliteMedium(path_);
  const auto read = [&] { return ReasonOf(medium->Read(nullptr).status()); };
  EXPECT_EQ(read(), Reason::kNotFound);
  EXPECT_FALSE(std::filesystem::exists(path_));
  std::ofstream(path_) << std::string(8192, 'x');
  EXPECT_EQ(read(), Reason::kStoreCorrupt);
  std::filesystem::remove(path_);
  ASSERT_TRUE(Open().ok());
  ASSERT_TRUE(OpenRaw(path_).Execute("PRAGMA user_version = 99").ok());
  EXPECT_EQ(read(), Reason::kVersionSkew);
}

}  // namespace
}  // namespace berth
