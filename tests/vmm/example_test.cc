// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

#include "lib/vmm/example/guest_memory.h"
#include "lib/vmm/example/report.h"
#include "lib/vmm/example/run.h"
#include "lib/vmm/example/scenario.h"
#include "lib/vmm/example/trace.h"
#include "tests/testing/huge_pages.h"
#include "tests/vmm/hardware_agent.h"

namespace berth::example {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

class ExampleTest : public ::testing::Test {
 protected:
  ExampleTest() : agent_(folder_ + "/vmm.sock") {
    options_.socket = folder_ + "/vmm.sock";
    options_.assignment = "assignment-1";
    options_.token = "secret";
    options_.memory = size_t{4} << 20;
    options_.repeat = 1;
  }
  ~ExampleTest() override { std::filesystem::remove_all(folder_); }

  static std::string MakeFolder() {
    std::string name = ::testing::TempDir() + "berth-XXXXXX";
    return ::mkdtemp(name.data());
  }

  std::string folder_ = MakeFolder();
  HardwareAgent agent_;
  Options options_;
};

TEST_F(ExampleTest, EveryRecordedCommandIsExecutedByTheHardware) {
  Report report;
  const Outcome outcome = RunScenario(options_, {}, &report);
  ASSERT_TRUE(outcome.ok()) << outcome.message;
  EXPECT_THAT(report.traces,
              ElementsAre("boot", "map_unmap_ats", "domain_switch_ats", "scatter_gather_norange"));
  ASSERT_EQ(report.units.size(), 1u);
  for (int queue = 0; queue < 2; ++queue) {
    const emulator::LvcmdqCounters counters = agent_.Counters(queue);
    const Counts& executed = report.units[0].executed[static_cast<size_t>(queue)];
    EXPECT_EQ(executed.tlbi_nh_asid, counters.executed[emulator::Opcode::kTlbiNhAsid]);
    EXPECT_EQ(executed.tlbi_nh_va, counters.executed[emulator::Opcode::kTlbiNhVa]);
    EXPECT_EQ(executed.atc_inv, counters.executed[emulator::Opcode::kAtcInv]);
    EXPECT_EQ(executed.cmd_sync, counters.executed[emulator::Opcode::kCmdSync]);
  }
  // What index.tsv counts, and three CMD_SYNCs around the illegal command.
  EXPECT_EQ(report.play.commands, 22u + 8 + 1500 + 1500 + 2 + 46 + 3006 + 3006);
  EXPECT_EQ(report.executed().total(), report.play.commands + 3);
}

// Others may take the pages between the look and the deed; they do not do so every time.
template <typename Use>
void WithFreeHugePages(size_t pages, Use use) {
  for (int attempt = 0; attempt < 50; ++attempt) {
    if (!berth::testing::HugeMemory(pages, 0).valid()) {
      GTEST_SKIP() << berth::testing::kNoHugePages;
    }
    if (use() == berth::testing::kHugePage) return;
  }
  FAIL() << "there are huge pages, and they are not used";
}

TEST(GuestMemoryTest, TakesHugePagesWhereThereAreAny) {
  WithFreeHugePages(2, [] {
    GuestMemory memory;
    EXPECT_TRUE(memory.Create(berth::testing::kHugePage + 1, 0).ok());
    if (memory.page_size() == berth::testing::kHugePage) {
      EXPECT_EQ(memory.size(), 2 * berth::testing::kHugePage) << "rounded up to pages";
      // F_SEAL_SHRINK is what the agent asks for.
      EXPECT_EQ(::fcntl(memory.fd(), F_GET_SEALS), F_SEAL_SHRINK | F_SEAL_GROW);
      const auto whole = memory.Allocate(berth::testing::kHugePage);
      EXPECT_TRUE(whole.has_value());
      if (whole) whole->data[berth::testing::kHugePage - 1] = std::byte{1};
    }
    return memory.page_size();
  });
}

TEST_F(ExampleTest, QueuesAreAsLargeAsAHugePage) {
  options_.memory = size_t{8} << 20;
  WithFreeHugePages(options_.memory / berth::testing::kHugePage, [this] {
    Report report;
    const Outcome outcome = RunScenario(options_, {}, &report);
    EXPECT_TRUE(outcome.ok()) << outcome.message;
    if (report.page_bytes == berth::testing::kHugePage) {
      EXPECT_EQ(size_t{16} << report.units.at(0).queue_log2, berth::testing::kHugePage);
    }
    return report.page_bytes;
  });
}

TEST_F(ExampleTest, RecoversFromAnIllegalCommandThroughTheForwardedEvent) {
  Report report;
  ASSERT_TRUE(RunScenario(options_, {}, &report).ok());
  EXPECT_TRUE(report.recovered);
  EXPECT_EQ(report.error_unit, "smmu3.0");
  EXPECT_EQ(agent_.Counters(0).command_errors, 1u);
}

TEST_F(ExampleTest, SendsWhatNoVcmdqTakesToTheAgent) {
  Report report;
  ASSERT_TRUE(RunScenario(options_, {}, &report).ok());
  EXPECT_EQ(report.trapped_commands, 3u);
  EXPECT_THAT(agent_.Trapped(), ElementsAre(Command{0x10, 0}, Command{0x06 | 8ull << 32, 0},
                                            Command{0x40 | 8ull << 32, 52}));
}

TEST_F(ExampleTest, SendsNoAtcInvToAnSmmuWithoutAts) {
  const HardwareAgent without(folder_ + "/without.sock", HardwareAgent::Ats::kNo);
  options_.socket = folder_ + "/without.sock";
  Report report;
  ASSERT_TRUE(RunScenario(options_, {}, &report).ok());
  EXPECT_EQ(report.trapped_commands, 2u);
  EXPECT_THAT(without.Trapped(), ElementsAre(Command{0x10, 0}, Command{0x06 | 8ull << 32, 0}));
}

TEST_F(ExampleTest, CanDoWithoutAnError) {
  options_.provoke = false;
  Report report;
  ASSERT_TRUE(RunScenario(options_, {}, &report).ok());
  EXPECT_FALSE(report.recovered);
  EXPECT_TRUE(report.complete);
  EXPECT_EQ(report.executed().total(), report.play.commands);
  EXPECT_EQ(agent_.Counters(0).command_errors, 0u);
}

TEST_F(ExampleTest, HoldsAfterThePlayAndBeforeTheReset) {
  Report report;
  bool held = false;
  const auto hold = [&] {
    held = true;
    EXPECT_TRUE(report.recovered);
    EXPECT_FALSE(report.reset);
  };
  ASSERT_TRUE(RunScenario(options_, hold, &report).ok());
  EXPECT_TRUE(held);
  EXPECT_TRUE(report.detached);
}

TEST_F(ExampleTest, PrintsOneJsonObject) {
  options_.json = true;
  std::ostringstream out;
  std::ostringstream err;
  EXPECT_EQ(example::Run(options_, out, err), 0) << err.str();
  EXPECT_THAT(out.str(), HasSubstr("\"recovered\":true"));
  EXPECT_THAT(out.str(), HasSubstr("\"detached\":true}\n"));
}

TEST_F(ExampleTest, TellsPeopleWhatHappened) {
  std::ostringstream out;
  std::ostringstream err;
  EXPECT_EQ(example::Run(options_, out, err), 0) << err.str();
  EXPECT_THAT(out.str(), HasSubstr("attached   assignment assignment-1, session 0x5e55\n"));
  EXPECT_THAT(out.str(), HasSubstr("device     0000:01:00.0 behind smmu3.0: vSID 0x8, translated"));
  EXPECT_THAT(out.str(), HasSubstr("error      an illegal command stopped vCMDQ 0 of smmu3.0"));
  EXPECT_THAT(out.str(), HasSubstr("\nplayed     boot, "));
  EXPECT_THAT(out.str(), HasSubstr(": every one\n"));
  EXPECT_THAT(out.str(), HasSubstr("detached   everything given back\n"));
}

TEST_F(ExampleTest, SaysWhyTheAgentRefusedIt) {
  options_.token = "wrong";
  std::ostringstream out;
  std::ostringstream err;
  EXPECT_EQ(example::Run(options_, out, err), static_cast<int>(ExitCode::kRefused));
  EXPECT_THAT(err.str(), HasSubstr("WRONG_TOKEN"));
}

TEST_F(ExampleTest, FailsWithoutItsTraceBeforeItAttaches) {
  options_.traces = {folder_ + "/nothing"};
  Report report;
  EXPECT_EQ(RunScenario(options_, {}, &report).code, ExitCode::kUsage);
  EXPECT_EQ(agent_.attachments(), 0);
}

TEST_F(ExampleTest, MeasuresAttachments) {
  options_.bench = "attach";
  options_.samples = 3;
  std::ostringstream out;
  std::ostringstream err;
  EXPECT_EQ(example::Run(options_, out, err), 0) << err.str();
  EXPECT_THAT(out.str(), HasSubstr("\"p99_us\":"));
  EXPECT_EQ(agent_.attachments(), 3);
}

TEST(TraceTest, RefusesDoorbellsThatDoNotPublishTheCommands) {
  std::string name = ::testing::TempDir() + "berth-XXXXXX";
  const std::string folder = ::mkdtemp(name.data());
  std::ofstream(folder + "/index.tsv") << "name\tqueue\tlog2size\tfirst_prod\nx\t0\t8\t0\n";
  std::ofstream(folder + "/x.q0.cmds") << std::string(32, '\0');
  std::ofstream(folder + "/x.q0.doorbells") << std::string("\x03\0\0\0", 4);
  Trace trace;
  EXPECT_EQ(LoadTrace(folder, "x", &trace).code, ExitCode::kUsage);
  std::ofstream(folder + "/x.q0.doorbells") << std::string("\x02\0\0\0", 4);
  EXPECT_TRUE(LoadTrace(folder, "x", &trace).ok());
  std::filesystem::remove_all(folder);
}

TEST(TraceTest, RewritesOnlyTheStreamIdsOfAtcInv) {
  Stream stream;
  stream.commands = {
      {0x0000010000000040, 52}, {0x0007000000000012, 0x1000}, {0x0000020000000040, 0}};
  const Stream out = WithVsids(stream, {8, 16});
  EXPECT_THAT(out.commands,
              ElementsAre(Command{0x0000000800000040, 52}, Command{0x0007000000000012, 0x1000},
                          Command{0x0000001000000040, 0}));
}

std::string TextOf(const Report& report) {
  std::ostringstream out;
  PrintForPeople(report, out);
  return out.str();
}

TEST(ReportTest, ClaimsOnlyWhatHasHappened) {
  Report report;
  report.play.commands = 1000;
  EXPECT_EQ(TextOf(report), "") << "the play has failed";
  report.played = true;
  EXPECT_THAT(TextOf(report), HasSubstr("1000 commands, "));
  EXPECT_THAT(TextOf(report), HasSubstr("speed "));
  EXPECT_THAT(TextOf(report), Not(HasSubstr("every one"))) << "nothing was counted";
  report.complete = true;
  EXPECT_THAT(TextOf(report), HasSubstr("executed   TLBI_NH_ASID 0, "));
  EXPECT_THAT(TextOf(report), HasSubstr(": every one\n"));
}

TEST(ReportTest, PercentilesOfFewSamples) {
  EXPECT_EQ(Percentile({}, 99), 0u);
  EXPECT_EQ(Percentile({5}, 50), 5u);
  EXPECT_EQ(Percentile({3, 1, 2}, 50), 2u);
}

}  // namespace
}  // namespace berth::example
