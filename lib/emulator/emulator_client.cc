// SPDX-License-Identifier: Apache-2.0
#include "lib/emulator/emulator_client.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <span>

#include "absl/strings/str_cat.h"
#include "lib/base/packet.h"
#include "lib/base/status.h"
#include "lib/emulator/user_memory.h"
#include "lib/iommufd/uapi/iommufd.h"

namespace berth::emulator {
namespace {

absl::Status Gone(const std::string& path) {
  return Error(Reason::kKernelGone, absl::StrCat("no emulator answers on ", path),
               {{"path", path}});
}

// Whether `fd` is the end of a pair whose server has ended.
bool IsHungUp(int fd) {
  pollfd poll = {fd, 0, 0};
  return ::poll(&poll, 1, 0) == 1 && (poll.revents & POLLHUP) != 0;
}

// Whether this process may open another fd.
bool HasFdLeft() { return UniqueFd(::eventfd(0, EFD_CLOEXEC)).valid(); }

// A large in part, as a memfd that will not change any more.
int MakeMemfd(std::span<const std::byte> bytes, UniqueFd* memfd) {
  memfd->Reset(::memfd_create("berth-call", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!memfd->valid()) return -errno;
  for (size_t done = 0; done < bytes.size();) {
    const ssize_t count = ::write(memfd->get(), bytes.data() + done, bytes.size() - done);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return -ENOMEM;
    done += static_cast<size_t>(count);
  }
  constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
  return ::fcntl(memfd->get(), F_ADD_SEALS, kSeals) == 0 ? 0 : -errno;
}

}  // namespace

struct EmulatorClient::Call {
  CallHeader header = {};
  int target = -1;
  int inner_fd = -1;
  std::span<const int> eventfds;
  std::span<const std::byte> struct_part;
  std::span<const std::byte> in;
  int memory = -1;     // where the in part is instead, at header.offset
  bool opens = false;  // what it allocates comes with an fd, and goes again where there is no room

  explicit Call(CallOp op, int the_target = -1) : target(the_target) {
    header.magic = kProtocolMagic;
    header.version = kProtocolVersion;
    header.op = op;
  }
};

struct EmulatorClient::Answer {
  ReplyHeader header = {};
  std::vector<std::byte> bytes;  // struct part, then out part
  UniqueFd fd;

