// SPDX-License-Identifier: Apache-2.0
//
// The commands that no guest may send, in a queue of the host's own VINTF (HYP_OWN), in front of
// devices that copy memory: what is remembered is read as it was until the right one comes, under
// the VMID and StreamID that are written in it (Arm IHI 0070, 4.3 to 4.5).
#include <functional>
#include <memory>
#include <ostream>
#include <set>
#include <string>
#include <vector>

#include "lib/emulator/hardware/dma_engine.h"
#include "lib/iommufd/uapi/smmuv3.h"
#include "tests/emulator/hardware/dma_driver.h"
#include "tests/emulator/hardware/smmu/guest_memory.h"
#include "tests/emulator/hardware/unit_fixture.h"

namespace berth::emulator::testing {
namespace {

// What changes: a page of a device of one VM or the other, or the context of a device.
enum class Place : uint8_t { kOneVm, kOtherVm, kContext, kNextContext, kFarContext };
using enum Place;
using Places = std::set<Place>;

constexpr uint64_t kVa = 0x123456789000;
constexpr uint64_t kResultVa = 0x7000000000;
constexpr uint16_t kVmid = 7;
constexpr uint16_t kOtherVmid = 8;
constexpr uint16_t kAsid = 5;
constexpr uint32_t kContextSid = 0x120;  // and the next
constexpr uint32_t kFarSid = 0x130;

struct Row {
  std::string name;
  RawCommand command;
  Places fresh;
};
void PrintTo(const Row& row, std::ostream* out) { *out << row.name; }

class HostQueueTest : public UnitTest, public ::testing::WithParamInterface<Row> {
 protected:
  HostQueueTest() : engine_(EngineConfig()) {
    CmdqvConfig config;
    config.polling = CmdqvConfig::Polling::kManual;
    config.sink = &smmu_;
    Make(std::move(config));
    EXPECT_EQ(cmdqv_->AllocVintf(1, 0), 1);
    OwnByHypervisor(1);
    page0_ = MapPage0(*cmdqv_, 1);
    AddDevice(kOneVm, 0x100, kVmid, kAsid);
    AddDevice(kOtherVm, 0x101, kOtherVmid, kAsid);
    AddDevice(kContext, kContextSid, kVmid, 20);
    AddDevice(kNextContext, kContextSid + 1, kVmid, 30);
    AddDevice(kFarContext, kFarSid, kVmid, 40);
  }

  // Each of these places is read as it is now, all others as they were.
  void ExpectFresh(const Places& fresh) {
    for (Device& device : devices_) {
      ASSERT_EQ(device.driver->Copy(kVa, kResultVa, 8), DmaStatus::kOk);
      EXPECT_EQ(memory_.Load(result_), fresh.contains(device.place) ? 2U : 1U)
          << "place " << static_cast<int>(device.place);
    }
  }
  void Change() {
    for (const Device& device : devices_) device.change();
  }

  Mapping page0_;

 private:
  struct Device {
    Place place;
    std::unique_ptr<DmaDriver> driver;
    std::function<void()> change;
  };

  DmaEngine::Config EngineConfig() {
    DmaEngine::Config config;
    config.smmu = &smmu_;
    config.polling = DmaEngine::Config::Polling::kManual;
    return config;
  }
  Tables* MakeTables() {
    Tables* tables = tables_.emplace_back(std::make_unique<Tables>(&memory_)).get();
    tables->Map(kResultVa, result_);
    return tables;
  }
  void AddDevice(Place place, uint32_t sid, uint16_t vmid, uint16_t asid) {
    Tables* tables = MakeTables();
    tables->Map(kVa, memory_.AllocatePage(1));
    const uint64_t cd = memory_.Allocate();
    WriteContext(&memory_, cd, {.asid = asid, .low = tables});
    StreamEntry entry;
    entry.config = StreamEntry::Config::kNested;
    entry.stage2 = memory_.stage2();
    entry.vmid = vmid;
    entry.guest_ste =
        cd | uapi::kSte0Valid.Put(1) | uapi::kSte0Config.Put(uapi::kSteConfigS1Translate);
    smmu_.SetStream(sid, std::move(entry));
    EXPECT_EQ(engine_.Open(sid, true), 0);
    auto bar = Mapping::Map(engine_.RegistersFd(sid), 0, kDmaBarSize, Mapping::Access::kReadWrite);
    EXPECT_TRUE(bar.ok());
    const uint64_t after = memory_.AllocatePage(2);
    std::function<void()> change = [=] { tables->Map(kVa, after); };
    if (place != kOneVm && place != kOtherVm) {
      Tables* others = MakeTables();
      others->Map(kVa, after);
      const auto other_asid = static_cast<uint16_t>(asid + 1);
      change = [this, cd, others, other_asid] {
        WriteContext(&memory_, cd, {.asid = other_asid, .low = others});
      };
    }
    devices_.push_back({place,
                        std::make_unique<DmaDriver>(*std::move(bar), [this] { engine_.Poll(); }),
                        std::move(change)});
  }

