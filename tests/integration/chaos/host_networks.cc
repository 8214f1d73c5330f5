// SPDX-License-Identifier: Apache-2.0
#include "tests/integration/chaos/host_networks.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "tests/integration/process.h"

namespace berth::testing {
namespace {

UniqueFd MyNetwork() { return UniqueFd(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC)); }

constexpr char kOverLinks[] =
    "echo 1 > /proc/sys/net/ipv4/conf/all/route_localnet; ip link set lo up; ";

// Commands of a shell, in `network`.
bool Run(const std::string& commands, int network = -1) {
  Process shell({.program = "/bin/sh",
                 .args = {"-ec", commands},
                 .out = "/dev/null",
                 .err = "",
                 .network = network});
  return shell.Wait() == 0;
}

std::string LinkOf(size_t host) { return absl::StrCat("host", host); }

}  // namespace

// Loopback addresses, because Berth speaks to no others without TLS; they go over links here, which
// takes route_localnet (Linux Documentation/networking/ip-sysctl.rst) and routes that come before
// those of lo.
std::unique_ptr<HostNetworks> HostNetworks::Make(size_t hosts) {
  if (::unshare(CLONE_NEWNET) != 0) return nullptr;
  if (!Run(absl::StrCat(kOverLinks, "ip link add hosts type bridge; ip addr add ", kHere,
                        "/32 dev hosts; ip link set hosts up; ip route add 127.77.1.0/24 dev hosts "
                        "table local scope link src ",
                        kHere))) {
    // The process goes on in its own namespace, which has to have what everybody has.
    Run("ip link set lo up");
    return nullptr;
  }
  const UniqueFd root = MyNetwork();
  std::unique_ptr<HostNetworks> networks(new HostNetworks);
  for (size_t host = 0; host < hosts; ++host) {
    if (!networks->Add(host, root.get())) return nullptr;
  }
  return networks;
}

bool HostNetworks::Add(size_t host, int root) {
  if (::unshare(CLONE_NEWNET) != 0) return false;
  hosts_.push_back(MyNetwork());
  if (::setns(root, CLONE_NEWNET) != 0) return false;
  const int network = hosts_.back().get();
  const std::string link = LinkOf(host);
  const std::string address = absl::StrCat("127.77.1.", host + 1);
  return Run(absl::StrCat("ip link add ", link, " type veth peer name up0 netns /proc/", ::getpid(),
                          "/fd/", network, "; ip link set ", link, " master hosts up")) &&
         Run(absl::StrCat(kOverLinks, "ip addr add ", address, "/32 dev up0; ip link set up0 up; ",
                          "ip route add ", kHere, "/32 dev up0 table local scope link src ",
                          address),
             network);
}

void HostNetworks::SetLink(size_t host, bool up) {
  EXPECT_TRUE(Run(absl::StrCat("ip link set ", LinkOf(host), up ? " up" : " down")));
}

}  // namespace berth::testing
