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
  Report ExpectAgreement(const std::string& name) {
    Report report = Replay(Load(name, 2000));
    EXPECT_EQ(report.steps, 2000U);
    EXPECT_EQ(report.compared + report.ExcludedSteps(), report.steps);
    EXPECT_EQ(report.agreeing, report.compared);
    EXPECT_GE(report.compared, 1900U);
    for (const std::string& difference : report.differences) ADD_FAILURE() << difference;
    return report;
  }

 private:
  std::string folder_;
};

// Steps that are excluded under names with `part` in them.
Report::Excluded Sum(const Report& report, const std::string& part) {
  Report::Excluded sum;
  for (const auto& [why, count] : report.excluded) {
    if (why.find(part) == std::string::npos) continue;
    sum.steps += count.steps;
    sum.alike += count.alike;
  }
  return sum;
}

TEST_F(ReplayTest, AnswersAsArm64WithCmdqvDid) {
  const Report report = ExpectAgreement("D-seed1.jsonl.xz");
  EXPECT_EQ(Sum(report, "EPERM of mmap(2)").steps, 1U);
  EXPECT_EQ(Sum(report, "EINVAL of mmap(2)").steps, 2U);
  EXPECT_EQ(Sum(report, "of the mock alone").steps, 0U);
}

TEST_F(ReplayTest, WhatIsComparedInPartCountsAsCompared) {
  const Report report = ExpectAgreement("D-seed8.jsonl.xz");
  ASSERT_EQ(report.in_part.size(), 1U);
  EXPECT_EQ(report.in_part.begin()->second, 17U);
}

TEST_F(ReplayTest, AnswersAsX86WithMockDevicesDid) { ExpectAgreement("A-seed7.jsonl.xz"); }

TEST_F(ReplayTest, ExcludesWhatOnlyTheMockDoes) {
  const Report report = ExpectAgreement("A-seed8.jsonl.xz");
  EXPECT_GT(Sum(report, "HW queue index 0 is allocated twice").steps, 0U);
  const Report::Excluded mock = Sum(report, "of the mock alone: ");
  EXPECT_GT(mock.steps, 0U);
  EXPECT_EQ(mock.alike, mock.steps);
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

Step HwInfo(uint32_t type, const std::string& data) {
  Step step;
  step.op = "GET_HW_INFO";
  step.out.Set("out_data_type", std::to_string(type));
  step.out.Set("data", data);
  return step;
}

TEST(HostForTest, TakesWhatTheRecordingSays) {
  Recording recording;
  recording.level = "D";
  recording.page_size = 65536;
  recording.devices = 1;
  // Too short to say it, first.
  recording.steps.push_back(HwInfo(2, "0000000000000000ffffffff"));
  // IDR0.ATS; IDR1.CMDQS 8; IDR5.OAS 48 bits.
  recording.steps.push_back(
      HwInfo(2, "0000000000000000000400000000000100000000000000000000000005000000"));
  recording.steps.push_back(HwInfo(3, "0000000001030500"));
  emulator::HostSpec host = HostFor(recording, {});
  EXPECT_EQ(host.page_size, 65536U);
  ASSERT_EQ(host.units.size(), 1U);
  EXPECT_TRUE(host.units[0].ats);
  EXPECT_EQ(host.units[0].log2_max_commands, 8);
  EXPECT_EQ(host.units[0].address_bits, 48);
  EXPECT_EQ(host.units[0].vintfs, 4);
  EXPECT_EQ(host.units[0].vcmdqs, 32);
  EXPECT_EQ(host.units[0].sid_slots, 32);

  host = HostFor(recording, {.vintfs = 2, .lvcmdqs = 4, .sid_slots = 8});
  EXPECT_EQ(host.units[0].vintfs, 2);
  EXPECT_EQ(host.units[0].vcmdqs, 8);
  EXPECT_EQ(host.units[0].sid_slots, 8);
}

TEST(HostForTest, IsTheUsualMachineWhenNothingIsSaid) {
  const emulator::HostSpec host = HostFor(Load("D-seed1.jsonl.xz", 1), {});
  EXPECT_EQ(host.page_size, 4096U);
  EXPECT_FALSE(host.units[0].ats);
  EXPECT_EQ(host.units[0].log2_max_commands, 19);
  EXPECT_EQ(host.units[0].address_bits, 44);
  EXPECT_EQ(host.units[0].vcmdqs, 8);
  EXPECT_EQ(host.units[0].sid_slots, 16);
  EXPECT_EQ(host.devices.size(), 2U);
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
