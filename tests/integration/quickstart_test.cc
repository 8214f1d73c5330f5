// SPDX-License-Identifier: Apache-2.0
//
// deploy/quickstart as a newcomer meets it, with the programs that are under test in the place of
// those it would build: what it shows, that Ctrl-C leaves nothing behind, and what --keep keeps.
#include <gmock/gmock.h>
#include <signal.h>
#include <stdlib.h>

#include <filesystem>
#include <iostream>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "tests/integration/cluster.h"

namespace berth::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// The whole of it, under a sanitizer on a busy machine.
constexpr absl::Duration kWhole = absl::Minutes(4);

class Quickstart : public ::testing::Test {
 protected:
  // A tree in which nothing can be installed or built.
  void SetUp() override {
    ASSERT_NE(::mkdtemp(folder_.data()), nullptr);
    fs::create_directories(tree());
    fs::copy(SourceFile("deploy"), tree() + "/deploy", fs::copy_options::recursive);
    WriteFile(tree() + "/deploy/install-dependencies", "#!/bin/bash\n");
    SetBuild("");
    fs::create_directories(tree() + "/build");
    fs::create_directory_symlink(fs::path(ProgramFile("")).parent_path().parent_path(),
                                 tree() + "/build/release");
    fs::create_directories(temporary());
  }
  void TearDown() override {
    script_.reset();
    if (HasFailure()) std::cerr << Shown();
    for (const pid_t pid : Processes()) KillStranger(pid);
    fs::remove_all(folder_);
  }

  void SetBuild(const std::string& commands) {
    WriteFile(tree() + "/deploy/build", "#!/bin/bash\n" + commands);
  }
  // Programs of the fleet become what they are only after a while.
  void SlowStarts() {
    fs::create_directories(folder_ + "/slow");
    const std::string program = folder_ + "/slow/setsid";
    WriteFile(program, "#!/bin/bash\nsleep 0.5\nexec /usr/bin/setsid \"$@\"\n");
    fs::permissions(program, fs::perms::owner_all);
    path_ = folder_ + "/slow:" + path_;
  }
  void Start(std::vector<std::string> args) {
    fs::remove(folder_ + "/out");
    script_ = std::make_unique<Process>(
        Process::Options{.program = tree() + "/deploy/quickstart",
                         .args = std::move(args),
                         .out = folder_ + "/out",
                         .err = "",
                         .environment = {"TMPDIR=" + temporary(), "PATH=" + path_}});
    script_->CloseStdin();
  }
  int Wait() { return script_->Wait(kWhole); }
  [[nodiscard]] std::string Shown() const { return ReadFile(folder_ + "/out"); }
  void AwaitShown(const std::string& text) {
    WaitFor(
        "it shows " + text, [&] { return absl::StrContains(Shown(), text); }, kWhole);
  }

  // What is left of fleets: processes that have a path of ours among their arguments, and folders.
  [[nodiscard]] std::vector<pid_t> Processes() const {
    std::vector<pid_t> found;
    for (const fs::directory_entry& entry : fs::directory_iterator("/proc")) {
      const pid_t pid = std::atoi(entry.path().filename().c_str());
      if (pid > 0 && absl::StrContains(ReadFile(entry.path() / "cmdline"), temporary())) {
        found.push_back(pid);
      }
    }
    return found;
  }
  [[nodiscard]] std::vector<std::string> Folders() const {
    std::vector<std::string> found;
    for (const fs::directory_entry& entry : fs::directory_iterator(temporary())) {
      // ThreadSanitizer's own, when a program is killed while it starts.
      if (absl::StartsWith(entry.path().filename().string(), "tsan.rodata.")) continue;
      found.push_back(entry.path());
    }
    return found;
  }
  void ExpectNothingLeft() {
    // What was killed may take a moment to be gone.
    WaitFor("nothing of it runs", [this] { return Processes().empty(); });
    EXPECT_THAT(Folders(), IsEmpty());
  }

  [[nodiscard]] std::string tree() const { return folder_ + "/tree"; }
  [[nodiscard]] std::string temporary() const { return folder_ + "/tmp"; }

  std::string folder_ = "/tmp/berth-qs.XXXXXX";
  std::string path_ = ::getenv("PATH");
  std::unique_ptr<Process> script_;
};

TEST_F(Quickstart, ShowsTheMainJobAndLeavesNothingBehind) {
  Start({});
  EXPECT_EQ(Wait(), 0);
  for (int step = 1; step <= 8; ++step) {
    EXPECT_THAT(Shown(), HasSubstr(absl::StrCat("[", step, "/8] "))) << "one line for each step";
  }
  EXPECT_THAT(Shown(), HasSubstr("assignment/training-vm prepared"));
  EXPECT_THAT(Shown(), EndsWith("\nquickstart: ok\n"));
  ExpectNothingLeft();
}

TEST_F(Quickstart, CleansUpWhenItIsInterruptedWhereverItIs) {
  for (const std::string moment : {"[3/8]", "[4/8]", "[5/8]", "[7/8]"}) {
    Start({});
    AwaitShown(moment);
    script_->Signal(SIGINT);
    EXPECT_EQ(Wait(), 130) << moment;
    EXPECT_THAT(Shown(), Not(HasSubstr("quickstart: ok"))) << moment;
    ExpectNothingLeft();
  }
}

TEST_F(Quickstart, CleansUpWhatHasOnlyJustBeenStarted) {
  SlowStarts();
  Start({});
  AwaitShown("[3/8]");
  WaitFor("the first one starts", [&] { return !Processes().empty(); });
  script_->Signal(SIGINT);
  EXPECT_EQ(Wait(), 130);
  ExpectNothingLeft();
}

TEST_F(Quickstart, AnInterruptEndsTheBuildAtOnce) {
  SetBuild("exec tail -f /dev/null " + temporary() + "/\n");
  Start({});
  WaitFor("it builds", [&] { return !Processes().empty(); });
  script_->Signal(SIGINT);
  EXPECT_EQ(Wait(), 130);
  WaitFor("the build has ended", [&] { return Processes().empty(); });
}

TEST_F(Quickstart, WhatKeepPrintsCanBeTyped) {
  Start({"--keep"});
  ASSERT_EQ(Wait(), 0);
  ASSERT_EQ(Folders().size(), 1u);
  EXPECT_FALSE(Processes().empty()) << "the fleet runs on";
  const std::vector<std::string> parts = absl::StrSplit(Shown(), "Try next:\n");
  ASSERT_EQ(parts.size(), 2u);
  std::string commands = "set -ex\n";
  for (const std::string& line : std::vector<std::string>(absl::StrSplit(parts[1], '\n'))) {
    // Sentences are not indented, and a watch has no end.
    if (absl::StartsWith(line, "  ") && !absl::StrContains(line, " watch ")) {
      absl::StrAppend(&commands, line, "\n");
    }
  }
  EXPECT_THAT(commands, HasSubstr("berthctl describe host gh200"));
  EXPECT_THAT(commands, HasSubstr("--hold\n"));
  EXPECT_THAT(commands, EndsWith(" --stop " + Folders()[0] + "\n"));
  Process shell(
      {.program = "/bin/bash", .args = {"-c", commands}, .out = folder_ + "/typed", .err = ""});
  shell.CloseStdin();
  EXPECT_EQ(shell.Wait(kWhole), 0) << ReadFile(folder_ + "/typed");
  EXPECT_THAT(ReadFile(folder_ + "/typed"), EndsWith("quickstart: stopped\n"));
  ExpectNothingLeft();
}

}  // namespace
}  // namespace berth::testing
