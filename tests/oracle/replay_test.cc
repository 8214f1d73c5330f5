// SPDX-License-Identifier: Apache-2.0
#include "tests/oracle/replay.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>

#include "tests/oracle/hosts.h"

namespace berth::oracle {
namespace {

std::string DataFile(const std::string& name) { return std::string(BERTH_ORACLE) + "/" + name; }

Recording Load(const std::string& name, size_t limit) {
  auto recording = LoadRecording(DataFile(name), limit);
  EXPECT_TRUE(recording.ok()) << recording.status();
  return recording.ok() ? *std::move(recording) : Recording();
}

class ReplayTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = (std::filesystem::temp_directory_path() / "berth-oracle-XXXXXX").string();
    ASSERT_NE(::mkdtemp(folder_.data()), nullptr);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  Report Replay(const Recording& recording) {
    auto report = ReplayOnEmulator(recording, HostShape(), folder_, 5);
    EXPECT_TRUE(report.ok()) << report.status();
    return report.ok() ? *report : Report();
  }
  void ExpectAgreement(const std::string& name) {
    const Report report = Replay(Load(name, 2000));
    EXPECT_EQ(report.steps, 2000U);
    EXPECT_EQ(report.agreeing, report.compared);
    EXPECT_GE(report.compared, 1900U);
    for (const std::string& difference : report.differences) ADD_FAILURE() << difference;
  }

 private:
  std::string folder_;
};

TEST_F(ReplayTest, AnswersAsArm64WithCmdqvDid) {
  ExpectAgreement("D-seed1.jsonl.xz");
  ExpectAgreement("D-seed8.jsonl.xz");
}

TEST_F(ReplayTest, AnswersAsX86WithMockDevicesDid) {
  ExpectAgreement("A-seed8.jsonl.xz");
  ExpectAgreement("A-seed7.jsonl.xz");
}

TEST_F(ReplayTest, NamesWhatOnlyTheMockDoes) {
  const Report report = Replay(Load("A-seed8.jsonl.xz", 2000));
  EXPECT_TRUE(report.oddities.contains("HW queue index 0 is allocated twice"));
  EXPECT_TRUE(report.oddities.contains("a HW queue index stays taken after its queue"));
  EXPECT_TRUE(Replay(Load("D-seed1.jsonl.xz", 2000)).oddities.empty());
}

TEST_F(ReplayTest, ShowsAnswersThatDiffer) {
  Recording recording = Load("D-seed1.jsonl.xz", 10);
  ASSERT_EQ(recording.steps.size(), 10U);
  ASSERT_EQ(recording.steps[4].op, "IOAS_ALLOC");
  recording.steps[4].out.Set("out_ioas_id", "7");
  ASSERT_EQ(recording.steps[5].op, "IOAS_COPY");
  recording.steps[5].rc = 0;
  const Report report = Replay(recording);
  EXPECT_EQ(report.compared, 10U);
  EXPECT_EQ(report.agreeing, 8U);
  ASSERT_EQ(report.differences.size(), 2U);
  EXPECT_NE(report.differences[0].find("out_ioas_id 1 not 7"), std::string::npos);
  EXPECT_NE(report.differences[1].find("rc -2 not 0"), std::string::npos);
}

TEST_F(ReplayTest, OpsThatNobodyKnowsAreDifferences) {
  Recording recording = Load("D-seed1.jsonl.xz", 1);
  recording.steps[0].op = "NONE";
  EXPECT_FALSE(Replay(recording).Agrees());
}

TEST(RecordingTest, KeepsNumbersOf64Bits) {
  Values values;
  values.Set("length", "18446744073709547520");
  values.Set("memfd", "-3");
  values.Set("data", "00ff10");
  EXPECT_EQ(values.Unsigned("length"), 18446744073709547520U);
  EXPECT_EQ(values.Signed("memfd"), -3);
  const auto bytes = values.Bytes("data");
  EXPECT_EQ(ToHex(bytes.data(), bytes.size()), "00ff10");
  EXPECT_EQ(values.Unsigned("nothing"), 0U);
}

TEST(RecordingTest, ReadsHeaderAndSteps) {
  const Recording recording = Load("D-seed1.jsonl.xz", 3);
  EXPECT_EQ(recording.level, "D");
  EXPECT_EQ(recording.page_size, 4096U);
  EXPECT_EQ(recording.devices, 2);
  EXPECT_EQ(recording.memfd_sizes, (std::vector<uint64_t>{4U << 20, 1U << 20, 4U << 20}));
  EXPECT_EQ(recording.memfd_huge, (std::vector<bool>{false, false, true}));
  ASSERT_EQ(recording.steps.size(), 3U);
  EXPECT_EQ(recording.steps[2].op, "IOAS_ALLOC");
  EXPECT_EQ(recording.steps[2].rc, -95);
}

TEST(RecordingTest, RefusesWhatIsNoRecording) {
  EXPECT_FALSE(LoadRecording(DataFile("README.md"), 1).ok());
  EXPECT_FALSE(LoadRecording(DataFile("no-such.jsonl.xz"), 1).ok());
  EXPECT_FALSE(LoadRecording(DataFile("no-such.jsonl"), 1).ok());
}

}  // namespace
}  // namespace berth::oracle
