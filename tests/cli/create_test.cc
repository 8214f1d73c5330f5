// SPDX-License-Identifier: Apache-2.0
//
// create, delete and rotate-token: what is sent, and what becomes of the token.
#include <filesystem>

#include "lib/base/status.h"
#include "tests/cli/cli_test_base.h"

namespace berth::cli {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

constexpr char kWeb[] = "name: web\nspec:\n  device_requests:\n  - {name: gpu, class: gpu}\n";

class CreateTest : public CliTest {
 protected:
  std::vector<v1::CreateAssignmentRequest> Creates() const {
    return server_.Received<v1::CreateAssignmentRequest>();
  }
};

TEST_F(CreateTest, CreatesWhatAFileSays) {
  const CliResult result = Run({"create", "-f", Write("web.yaml", kWeb)});
  EXPECT_EQ(result.exit_code, kExitOk) << result.err;
  EXPECT_EQ(result.out, "assignment/web created\n");
  ASSERT_EQ(Creates().size(), 1u);
  EXPECT_EQ(Creates()[0].assignment_id(), "web");
  EXPECT_EQ(Creates()[0].assignment().spec().device_requests(0).class_(), "gpu");
  EXPECT_EQ(Creates()[0].request_id().size(), 36u);
  EXPECT_FALSE(Creates()[0].validate_only());
}

TEST_F(CreateTest, ReadsDocumentsFromStandardInput) {
  const CliResult result =
      Run({"create", "-f", "-"}, "name: assignments/a\n---\nname: b\n---\nspec: {}\n");
  EXPECT_EQ(result.out, "assignment/a created\nassignment/b created\nassignment/made-up created\n");
  ASSERT_EQ(Creates().size(), 3u);
  EXPECT_NE(Creates()[0].request_id(), Creates()[1].request_id());
  EXPECT_EQ(Creates()[2].assignment_id(), "");
}

TEST_F(CreateTest, NameAndRequestIdCanBeGiven) {
  EXPECT_EQ(Run({"create", "-f", "-", "--name", "db", "--request-id", "once"}, kWeb).out,
            "assignment/db created\n");
  EXPECT_EQ(Creates()[0].assignment_id(), "db");
  EXPECT_EQ(Creates()[0].request_id(), "once");
  EXPECT_EQ(Run({"create", "-f", "-", "--name", "db"}, "name: a\n---\nname: b\n").exit_code,
            kExitUsage);
  EXPECT_EQ(Creates().size(), 1u);
}

TEST_F(CreateTest, ErrorsInFilesSayWhere) {
  const std::string path = Write("bad.yaml", "name: web\nspec:\n  device_request: []\n");
  const CliResult result = Run({"create", "-f", path});
  EXPECT_EQ(result.exit_code, kExitUsage);
  EXPECT_THAT(result.err, StartsWith("Error: " + path + ":3:3: "));
  EXPECT_THAT(result.err, HasSubstr("device_requests"));
  EXPECT_THAT(result.err, HasSubstr("(UNKNOWN_FIELD)"));
  // Nothing is created when a later document is wrong.
  EXPECT_EQ(Run({"create", "-f", "-"}, "name: a\n---\nnames: b\n").exit_code, kExitUsage);
  EXPECT_EQ(Run({"create", "-f", "-"}, "").exit_code, kExitUsage);
  EXPECT_TRUE(Creates().empty());
}

constexpr char kGang[] =
    "requests:\n"
    "- assignment_id: a\n"
    "  assignment: {spec: {device_requests: [{name: gpu, class: gpu}]}}\n"
    "- assignment: {name: b, spec: {device_requests: [{name: gpu, class: gpu}]}}\n"
    "constraints:\n"
    "- {members: [0, 1], distinct_hosts: {}}\n";

TEST_F(CreateTest, AGangIsOneCall) {
  const CliResult result = Run({"create", "--gang", "-f", "-", "--request-id", "once"}, kGang);
  EXPECT_EQ(result.exit_code, kExitOk) << result.err;
  EXPECT_EQ(result.out, "assignment/a created\nassignment/b created\n");
  EXPECT_TRUE(Creates().empty());
  const auto gangs = server_.Received<v1::BatchCreateAssignmentsRequest>();
  ASSERT_EQ(gangs.size(), 1U);
  EXPECT_EQ(gangs[0].mode(), v1::BatchCreateAssignmentsRequest::ATOMIC);
  EXPECT_EQ(gangs[0].request_id(), "once");
  EXPECT_EQ(gangs[0].requests(1).assignment_id(), "b");
  EXPECT_TRUE(gangs[0].constraints(0).has_distinct_hosts());
  EXPECT_THAT(
      Run({"create", "--gang", "-f", "-", "-o", "json"}, kGang).out,
      AllOf(HasSubstr("assignments/a"), HasSubstr("assignments/b"), Not(HasSubstr("s3cret"))));
  EXPECT_EQ(
      Run({"create", "--gang", "-f", "-", "--dry-run", "client", "-o", "name"}, kGang).exit_code,
      kExitOk);
  EXPECT_EQ(server_.Received<v1::BatchCreateAssignmentsRequest>().size(), 2U);
}

TEST_F(CreateTest, AGangThatDoesNotFitIsAnError) {
  server_.FailNext("BatchCreateAssignments", Error(Reason::kNoCapacity, "requests[1]: full"));
  const CliResult result = Run({"create", "--gang", "-f", "-"}, kGang);
  EXPECT_EQ(result.exit_code, kExitExhausted);
  EXPECT_THAT(result.err, HasSubstr("requests[1]: full"));
}

TEST_F(CreateTest, AGangIsOneDocumentOfOneFile) {
  EXPECT_EQ(Run({"create", "--gang", "-f", "-", "-f", "-"}, kGang).exit_code, kExitUsage);
  EXPECT_EQ(Run({"create", "--gang", "-f", "-"}, std::string(kGang) + "---\n" + kGang).exit_code,
            kExitUsage);
  EXPECT_EQ(Run({"create", "--gang", "-f", "-"}, kWeb).exit_code, kExitUsage);
  EXPECT_EQ(Run({"create", "--gang", "-f", "-", "--name", "x"}, kGang).exit_code, kExitUsage);
  EXPECT_TRUE(server_.Received<v1::BatchCreateAssignmentsRequest>().empty());
}

TEST_F(CreateTest, AMissingFileIsNoMissingAssignment) {
  const CliResult result = Run({"create", "-f", Path("nowhere.yaml")});
  EXPECT_EQ(result.exit_code, kExitUsage);
  EXPECT_THAT(result.err, HasSubstr("nowhere.yaml: No such file or directory"));
}

TEST_F(CreateTest, RepeatsTheSameRequestWhenTheControllerIsAway) {
  server_.FailNext("CreateAssignment", Error(Reason::kStoreFailed, "try again"));
  server_.FailNext("CreateAssignment", Error(Reason::kShuttingDown, "stopping"));
  EXPECT_EQ(Run({"create", "-f", "-"}, kWeb).out, "assignment/web created\n");
  ASSERT_EQ(Creates().size(), 3u);
  EXPECT_EQ(Creates()[0].request_id(), Creates()[1].request_id());
  EXPECT_EQ(Creates()[0].request_id(), Creates()[2].request_id());
}

TEST_F(CreateTest, SaysWhyNothingFits) {
  server_.FailNext("CreateAssignment", Error(Reason::kNoCapacity, "2 hosts lack class gpu"));
  const CliResult result = Run({"create", "-f", "-"}, kWeb);
  EXPECT_EQ(result.exit_code, kExitExhausted);
  EXPECT_EQ(result.err,
            "Error: assignment/web: 2 hosts lack class gpu (NO_CAPACITY)\n"
            "Hint: `berthctl explain-placement -f FILE` tells which constraint fails on how many "
            "hosts\n");
  EXPECT_EQ(result.out, "");
}

TEST_F(CreateTest, DryRunsCreateNothing) {
  EXPECT_EQ(Run({"create", "-f", "-", "--dry-run", "client"}, kWeb).out,
            "assignment/web created (client dry run)\n");
  EXPECT_TRUE(Creates().empty());
  EXPECT_EQ(Run({"create", "-f", "-", "--dry-run=server"}, kWeb).out,
            "assignment/web created (server dry run)\n");
  EXPECT_TRUE(Creates().at(0).validate_only());
  EXPECT_EQ(Run({"create", "-f", "-", "--dry-run=maybe"}, kWeb).exit_code, kExitUsage);
}

TEST_F(CreateTest, TheTokenIsShownOnRequestOnly) {
  EXPECT_THAT(Run({"create", "-f", "-", "-v"}, kWeb).out, Not(HasSubstr("s3cret")));
  EXPECT_EQ(Run({"create", "-f", "-", "--show-token"}, kWeb).out,
            "assignment/web created\ntoken s3cret\n");
  EXPECT_THAT(Run({"create", "-f", "-", "-o", "json", "--show-token"}, kWeb).out,
              HasSubstr("\"attach_token\": \"s3cret\""));
  for (const std::string format : {"json", "yaml"}) {
    EXPECT_THAT(Run({"create", "-f", "-", "-o", format}, kWeb).out,
                AllOf(HasSubstr("assignments/web"), Not(HasSubstr("s3cret"))));
  }
  EXPECT_EQ(Run({"create", "-f", "-", "-o", "name"}, kWeb).out, "assignments/web\n");
}

TEST_F(CreateTest, TheTokenFileIsForItsOwnerOnly) {
  const std::string path = Write("token", "the old one");
  ASSERT_NE(ModeOf(path), 0600);
  EXPECT_EQ(Run({"create", "-f", "-", "--token-file", path}, kWeb).out, "assignment/web created\n");
  EXPECT_EQ(Read(path), "s3cret\n");
  EXPECT_EQ(ModeOf(path), 0600);
  EXPECT_THAT(FilesInFolder(), testing::ElementsAre("token"));
}

TEST_F(CreateTest, ATokenFileThatCannotBeWrittenPreventsTheCreation) {
  const CliResult result = Run({"create", "-f", "-", "--token-file", Path("no/folder")}, kWeb);
  EXPECT_EQ(result.exit_code, kExitUsage);
  EXPECT_TRUE(Creates().empty());
}

TEST_F(CreateTest, ATokenFileThatIsAFolderPreventsTheCreation) {
  std::filesystem::create_directory(Path("folder"));
  const CliResult result = Run({"create", "-f", "-", "--token-file", Path("folder")}, kWeb);
  EXPECT_EQ(result.exit_code, kExitUsage);
  EXPECT_THAT(result.err, HasSubstr("folder: Is a directory"));
  EXPECT_TRUE(Creates().empty());
}

TEST_F(CreateTest, AFailedCreationLeavesTheTokenFileAlone) {
  const std::string path = Write("token", "the old one");
  server_.FailNext("CreateAssignment", Error(Reason::kAlreadyExists, "taken"));
  EXPECT_EQ(Run({"create", "-f", "-", "--token-file", path}, kWeb).exit_code, kExitConflict);
  EXPECT_EQ(Read(path), "the old one");
  EXPECT_THAT(FilesInFolder(), testing::ElementsAre("token"));
}

TEST_F(CreateTest, WaitsUntilPrepared) {
  v1::Assignment web =
      FromYaml<v1::Assignment>("{name: assignments/web, uid: uid-1, intent: PLACED}");
  v1::WatchAssignmentsResponse bookmark;
  web.set_observed(v1::Assignment::PREPARED);
  server_.Expect({.messages = {bookmark, PutEvent(web, "store/8")}, .end = {}});
  EXPECT_EQ(Run({"create", "-f", "-", "--wait"}, kWeb).out,
            "assignment/web created\nassignment/web prepared\n");
  const auto watch = server_.Received<v1::WatchAssignmentsRequest>().at(0);
  EXPECT_EQ(watch.name(), "assignments/web");
  EXPECT_EQ(watch.watch_token(), "store/7");
}

TEST_F(CreateTest, DeadlinesOfTheCommandLineWin) {
  EXPECT_EQ(Run({"create", "-f", "-", "--lease", "90s", "--attach-timeout=1h30m"},
                "name: web\nspec: {lease_duration: 5s}\n")
                .exit_code,
            kExitOk);
  const v1::AssignmentSpec spec = Creates().at(0).assignment().spec();
  EXPECT_EQ(spec.lease_duration().seconds(), 90);
  EXPECT_EQ(spec.attach_timeout().seconds(), 5400);
  for (const char* wrong : {"soon", "-5s", "inf"}) {
    const CliResult result = Run({"create", "-f", "-", "--lease", wrong}, kWeb);
    EXPECT_EQ(result.exit_code, kExitUsage) << wrong;
    EXPECT_THAT(result.err, HasSubstr("--lease: expected a duration")) << wrong;
  }
  EXPECT_EQ(Creates().size(), 1u);
}

class DeleteTest : public CliTest {};

TEST_F(DeleteTest, StartsTheRelease) {
  server_.Put(MakeAssignment("web"));
  EXPECT_EQ(Run({"delete", "asg/web"}).out, "assignment/web releasing\n");
  EXPECT_FALSE(server_.Received<v1::DeleteAssignmentRequest>().at(0).request_id().empty());
  EXPECT_EQ(Run({"delete", "asg/web", "--dry-run=server"}).out,
            "assignment/web releasing (server dry run)\n");
  EXPECT_TRUE(server_.Received<v1::DeleteAssignmentRequest>().at(1).validate_only());
}

TEST_F(DeleteTest, MissingOnesAreErrorsUnlessIgnored) {
  server_.Put(MakeAssignment("web"));
  const CliResult result = Run({"delete", "asg", "gone", "web"});
  EXPECT_EQ(result.exit_code, kExitNotFound);
  EXPECT_EQ(result.out, "assignment/web releasing\n");
  EXPECT_EQ(Run({"delete", "asg/gone", "--ignore-not-found"}).exit_code, kExitOk);
  EXPECT_EQ(Run({"delete", "host/gone", "--ignore-not-found"}).exit_code, kExitOk);
  EXPECT_EQ(Run({"delete", "asg"}).exit_code, kExitUsage);
}

TEST_F(DeleteTest, TakesTheFilesThatTheyWereCreatedFrom) {
  server_.Put(MakeAssignment("web"));
  server_.Put(MakeAssignment("db"));
  const std::string both = Write("both.yaml", "name: db\n---\nname: assignments/web\n");
  EXPECT_EQ(Run({"delete", "-f", both}).out, "assignment/db releasing\nassignment/web releasing\n");
  EXPECT_EQ(Run({"delete", "-f", "-"}, "name: gone\n").exit_code, kExitNotFound);
  const CliResult unnamed = Run({"delete", "-f", "-"}, "labels: {a: b}\n");
  EXPECT_EQ(unnamed.exit_code, kExitUsage);
  EXPECT_THAT(unnamed.err, HasSubstr("a document without a name"));
  const CliResult twice = Run({"delete", "asg/web", "-f", both});
  EXPECT_EQ(twice.exit_code, kExitUsage);
  EXPECT_THAT(twice.err, HasSubstr("not both"));
  EXPECT_THAT(Run({"delete"}).err, HasSubstr("say what to delete"));
}

TEST_F(DeleteTest, CanWaitForTheEnd) {
  server_.Put(MakeAssignment("web"));
  server_.Expect({.messages = {DeleteEvent(MakeAssignment("web"), "store/9")}, .end = {}});
  EXPECT_EQ(Run({"delete", "asg/web", "--wait"}).out, "assignment/web deleted\n");
}

TEST_F(DeleteTest, ForgetsHosts) {
  server_.Put(MakeHost("gh200-a"));
  EXPECT_EQ(Run({"delete", "host", "gh200-a"}).out, "host/gh200-a deleted\n");
  EXPECT_EQ(Run({"delete", "host", "gh200-a", "--gone"}).out, "host/gh200-a going\n");
  const auto requests = server_.Received<v1::DeleteHostRequest>();
  EXPECT_FALSE(requests.at(0).gone());
  EXPECT_TRUE(requests.at(1).gone());
  server_.Put(MakeAssignment("web"));
  EXPECT_EQ(Run({"delete", "asg/web", "--gone"}).exit_code, kExitUsage);
}

TEST_F(CliTest, RotatesTokens) {
  server_.Put(MakeAssignment("web"));
  EXPECT_EQ(Run({"rotate-token", "asg/web", "--token-file", Path("token")}).out,
            "assignment/web token rotated (version 2)\n");
  EXPECT_EQ(Read(Path("token")), "fresh\n");
  EXPECT_EQ(ModeOf(Path("token")), 0600);
  EXPECT_THAT(Run({"rotate-token", "web", "--show-token"}).out, HasSubstr("token fresh\n"));
  EXPECT_THAT(Run({"rotate-token", "web", "-o", "json"}).out, Not(HasSubstr("fresh")));
  EXPECT_THAT(Run({"rotate-token", "web", "-o", "json", "--show-token"}).out, HasSubstr("fresh"));
}

}  // namespace
}  // namespace berth::cli
