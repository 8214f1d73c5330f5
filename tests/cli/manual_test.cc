// SPDX-License-Identifier: Apache-2.0
//
// The manual page and README.md say what the program does.
#include <algorithm>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "tests/cli/cli_test_base.h"

namespace berth::cli {
namespace {

using testing::HasSubstr;

// Code and meaning of each line of the help.
std::vector<std::pair<std::string, std::string>> DocumentedCodes() {
  std::vector<std::pair<std::string, std::string>> codes;
  std::istringstream lines(ExitCodesHelp());
  std::string line;
  std::getline(lines, line);
  while (std::getline(lines, line)) {
    std::istringstream words(line);
    std::string code;
    std::string meaning;
    words >> code >> std::ws;
    std::getline(words, meaning);
    codes.emplace_back(code, meaning);
  }
  return codes;
}

class ManualTest : public CliTest {
 protected:
  const std::string manual_ = Read(BERTH_SOURCE_DIR "/deploy/man/berthctl.1");
  const std::string readme_ = Read(BERTH_SOURCE_DIR "/ctl/cli/README.md");
};

TEST_F(ManualTest, HasEveryExitCode) {
  ASSERT_EQ(DocumentedCodes().size(), 10u);
  for (const auto& [code, meaning] : DocumentedCodes()) {
    EXPECT_THAT(manual_, HasSubstr(absl::StrCat("\n", code, "\t", meaning, "\n")));
    EXPECT_THAT(readme_, HasSubstr(absl::StrCat("\n| ", code, " | ", meaning, " |")));
  }
}

TEST_F(ManualTest, HasEveryCommand) {
  // The completion of the empty word is the list of commands.
  const std::string script = RunPlain({"completion", "bash"}).out;
  const std::string start = "    *) words=\" ";
  const size_t begin = script.find(start);
  ASSERT_NE(begin, std::string::npos);
  std::istringstream commands(script.substr(
      begin + start.size(), script.find('"', begin + start.size()) - begin - start.size()));
  std::string plain = manual_;
  plain.erase(std::remove(plain.begin(), plain.end(), '\\'), plain.end());
  int count = 0;
  for (std::string command; commands >> command; ++count) {
    EXPECT_THAT(plain, HasSubstr(command)) << command;
  }
  EXPECT_GE(count, 16);
}

}  // namespace
}  // namespace berth::cli
