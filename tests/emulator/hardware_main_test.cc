// SPDX-License-Identifier: Apache-2.0
//
// berth-emulator --hardware as a process: its registers and its memory are files, as for a VM.
#include "lib/emulator/hardware_main.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <fstream>
#include <sstream>

#include "lib/base/mapping.h"
#include "lib/emulator/emulator_main.h"
#include "lib/emulator/hardware/register_block.h"
#include "lib/emulator/hardware/registers.h"
#include "tests/emulator/emulator_fixture.h"
#include "tests/testing/poll_until.h"

namespace berth::emulator {
namespace {

using berth::testing::PollUntil;

constexpr int kVintfs = 4;
constexpr uint64_t kMemoryAt = 0x40000000;
constexpr size_t kMemorySize = 1 << 20;

class HardwareMainTest : public ::testing::Test {
 protected:
  void SetUp() override {
    MapFile("registers", RegisterBlock::Size(kVintfs), &registers_file_);
    MapFile("ram", kMemorySize, &ram_);
    registers_ = RegisterView(registers_file_.data());
  }
  void TearDown() override {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }

  [[nodiscard]] std::string Path(const std::string& name) const { return dir_.path() + "/" + name; }
  [[nodiscard]] std::string Output() const {
    std::stringstream text;
    text << std::ifstream(Path("out")).rdbuf();
    return text.str();
  }

  void MapFile(const std::string& name, size_t size, Mapping* mapping) {
    const UniqueFd fd(::open(Path(name).c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    ASSERT_EQ(::ftruncate(fd.get(), static_cast<off_t>(size)), 0);
    auto mapped = Mapping::Map(fd.get(), 0, size, Mapping::Access::kReadWrite);
    ASSERT_TRUE(mapped.ok()) << mapped.status();
    *mapping = *std::move(mapped);
  }

  void Spawn(std::vector<std::string> more = {}) {
    std::vector<std::string> args = {std::getenv("BERTH_EMULATOR"), "--hardware", Path("registers"),
                                     "--guest-memory", Path("ram")};
    args.insert(args.end(), more.begin(), more.end());
    std::vector<char*> argv;
    for (std::string& arg : args) argv.push_back(arg.data());
    argv.push_back(nullptr);
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, Path("out").c_str(),
                                       O_WRONLY | O_CREAT | O_TRUNC, 0600);
    ASSERT_EQ(::posix_spawn(&pid_, argv[0], &actions, nullptr, argv.data(), environ), 0);
    ::posix_spawn_file_actions_destroy(&actions);
    PollUntil([this] { return Output() == "ready\n"; });
  }
  // Its exit status after SIGTERM.
  int Stop() {
    int status = 0;
    ::kill(pid_, SIGTERM);
    EXPECT_GT(::waitpid(std::exchange(pid_, -1), &status, 0), 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }

  void Await(size_t offset, uint32_t value) {
    PollUntil([&] { return registers_.Load(offset) == value; });
  }
  static size_t Queue(Register reg) { return VintfPage0(0) + static_cast<size_t>(reg); }

  // What the driver does to VINTF 0 and its first queue, whose ring is at `base`.
  void EnableQueue(uint64_t base) {
    const size_t vintf = config_page::Vintf(0);
    registers_.Store(vintf + vintf_config::kConfig, kVintfHypOwn | kEnable);
    Await(vintf + vintf_config::kStatus, kEnable);
    registers_.Store(config_page::CmdqAlloc(0), CmdqAllocValue(0, 0) | kCmdqAllocated);
    registers_.Store(VintfPage1(0) + kBaseLow, static_cast<uint32_t>(base | 4));
    registers_.Store(VintfPage1(0) + kBaseHigh, static_cast<uint32_t>(base >> 32));
    registers_.Store(Queue(Register::kConfig), kConfigEnable);
    Await(Queue(Register::kStatus), kStatusEnabled);
  }

  static int Run(std::vector<const char*> args, std::string* err) {
    args.insert(args.begin(), "berth-emulator");
    std::ostringstream out;
    std::ostringstream text;
    const int code = EmulatorMain(static_cast<int>(args.size()), args.data(), out, text);
    *err = text.str();
    return code;
  }

  TempDir dir_;
  Mapping registers_file_;
  Mapping ram_;
  RegisterView registers_;
  pid_t pid_ = -1;
};

TEST_F(HardwareMainTest, ExecutesWhatTheGuestsMemoryHolds) {
  Spawn({"--sid-slots", "8"});
  EXPECT_EQ(registers_.Load(config_page::kParam) & 0xffff, 0x3231U);  // 8 slots, 4 VINTFs, 8 vCMDQs
  constexpr uint64_t kCmdSync[2] = {0x46, 0};
  std::memcpy(ram_.data() + 0x2000, kCmdSync, sizeof(kCmdSync));
  EnableQueue(kMemoryAt + 0x2000);
  registers_.Store(Queue(Register::kProd), 1);
  Await(Queue(Register::kCons), 1);
  EXPECT_EQ(registers_.Load(config_page::Vintf(0) + vintf_config::kConfig) & kVintfHypOwn,
            kVintfHypOwn);
  const std::string executed =
      "VINTF 0 LVCMDQ 0: 1 commands (CMD_SYNC 1), 0 errors\n"
      "VINTF 0 LVCMDQ 1: 0 commands, 0 errors\n";
  ::kill(pid_, SIGHUP);
  PollUntil([&] { return Output() == "ready\n" + executed; });
  EXPECT_EQ(Stop(), 0);
  EXPECT_EQ(Output(), "ready\n" + executed + executed);
}

TEST_F(HardwareMainTest, MemoryBeyondTheGuestsIsAFetchError) {
  Spawn({"--guest-memory-at", "0x80000000"});
  EnableQueue(kMemoryAt + 0x2000);
  registers_.Store(Queue(Register::kProd), 1);
  Await(Queue(Register::kCons), static_cast<uint32_t>(ConsError::kFetchAbort) << kConsErrorShift);
  EXPECT_EQ(Stop(), 0);
  EXPECT_NE(Output().find("VINTF 0 LVCMDQ 0: 0 commands, 1 errors\n"), std::string::npos)
      << Output();
}

TEST_F(HardwareMainTest, HypOwnCanBeWiredToZero) {
  Spawn({"--guest-only"});
  EnableQueue(kMemoryAt);
  Await(config_page::Vintf(0) + vintf_config::kConfig, kEnable);
  EXPECT_EQ(Stop(), 0);
}

TEST_F(HardwareMainTest, RefusesWhatIsNoCmdqv) {
  std::string err;
  EXPECT_EQ(Run({"--hardware", Path("registers").c_str(), "--vintfs", "3"}, &err), 1);
  EXPECT_NE(err.find("powers of two"), std::string::npos) << err;
  EXPECT_EQ(Run({"--hardware", Path("registers").c_str(), "--vcmdqs", "2"}, &err), 1);
  EXPECT_EQ(Run({"--hardware", Path("registers").c_str(), "--sid-slots", "32"}, &err), 1);
  EXPECT_EQ(Run({"--hardware", Path("none").c_str()}, &err), 1);
  EXPECT_NE(err.find("none"), std::string::npos) << err;
  EXPECT_EQ(Run({"--hardware", Path("registers").c_str(), "--vintfs", "8", "--vcmdqs", "16"}, &err),
            1);
  EXPECT_NE(err.find("too short"), std::string::npos) << err;
  EXPECT_EQ(Run({"--vintfs", "4"}, &err), 2);
}

}  // namespace
}  // namespace berth::emulator
