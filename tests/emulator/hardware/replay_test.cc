// SPDX-License-Identifier: Apache-2.0
//
// What Linux wrote, into the emulated hardware: as a guest (tests/data/traces) and as the owner of
// the hardware (tests/data/traces/host_kernel), or what BERTH_TRACES_FOLDER has of both.
#include <gtest/gtest.h>

#include <cctype>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "tests/emulator/hardware/unit_fixture.h"

namespace berth::emulator::testing {
namespace {

// A line of an index.tsv.
struct Stream {
  std::string folder;
  std::map<std::string, std::string> fields;
  [[nodiscard]] uint32_t Number(const std::string& column) const {
    return static_cast<uint32_t>(std::stoul(fields.at(column)));
  }
  // How many commands of each opcode there are: the columns with an opcode's name.
  [[nodiscard]] OpcodeCounts Counts() const {
    OpcodeCounts counts;
    for (int i = 0; i <= static_cast<int>(Opcode::kCmdSync); ++i) {
      const auto opcode = static_cast<Opcode>(i);
      const auto column = fields.find(ToLower(ToString(opcode)));
      if (column != fields.end()) counts[opcode] = std::stoul(column->second);
    }
    return counts;
  }
  // Whether there are commands that only a queue with HYP_OWN=1 takes.
  [[nodiscard]] bool NeedsHypOwn() const {
    bool needs = false;
    Counts().ForEach([&](Opcode opcode, uint64_t) { needs |= !IsForGuests(opcode); });
    return needs;
  }
  [[nodiscard]] std::string Path(const std::string& suffix) const {
    return folder + "/" + fields.at("name") + ".q" + fields.at("queue") + suffix;
  }

 private:
  static std::string ToLower(std::string_view name) {
    std::string lower(name);
    for (char& c : lower) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    return lower;
  }
};

std::vector<std::string> SplitLine(const std::string& line, char separator) {
  std::vector<std::string> parts;
  std::istringstream stream(line);
  for (std::string part; std::getline(stream, part, separator);) parts.push_back(part);
  return parts;
}

void ReadIndex(const std::string& folder, std::vector<Stream>* streams) {
  std::ifstream file(folder + "/index.tsv");
  std::string line;
  std::getline(file, line);
  const std::vector<std::string> columns = SplitLine(line, '\t');
  while (std::getline(file, line)) {
    const std::vector<std::string> values = SplitLine(line, '\t');
    Stream& stream = streams->emplace_back();
    stream.folder = folder;
    for (size_t i = 0; i < columns.size(); ++i) stream.fields[columns[i]] = values.at(i);
  }
}

std::vector<Stream> AllStreams() {
  std::vector<Stream> streams;
  if (const char* folder = std::getenv("BERTH_TRACES_FOLDER")) {
    ReadIndex(folder, &streams);
    return streams;
  }
  ReadIndex(BERTH_TRACES, &streams);
  ReadIndex(BERTH_TRACES "/host_kernel", &streams);
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
    if (GetParam().NeedsHypOwn()) OwnByHypervisor(1);
    page0_ = MapPage0(*cmdqv_, 1);
    const std::string& vsids = GetParam().fields.at("vsids");
    for (const std::string& vsid : SplitLine(vsids == "-" ? "" : vsids, ',')) {
      EXPECT_GE(cmdqv_->AddSid(1, static_cast<uint32_t>(std::stoul(vsid, nullptr, 16)), 0x9000), 0);
    }
  }

 protected:
  void ExpectEverythingExecuted(const LvcmdqCounters& counters) {
    const OpcodeCounts expected = GetParam().Counts();
    EXPECT_EQ(expected.total(), GetParam().Number("commands")) << "all of them have names";
    expected.ForEach([&](Opcode opcode, uint64_t count) {
      EXPECT_EQ(counters.executed[opcode], count) << ToString(opcode);
    });
    EXPECT_EQ(counters.executed.total(), expected.total());
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

TEST(ReplayIndex, HasStreamsOfBothKinds) {
  if (std::getenv("BERTH_TRACES_FOLDER") != nullptr) GTEST_SKIP() << "another folder";
  OpcodeCounts all;
  for (const Stream& stream : AllStreams()) {
    stream.Counts().ForEach([&](Opcode opcode, uint64_t count) { all[opcode] += count; });
  }
  for (const Opcode opcode :
       {Opcode::kPrefetchConfig, Opcode::kCfgiSte, Opcode::kCfgiCd, Opcode::kTlbiNhAsid,
        Opcode::kTlbiNhVa, Opcode::kAtcInv, Opcode::kCmdSync}) {
    EXPECT_GT(all[opcode], 0U) << ToString(opcode);
  }
}

INSTANTIATE_TEST_SUITE_P(Recorded, ReplayTest, ::testing::ValuesIn(AllStreams()),
                         [](const auto& test) {
                           return test.param.fields.at("name") + "_q" +
                                  test.param.fields.at("queue");
                         });

}  // namespace
}  // namespace berth::emulator::testing
