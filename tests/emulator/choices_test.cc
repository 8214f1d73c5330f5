// SPDX-License-Identifier: Apache-2.0
//
// What a host says of the unknown in its hardware is what guests then see of it.
#include <gtest/gtest.h>

#include <functional>

#include "tests/emulator/dma_fixture.h"

namespace berth::emulator {
namespace {

class ChoicesTest : public DmaTest {
 protected:
  void SetUp() override {}

  using Choose = std::function<void(UnitSpec&)>;

  // On a unit that `choose` has changed.
  DmaVm NewVm(const Choose& choose) {
    StopServer();
    StartServer([&](Server::Options& options) {
      for (UnitSpec& unit : options.host.units) choose(unit);
      for (DeviceSpec& device : options.host.devices) device.model = DeviceModel::kDmaTest;
    });
    return MakeNestedVm("vfio0");
  }
  // CONS.ERR after `command`, which a CMD_SYNC follows.
  uint32_t ErrorOf(
      const RawCommand& command, const Choose& choose = [](UnitSpec&) {}) {
    const DmaVm vm = NewVm(choose);
    vm.queue->Submit({command, testing::kSync});
    EXPECT_TRUE(vm.queue->Await(
        [&] { return vm.queue->error_active() || vm.queue->cons() == vm.queue->prod(); }));
    return vm.queue->cons_error();
  }
};

constexpr uint32_t kIllegal = 1;
constexpr uint32_t kIllegalAccess = 4;

TEST_F(ChoicesTest, ForbiddenCommand) {
  EXPECT_EQ(ErrorOf(testing::kCfgiSte), kIllegal);
  EXPECT_EQ(ErrorOf(testing::kCfgiSte,
                    [](UnitSpec& unit) { unit.forbidden_opcode = Refusal::kIllegalAccess; }),
            kIllegalAccess);
}

TEST_F(ChoicesTest, UnmatchedVsid) {
  EXPECT_EQ(ErrorOf(testing::AtcInv(DmaVm::kVsid)), 0U);
  EXPECT_EQ(ErrorOf(testing::AtcInv(DmaVm::kVsid + 1)), kIllegal);
  EXPECT_EQ(ErrorOf(testing::AtcInv(DmaVm::kVsid + 1),
                    [](UnitSpec& unit) { unit.unmatched_vsid = Refusal::kIllegalAccess; }),
            kIllegalAccess);
}

TEST_F(ChoicesTest, ReservedBits) {
  constexpr RawCommand kReserved = {testing::kTlbiAsid.dword0, 1};
  EXPECT_EQ(ErrorOf(testing::kTlbiAsid), 0U);
  EXPECT_EQ(ErrorOf(kReserved), kIllegal);
  EXPECT_EQ(ErrorOf(kReserved, [](UnitSpec& unit) { unit.reserved_bits = ReservedBits::kIgnore; }),
            0U);
}

TEST_F(ChoicesTest, ProdBeyondTheRing) {
  const auto overrun = [](const DmaVm& vm) {
    vm.queue->registers().Store(Register::kProd, vm.queue->ring().size() + 1);
  };
  {
    const DmaVm vm = NewVm([](UnitSpec&) {});
    overrun(vm);
    EXPECT_TRUE(vm.queue->AwaitError());
    EXPECT_EQ(vm.queue->cons_error(), kIllegal);
    EXPECT_EQ(vm.queue->cons(), 0U);
  }
  const DmaVm vm = NewVm([](UnitSpec& unit) { unit.prod_overrun = ProdOverrun::kIgnore; });
  overrun(vm);
  vm.queue->Submit({testing::kTlbiAsid, testing::kSync});
  EXPECT_TRUE(vm.queue->AwaitIdle());
  EXPECT_EQ(vm.queue->cons_error(), 0U);
}

}  // namespace
}  // namespace berth::emulator
