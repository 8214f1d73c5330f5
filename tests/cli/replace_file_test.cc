// SPDX-License-Identifier: Apache-2.0
#include "ctl/cli/replace_file.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

#include "lib/base/status.h"
#include "tests/cli/cli_test_base.h"

namespace berth::cli {
namespace {

using testing::HasSubstr;
using testing::UnorderedElementsAre;

class ReplaceFileTest : public CliTest {
 protected:
  static absl::Status Replace(const std::string& path) {
    BERTH_ASSIGN_OR_RETURN(ReplaceFile file, ReplaceFile::Open(path));
    return file.Commit("new");
  }
};

TEST_F(ReplaceFileTest, WhatWasThereStaysUntilTheCommit) {
  const std::string path = Write("file", "old");
  { EXPECT_TRUE(ReplaceFile::Open(path).ok()); }
  EXPECT_EQ(Read(path), "old");
  EXPECT_TRUE(Replace(path).ok());
  EXPECT_EQ(Read(path), "new");
  EXPECT_EQ(ModeOf(path), 0600);
  EXPECT_THAT(FilesInFolder(), UnorderedElementsAre("file"));
}

TEST_F(ReplaceFileTest, ALinkStaysAndItsTargetIsReplaced) {
  const std::string target = Write("target", "old");
  std::filesystem::create_symlink("target", Path("second"));
  std::filesystem::create_symlink(Path("second"), Path("first"));
  EXPECT_TRUE(Replace(Path("first")).ok());
  EXPECT_TRUE(std::filesystem::is_symlink(Path("first")));
  EXPECT_TRUE(std::filesystem::is_symlink(Path("second")));
  EXPECT_EQ(Read(target), "new");
  EXPECT_EQ(ModeOf(target), 0600);
}

TEST_F(ReplaceFileTest, ALinkToNothingGetsItsTarget) {
  std::filesystem::create_symlink("target", Path("link"));
  EXPECT_TRUE(Replace(Path("link")).ok());
  EXPECT_TRUE(std::filesystem::is_symlink(Path("link")));
  EXPECT_EQ(Read(Path("target")), "new");
}

TEST_F(ReplaceFileTest, LinksInACircleAreRefused) {
  std::filesystem::create_symlink("b", Path("a"));
  std::filesystem::create_symlink("a", Path("b"));
  EXPECT_EQ(ReasonOf(Replace(Path("a"))), Reason::kInvalidField);
  EXPECT_THAT(FilesInFolder(), UnorderedElementsAre("a", "b"));
}

TEST_F(ReplaceFileTest, AFifoIsWrittenInPlace) {
  ASSERT_EQ(::mkfifo(Path("fifo").c_str(), 0600), 0);
  std::filesystem::create_symlink("fifo", Path("link"));
  const UniqueFd reader(::open(Path("fifo").c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  ASSERT_TRUE(reader.valid());
  for (const char* name : {"fifo", "link"}) {
    EXPECT_TRUE(Replace(Path(name)).ok());
    char buffer[16];
    EXPECT_EQ(::read(reader.get(), buffer, sizeof(buffer)), 3);
    EXPECT_EQ(std::string(buffer, 3), "new");
    EXPECT_TRUE(std::filesystem::is_fifo(Path(name)));
  }
  { EXPECT_TRUE(ReplaceFile::Open(Path("fifo")).ok()); }
  EXPECT_THAT(FilesInFolder(), UnorderedElementsAre("fifo", "link"));
}

TEST_F(ReplaceFileTest, ADeviceIsWrittenInPlace) {
  std::filesystem::create_symlink("/dev/null", Path("link"));
  EXPECT_TRUE(Replace(Path("link")).ok());
  EXPECT_TRUE(std::filesystem::is_character_file(Path("link")));
}

TEST_F(ReplaceFileTest, AFolderIsRefused) {
  std::filesystem::create_directory(Path("folder"));
  const absl::Status status = ReplaceFile::Open(Path("folder")).status();
  EXPECT_EQ(ReasonOf(status), Reason::kInvalidField);
  EXPECT_THAT(std::string(status.message()), HasSubstr("folder: Is a directory"));
}

}  // namespace
}  // namespace berth::cli
