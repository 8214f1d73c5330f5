// SPDX-License-Identifier: Apache-2.0
#include "tests/conformance/vmm_process.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <string>

namespace berth::conformance {

VmmProcess::VmmProcess() {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
    ADD_FAILURE() << std::strerror(errno);
    return;
  }
  socket_ = UniqueFd(ends[0]);
  const UniqueFd theirs(ends[1]);
  std::string program =
      std::filesystem::read_symlink("/proc/self/exe").parent_path() / "conformance_vmm";
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, theirs.get(), STDIN_FILENO);
  char* argv[] = {program.data(), nullptr};
  const int error = ::posix_spawn(&pid_, program.c_str(), &actions, nullptr, argv, environ);
  posix_spawn_file_actions_destroy(&actions);
  if (error != 0) {
    ADD_FAILURE() << program << ": " << std::strerror(error);
    pid_ = -1;
  }
}

void VmmProcess::Kill() {
  if (pid_ < 0) return;
  ::kill(pid_, SIGKILL);
  while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
  pid_ = -1;
}

int64_t VmmProcess::TakeFd(int fd) { return Ask({VmmOp::kTakeFd, 0, 0, 0}, fd); }

int64_t VmmProcess::Ask(const VmmRequest& request, int fd) {
  VmmRequest copy = request;
  iovec part = {&copy, sizeof(copy)};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr message = {};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (fd >= 0) {
    message.msg_control = control;
    message.msg_controllen = sizeof(control);
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    std::memcpy(CMSG_DATA(header), &fd, sizeof(fd));
  }
  int64_t answer = 0;
  if (::sendmsg(socket_.get(), &message, MSG_NOSIGNAL) != sizeof(copy) ||
      ::recv(socket_.get(), &answer, sizeof(answer), 0) != sizeof(answer)) {
    ADD_FAILURE() << "the VMM process does not answer";
    return -EPIPE;
  }
  return answer;
}

}  // namespace berth::conformance