  Smmu smmu_{48};
  GuestMemory memory_;
  const uint64_t result_ = memory_.Allocate();
  DmaEngine engine_;
  std::vector<std::unique_ptr<Tables>> tables_;
  std::vector<Device> devices_;
};

TEST_P(HostQueueTest, FreshensWhatItNames) {
  ExpectFresh({});
  Change();
  ExpectFresh({});
  GuestQueue queue = MapQueue(1, 0, page0_);
  ASSERT_TRUE(queue.Enable());
  queue.Submit({GetParam().command, kSync});
  ASSERT_TRUE(queue.AwaitIdle());
  EXPECT_EQ(queue.cons_error(), 0U);
  ExpectFresh(GetParam().fresh);
}

constexpr uint64_t Sid(uint64_t sid) { return sid << 32; }
constexpr uint64_t Vmid(uint64_t vmid) { return vmid << 32; }
constexpr uint64_t Asid(uint64_t asid) { return asid << 48; }
constexpr uint64_t kTg4K = 1 << 10;
constexpr uint64_t kLeaf = 1;

const Row kConfiguration[] = {
    {"Ste", {0x03 | Sid(kContextSid), 0}, {kContext}},
    {"SteLeaf", {0x03 | Sid(kContextSid), kLeaf}, {kContext}},
    {"SteNext", {0x03 | Sid(kContextSid + 1), kLeaf}, {kNextContext}},
    {"SteOfNobody", {0x03 | Sid(0x777), kLeaf}, {}},
    {"SteRange2", {0x04 | Sid(kContextSid), 0}, {kContext, kNextContext}},
    {"SteRange2AlignsTheStream", {0x04 | Sid(kContextSid + 1), 0}, {kContext, kNextContext}},
    {"SteRange2Below", {0x04 | Sid(kContextSid - 2), 0}, {}},
    {"SteRange16", {0x04 | Sid(kFarSid), 3}, {kFarContext}},
    {"SteRange32", {0x04 | Sid(kContextSid), 4}, {kContext, kNextContext, kFarContext}},
    {"All", {0x04, 31}, {kContext, kNextContext, kFarContext}},
    {"Cd", {0x05 | Sid(kContextSid), 0}, {kContext}},
    {"CdLeaf", {0x05 | Sid(kContextSid), kLeaf}, {kContext}},
    {"CdOfASubstream", {0x05 | Sid(kContextSid) | 1 << 12, kLeaf}, {}},
    {"CdAll", {0x06 | Sid(kContextSid + 1), 0}, {kNextContext}},
    {"PrefetchConfig", {0x01 | Sid(kContextSid), 0}, {}},
    {"PrefetchAddress", {0x02 | Sid(kContextSid), kVa}, {}},
};
const Row kTranslations[] = {
    {"NhAll", {0x10 | Vmid(kVmid), 0}, {kOneVm}},
    {"NhAllOther", {0x10 | Vmid(kOtherVmid), 0}, {kOtherVm}},
    {"NhAsid", {0x11 | Vmid(kOtherVmid) | Asid(kAsid), 0}, {kOtherVm}},
    {"NhVa", {0x12 | Vmid(kVmid) | Asid(kAsid), kVa}, {kOneVm}},
    {"NhVaOther", {0x12 | Vmid(kOtherVmid) | Asid(kAsid), kVa}, {kOtherVm}},
    {"NhVaa", {0x13 | Vmid(kOtherVmid), kVa}, {kOtherVm}},
    {"S12Vmall", {0x28 | Vmid(kVmid), 0}, {kOneVm}},
    {"S12VmallOther", {0x28 | Vmid(kOtherVmid), 0}, {kOtherVm}},
    {"S12VmallOfNobody", {0x28 | Vmid(9), 0}, {}},
    {"NsnhAll", {0x30, 0}, {kOneVm, kOtherVm}},
    // A whole translation is not one of stage 2 alone, and nothing here is of EL2.
    {"S2Ipa", {0x2a | Vmid(kVmid) | 15 << 20, GuestMemory::kBase | kTg4K}, {}},
    {"El2All", {0x20, 0}, {}},
    {"El2Asid", {0x21 | Asid(kAsid), 0}, {}},
    {"El2Va", {0x22 | Asid(kAsid), kVa}, {}},
    {"El2Vaa", {0x23, kVa}, {}},
};
const Row kAnswers[] = {
    {"PriResponse", {0x41 | Sid(kContextSid), 0}, {}},
    {"Resume", {0x44 | Sid(kContextSid), 0}, {}},
    {"StallTerminate", {0x45 | Sid(kContextSid), 0}, {}},
};

std::string NameOf(const ::testing::TestParamInfo<Row>& info) { return info.param.name; }
INSTANTIATE_TEST_SUITE_P(Cfgi, HostQueueTest, ::testing::ValuesIn(kConfiguration), NameOf);
INSTANTIATE_TEST_SUITE_P(Tlbi, HostQueueTest, ::testing::ValuesIn(kTranslations), NameOf);
INSTANTIATE_TEST_SUITE_P(NotInvalidations, HostQueueTest, ::testing::ValuesIn(kAnswers), NameOf);

}  // namespace
}  // namespace berth::emulator::testing