  [[nodiscard]] std::span<std::byte> struct_part() {
    return std::span(bytes).first(header.struct_size);
  }
  [[nodiscard]] std::span<std::byte> out() { return std::span(bytes).subspan(header.struct_size); }
};

EmulatorClient::EmulatorClient(std::string socket_path, Capable capable)
    : socket_path_(std::move(socket_path)), capable_(std::move(capable)) {}
EmulatorClient::~EmulatorClient() = default;

int EmulatorClient::TakeChannel(UniqueFd* channel, bool* fresh) {
  {
    absl::MutexLock lock(&mu_);
    // A forked child must not speak on its parent's channels.
    if (const pid_t self = ::getpid(); owner_ != self) {
      idle_.clear();
      owner_ = self;
    }
    *fresh = idle_.empty();
    if (!idle_.empty()) {
      *channel = std::move(idle_.back());
      idle_.pop_back();
      return 0;
    }
  }
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (socket_path_.size() >= sizeof(address.sun_path)) return -ENAMETOOLONG;
  std::memcpy(address.sun_path, socket_path_.c_str(), socket_path_.size() + 1);
  channel->Reset(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  if (!channel->valid()) return -errno;
  const auto* name = reinterpret_cast<const sockaddr*>(&address);
  while (::connect(channel->get(), name, sizeof(address)) != 0) {
    if (errno != EINTR) return -errno;
  }
  return 0;
}

void EmulatorClient::PutChannel(UniqueFd channel) {
  absl::MutexLock lock(&mu_);
  if (idle_.size() < kMaxIdleChannels && owner_ == ::getpid()) idle_.push_back(std::move(channel));
}

void EmulatorClient::DropChannels() {
  absl::MutexLock lock(&mu_);
  idle_.clear();
}

int EmulatorClient::TransactOn(int channel, const Call& call, Answer* answer) {
  CallHeader header = call.header;
  header.struct_size = static_cast<uint32_t>(call.struct_part.size());
  header.in_size = static_cast<uint32_t>(call.in.size());
  if (call.opens && !HasFdLeft()) header.flags |= kNoFdLeft;
  std::vector<int> fds;
  if (call.target >= 0) fds.push_back(call.target);
  UniqueFd memfd;
  std::span<const std::byte> inline_part = call.in;
  if (call.in.size() > kMaxInline) {
    if (int rc = MakeMemfd(call.in, &memfd); rc != 0) return rc;
    header.flags |= kInInMemfd;
    fds.push_back(memfd.get());
    inline_part = {};
  } else if (call.memory >= 0) {
    header.flags |= kInInMemory;
    fds.push_back(call.memory);
  }
  if (call.inner_fd >= 0) fds.push_back(call.inner_fd);
  fds.insert(fds.end(), call.eventfds.begin(), call.eventfds.end());
  const auto part = [](std::span<const std::byte> bytes) {
    return iovec{const_cast<std::byte*>(bytes.data()), bytes.size()};
  };
  const iovec parts[] = {{&header, sizeof(header)}, part(call.struct_part), part(inline_part)};
  if (int rc = SendPacket(channel, parts, fds, 0); rc != 0) return rc;

  answer->bytes.resize(sizeof(ReplyHeader) + call.struct_part.size() + header.out_size + 64);
  ReceivedPacket packet;
  if (int rc = ReceivePacket(channel, answer->bytes, 0, &packet); rc != 0) return rc;
  if (packet.size == 0) return -ECONNRESET;
  ReplyHeader& reply = answer->header;
  if (packet.truncated || packet.size < sizeof(reply)) return -EPROTO;
  std::memcpy(&reply, answer->bytes.data(), sizeof(reply));
  const bool has_fd = (reply.flags & kNewFd) != 0;
  if (reply.magic != kProtocolMagic || reply.version != kProtocolVersion ||
      packet.size != sizeof(reply) + reply.struct_size + uint64_t{reply.out_size} ||
      reply.struct_size > std::max<size_t>(call.struct_part.size(), 64) ||
      reply.out_size > header.out_size) {
    return -EPROTO;
  }
  // The new fd was sent, but this process has no room for it.
  if (has_fd && packet.fds.size() != 1) return packet.fds_truncated ? -EMFILE : -EPROTO;
  if (has_fd) answer->fd = std::move(packet.fds[0]);
  answer->bytes.resize(packet.size);
  answer->bytes.erase(answer->bytes.begin(),
                      answer->bytes.begin() + static_cast<ptrdiff_t>(sizeof(reply)));
  return 0;
}

int EmulatorClient::Transact(const Call& call, Answer* answer) {
  while (true) {
    UniqueFd channel;
    bool fresh = false;
    if (int rc = TakeChannel(&channel, &fresh); rc != 0) {
      const bool gone = rc == -ECONNREFUSED || rc == -ENOENT;
      return gone ? -ESHUTDOWN : rc;
    }
    const int rc = TransactOn(channel.get(), call, answer);
    if (rc == 0) {
      PutChannel(std::move(channel));
      return 0;
    }
    if (rc == -EPIPE && !fresh) {
      // Kept from an emulator that has ended since; nothing was executed. Perhaps there is another.
      DropChannels();
      continue;
    }
    return rc == -EPIPE || rc == -ECONNRESET ? -ESHUTDOWN : rc;
  }
}

absl::StatusOr<UniqueFd> EmulatorClient::Open(const Call& call, const std::string& what) {
  Answer answer;
  int rc = Transact(call, &answer);
  if (rc == 0) rc = static_cast<int>(answer.header.result);
  if (rc == -ESHUTDOWN) return Gone(socket_path_);
  if (rc == 0 && !answer.fd.valid()) rc = -EPROTO;
  if (rc != 0) return Annotate(ErrnoToStatus(-rc, "open"), what);
  return std::move(answer.fd);
}

absl::StatusOr<UniqueFd> EmulatorClient::OpenContext() {
  return Open(Call(CallOp::kOpenContext), "/dev/iommu");
}

absl::StatusOr<UniqueFd> EmulatorClient::OpenDevice(const std::string& name) {
  Call call(CallOp::kOpenDevice);
  if (name.size() > kMaxStruct) return Error(Reason::kNotFound, "no such cdev");
  call.struct_part = std::as_bytes(std::span(name));
  auto fd = Open(call, name);
  if (ErrnoOf(fd.status()) == ENOENT) {
    return Error(Reason::kNotFound, absl::StrCat("the emulated host has no cdev ", name),
                 {{"device", name}});
  }
  return fd;
}

int EmulatorClient::Ioctl(int fd, unsigned long request, void* arg) {  // NOLINT
  if (::fcntl(fd, F_GETFD) < 0) return -EBADF;
  Argument argument;
  argument.Load(request, reinterpret_cast<uint64_t>(arg), capable_);
  Call call(CallOp::kIoctl, fd);
  call.header.request = request;
  call.header.flags = argument.flags;
  call.header.user_size = argument.user_size;
  call.header.out_size = static_cast<uint32_t>(argument.out_size);
  call.struct_part = argument.struct_bytes;
  call.in = argument.in;
  call.inner_fd = argument.inner_fd;
  call.eventfds = argument.eventfds;
  call.memory = argument.memory.get();
  call.opens = request == uapi::kIommuVeventqAlloc || request == uapi::kIommuFaultQueueAlloc;
  call.header.offset = call.memory >= 0 ? argument.buffer_address : argument.user_pages.offset;
  call.header.length = argument.memlock_limit;
  Answer answer;
  if (int rc = Transact(call, &answer); rc != 0) return rc;
  const auto result = static_cast<int>(answer.header.result);
  if (result == -ENOTTY && IsHungUp(fd)) return -ESHUTDOWN;
  // Out parts go first: the kernel writes buffers before it answers.
  const std::span<std::byte> out = answer.out();
  if (!WriteUser(argument.buffer_address, out.data(), out.size())) return -EFAULT;
  if (argument.bits.valid() && result == 0) argument.StoreBits();
  if (answer.header.zero_to > out.size() &&
      !ZeroUser(argument.buffer_address + out.size(), answer.header.zero_to - out.size())) {
    return -EFAULT;
  }
  if ((answer.header.flags & kWriteStruct) == 0) return result;
  const std::span<std::byte> written = answer.struct_part();
  if (answer.fd.valid() && answer.header.fd_offset + sizeof(int) <= written.size()) {
    const int number = answer.fd.get();
    std::memcpy(written.data() + answer.header.fd_offset, &number, sizeof(number));
  }
  if (!WriteUser(argument.address, written.data(), written.size())) return -EFAULT;
  (void)answer.fd.Release();  // the caller's now: its number is in the struct
  return result;
}

ssize_t EmulatorClient::Read(const Call& call, void* buffer) {
  if (::fcntl(call.target, F_GETFD) < 0) return -EBADF;
  Answer answer;
  if (int rc = Transact(call, &answer); rc != 0) return rc;
  if (answer.header.result == -EINVAL && IsHungUp(call.target)) return -ESHUTDOWN;
  const std::span<std::byte> out = answer.out();
  if (!WriteUser(reinterpret_cast<uint64_t>(buffer), out.data(), out.size())) return -EFAULT;
  return static_cast<ssize_t>(answer.header.result);
}

ssize_t EmulatorClient::ReadEvents(int fd, void* buffer, size_t size) {
  Call call(CallOp::kReadEvents, fd);
  call.header.out_size = static_cast<uint32_t>(std::min(size, kMaxOut));
  call.header.length = WritablePrefix(reinterpret_cast<uint64_t>(buffer), call.header.out_size);
  return Read(call, buffer);
}

ssize_t EmulatorClient::ReadRegion(int fd, void* buffer, size_t size, uint64_t offset) {
  Call call(CallOp::kReadRegion, fd);
  call.header.offset = offset;
  call.header.out_size = static_cast<uint32_t>(std::min(size, kMaxOut));
  return Read(call, buffer);
}

ssize_t EmulatorClient::WriteRegion(int fd, const void* buffer, size_t size, uint64_t offset) {
  std::vector<std::byte> bytes(std::min(size, kMaxInline));
  if (ReadUser(reinterpret_cast<uint64_t>(buffer), bytes.data(), bytes.size()) != bytes.size()) {
    return -EFAULT;
  }
  Call call(CallOp::kWriteRegion, fd);
  call.header.offset = offset;
  call.in = bytes;
  return Read(call, nullptr);
}

absl::StatusOr<MappedRegion> EmulatorClient::RegionForVmm(int context, uint64_t offset,
                                                          uint64_t length) {
  Call call(CallOp::kRegion, context);
  call.header.offset = offset;
  call.header.length = length;
  Answer answer;
  int rc = ::fcntl(context, F_GETFD) < 0 ? -EBADF : Transact(call, &answer);
  if (rc == 0) rc = static_cast<int>(answer.header.result);
  if (rc == -ESHUTDOWN || (rc == -ENODEV && IsHungUp(context))) return Gone(socket_path_);
  if (rc == -ENXIO) {
    return Error(Reason::kNotFound, "the context offers no such region",
                 {{"offset", absl::StrCat(offset)}, {"length", absl::StrCat(length)}});
  }
  if (rc == 0 && !answer.fd.valid()) rc = -EPROTO;
  if (rc != 0) return ErrnoToStatus(-rc, "mmap");
  return MappedRegion{std::move(answer.fd), MappedRegion::Kind::kMemfd, 0, length};
}

}  // namespace berth::emulator
