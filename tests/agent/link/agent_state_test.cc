// SPDX-License-Identifier: Apache-2.0
#include "agent/link/agent_state.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "lib/base/status.h"
#include "lib/config/config.h"

namespace berth {
namespace {

namespace fs = std::filesystem;
using agent::v1::Epoch;
using ::testing::AllOf;
using ::testing::HasSubstr;

class AgentStateTest : public ::testing::Test {
 protected:
  AgentStateTest() {
    folder_ = fs::temp_directory_path() / "berth-state-XXXXXX";
    EXPECT_NE(::mkdtemp(folder_.data()), nullptr);
  }
  ~AgentStateTest() override { fs::remove_all(folder_); }

  [[nodiscard]] std::string dir() const { return folder_ + "/lib/berth"; }
  [[nodiscard]] std::string file() const { return dir() + "/agent.json"; }

  std::unique_ptr<AgentState> Open() {
    auto state = AgentState::Open(dir());
    EXPECT_TRUE(state.ok()) << state.status();
    return state.ok() ? *std::move(state) : nullptr;
  }
  // What a next start would read.
  internal::v1::AgentState OnDisk() {
    internal::v1::AgentState state;
    const absl::Status status = LoadYamlFile(file(), &state);
    EXPECT_TRUE(status.ok()) << status;
    return state;
  }
  std::string Content() {
    std::ifstream in(file());
    return {std::istreambuf_iterator<char>(in), {}};
  }
  void Write(const std::string& content) {
    fs::create_directories(dir());
    std::ofstream(file()) << content;
  }
  static mode_t Mode(const std::string& path) {
    struct stat info = {};
    EXPECT_EQ(::stat(path.c_str(), &info), 0) << path;
    return info.st_mode & 0777;
  }
  static Epoch MakeEpoch(const std::string& store, int64_t restore_count, int64_t term) {
    Epoch epoch;
    epoch.set_store_uid(store);
    epoch.set_restore_count(restore_count);
    epoch.set_term(term);
    return epoch;
  }

