// SPDX-License-Identifier: Apache-2.0
//
// berthctl and the daemons as an operator's hand and scripts use them: exit codes, formats, and
// what is said about a configuration.
#include <gmock/gmock.h>
#include <signal.h>

#include "tests/integration/cluster.h"

namespace berth::testing {
namespace {

using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::StartsWith;
using v1::Assignment;

std::string FirstLine(const std::string& text) { return text.substr(0, text.find('\n')); }

Cluster* cluster = nullptr;  // of the suite

class CommandLine : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    cluster = new Cluster(std::vector<std::string>{"gh200", "small"});
    ASSERT_TRUE(cluster->Create("vm", OneOf("gpu")).ok());
    cluster->AwaitObserved("vm", Assignment::PREPARED);
  }
  static void TearDownTestSuite() {
    delete cluster;
    cluster = nullptr;
  }

  static Output Ctl(const std::vector<std::string>& args) { return cluster->Berthctl(args); }
  static std::string Good(const std::vector<std::string>& args) {
    const Output output = Ctl(args);
    EXPECT_EQ(output.code, 0) << output.err;
    EXPECT_EQ(output.err, "");
    return output.out;
  }
  // A refusal: nothing on stdout, an error with a reason on stderr.
  static void ExpectFails(const std::vector<std::string>& args, int code, const std::string& text) {
    const Output output = Ctl(args);
    EXPECT_EQ(output.code, code) << ::testing::PrintToString(args) << output.err;
    EXPECT_EQ(output.out, "") << ::testing::PrintToString(args);
    EXPECT_THAT(output.err, StartsWith("Error: "));
    EXPECT_THAT(output.err, HasSubstr(text));
  }
  static std::string File(const std::string& name, const std::string& text) {
    std::string path = cluster->folder() + "/" + name;
    WriteFile(path, text);
    return path;
  }
  static Output Daemon(const std::string& program, const std::string& config,
                       const std::string& flag) {
    return cluster->Run(ProgramFile(program), {"--config", config, flag});
  }
};

TEST_F(CommandLine, TablesForPeople) {
  EXPECT_THAT(FirstLine(Good({"get", "assignments"})),
              ContainsRegex("^NAME +INTENT +OBSERVED +HOST +DEVICES +VCMDQS +AGE$"));
  EXPECT_THAT(
      FirstLine(Good({"get", "assignments", "-o", "wide"})),
      ContainsRegex("^NAME +INTENT +OBSERVED +HOST .* UNITS +OWNER +UID +GENERATION +AGE$"));
  EXPECT_THAT(Good({"get", "a", "vm"}), ContainsRegex("\nvm +PLACED +PREPARED +gh200 +1 +2 "));
  const std::string hosts = Good({"get", "hosts"});
  EXPECT_THAT(FirstLine(hosts),
              ContainsRegex("^NAME +STATE +DEVICES +VINTFS +UNITS +VERSION +AGE$"));
  EXPECT_THAT(hosts, ContainsRegex("\ngh200 +READY +11/12 +251/252 +4 "));
  EXPECT_THAT(Good({"describe", "host", "small"}),
              ContainsRegex("0002:01:00.0 +gpu .*unassignable: it has no reset method"));
  EXPECT_THAT(Good({"capacity", "--units"}), ContainsRegex("smmu3.0x30000000 +small +1/1 "));
}

TEST_F(CommandLine, DataForScripts) {
  EXPECT_EQ(Good({"get", "assignments", "-o", "name"}), "assignments/vm\n");
  EXPECT_EQ(Good({"get", "hosts", "-o", "name"}), "hosts/gh200\nhosts/small\n");
  EXPECT_THAT(Good({"get", "assignment", "vm", "-o", "yaml"}),
              StartsWith("name: assignments/vm\n"));
  const std::string json = Good({"get", "assignment", "vm", "-o", "json"});
  EXPECT_THAT(json, StartsWith("{"));
  EXPECT_THAT(json, ContainsRegex("\"observed\": *\"PREPARED\""));
  // What is printed can be created again.
  const std::string copy = File("copy.yaml", Good({"get", "assignment", "vm", "-o", "yaml"}));
  EXPECT_EQ(Good({"create", "-f", copy, "--name", "copy", "--dry-run", "server", "-o", "name"}),
            "assignments/copy\n");
  EXPECT_EQ(Good({"get", "assignments", "-o", "name"}), "assignments/vm\n");
}

