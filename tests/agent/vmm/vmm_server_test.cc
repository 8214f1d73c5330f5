// SPDX-License-Identifier: Apache-2.0
//
// Whatever a VMM sends: an answer with a reason, nothing changed, the connection alive.
#include "agent/vmm/vmm_server.h"

#include <gmock/gmock.h>
#include <unistd.h>

#include "lib/iommufd/uapi/smmuv3.h"
#include "tests/agent/vmm/vmm_fixture.h"
#include "tests/testing/poll_until.h"

namespace berth::testing {
namespace {

class VmmServerTest : public VmmFixture {
 protected:
  void Attach() {
    PrepareGrant();
    vmm_ = std::make_unique<RawVmm>(path());
    ASSERT_EQ(vmm_->Hello("a", kToken).reason(), BERTH_VMM_REASON_NONE);
    ram_ = Memfd(kRamSize);
    ASSERT_EQ(vmm_->Map(ram_.get(), kRam, kRamSize).reason(), BERTH_VMM_REASON_NONE);
    // Shown just after the answer went out.
    berth::testing::PollUntil([this] {
      return manager().LocalGrants()[0].memory_bytes() == static_cast<int64_t>(kRamSize);
    });
    before_ = host_.Snapshot().objects;
  }
  // The session goes on, and nothing has changed.
  void ExpectUnharmed() {
    EXPECT_EQ(host_.Snapshot().objects, before_);
    EXPECT_EQ(manager().LocalGrants()[0].memory_bytes(), static_cast<int64_t>(kRamSize));
    const auto unit = vmm_->Ask<berth_vmm_unit_reply>(BERTH_VMM_GET_UNIT, berth_vmm_get_unit{});
    EXPECT_EQ(unit.reason(), BERTH_VMM_REASON_NONE);
  }
  template <typename Message>
  uint32_t Reason(berth_vmm_type type, const Message& message, int fd = -1) {
    const auto answer = vmm_->Ask<berth_vmm_empty_reply>(type, message, fd);
    EXPECT_FALSE(answer.closed);
    EXPECT_EQ(answer.reply().header.type, type);
    EXPECT_NE(answer.reply().message[0], '\0');
    return answer.reason();
  }

