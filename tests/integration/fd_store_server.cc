// SPDX-License-Identifier: Apache-2.0
#include "tests/integration/fd_store_server.h"

#include <gtest/gtest.h>
#include <poll.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace berth::testing {

FdStoreServer::FdStoreServer(const std::string& path) {
  auto keeper = FdKeeper::Listen(path, &log_);
  EXPECT_TRUE(keeper.ok()) << keeper.status();
  const int fd = (*keeper)->fd();
  {
    absl::MutexLock lock(&mu_);
    keeper_ = *std::move(keeper);
  }
  thread_ = std::thread([this, fd] {
    while (!stop_) {
      pollfd entry = {.fd = fd, .events = POLLIN, .revents = 0};
      if (::poll(&entry, 1, 10) <= 0) continue;
      absl::MutexLock lock(&mu_);
      if (agent_ != 0) keeper_->Receive(agent_);
    }
  });
}

FdStoreServer::~FdStoreServer() {
  stop_ = true;
  thread_.join();
}

void FdStoreServer::Pass(Process::Options* options) {
  absl::MutexLock lock(&mu_);
  // What it said last. What the next one says waits until that is known.
  keeper_->Receive(std::exchange(agent_, 0));
  std::vector<std::string> names;
  for (const StoredFd& stored : keeper_->fds()) {
    options->fds.push_back(stored.fd.get());
    names.push_back(stored.name);
  }
  options->environment.push_back(absl::StrCat("NOTIFY_SOCKET=", keeper_->path()));
  options->environment.push_back(absl::StrCat("LISTEN_FDS=", names.size()));
  options->environment.push_back(absl::StrCat("LISTEN_FDNAMES=", absl::StrJoin(names, ":")));
}

void FdStoreServer::Serve(pid_t agent) {
  absl::MutexLock lock(&mu_);
  agent_ = agent;
}

std::vector<std::string> FdStoreServer::names() {
  absl::MutexLock lock(&mu_);
  std::vector<std::string> names;
  for (const StoredFd& stored : keeper_->fds()) names.push_back(stored.name);
  return names;
}

}  // namespace berth::testing
