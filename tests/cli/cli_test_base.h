// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_TESTS_CLI_CLI_TEST_BASE_H_
#define BERTH_TESTS_CLI_CLI_TEST_BASE_H_

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <vector>

#include "ctl/cli/cli.h"
#include "lib/base/clock.h"
#include "lib/config/config.h"
#include "tests/cli/fake_server.h"

namespace berth::cli {

// Time stands still, and nobody waits.
class StillClock : public Clock {
 public:
  explicit StillClock(absl::Time now) : now_(now) {}
  absl::Time Now() const override { return now_; }
  bool AwaitWithDeadline(absl::Mutex*, const absl::Condition& condition, absl::Time) override {
    return condition.Eval();
  }

 private:
  const absl::Time now_;
};

struct CliResult {
  int exit_code = -1;
  std::string out;
  std::string err;
};

// berthctl in this process, against a FakeServer, in a folder of its own. It is 2026-01-02 12:00.
class CliTest : public testing::Test {
 protected:
  CliTest();
  ~CliTest() override;

  // With --server of the fake.
  CliResult Run(const std::vector<std::string>& args, const std::string& in = "");
  // As given.
  CliResult RunPlain(const std::vector<std::string>& args, const std::string& in = "");

  std::string Path(const std::string& name) const { return folder_ + "/" + name; }
  std::string Write(const std::string& name, std::string_view text) const;
  static std::string Read(const std::string& path);
  static int ModeOf(const std::string& path);
  std::vector<std::string> FilesInFolder() const;

  FakeServer server_;
  StillClock clock_;
  CliEnvironment environment_;

 private:
  std::string folder_;
};

template <typename Message>
Message FromYaml(std::string_view yaml) {
  Message message;
  const absl::Status status = ParseYaml(yaml, "test", &message);
  EXPECT_TRUE(status.ok()) << status;
  return message;
}

// PLACED and PREPARED on host gh200-a, with a GPU and a NIC behind two units, 3 minutes old.
v1::Assignment MakeAssignment(const std::string& id);
// READY, with a unit, a free GPU, one in use and one that cannot be assigned; 2 days old.
v1::Host MakeHost(const std::string& id);

v1::WatchAssignmentsResponse PutEvent(const v1::Assignment& assignment, const std::string& token);
v1::WatchAssignmentsResponse DeleteEvent(const v1::Assignment& assignment,
                                         const std::string& token);

}  // namespace berth::cli

#endif  // BERTH_TESTS_CLI_CLI_TEST_BASE_H_
