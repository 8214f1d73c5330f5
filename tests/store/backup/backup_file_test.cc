// SPDX-License-Identifier: Apache-2.0
#include "lib/store/backup/backup_file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>

#include "lib/base/status.h"
#include "tests/integration/process.h"

namespace berth {
namespace {

using ::berth::testing::ReadFile;
using ::berth::testing::WriteFile;

class BackupFileTest : public ::testing::Test {
 protected:
  BackupFileTest() {
    std::string name = ::testing::TempDir() + "berth-backup-XXXXXX";
    if (mkdtemp(name.data()) == nullptr) std::abort();
    folder_ = name;
  }
  ~BackupFileTest() override { std::filesystem::remove_all(folder_); }
  std::string path() const { return folder_ + "/backup"; }

  static Backup Sample() {
    return {.snapshot = {.epoch = {.uid = "some-uid", .restore_count = 1, .term = 7},
                         .revision = 99,
                         .records = {{{"thing", "a"}, 5, std::string("\0\n\xff", 3)},
                                     {{"thing", "b"}, 99, ""}}},
            .created = absl::FromUnixSeconds(1700000000),
            .made_by = "a test"};
  }

  std::string folder_;
};

TEST_F(BackupFileTest, ComesBackAsItWas) {
  ASSERT_TRUE(WriteBackup(path(), Sample()).ok());
  struct stat info = {};
  ASSERT_EQ(::stat(path().c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600U);
  const auto backup = ReadBackup(path());
  ASSERT_TRUE(backup.ok()) << backup.status();
  EXPECT_EQ(backup->snapshot.epoch, Sample().snapshot.epoch);
  EXPECT_EQ(backup->snapshot.revision, 99);
  EXPECT_EQ(backup->created, Sample().created);
  EXPECT_EQ(backup->made_by, "a test");
  ASSERT_EQ(backup->snapshot.records.size(), 2U);
  EXPECT_EQ(backup->snapshot.records[0].key, (RecordKey{"thing", "a"}));
  EXPECT_EQ(backup->snapshot.records[0].payload, std::string("\0\n\xff", 3));
  EXPECT_EQ(backup->snapshot.records[1].revision, 99);
}

TEST_F(BackupFileTest, OneOfAnOlderVersionIsRead) {
  const auto kept = ReadBackup(BERTH_SOURCE_DIR "/tests/data/store/backup-1.berth");
  ASSERT_TRUE(kept.ok()) << kept.status();
  std::set<std::string> ids;
  for (const Record& record : kept->snapshot.records) ids.insert(record.key.id);
  for (const char* id : {"placed", "rotated", "waiting", "gh200"}) {
    EXPECT_EQ(ids.count(id), 1U) << id;
  }
}

TEST_F(BackupFileTest, OverwritesNothing) {
  WriteFile(path(), "precious");
  EXPECT_TRUE(absl::IsAlreadyExists(WriteBackup(path(), Sample())));
  EXPECT_EQ(ReadFile(path()), "precious");
}

TEST_F(BackupFileTest, EveryByteThatIsChangedOrMissingIsNoticed) {
  ASSERT_TRUE(WriteBackup(path(), Sample()).ok());
  const std::string whole = ReadFile(path());
  for (size_t i = 0; i < whole.size(); ++i) {
    std::string changed = whole;
    changed[i] = static_cast<char>(changed[i] ^ 0x20);
    for (const std::string& text : {changed, whole.substr(0, i)}) {
      std::filesystem::remove(path());
      WriteFile(path(), text);
      const auto backup = ReadBackup(path());
      EXPECT_FALSE(backup.ok()) << "byte " << i;
      const Reason reason = ReasonOf(backup.status());
      // The byte of the format says of itself that it is newer.
      EXPECT_TRUE(reason == Reason::kStoreCorrupt || reason == Reason::kVersionSkew)
          << "byte " << i;
    }
  }
}

TEST_F(BackupFileTest, OneOfANewerFormatIsNamedAsSuch) {
  ASSERT_TRUE(WriteBackup(path(), Sample()).ok());
  std::string text = ReadFile(path());
  // The line, the header's length, the tag of `format`, its value.
  const size_t at = text.find('\n') + 3;
  ASSERT_EQ(text[at], 1);
  text[at] = 2;
  WriteFile(path(), text);
  EXPECT_EQ(ReasonOf(ReadBackup(path()).status()), Reason::kVersionSkew);
}

TEST_F(BackupFileTest, AFileThatIsNotThereIsNotFound) {
  EXPECT_TRUE(absl::IsNotFound(ReadBackup(path()).status()));
}

}  // namespace
}  // namespace berth
