// SPDX-License-Identifier: Apache-2.0
#include "lib/daemon/metrics.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>

#include "lib/base/status.h"
#include "lib/base/unique_fd.h"

namespace berth {
namespace {

using ::testing::HasSubstr;

std::string Get(int port, const std::string& path) {
  const UniqueFd fd(::socket(AF_INET, SOCK_STREAM, 0));
  struct sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_EQ(::connect(fd.get(), reinterpret_cast<struct sockaddr*>(&address), sizeof(address)), 0);
  const std::string request = "GET " + path + " HTTP/1.0\r\n\r\n";
  EXPECT_EQ(::send(fd.get(), request.data(), request.size(), 0),
            static_cast<ssize_t>(request.size()));
  std::string answer;
  char buffer[4096];
  for (ssize_t n = 0; (n = ::read(fd.get(), buffer, sizeof(buffer))) > 0;) {
    answer.append(buffer, static_cast<size_t>(n));
  }
  return answer;
}

TEST(MetricsTest, WhatIsCountedIsShown) {
  Metrics metrics;
  Counter attaches = metrics.AddCounter("berth_attaches_total", "Attaches.", {{"result", "ok"}});
  attaches.Increment();
  attaches.Increment(2);
  metrics.AddGauge("berth_hosts", "Hosts.").Set(7);
  metrics.AddHistogram("berth_attach_seconds", "Time to attach.", {0.1, 1}).Observe(0.5);
  const std::string text = metrics.Text();
  EXPECT_THAT(text, HasSubstr("# HELP berth_attaches_total Attaches."));
  EXPECT_THAT(text, HasSubstr("berth_attaches_total{result=\"ok\"} 3"));
  EXPECT_THAT(text, HasSubstr("berth_hosts 7"));
  EXPECT_THAT(text, HasSubstr("berth_attach_seconds_bucket{le=\"0.1\"} 0"));
  EXPECT_THAT(text, HasSubstr("berth_attach_seconds_bucket{le=\"1\"} 1"));
}

TEST(MetricsTest, TheSameNameAndLabelsAreTheSameSeries) {
  Metrics metrics;
  metrics.AddCounter("berth_calls_total", "Calls.").Increment();
  metrics.AddCounter("berth_calls_total", "Calls.").Increment();
  EXPECT_THAT(metrics.Text(), HasSubstr("berth_calls_total 2"));
}

TEST(MetricsTest, TheyAreServedOnLoopback) {
  Metrics metrics;
  EXPECT_EQ(metrics.port(), 0);
  metrics.AddGauge("berth_hosts", "Hosts.").Set(7);
  ASSERT_TRUE(metrics.Expose("0").ok());
  ASSERT_GT(metrics.port(), 0);
  EXPECT_THAT(Get(metrics.port(), "/metrics"), HasSubstr("berth_hosts 7"));
}

TEST(MetricsTest, AWrongAddressIsAnError) {
  for (const char* address : {"", "localhost", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:70000"}) {
    EXPECT_EQ(ReasonOf(Metrics().Expose(address)), Reason::kInvalidField) << address;
  }
  Metrics first;
  ASSERT_TRUE(first.Expose("127.0.0.1:0").ok());
  const std::string taken = "127.0.0.1:" + std::to_string(first.port());
  const absl::Status status = Metrics().Expose(taken);
  EXPECT_EQ(ReasonOf(status), Reason::kSystemError);
  EXPECT_THAT(std::string(status.message()), HasSubstr(taken));
}

}  // namespace
}  // namespace berth