  std::unique_ptr<RawVmm> vmm_;
  UniqueFd ram_;
  std::map<std::string, int> before_;
};

TEST_F(VmmServerTest, RefusesStrangers) {
  agent::v1::DesiredGrant wanted = Desired("a", {"gpu0"});
  wanted.set_attach_uid(::getuid());
  agent::v1::DesiredGrant theirs = Desired("b", {"gpu1"});
  theirs.set_attach_uid(::getuid() + 1);
  PrepareGrant(wanted);
  PrepareGrant(theirs);
  RawVmm vmm(path());
  EXPECT_EQ(vmm.Hello("a", "guess").reason(), BERTH_VMM_REASON_WRONG_TOKEN);
  EXPECT_EQ(vmm.Hello("a", "").reason(), BERTH_VMM_REASON_WRONG_TOKEN);
  EXPECT_EQ(vmm.Hello("nobody", kToken).reason(), BERTH_VMM_REASON_UNKNOWN_ASSIGNMENT);
  EXPECT_EQ(vmm.Hello("b", kToken).reason(), BERTH_VMM_REASON_WRONG_USER);
  vmm.session = 42;
  EXPECT_EQ(vmm.Hello("a", kToken).reason(), BERTH_VMM_REASON_SESSION_UNKNOWN);
  vmm.session = 0;
  // After all this the right token still opens.
  EXPECT_EQ(vmm.Hello("a", kToken).reason(), BERTH_VMM_REASON_NONE);
}

TEST_F(VmmServerTest, RefusesASecondVmm) {
  Attach();
  RawVmm second(path());
  EXPECT_EQ(second.Hello("a", kToken).reason(), BERTH_VMM_REASON_ALREADY_ATTACHED);
  EXPECT_EQ(second.Hello("a", "guess").reason(), BERTH_VMM_REASON_WRONG_TOKEN);
  ExpectUnharmed();
}

TEST_F(VmmServerTest, RefusesAnotherProcessWithTheSessionsId) {
  Attach();
  VmmProcess process(path());
  RawVmm thief(process.TakeConnection());
  thief.session = vmm_->session;
  EXPECT_EQ(thief.Hello("a", kToken).reason(), BERTH_VMM_REASON_SESSION_UNKNOWN);
  ExpectUnharmed();
}

TEST_F(VmmServerTest, RefusesASecondHelloOnAConnection) {
  Attach();
  const uint64_t session = std::exchange(vmm_->session, 0);
  EXPECT_EQ(vmm_->Hello("a", kToken).reason(), BERTH_VMM_REASON_STATE_CONFLICT);
  vmm_->session = session;
  ExpectUnharmed();
}

TEST_F(VmmServerTest, TakesASessionOverToANewConnection) {
  Attach();
  RawVmm next(path());
  next.session = vmm_->session;
  EXPECT_EQ(next.Hello("a", kToken).reason(), BERTH_VMM_REASON_NONE);
  EXPECT_TRUE(vmm_->ClosedByAgent());
  next.call_id = vmm_->call_id;
  *vmm_ = std::move(next);
  ExpectUnharmed();
}

TEST_F(VmmServerTest, RefusesVersionsThatItDoesNotSpeak) {
  PrepareGrant();
  RawVmm vmm(path());
  berth_vmm_hello hello = {};
  hello.version_min = 2;
  hello.version_max = 3;
  const auto answer = vmm.Ask<berth_vmm_hello_reply>(BERTH_VMM_HELLO, hello);
  EXPECT_EQ(answer.reason(), BERTH_VMM_REASON_VERSION_SKEW);
}

TEST_F(VmmServerTest, WantsHelloFirstAndTheRightSession) {
  Attach();
  RawVmm other(path());
  EXPECT_EQ(other.Map(ram_.get(), kRam, kRamSize).reason(), BERTH_VMM_REASON_NO_SESSION);
  const uint64_t session = std::exchange(vmm_->session, 42);
  EXPECT_EQ(vmm_->Map(ram_.get(), kRam, kRamSize).reason(), BERTH_VMM_REASON_SESSION_UNKNOWN);
  vmm_->session = session;
  ExpectUnharmed();
}

TEST_F(VmmServerTest, RefusesMalformedMessages) {
  Attach();
  const auto send = [&](const RawVmm::Malformed& malformed) {
    const auto answer = vmm_->Send(malformed);
    EXPECT_FALSE(answer.closed);
    return answer.reason();
  };
  const int fd = ram_.get();
  EXPECT_EQ(send({.size = 4}), BERTH_VMM_REASON_MESSAGE_TOO_SHORT);
  EXPECT_EQ(send({.size = 31}), BERTH_VMM_REASON_MESSAGE_TOO_SHORT);
  EXPECT_EQ(send({.size = 32, .claimed = 40}), BERTH_VMM_REASON_BAD_MESSAGE);
  EXPECT_EQ(send({.size = 40, .tail = 1}), BERTH_VMM_REASON_UNKNOWN_TAIL);
  EXPECT_EQ(send({.size = BERTH_VMM_MAX_MESSAGE + 1}), BERTH_VMM_REASON_MESSAGE_TOO_LONG);
  EXPECT_EQ(send({.fds = {fd}}), BERTH_VMM_REASON_TOO_MANY_FDS);
  EXPECT_EQ(send({.fd_count = 1}), BERTH_VMM_REASON_FD_COUNT);
  EXPECT_EQ(send({.fds = {fd, fd, fd}, .fd_count = 3}), BERTH_VMM_REASON_TOO_MANY_FDS);
  EXPECT_EQ(Reason(static_cast<berth_vmm_type>(63), berth_vmm_get_unit{}),
            BERTH_VMM_REASON_UNKNOWN_MESSAGE);
  EXPECT_EQ(send({.size = 40}), BERTH_VMM_REASON_NONE);  // a tail of zeroes is fine
  vmm_->call_id += 1;
  ExpectUnharmed();
}

TEST_F(VmmServerTest, RefusesBadMemory) {
  Attach();
  const auto map = [&](int fd, uint64_t iova, uint64_t length) {
    return vmm_->Map(fd, iova, length).reason();
  };
  const UniqueFd shrinkable = Memfd(kRamSize, 0);
  const UniqueFd file(::open("/dev/null", O_RDWR | O_CLOEXEC));
  EXPECT_EQ(map(shrinkable.get(), 2 * kRam, kRamSize), BERTH_VMM_REASON_MEMORY_NOT_SEALED);
  EXPECT_EQ(map(file.get(), 2 * kRam, kRamSize), BERTH_VMM_REASON_MEMORY_NOT_MEMFD);
  EXPECT_EQ(map(ram_.get(), kRam, kRamSize), BERTH_VMM_REASON_MEMORY_OVERLAP);
  EXPECT_EQ(map(ram_.get(), 2 * kRam, 2 * kRamSize), BERTH_VMM_REASON_MEMORY_TOO_SHORT);
  EXPECT_EQ(map(ram_.get(), uapi::kSwMsiBase, kRamSize), BERTH_VMM_REASON_MEMORY_RESERVED);
  EXPECT_EQ(map(ram_.get(), 2 * kRam + 1, 4096), BERTH_VMM_REASON_ALIGNMENT);
  berth_vmm_map_memory blind = {.header = {},
                                .iova = 2 * kRam,
                                .offset = 0,
                                .length = kRamSize,
                                .flags = BERTH_VMM_MEMORY_WRITE,
                                .reserved = 0};
  EXPECT_EQ(Reason(BERTH_VMM_MAP_MEMORY, blind, ram_.get()), BERTH_VMM_REASON_INVALID_FIELD);
  berth_vmm_unmap_memory part = {.header = {}, .iova = kRam, .length = 4096};
  EXPECT_EQ(Reason(BERTH_VMM_UNMAP_MEMORY, part), BERTH_VMM_REASON_MEMORY_UNKNOWN);
  ExpectUnharmed();
}

TEST_F(VmmServerTest, RefusesBadQueues) {
  Attach();
  const auto alloc = [&](uint32_t index, uint64_t iova, uint64_t length) {
    return vmm_->AllocQueue(index, iova, length).reason();
  };
  EXPECT_EQ(alloc(1, kRam, 4096), BERTH_VMM_REASON_QUEUE_ORDER);
  EXPECT_EQ(alloc(2, kRam, 4096), BERTH_VMM_REASON_QUEUE_INDEX);
  EXPECT_EQ(alloc(0, kRam, 4096 - 16), BERTH_VMM_REASON_QUEUE_SIZE);
  EXPECT_EQ(alloc(0, kRam, 16), BERTH_VMM_REASON_QUEUE_SIZE);
  EXPECT_EQ(alloc(0, 2 * kRam, 4096), BERTH_VMM_REASON_MEMORY_UNKNOWN);
  EXPECT_EQ(alloc(0, kRam, 8192), BERTH_VMM_REASON_QUEUE_NOT_CONTIGUOUS);
  const berth_vmm_alloc_queue elsewhere = {
      .header = {}, .unit = 9, .index = 0, .iova = kRam, .length = 4096};
  EXPECT_EQ(Reason(BERTH_VMM_ALLOC_QUEUE, elsewhere), BERTH_VMM_REASON_UNIT_UNKNOWN);
  EXPECT_EQ(Reason(BERTH_VMM_FREE_QUEUE, berth_vmm_free_queue{}), BERTH_VMM_REASON_QUEUE_UNKNOWN);
  ExpectUnharmed();
}

TEST_F(VmmServerTest, RefusesBadStreams) {
  Attach();
  const auto set = [&](uint32_t device, uint32_t vsid, uint32_t mode, uint64_t ste0) {
    return vmm_->SetStream(device, vsid, mode, ste0).reason();
  };
  EXPECT_EQ(set(2, 5, BERTH_VMM_STREAM_BYPASS, 0), BERTH_VMM_REASON_DEVICE_UNKNOWN);
  EXPECT_EQ(set(0, 1 << 20, BERTH_VMM_STREAM_BYPASS, 0), BERTH_VMM_REASON_VSID_RANGE);
  EXPECT_EQ(set(0, 5, 9, 0), BERTH_VMM_REASON_INVALID_FIELD);
  EXPECT_EQ(set(0, 5, BERTH_VMM_STREAM_TRANSLATE, ~uint64_t{0}),
            BERTH_VMM_REASON_BAD_STREAM_TABLE_ENTRY);
  ExpectUnharmed();
}

TEST_F(VmmServerTest, RefusesUnknownUnitsAndDevices) {
  Attach();
  EXPECT_EQ(Reason(BERTH_VMM_GET_UNIT, berth_vmm_get_unit{.header = {}, .unit = 1, .reserved = 0}),
            BERTH_VMM_REASON_UNIT_UNKNOWN);
  EXPECT_EQ(
      Reason(BERTH_VMM_GET_PAGE0, berth_vmm_get_page0{.header = {}, .unit = 1, .reserved = 0}),
      BERTH_VMM_REASON_UNIT_UNKNOWN);
  EXPECT_EQ(
      Reason(BERTH_VMM_GET_DEVICE, berth_vmm_get_device{.header = {}, .device = 2, .reserved = 0}),
      BERTH_VMM_REASON_DEVICE_UNKNOWN);
  ExpectUnharmed();
}

TEST_F(VmmServerTest, CountsHandledCommandsBeforeABadOne) {
  Attach();
  struct {
    berth_vmm_header header;
    uint32_t unit;
    uint32_t count;
    uint64_t commands[4][2];
  } call = {};
  call.count = 4;
  for (auto& command : call.commands) command[0] = uapi::kCmd0Opcode.Put(uapi::kCmdTlbiNhAll);
  auto answer = vmm_->Ask<berth_vmm_invalidate_reply>(BERTH_VMM_INVALIDATE, call);
  EXPECT_EQ(answer.reason(), BERTH_VMM_REASON_NONE);
  EXPECT_EQ(answer.body.handled, 4U);
  call.commands[2][0] = uapi::kCmd0Opcode.Put(uapi::kCmdCfgiAll);
  answer = vmm_->Ask<berth_vmm_invalidate_reply>(BERTH_VMM_INVALIDATE, call);
  EXPECT_EQ(answer.reason(), BERTH_VMM_REASON_BAD_COMMAND);
  EXPECT_EQ(answer.body.handled, 2U);
  ExpectUnharmed();
}

TEST_F(VmmServerTest, ResetsAGuest) {
  Attach();
  ASSERT_EQ(vmm_->AllocQueue(0, kRam, 4096).reason(), BERTH_VMM_REASON_NONE);
  ASSERT_EQ(vmm_->SetStream(0, 5, BERTH_VMM_STREAM_BYPASS).reason(), BERTH_VMM_REASON_NONE);
  const auto answer =
      vmm_->Ask<berth_vmm_empty_reply>(BERTH_VMM_RESET_GUEST, berth_vmm_reset_guest{});
  EXPECT_EQ(answer.reason(), BERTH_VMM_REASON_NONE);
  ExpectUnharmed();
}

TEST_F(VmmServerTest, GivesNoPage0OfAUnitWithoutQueues) {
  agent::v1::DesiredGrant wanted = Desired("a", {"gpu0"});
  wanted.mutable_units(0)->set_vcmdqs(0);
  PrepareGrant(wanted);
  RawVmm vmm(path());
  ASSERT_EQ(vmm.Hello("a", kToken).reason(), BERTH_VMM_REASON_NONE);
  EXPECT_EQ(vmm.Page0(0).reason(), BERTH_VMM_REASON_UNSUPPORTED);
}

}  // namespace
}  // namespace berth::testing
