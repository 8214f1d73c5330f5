// SPDX-License-Identifier: Apache-2.0
//
// The second process of the MappedRegion suite: does what it is asked on its standard input, a
// SEQPACKET socket. See vmm_process.h.
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <utility>

#include "tests/conformance/vmm_process.h"

namespace berth::conformance {
namespace {

class Vmm {
 public:
  ~Vmm() { KillChild(); }

  int64_t Do(const VmmRequest& request, UniqueFd received) {
    switch (request.op) {
      case VmmOp::kTakeFd:
        fd_ = std::move(received);
        return fd_.valid() ? 0 : -EBADF;
      case VmmOp::kCloseFd:
        fd_.Reset();
        return 0;
      case VmmOp::kMap:
        return Map(request.offset, request.length);
      case VmmOp::kUnmap:
        if (::munmap(base_, request.length) != 0) return -errno;
        base_ += request.length;
        return 0;
      case VmmOp::kLoad:
        return At(request.offset).load(std::memory_order_acquire);
      case VmmOp::kStore:
        At(request.offset).store(request.value, std::memory_order_release);
        return 0;
      case VmmOp::kFork:
        return Fork();
      case VmmOp::kKillChild:
        return KillChild();
    }
    return -EINVAL;
  }

 private:
  int64_t Map(uint64_t offset, uint64_t length) {
    void* data = ::mmap(nullptr, length, PROT_READ | PROT_WRITE, MAP_SHARED, fd_.get(),
                        static_cast<off_t>(offset));
    if (data == MAP_FAILED) return -errno;
    base_ = static_cast<char*>(data);
    return 0;
  }

  int64_t Fork() {
    const pid_t parent = ::getpid();
    child_ = ::fork();
    if (child_ < 0) return -errno;
    if (child_ == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      if (::getppid() != parent) ::_exit(0);  // it has died before
      for (;;) ::pause();
    }
    return 0;
  }

  int64_t KillChild() {
    const pid_t child = std::exchange(child_, -1);
    if (child < 0) return -ECHILD;
    ::kill(child, SIGKILL);
    return ::waitpid(child, nullptr, 0) == child ? 0 : -errno;
  }

  std::atomic_ref<uint32_t> At(uint64_t offset) {
    return std::atomic_ref<uint32_t>(*reinterpret_cast<uint32_t*>(base_ + offset));
  }

  UniqueFd fd_;
  char* base_ = nullptr;
  pid_t child_ = -1;
};

int Serve(int socket) {
  Vmm vmm;
  for (;;) {
    VmmRequest request;
    iovec part = {&request, sizeof(request)};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))];
    msghdr message = {};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof(control);
    if (::recvmsg(socket, &message, MSG_CMSG_CLOEXEC) != sizeof(request)) return 0;
    UniqueFd received;
    if (const cmsghdr* header = CMSG_FIRSTHDR(&message);
        header != nullptr && header->cmsg_type == SCM_RIGHTS) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(header), sizeof(fd));
      received.Reset(fd);
    }
    const int64_t answer = vmm.Do(request, std::move(received));
    if (::send(socket, &answer, sizeof(answer), MSG_NOSIGNAL) != sizeof(answer)) return 1;
  }
}

}  // namespace
}  // namespace berth::conformance

int main() { return berth::conformance::Serve(STDIN_FILENO); }