TEST_F(CommandLine, ExitCodesSayWhatKindOfFailure) {
  ExpectFails({"get"}, 2, "resource");
  ExpectFails({"get", "widgets"}, 2, "widgets");
  ExpectFails({"get", "assignment", "nobody"}, 4, "NOT_FOUND");
  ExpectFails({"delete", "assignment", "nobody"}, 4, "NOT_FOUND");
  const std::string vm = File("vm.yaml",
                              "name: assignments/vm\nspec: {device_requests: [{name: a, "
                              "class: gpu}]}\n");
  ExpectFails({"create", "-f", vm}, 5, "ALREADY_EXISTS");
  ExpectFails({"delete", "host", "gh200"}, 5, "STATE_CONFLICT");
  ExpectFails({"wait", "assignment/vm", "--for", "attached", "--timeout", "100ms"}, 6, "vm");
  const std::string many = File("many.yaml",
                                "name: assignments/many\nspec: {device_requests: "
                                "[{name: a, class: gpu, count: 4}]}\n");
  ExpectFails({"create", "-f", many}, 8, "NO_CAPACITY");
  const std::string typo =
      File("typo.yaml", "name: assignments/typo\nspec:\n  device_request: []\n");
  ExpectFails({"create", "-f", typo}, 2, "typo.yaml:3:");
  const Output unreachable = cluster->Run(ProgramFile("berthctl"),
                                          {"--server", "unix:" + cluster->folder() + "/nobody.sock",
                                           "--timeout", "500ms", "get", "hosts"});
  EXPECT_EQ(unreachable.code, 6);
  EXPECT_THAT(unreachable.err, HasSubstr("nobody.sock"));
}

TEST_F(CommandLine, ConfigurationsAreCheckedAndPrinted) {
  for (const auto& [program, config] :
       {std::pair<std::string, std::string>{"berth-agent", cluster->host("gh200").config_file()},
        {"berth-controller", cluster->folder() + "/controller.yaml"}}) {
    const Output checked = Daemon(program, config, "--check-config");
    EXPECT_EQ(checked.code, 0) << checked.err;
    const Output printed = Daemon(program, config, "--print-config");
    EXPECT_EQ(printed.code, 0) << printed.err;
    EXPECT_THAT(printed.out, HasSubstr("level: ")) << "also what the file does not say";
    // What is printed is a configuration, and nothing is left to add to it.
    const std::string again = File(program + ".yaml", printed.out);
    EXPECT_EQ(Daemon(program, again, "--print-config").out, printed.out);

    const std::string unknown = File("unknown.yaml", printed.out + "nonsense: 1\n");
    const Output refused = Daemon(program, unknown, "--check-config");
    EXPECT_EQ(refused.code, 3);
    EXPECT_THAT(refused.err, ContainsRegex("unknown.yaml:[0-9]+:1: unknown key .nonsense."));
    const Output missing = Daemon(program, cluster->folder() + "/nowhere.yaml", "--check-config");
    EXPECT_EQ(missing.code, 3);
    EXPECT_THAT(missing.err, HasSubstr("nowhere.yaml"));
    EXPECT_EQ(cluster->Run(ProgramFile(program), {"--no-such-flag"}).code, 2);
    EXPECT_THAT(cluster->Run(ProgramFile(program), {"--version"}).out, StartsWith(program + " "));
  }
}

TEST_F(CommandLine, AWatchShowsChangesAsTheyCome) {
  const std::string out = cluster->folder() + "/watch.out";
  Process watch({.program = ProgramFile("berthctl"),
                 .args = {"--server", cluster->api_address(), "watch", "assignments", "-o", "name"},
                 .out = out,
                 .err = out + ".err"});
  WaitFor("the present state shows",
          [&] { return ReadFile(out).find("assignments/vm") != std::string::npos; });
  ASSERT_TRUE(cluster->Create("later", OneOf("nic")).ok());
  WaitFor("the change shows",
          [&] { return ReadFile(out).find("assignments/later") != std::string::npos; });
  ASSERT_TRUE(cluster->Delete("later").ok());
  EXPECT_EQ(Ctl({"wait", "assignment/later", "--for", "deleted"}).code, 0);
  EXPECT_TRUE(watch.running());
  watch.Signal(SIGINT);
  EXPECT_EQ(watch.Wait(), 130);
}

}  // namespace
}  // namespace berth::testing