 private:
  std::string folder_;
};

TEST_F(AgentStateTest, TheFirstStartMakesAnIdentity) {
  const auto state = Open();
  EXPECT_EQ(state->host_uid().size(), 36U) << "a UUID";
  EXPECT_EQ(state->incarnation(), 1);
  EXPECT_FALSE(state->Snapshot().has_highest_epoch());
  EXPECT_EQ(OnDisk().host_uid(), state->host_uid());
  EXPECT_EQ(OnDisk().incarnation(), 1);
}

TEST_F(AgentStateTest, NobodyElseMayReadIt) {
  const auto state = Open();
  EXPECT_EQ(Mode(dir()), 0700U);
  EXPECT_EQ(Mode(file()), 0600U);
}

TEST_F(AgentStateTest, EachStartCountsAndIsTheSameHost) {
  const std::string uid = Open()->host_uid();
  for (int64_t start = 2; start <= 4; ++start) {
    const auto state = Open();
    EXPECT_EQ(state->incarnation(), start);
    EXPECT_EQ(state->host_uid(), uid);
    EXPECT_EQ(OnDisk().incarnation(), start) << "stored before anybody could hear of it";
  }
}

TEST_F(AgentStateTest, TwoFoldersAreTwoHosts) {
  const std::string uid = Open()->host_uid();
  fs::remove_all(dir());
  EXPECT_NE(Open()->host_uid(), uid);
}

TEST_F(AgentStateTest, OneAgentAtATime) {
  auto first = Open();
  const absl::Status second = AgentState::Open(dir()).status();
  EXPECT_EQ(ReasonOf(second), Reason::kStateConflict);
  EXPECT_THAT(std::string(second.message()), HasSubstr("stop it first"));
  EXPECT_EQ(OnDisk().incarnation(), 1) << "what was refused does not count";
  int number = 0;
  std::ifstream(AgentState::LockPath(dir())) >> number;
  EXPECT_EQ(number, ::getpid()) << "who holds the lock";
  first.reset();
  EXPECT_EQ(Open()->incarnation(), 2);
}

TEST_F(AgentStateTest, AFileThatIsNotOursIsRefusedAndLeftAlone) {
  for (const std::string content :
       {"not: [even, ours]\n", "{{{", "", "{\"incarnation\": \"3\"}", "{\"hostUid\": \"u\"}",
        "{\"hostUid\": \"u\", \"incarnation\": \"-4\"}",
        "{\"hostUid\": \"u\", \"incarnation\": \"9223372036854775807\"}"}) {
    Write(content);
    const absl::Status status = AgentState::Open(dir()).status();
    EXPECT_FALSE(status.ok()) << content;
    EXPECT_THAT(std::string(status.message()), HasSubstr(file()));
    EXPECT_FALSE(AgentState::ForgetStore(dir()).ok());
    EXPECT_EQ(Content(), content);
  }
}

TEST_F(AgentStateTest, AHalfWrittenSuccessorDoesNotMatter) {
  const std::string uid = Open()->host_uid();
  std::ofstream(file() + ".new") << "{\"hostUi";
  EXPECT_EQ(Open()->host_uid(), uid);
}

TEST_F(AgentStateTest, AFolderThatCannotBeMadeIsAnError) {
  std::ofstream(fs::path(dir()).parent_path().parent_path() / "lib") << "a file";
  EXPECT_FALSE(AgentState::Open(dir()).ok());
}

TEST_F(AgentStateTest, TheFirstEpochIsTakenAndKept) {
  const auto state = Open();
  ASSERT_TRUE(state->Accept(MakeEpoch("store-a", 0, 7)).ok());
  EXPECT_EQ(state->Snapshot().highest_epoch().term(), 7);
  EXPECT_EQ(OnDisk().highest_epoch().store_uid(), "store-a") << "durable when Accept() returns";
  EXPECT_EQ(OnDisk().highest_epoch().term(), 7);
}

TEST_F(AgentStateTest, EpochsOnlyGrow) {
  const auto state = Open();
  // In order; whether it is taken.
  const std::pair<Epoch, bool> steps[] = {
      {MakeEpoch("a", 1, 5), true},  {MakeEpoch("a", 1, 5), true},   {MakeEpoch("a", 1, 4), false},
      {MakeEpoch("a", 1, 6), true},  {MakeEpoch("a", 0, 99), false}, {MakeEpoch("a", 2, 1), true},
      {MakeEpoch("a", 1, 7), false}, {MakeEpoch("b", 9, 9), false},  {MakeEpoch("", 9, 9), false},
      {MakeEpoch("a", 2, 2), true},
  };
  Epoch highest;
  for (const auto& [epoch, taken] : steps) {
    const absl::Status status = state->Accept(epoch);
    EXPECT_EQ(ReasonOf(status), taken ? Reason::kUnspecified : Reason::kFenced)
        << epoch.ShortDebugString();
    if (taken) highest = epoch;
    EXPECT_EQ(OnDisk().highest_epoch().ShortDebugString(), highest.ShortDebugString());
  }
}

TEST_F(AgentStateTest, TheFenceHoldsAfterARestart) {
  ASSERT_TRUE(Open()->Accept(MakeEpoch("a", 0, 5)).ok());
  const auto state = Open();
  EXPECT_EQ(ReasonOf(state->Accept(MakeEpoch("a", 0, 4))), Reason::kFenced);
  EXPECT_TRUE(state->Accept(MakeEpoch("a", 0, 5)).ok());
}

TEST_F(AgentStateTest, TheFenceSaysWhoIsKnownAndWhatToDo) {
  const auto state = Open();
  ASSERT_TRUE(state->Accept(MakeEpoch("a", 2, 5)).ok());
  const absl::Status older = state->Accept(MakeEpoch("a", 2, 4));
  EXPECT_EQ(MetadataOf(older),
            (ErrorMetadata{{"store_uid", "a"}, {"restore_count", "2"}, {"term", "5"}}));
  EXPECT_THAT(std::string(older.message()), HasSubstr("older than the one seen last"));
  const absl::Status other = state->Accept(MakeEpoch("b", 0, 1));
  EXPECT_THAT(std::string(other.message()),
              AllOf(HasSubstr("store b"), HasSubstr("store a"), HasSubstr("accept-store")));
}

TEST_F(AgentStateTest, WhatCannotBeStoredIsNotAccepted) {
  const auto state = Open();
  ASSERT_TRUE(state->Accept(MakeEpoch("a", 0, 1)).ok());
  fs::create_directory(file() + ".new");  // in the way of the successor
  EXPECT_FALSE(state->Accept(MakeEpoch("a", 0, 2)).ok());
  EXPECT_EQ(state->Snapshot().highest_epoch().term(), 1);
  EXPECT_EQ(OnDisk().highest_epoch().term(), 1);
}

TEST_F(AgentStateTest, AForgottenStoreMakesRoomForAnother) {
  auto state = Open();
  const std::string uid = state->host_uid();
  ASSERT_TRUE(state->Accept(MakeEpoch("a", 3, 5)).ok());
  EXPECT_EQ(ReasonOf(AgentState::ForgetStore(dir()).status()), Reason::kStateConflict)
      << "the agent runs";
  state.reset();
  const auto forgotten = AgentState::ForgetStore(dir());
  ASSERT_TRUE(forgotten.ok()) << forgotten.status();
  ASSERT_TRUE(forgotten->has_value());
  EXPECT_EQ((*forgotten)->store_uid(), "a");
  EXPECT_EQ(OnDisk().incarnation(), 1) << "that was no start";

  state = Open();
  EXPECT_EQ(state->host_uid(), uid);
  EXPECT_TRUE(state->Accept(MakeEpoch("b", 0, 1)).ok());
  EXPECT_EQ(ReasonOf(state->Accept(MakeEpoch("a", 3, 6))), Reason::kFenced) << "no way back";
}

TEST_F(AgentStateTest, AHostWithoutAStoreHasNoneToForget) {
  auto forgotten = AgentState::ForgetStore(dir());
  ASSERT_TRUE(forgotten.ok()) << forgotten.status();
  EXPECT_EQ(*forgotten, std::nullopt);
  EXPECT_FALSE(fs::exists(file())) << "it did not become a host by that";
  Open();
  forgotten = AgentState::ForgetStore(dir());
  ASSERT_TRUE(forgotten.ok());
  EXPECT_EQ(*forgotten, std::nullopt);
}

}  // namespace
}  // namespace berth
