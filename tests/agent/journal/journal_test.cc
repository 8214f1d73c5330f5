// SPDX-License-Identifier: Apache-2.0
#include "agent/journal/journal.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "lib/base/status.h"

namespace berth {
namespace {

using internal::v1::JournaledGrant;

class JournalTest : public ::testing::Test {
 protected:
  JournalTest() {
    folder_ = std::filesystem::temp_directory_path() / "berth-journal-XXXXXX";
    EXPECT_NE(::mkdtemp(folder_.data()), nullptr);
  }
  ~JournalTest() override { std::filesystem::remove_all(folder_); }

  [[nodiscard]] std::string path() const { return folder_ + "/journal.db"; }
  std::unique_ptr<Journal> Open(const std::string& boot = "boot-1") {
    auto journal = Journal::Open(path(), boot, &broken_);
    EXPECT_TRUE(journal.ok()) << journal.status();
    return journal.ok() ? *std::move(journal) : nullptr;
  }
  static JournaledGrant Grant(const std::string& uid, const std::string& life) {
    JournaledGrant grant;
    grant.mutable_desired()->set_assignment_uid(uid);
    grant.set_life(life);
    grant.mutable_session()->set_last_call(std::string("\0bytes\xff", 7));
    return grant;
  }
  static std::string Lives(Journal& journal) {
    std::string lives;
    const auto grants = journal.Grants();
    EXPECT_TRUE(grants.ok()) << grants.status();
    for (const JournaledGrant& grant : *grants) lives += grant.life() + " ";
    return lives;
  }

  std::string folder_;
  absl::Status broken_;
};

TEST_F(JournalTest, IsThereForTheNextProcess) {
  {
    const auto journal = Open();
    ASSERT_TRUE(journal->Put(Grant("b", "life-b")).ok());
    ASSERT_TRUE(journal->Put(Grant("a", "life-a")).ok());
    ASSERT_TRUE(journal->Put(Grant("b", "life-b2")).ok());
    ASSERT_TRUE(journal->Put(Grant("c", "life-c")).ok());
    ASSERT_TRUE(journal->Remove(AssignmentUid("c")).ok());
    internal::v1::JournaledUnitFacts unit;
    unit.set_id("smmu0");
    unit.set_observed_vintfs(63);
    ASSERT_TRUE(journal->PutUnit(unit).ok());
  }
  const auto journal = Open();
  EXPECT_TRUE(broken_.ok());
  EXPECT_EQ(Lives(*journal), "life-a life-b2 ");
  EXPECT_EQ(journal->Grants()->front().session().last_call(), std::string("\0bytes\xff", 7));
  const auto units = journal->Units();
  ASSERT_TRUE(units.ok() && units->size() == 1);
  EXPECT_EQ(units->front().observed_vintfs(), 63);
}

TEST_F(JournalTest, ForgetsWhatIsOfAnotherBoot) {
  ASSERT_TRUE(Open("boot-1")->Put(Grant("a", "life-a")).ok());
  EXPECT_EQ(Lives(*Open("boot-2")), "");
  EXPECT_EQ(Lives(*Open("boot-1")), "") << "kernel objects do not come back";
}

TEST_F(JournalTest, IsBegunAnewWhenItCannotBeRead) {
  ASSERT_TRUE(Open()->Put(Grant("a", "life-a")).ok());
  std::filesystem::remove(path() + "-wal");
  std::ofstream(path(), std::ios::trunc)
      << "this is no database, and long enough to be read as one";
  const auto journal = Open();
  EXPECT_EQ(ReasonOf(broken_), Reason::kStoreCorrupt) << broken_;
  EXPECT_EQ(Lives(*journal), "");
  EXPECT_TRUE(std::filesystem::exists(path() + ".broken"));
  EXPECT_TRUE(journal->Put(Grant("b", "life-b")).ok());
}

TEST_F(JournalTest, OfALaterSchemaIsNotTouched) {
  {
    auto database = SqliteDatabase::Open(path(), SqliteDatabase::Mode::kReadWriteCreate);
    ASSERT_TRUE(database.ok()) << database.status();
    ASSERT_TRUE(database->Execute("CREATE TABLE boot (x); PRAGMA user_version = 2").ok());
  }
  const auto journal = Open();
  EXPECT_EQ(ReasonOf(broken_), Reason::kStoreCorrupt);
  EXPECT_TRUE(std::filesystem::exists(path() + ".broken"));
}

// What releases have written is read by all that come after: the file is as schema 1 wrote it.
TEST_F(JournalTest, OfSchema1IsRead) {
  std::filesystem::copy_file(std::string(BERTH_SOURCE_DIR) + "/tests/data/journal/schema-1.db",
                             path());
  std::filesystem::permissions(path(), std::filesystem::perms::owner_all);
  const auto journal = Open("kept-boot");
  ASSERT_TRUE(broken_.ok()) << broken_;
  const auto grants = journal->Grants();
  ASSERT_TRUE(grants.ok() && grants->size() == 1);
  const JournaledGrant& grant = grants->front();
  EXPECT_EQ(grant.desired().assignment_uid(), "4f0c2d5e-6d1f-4a55-9d0e-0d8a4b8f7c11");
  EXPECT_EQ(grant.desired().generation(), 7);
  EXPECT_EQ(grant.life(), "deadbeef");
  ASSERT_EQ(grant.devices_size(), 1);
  EXPECT_EQ(grant.devices(0).cdev(), "vfio0");
  EXPECT_EQ(grant.devices(0).stream().mode(), internal::v1::JournaledStream::TRANSLATE);
  EXPECT_EQ(grant.devices(0).stream().nested_hwpt(), 12);
  ASSERT_EQ(grant.units_size(), 1);
  EXPECT_EQ(grant.units(0).page0_offset(), 4096);
  ASSERT_EQ(grant.units(0).queues_size(), 2);
  EXPECT_EQ(grant.units(0).queues(1).iova(), 0x40011000);
  EXPECT_EQ(grant.regions(0).length(), 65536);
  EXPECT_EQ(grant.session().last_call_id(), 42);
  EXPECT_EQ(grant.begun().alloc_queue().index(), 2);
}

}  // namespace
}  // namespace berth
