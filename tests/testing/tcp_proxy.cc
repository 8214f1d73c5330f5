// SPDX-License-Identifier: Apache-2.0
#include "tests/testing/tcp_proxy.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace berth::testing {
namespace {

constexpr size_t kChunk = 64 << 10;

void Require(bool condition, const char* what) {
  if (condition) return;
  std::perror(what);
  std::abort();
}

sockaddr_in ParseAddress(const std::string& address) {
  const size_t colon = address.rfind(':');
  uint32_t port = 0;
  sockaddr_in parsed = {};
  parsed.sin_family = AF_INET;
  Require(colon != std::string::npos && absl::SimpleAtoi(address.substr(colon + 1), &port) &&
              ::inet_pton(AF_INET, address.substr(0, colon).c_str(), &parsed.sin_addr) == 1,
          address.c_str());
  parsed.sin_port = htons(static_cast<uint16_t>(port));
  return parsed;
}

}  // namespace

TcpProxy::TcpProxy(const std::string& target, const std::string& host)
    : target_(target),
      listener_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)),
      wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  sockaddr_in here = ParseAddress(host + ":0");
  socklen_t size = sizeof(here);
  auto* name = reinterpret_cast<sockaddr*>(&here);
  Require(::bind(listener_.get(), name, size) == 0, "bind");
  Require(::listen(listener_.get(), SOMAXCONN) == 0, "listen");
  Require(::getsockname(listener_.get(), name, &size) == 0, "getsockname");
  address_ = absl::StrCat(host, ":", ntohs(here.sin_port));
  thread_ = std::thread([this] { Run(); });
}

TcpProxy::~TcpProxy() {
  {
    absl::MutexLock lock(&mu_);
    stopping_ = true;
  }
  Require(::eventfd_write(wake_.get(), 1) == 0, "eventfd_write");
  thread_.join();
}

void TcpProxy::SetCut(bool cut) {
  absl::MutexLock lock(&mu_);
  cut_ = cut;
  Require(::eventfd_write(wake_.get(), 1) == 0, "eventfd_write");
}

void TcpProxy::Run() {
  for (;;) {
    bool cut = false;
    {
      absl::MutexLock lock(&mu_);
      if (stopping_) return;
      cut = cut_;
    }
    std::vector<pollfd> polled = {{.fd = wake_.get(), .events = POLLIN, .revents = 0}};
    if (!cut) {
      polled.push_back({.fd = listener_.get(), .events = POLLIN, .revents = 0});
      for (const Connection& connection : connections_) {
        for (const Flow* flow : {&connection.there, &connection.back}) {
          const bool writes = !flow->waiting.empty();
          if (!writes && flow->ended) continue;
          polled.push_back({.fd = writes ? flow->to : flow->from,
                            .events = static_cast<int16_t>(writes ? POLLOUT : POLLIN),
                            .revents = 0});
        }
      }
    }
    if (::poll(polled.data(), polled.size(), -1) < 0) Require(errno == EINTR, "poll");
    eventfd_t ignored = 0;
    (void)::eventfd_read(wake_.get(), &ignored);
    if (cut) continue;
    connections_.remove_if([](Connection& connection) {
      return !Move(&connection.there) || !Move(&connection.back) ||
             (connection.there.ended && connection.back.ended);
    });
    Accept();
  }
}

void TcpProxy::Accept() {
  for (;;) {
    UniqueFd client(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!client.valid()) return;
    UniqueFd server = Dial();
    if (!server.valid()) continue;
    Connection& added = connections_.emplace_back();
    added.there = {.from = client.get(), .to = server.get()};
    added.back = {.from = server.get(), .to = client.get()};
    added.client = std::move(client);
    added.server = std::move(server);
  }
}

UniqueFd TcpProxy::Dial() const {
  const auto dial = [](const auto& there) {
    const auto* name = reinterpret_cast<const sockaddr*>(&there);
    UniqueFd server(::socket(name->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
    // On this machine connect() does not wait.
    return ::connect(server.get(), name, sizeof(there)) == 0 ? std::move(server) : UniqueFd();
  };
  const std::string kUnix = "unix:";
  if (!absl::StartsWith(target_, kUnix)) return dial(ParseAddress(target_));
  sockaddr_un there = {};
  there.sun_family = AF_UNIX;
  target_.copy(there.sun_path, sizeof(there.sun_path) - 1, kUnix.size());
  return dial(there);
}

bool TcpProxy::Move(Flow* flow) {
  if (flow->waiting.empty() && !flow->ended) {
    flow->waiting.resize(kChunk);
    const ssize_t size = ::recv(flow->from, flow->waiting.data(), kChunk, MSG_DONTWAIT);
    if (size < 0 && errno != EAGAIN) return false;
    flow->waiting.resize(size > 0 ? static_cast<size_t>(size) : 0);
    if (size == 0) {
      flow->ended = true;
      ::shutdown(flow->to, SHUT_WR);
    }
  }
  if (flow->waiting.empty()) return true;
  const ssize_t size =
      ::send(flow->to, flow->waiting.data(), flow->waiting.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  if (size < 0) return errno == EAGAIN;
  flow->waiting.erase(0, static_cast<size_t>(size));
  return true;
}

}  // namespace berth::testing
