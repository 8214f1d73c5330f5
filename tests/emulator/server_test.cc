// SPDX-License-Identifier: Apache-2.0
//
// What a server does with peers that do not keep to the protocol, and its own start and end.
#include "lib/emulator/server.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <random>

#include "absl/synchronization/notification.h"
#include "lib/base/packet.h"
#include "lib/base/status.h"
#include "tests/emulator/emulator_fixture.h"

namespace berth::emulator {
namespace {

class ServerTest : public EmulatorTest {
 protected:
  UniqueFd Connect() {
    UniqueFd channel(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
    sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    const std::string path = socket_path();
    std::memcpy(address.sun_path, path.c_str(), path.size());
    EXPECT_EQ(::connect(channel.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    return channel;
  }
  // Sends one packet and receives the answer; 0 bytes when the server closed the channel instead.
  size_t Exchange(const void* packet, size_t size, std::vector<int> fds = {},
                  ReplyHeader* reply = nullptr) {
    const UniqueFd channel = Connect();
    const iovec part = {const_cast<void*>(packet), size};
    EXPECT_EQ(SendPacket(channel.get(), {&part, 1}, fds, 0), 0);
    std::vector<std::byte> buffer(kMaxPacket);
    ReceivedPacket answer;
    EXPECT_EQ(ReceivePacket(channel.get(), buffer, 0, &answer), 0);
    if (reply != nullptr) std::memcpy(reply, buffer.data(), sizeof(*reply));
    return answer.size;
  }
  static CallHeader Header(CallOp op) {
    CallHeader header = {};
    header.magic = kProtocolMagic;
    header.version = kProtocolVersion;
    header.op = op;
    return header;
  }
  // The server still serves.
  void ExpectAlive() { EXPECT_EQ(AllocIoas(OpenContext()), 1U); }
};

TEST_F(ServerTest, APacketThatIsNoCallClosesItsChannelAndNothingElse) {
  const CallHeader good = Header(CallOp::kOpenContext);
  CallHeader bad = good;
  EXPECT_EQ(Exchange("x", 1), 0U);
  bad.magic = 1;
  EXPECT_EQ(Exchange(&bad, sizeof(bad)), 0U);
  bad = good;
  bad.op = static_cast<CallOp>(99);
  EXPECT_EQ(Exchange(&bad, sizeof(bad)), 0U);
  bad = good;
  bad.struct_size = 1;
  EXPECT_EQ(Exchange(&bad, sizeof(bad)), 0U) << "the struct is not in the packet";
  bad = good;
  bad.in_size = 1;
  EXPECT_EQ(Exchange(&bad, sizeof(bad)), 0U) << "the in part is not in the packet";
  bad = Header(CallOp::kReadEvents);
  bad.out_size = kMaxOut + 1;
  EXPECT_EQ(Exchange(&bad, sizeof(bad)), 0U) << "asks for more than the bound";
  EXPECT_GE(Exchange(&good, sizeof(good)), sizeof(ReplyHeader));
  ExpectAlive();
}

TEST_F(ServerTest, AnotherVersionIsToldSo) {
  CallHeader header = Header(CallOp::kOpenContext);
  header.version = kProtocolVersion + 1;
  ReplyHeader reply = {};
  EXPECT_GE(Exchange(&header, sizeof(header), {}, &reply), sizeof(reply));
  EXPECT_EQ(reply.result, -EPROTO);
}

TEST_F(ServerTest, TheNumberOfFdsMustFitTheCall) {
  const UniqueFd memfd = GuestMemory(4096);
  const CallHeader open = Header(CallOp::kOpenContext);
  EXPECT_EQ(Exchange(&open, sizeof(open), {memfd.get()}), 0U);
  CallHeader ioctl = Header(CallOp::kIoctl);
  EXPECT_EQ(Exchange(&ioctl, sizeof(ioctl)), 0U);
  EXPECT_EQ(Exchange(&ioctl, sizeof(ioctl), {memfd.get(), memfd.get()}), 0U);
  ioctl.flags = kInnerFd;
  EXPECT_EQ(Exchange(&ioctl, sizeof(ioctl), {memfd.get()}), 0U);
  ExpectAlive();
}

TEST_F(ServerTest, AMemfdThatCouldShrinkIsNotReadFrom) {
  CallHeader header = Header(CallOp::kIoctl);
  header.flags = kInInMemfd;
  header.in_size = 4096;
  const UniqueFd context = OpenContext();
  const UniqueFd loose = GuestMemory(4096);
  EXPECT_EQ(Exchange(&header, sizeof(header), {context.get(), loose.get()}), 0U);
  const UniqueFd small = GuestMemory(16, F_SEAL_SHRINK | F_SEAL_WRITE);
  EXPECT_EQ(Exchange(&header, sizeof(header), {context.get(), small.get()}), 0U);
  ExpectAlive();
}

TEST_F(ServerTest, MemoryThatIsNoneIsABadAddress) {
  struct {
    CallHeader header;
    uapi::IommuIoasAllowIovas arg;
  } packet = {};
  const UniqueFd context = OpenContext();
  packet.header = Header(CallOp::kIoctl);
  packet.header.flags = kInInMemory;
  packet.header.request = uapi::kIommuIoasAllowIovas;
  packet.header.struct_size = packet.header.user_size = packet.arg.size = sizeof(packet.arg);
  packet.arg.ioas_id = AllocIoas(context);
  packet.arg.num_iovas = UINT32_MAX;
  EXPECT_EQ(Exchange(&packet, sizeof(packet), {context.get()}), 0U) << "without an fd";
  int pipe[2];
  ASSERT_EQ(::pipe2(pipe, O_CLOEXEC), 0);
  ReplyHeader reply = {};
  for (const int fd : pipe) {
    EXPECT_GT(Exchange(&packet, sizeof(packet), {context.get(), fd}, &reply), 0U);
    EXPECT_EQ(reply.result, -EFAULT);
    ::close(fd);
  }
  const UniqueFd memory = GuestMemory(4096);
  for (const uint64_t at : {uint64_t{0}, uint64_t{4096}, UINT64_MAX}) {
    packet.header.offset = at;
    EXPECT_GT(Exchange(&packet, sizeof(packet), {context.get(), memory.get()}, &reply), 0U);
    EXPECT_EQ(reply.result, at == 0 ? -EINVAL : -EFAULT) << at;
  }
  packet.header.in_size = 16;
  EXPECT_EQ(Exchange(&packet, sizeof(packet), {context.get(), memory.get()}), 0U)
      << "in two places at once";
  ExpectAlive();
}

TEST_F(ServerTest, RandomCallsNeverBringItDown) {
  const Guest guest = MakeGuest("vfio0");
  std::mt19937_64 random(7);  // NOLINT(cert-msc51-cpp): the same calls at each run
  for (int i = 0; i < 3000; ++i) {
    struct {
      CallHeader header;
      uint32_t words[16];
    } packet = {};
    packet.header = Header(CallOp::kIoctl);
    packet.header.request = uapi::kIommuDestroy + random() % 24;
    if (random() % 4 == 0) packet.header.request = uapi::kVfioDeviceGetInfo + random() % 16;
    packet.header.struct_size = sizeof(packet.words);
    packet.header.user_size = random() % 2 == 0 ? sizeof(packet.words) : random() % 80;
    packet.header.out_size = random() % kMaxOut;
    for (uint32_t& word : packet.words) {
      word = static_cast<uint32_t>(random() % 3 == 0 ? random() : random() % 12);
    }
    const int target = random() % 2 == 0 ? guest.context.get() : guest.cdev.get();
    EXPECT_GE(Exchange(&packet, sizeof(packet), {target}), sizeof(ReplyHeader));
  }
  ExpectAlive();
}

TEST_F(ServerTest, NothingCanBeSentIntoAContext) {
  const UniqueFd context = OpenContext();
  EXPECT_EQ(::send(context.get(), "x", 1, MSG_NOSIGNAL), -1);
  EXPECT_EQ(errno, EPIPE);
}

TEST_F(ServerTest, ASecondServerOnTheSameSocketIsRefused) {
  Server::Options options;
  options.socket_path = socket_path();
  options.host = SmallHost();
  EXPECT_EQ(ReasonOf(Server::Start(std::move(options)).status()), Reason::kStateConflict);
  ExpectAlive();
}

TEST_F(ServerTest, AHostThatContradictsItselfIsRefused) {
  StopServer();
  Server::Options options;
  options.socket_path = socket_path();
  EXPECT_EQ(ReasonOf(Server::Start(std::move(options)).status()), Reason::kMissingField);
}

TEST_F(ServerTest, SaysOnceThatNobodyUsesItAnyMore) {
  StopServer();
  absl::Notification idle;
  StartServer([&](Server::Options& options) {
    options.idle_after = absl::Milliseconds(1);
    options.on_idle = [&idle] { idle.Notify(); };  // a second call would abort
  });
  idle.WaitForNotification();
  ExpectAlive();
}

TEST_F(ServerTest, AFailureBeforeListeningEndsTheStart) {
  StopServer();
  Server::Options options;
  options.socket_path = socket_path();
  options.host = SmallHost();
  options.before_listening = [](Kernel&) { return Error(Reason::kSystemError, "no disk"); };
  EXPECT_EQ(ReasonOf(Server::Start(std::move(options)).status()), Reason::kSystemError);
  EXPECT_FALSE(std::filesystem::exists(socket_path()));
}

}  // namespace
}  // namespace berth::emulator
