// SPDX-License-Identifier: Apache-2.0
//
// Tells at the end of a run, for each kernel, how many cases ran and why the others did not.
#include <gtest/gtest.h>

#include <iostream>
#include <map>
#include <string>

namespace berth::conformance {
namespace {

struct Tally {
  int cases = 0;
  std::map<std::string, int> skipped;  // by reason
};

// The part of "Case/Kernel" behind the slash.
std::string KernelOf(const ::testing::TestInfo& test) {
  const std::string name = test.name();
  const size_t slash = name.rfind('/');
  return slash == std::string::npos ? "" : name.substr(slash + 1);
}

std::string ReasonOfSkip(const ::testing::TestResult& result) {
  for (int i = 0; i < result.total_part_count(); ++i) {
    const ::testing::TestPartResult& part = result.GetTestPartResult(i);
    if (!part.skipped()) continue;
    // GoogleTest puts a line of its own in front.
    const std::string message = part.message();
    const size_t line = message.find_last_not_of('\n');
    const size_t start = message.rfind('\n', line);
    return message.substr(start == std::string::npos ? 0 : start + 1, line - start);
  }
  return "";
}

std::map<std::string, Tally> Count() {
  std::map<std::string, Tally> tallies;
  const ::testing::UnitTest& all = *::testing::UnitTest::GetInstance();
  for (int i = 0; i < all.total_test_suite_count(); ++i) {
    const ::testing::TestSuite& suite = *all.GetTestSuite(i);
    if (suite.type_param() != nullptr) continue;
    for (int j = 0; j < suite.total_test_count(); ++j) {
      const ::testing::TestInfo& test = *suite.GetTestInfo(j);
      if (!test.should_run() || test.value_param() == nullptr) continue;
      Tally& tally = tallies[KernelOf(test)];
      ++tally.cases;
      if (test.result()->Skipped()) ++tally.skipped[ReasonOfSkip(*test.result())];
    }
  }
  return tallies;
}

class SkipReport : public ::testing::Environment {
 public:
  void TearDown() override {
    for (const auto& [kernel, tally] : Count()) {
      int skipped = 0;
      for (const auto& [reason, count] : tally.skipped) skipped += count;
      std::cout << "conformance of " << kernel << ": " << tally.cases << " cases, "
                << tally.cases - skipped << " run, " << skipped << " skipped\n";
      for (const auto& [reason, count] : tally.skipped) {
        std::cout << "  " << count << " " << reason << "\n";
      }
    }
  }
};

[[maybe_unused]] ::testing::Environment* const kReport =
    ::testing::AddGlobalTestEnvironment(new SkipReport);

}  // namespace
}  // namespace berth::conformance
