// SPDX-License-Identifier: Apache-2.0
//
// What a Linux guest wrote (tests/data/traces, or BERTH_TRACES_FOLDER), into the emulated hardware.
#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "tests/emulator/hardware/unit_fixture.h"

namespace berth::emulator::testing {
namespace {

std::string Folder() {
  const char* folder = std::getenv("BERTH_TRACES_FOLDER");
  return folder != nullptr ? folder : BERTH_TRACES;
}

// A line of index.tsv.
struct Stream {
  std::map<std::string, std::string> fields;
  [[nodiscard]] uint32_t Number(const std::string& column) const {
    return static_cast<uint32_t>(std::stoul(fields.at(column)));
  }
  // Commands that only a queue with HYP_OWN=1 takes.
  [[nodiscard]] uint32_t Others() const {
    return Number("commands") - Number("tlbi_nh_asid") - Number("tlbi_nh_va") - Number("atc_inv") -
           Number("cmd_sync");
  }
  [[nodiscard]] std::string Path(const std::string& suffix) const {
    return Folder() + "/" + fields.at("name") + ".q" + fields.at("queue") + suffix;
  }
};

std::vector<std::string> SplitLine(const std::string& line, char separator) {
  std::vector<std::string> parts;
  std::istringstream stream(line);
  for (std::string part; std::getline(stream, part, separator);) parts.push_back(part);
  return parts;
}

std::vector<Stream> ReadIndex() {
  std::ifstream file(Folder() + "/index.tsv");
  std::string line;
  std::getline(file, line);
  const std::vector<std::string> columns = SplitLine(line, '\t');
  std::vector<Stream> streams;
  while (std::getline(file, line)) {
    const std::vector<std::string> values = SplitLine(line, '\t');
    Stream& stream = streams.emplace_back();
    for (size_t i = 0; i < columns.size(); ++i) stream.fields[columns[i]] = values.at(i);
  }
  return streams;
}

template <typename T>
std::vector<T> ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  const std::string bytes((std::istreambuf_iterator<char>(file)), {});
  std::vector<T> result(bytes.size() / sizeof(T));
  std::memcpy(result.data(), bytes.data(), result.size() * sizeof(T));
  return result;
}

class ReplayTest : public PolledUnitTest, public ::testing::WithParamInterface<Stream> {
 public:
  ReplayTest() {
    EXPECT_EQ(cmdqv_->AllocVintf(1, 0), 1);
    if (GetParam().Others() > 0) OwnByHypervisor();
    page0_ = MapPage0(*cmdqv_, 1);
    const std::string& vsids = GetParam().fields.at("vsids");
    for (const std::string& vsid : SplitLine(vsids == "-" ? "" : vsids, ',')) {
      EXPECT_GE(cmdqv_->AddSid(1, static_cast<uint32_t>(std::stoul(vsid, nullptr, 16)), 0x9000), 0);
    }
  }

 protected:
  // As for a VINTF of the host's own kernel.
  void OwnByHypervisor() {
    const RegisterView vintf = cmdqv_->hardware().registers().At(config_page::Vintf(1));
    for (const uint32_t config : {0U, kVintfHypOwn | kEnable}) {
      vintf.Store(vintf_config::kConfig, config);
      cmdqv_->hardware().Serve(1);
    }
  }
  void ExpectEverythingExecuted(const LvcmdqCounters& counters) {
    EXPECT_EQ(counters.tlbi_nh_asid, GetParam().Number("tlbi_nh_asid"));
    EXPECT_EQ(counters.tlbi_nh_va, GetParam().Number("tlbi_nh_va"));
    EXPECT_EQ(counters.atc_inv, GetParam().Number("atc_inv"));
    EXPECT_EQ(counters.cmd_sync, GetParam().Number("cmd_sync"));
    EXPECT_EQ(counters.other, GetParam().Others());
    EXPECT_EQ(counters.command_errors + counters.fetch_errors + counters.atc_timeouts +
                  counters.init_errors,
              0u);
  }

  Mapping page0_;
};

TEST_P(ReplayTest, EveryCommandIsExecutedWhereTheGuestPutIt) {
  const auto commands = ReadFile<RawCommand>(GetParam().Path(".cmds"));
  const auto doorbells = ReadFile<uint32_t>(GetParam().Path(".doorbells"));
  ASSERT_EQ(commands.size(), GetParam().Number("commands"));
  ASSERT_EQ(doorbells.size(), GetParam().Number("doorbells"));
  GuestQueue guest = MapQueue(1, 0, page0_, GetParam().Number("log2size"));
  ASSERT_TRUE(guest.Enable(GetParam().Number("first_prod")));

  const uint32_t mask = 2 * guest.ring().size() - 1;
  uint32_t full_rings = 0;
  size_t next = 0;
  for (const uint32_t prod : doorbells) {
    const uint32_t batch = (prod - guest.prod()) & mask;
    if (batch == guest.ring().size()) ++full_rings;
    ASSERT_TRUE(guest.AwaitRoom(batch));
    for (uint32_t i = 0; i < batch; ++i) guest.Put(commands.at(next++));
    ASSERT_EQ(guest.prod(), prod);
    guest.RingDoorbell();
    if (commands[next - 1] == kSync) {
      ASSERT_TRUE(guest.AwaitIdle());
    }
  }
  EXPECT_EQ(next, commands.size());
  ASSERT_TRUE(guest.AwaitIdle());
  EXPECT_EQ(full_rings, GetParam().Number("full_rings"));
  ExpectEverythingExecuted(*cmdqv_->Counters(1, 0));
  EXPECT_TRUE(errors().empty());
}

INSTANTIATE_TEST_SUITE_P(Recorded, ReplayTest, ::testing::ValuesIn(ReadIndex()),
                         [](const auto& test) {
                           return test.param.fields.at("name") + "_q" +
                                  test.param.fields.at("queue");
                         });

}  // namespace
}  // namespace berth::emulator::testing
