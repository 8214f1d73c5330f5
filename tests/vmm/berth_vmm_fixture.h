// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_TESTS_VMM_BERTH_VMM_FIXTURE_H_
#define BERTH_TESTS_VMM_BERTH_VMM_FIXTURE_H_

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <iterator>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "lib/vmm/berth_vmm.h"
#include "tests/vmm/scripted_agent.h"

namespace berth {

using Script = ScriptedAgent::Script;

inline constexpr int kUnavailable = -BERTH_VMM_REASON_UNAVAILABLE;
inline constexpr int kBadMessage = -BERTH_VMM_REASON_BAD_MESSAGE;

class BerthVmmTest : public ::testing::Test {
 protected:
  BerthVmmTest() {
    std::string name = ::testing::TempDir() + "berth-XXXXXX";
    folder_ = ::mkdtemp(name.data());
    path_ = folder_ + "/vmm.sock";
    EXPECT_EQ(berth_vmm_new(&vmm_), 0);
    fds_at_start_ = OpenFds();
  }
  ~BerthVmmTest() override {
    berth_vmm_close(vmm_);
    agent_.reset();
    std::filesystem::remove_all(folder_);
  }

  // With a session the library holds two fds more than without: its connection and its events.
  // Counted when the agent, which lives in this process too, has closed its own.
  void ExpectOnlyTheSessionsFds() {
    agent_.reset();
    EXPECT_EQ(OpenFds(), fds_at_start_ + 2);
  }

  // One script for each connection that the library is to make.
  void Play(std::vector<Script> scripts) {
    agent_ = std::make_unique<ScriptedAgent>(path_, std::move(scripts));
  }
  int Connect() { return berth_vmm_connect(vmm_, path_.c_str(), "uid", "token"); }
  std::string Message() const { return berth_vmm_last_message(vmm_); }
  size_t OpenFds() const {
    const auto folder = std::filesystem::directory_iterator("/proc/self/fd");
    return static_cast<size_t>(std::distance(begin(folder), end(folder)));
  }

  std::string folder_;
  std::string path_;
  berth_vmm* vmm_ = nullptr;
  size_t fds_at_start_ = 0;
  std::unique_ptr<ScriptedAgent> agent_;
};

inline void AnswerEmpty(AgentConnection& agent, const Received& call) {
  agent.Reply(call, berth_vmm_empty_reply{});
}

}  // namespace berth

#endif  // BERTH_TESTS_VMM_BERTH_VMM_FIXTURE_H_
