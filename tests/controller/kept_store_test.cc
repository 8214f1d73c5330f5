// SPDX-License-Identifier: Apache-2.0
//
// Files of every schema that a controller has ever stored, as this one finds them.
#include <filesystem>
#include <map>
#include <string>

#include "absl/strings/str_cat.h"
#include "lib/store/sqlite_schema.h"
#include "tests/controller/controller_fixture.h"

namespace berth::controller_test {
namespace {

using ::testing::HasSubstr;
using v1::Assignment;

class KeptStoreTest : public ControllerTest {
 protected:
  KeptStoreTest() : ControllerTest(Kind::kSqlite) {}
  // Each test has its own file.
  void SetUp() override {}

  void StartWith(int schema) {
    Stop();
    const std::string kept =
        absl::StrCat(BERTH_SOURCE_DIR "/tests/data/store/sqlite-", schema, ".db");
    ASSERT_TRUE(std::filesystem::exists(kept))
        << kept << " is missing: keep one with keep.py of the version before";
    std::filesystem::copy_file(kept, Book(), std::filesystem::copy_options::overwrite_existing);
    Start();
  }
  std::string Book() const { return folder + "/book.db"; }
};

TEST_F(KeptStoreTest, WhatOlderVersionsStoredIsServedAndGoesOn) {
  for (int schema = 1; schema <= NewestSqliteSchema(); ++schema) {
    SCOPED_TRACE(absl::StrCat("schema ", schema));
    ASSERT_NO_FATAL_FAILURE(StartWith(schema));
    const auto list = client().Call<v1::ListAssignmentsResponse>(
        "AssignmentService/ListAssignments", v1::ListAssignmentsRequest());
    ASSERT_THAT(list, IsOk());
    std::map<std::string, Assignment> found;
    for (const Assignment& assignment : list->assignments()) found[assignment.name()] = assignment;
    ASSERT_EQ(found.size(), 3u);
    const Assignment& placed = found.at("assignments/placed");
    EXPECT_EQ(placed.intent(), Assignment::PLACED);
    EXPECT_EQ(placed.placement().host(), "hosts/gh200");
    EXPECT_EQ(placed.placement().units(0).devices_size(), 1);
    EXPECT_FALSE(placed.has_expire_time());
    EXPECT_EQ(found.at("assignments/rotated").token_version(), 2);
    EXPECT_EQ(found.at("assignments/waiting").intent(), Assignment::PENDING);
    const auto host = client().GetHost("hosts/gh200");
    ASSERT_THAT(host, IsOk());
    EXPECT_TRUE(host->cordoned());
    EXPECT_EQ(host->state(), v1::Host::LOST) << "its agent is not here";
    EXPECT_EQ(host->free_device_count(), host->device_count() - 2);

    // Requests are remembered, and what was stored can be changed.
    auto again = CreateOf("other");
    again.set_request_id("kept-request");
    EXPECT_THAT(client().Create(again), FailsWith(Reason::kRequestIdReused));
    ASSERT_THAT(client().Delete("assignments/waiting"), IsOk());
    ASSERT_THAT(client().Delete("assignments/placed"), IsOk());
    Restart();
    EXPECT_THAT(client().Get("assignments/waiting"), FailsWith(Reason::kNotFound));
    EXPECT_EQ(client().Get("assignments/placed")->intent(), Assignment::RELEASING);
    EXPECT_EQ(client().Get("assignments/rotated")->uid(), found.at("assignments/rotated").uid());
  }
}

TEST_F(KeptStoreTest, AFileOfANewerVersionIsRefusedByName) {
  ASSERT_NO_FATAL_FAILURE(StartWith(NewestSqliteSchema()));
  Stop();
  {
    auto book = SqliteDatabase::Open(Book(), SqliteDatabase::Mode::kReadWrite);
    ASSERT_THAT(book, IsOk());
    ASSERT_THAT(book->Execute(absl::StrCat("PRAGMA user_version = ", NewestSqliteSchema() + 1)),
                IsOk());
  }
  Logger log("newer", LogLevel::kError, Logger::Format::kPlain, &std::cerr);
  const auto refused = ControllerDaemon::Start(
      {.config = config, .clock = &clock, .log = &log, .on_fatal = nullptr});
  ASSERT_THAT(refused, FailsWith(Reason::kVersionSkew));
  EXPECT_THAT(std::string(refused.status().message()),
              HasSubstr(absl::StrCat(Book(), " has schema ", NewestSqliteSchema() + 1)));
}

}  // namespace
}  // namespace berth::controller_test
