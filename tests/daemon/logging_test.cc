// SPDX-License-Identifier: Apache-2.0
#include "lib/daemon/logging.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sstream>
#include <string>

#include "lib/base/ids.h"
#include "lib/base/status.h"

namespace berth {
namespace {

using ::testing::MatchesRegex;

class LoggingTest : public ::testing::Test {
 protected:
  std::string Line(std::string_view message, Logger::Fields fields = {}) {
    std::ostringstream out;
    Logger(/*name=*/"test", LogLevel::kInfo, Logger::Format::kJournal, &out).Info(message, fields);
    return out.str();
  }
};

TEST_F(LoggingTest, APlainLineHasTimeLevelMessageAndFields) {
  std::ostringstream out;
  Logger log("test", LogLevel::kInfo, Logger::Format::kPlain, &out);
  log.Warn("host lost", {{"host", HostId("left")}, {"silent", absl::Seconds(60)}, {"grants", 3}});
  EXPECT_THAT(out.str(),
              MatchesRegex("[0-9]+-[0-9]+-[0-9]+T[0-9]+:[0-9]+:[0-9]+\\.[0-9]+Z warn host lost "
                           "host=left silent=1m grants=3\n"));
}

TEST_F(LoggingTest, AJournalLineHasTheSyslogPriorityInstead) {
  std::ostringstream out;
  Logger log("test", LogLevel::kTrace, Logger::Format::kJournal, &out);
  log.Error("a");
  log.Warn("b");
  log.Info("c");
  log.Debug("d");
  log.Trace("e");
  EXPECT_EQ(out.str(), "<3>a\n<4>b\n<6>c\n<7>d\n<7>e\n");
}

TEST_F(LoggingTest, EventsBelowTheLevelAreNotShown) {
  std::ostringstream out;
  Logger log("test", LogLevel::kWarn, Logger::Format::kJournal, &out);
  log.Info("unseen");
  log.Warn("seen");
  EXPECT_EQ(out.str(), "<4>seen\n");
}

TEST_F(LoggingTest, ValuesOfEveryKind) {
  EXPECT_EQ(Line("m", {{"s", std::string("x")},
                       {"v", std::string_view("y")},
                       {"c", "z"},
                       {"b", true},
                       {"u", uint64_t{18446744073709551615u}},
                       {"d", 0.5}}),
            "<6>m s=x v=y c=z b=true u=18446744073709551615 d=0.5\n");
  EXPECT_EQ(Line("m", {{"e", absl::OkStatus()}}), "<6>m e=OK\n");
  EXPECT_EQ(Line("m", {{"e", Error(Reason::kNoCapacity, "all full")}}),
            "<6>m e=\"NO_CAPACITY: all full\"\n");
}

TEST_F(LoggingTest, NothingInAValueCanForgeAFieldOrALine) {
  EXPECT_EQ(Line("m", {{"k", "a b=c"}}), "<6>m k=\"a b=c\"\n");
  EXPECT_EQ(Line("m", {{"k", "a\n<3>forged"}}), "<6>m k=\"a\\n<3>forged\"\n");
  EXPECT_EQ(Line("m", {{"k", "say \"hi\""}}), "<6>m k=\"say \\\"hi\\\"\"\n");
  EXPECT_EQ(Line("m", {{"k", ""}}), "<6>m k=\"\"\n");
  EXPECT_EQ(Line("two\nlines"), "<6>two\\nlines\n");
  EXPECT_EQ(Line("100% {}", {{"k", "%v{}"}}), "<6>100% {} k=%v{}\n");
}

TEST_F(LoggingTest, LevelsHaveNames) {
  EXPECT_EQ(ParseLogLevel(""), LogLevel::kInfo);
  EXPECT_EQ(ParseLogLevel("error"), LogLevel::kError);
  EXPECT_EQ(ParseLogLevel("loud"), std::nullopt);
}

TEST_F(LoggingTest, TheJournalIsKnownByTheFileBehindTheStream) {
  int pipe_fds[2];
  ASSERT_EQ(::pipe(pipe_fds), 0);
  struct stat status = {};
  ASSERT_EQ(::fstat(pipe_fds[1], &status), 0);
  const std::string stream = absl::StrCat(status.st_dev, ":", status.st_ino);
  EXPECT_EQ(LogFormatFor(stream, pipe_fds[1]), Logger::Format::kJournal);
  EXPECT_EQ(LogFormatFor(stream + "0", pipe_fds[1]), Logger::Format::kPlain);
  EXPECT_EQ(LogFormatFor("", pipe_fds[1]), Logger::Format::kPlain);
  ::close(pipe_fds[0]);
  ::close(pipe_fds[1]);
  EXPECT_EQ(LogFormatFor(stream, -1), Logger::Format::kPlain);
}

}  // namespace
}  // namespace berth
