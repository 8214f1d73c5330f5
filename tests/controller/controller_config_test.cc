// SPDX-License-Identifier: Apache-2.0
#include "ctl/controller/daemon/controller_config.h"

#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include "lib/base/status.h"

namespace berth {
namespace {

using internal::v1::ControllerConfig;

// A configuration with this store; everything else is as it should be.
ControllerConfig WithStore(const std::string& store) {
  ControllerConfig config;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(
      "cluster_key_file: 'key' store { " + store + " }", &config))
      << store;
  return config;
}

absl::Status Finish(ControllerConfig config) {
  return FinishControllerConfig("/etc/berth/controller.yaml", &config);
}

TEST(ControllerConfig, PathsAreRelativeToItsFile) {
  ControllerConfig config = WithStore("sqlite { path: 'book.db' }");
  ASSERT_TRUE(FinishControllerConfig("/etc/berth/controller.yaml", &config).ok());
  EXPECT_EQ(config.store().sqlite().path(), "/etc/berth/book.db");
  EXPECT_EQ(config.cluster_key_file(), "/etc/berth/key");
  config = WithStore("etcd { endpoints: 'a:1' user { name: 'n' password_file: 'secret' } }");
  ASSERT_TRUE(FinishControllerConfig("/etc/berth/controller.yaml", &config).ok());
  EXPECT_EQ(config.store().etcd().user().password_file(), "/etc/berth/secret");
}

TEST(ControllerConfig, AStoreInEtcdHasDefaults) {
  ControllerConfig config = WithStore("etcd { endpoints: '127.0.0.1:2379' }");
  ASSERT_TRUE(FinishControllerConfig("/etc/berth/controller.yaml", &config).ok());
  EXPECT_EQ(config.store().etcd().prefix(), "/berth");
  EXPECT_EQ(config.store().etcd().lease_ttl().seconds(), 3);
}

TEST(ControllerConfig, OneThatWouldNotWorkIsRefused) {
  EXPECT_EQ(ReasonOf(Finish(WithStore(""))), Reason::kMissingField);
  EXPECT_EQ(ReasonOf(Finish(WithStore("sqlite {}"))), Reason::kMissingField);
  EXPECT_EQ(ReasonOf(Finish(WithStore("etcd {}"))), Reason::kMissingField);
  EXPECT_EQ(ReasonOf(Finish(WithStore("etcd { endpoints: 'a:1' user { name: 'n' } }"))),
            Reason::kMissingField);
  for (const char* wrong : {"prefix: 'berth'", "prefix: '/berth/'", "lease_ttl { seconds: 1 }",
                            "lease_ttl { seconds: 601 }"}) {
    const std::string store = std::string("etcd { endpoints: 'a:1' ") + wrong + " }";
    EXPECT_EQ(ReasonOf(Finish(WithStore(store))), Reason::kInvalidField) << wrong;
  }
}

TEST(ControllerConfig, AuditsRunEveryMinuteUnlessItSaysOtherwise) {
  ControllerConfig config = WithStore("memory {}");
  ASSERT_TRUE(FinishControllerConfig("/etc/berth/controller.yaml", &config).ok());
  EXPECT_EQ(config.audit().interval().seconds(), 60);
  config.mutable_audit()->mutable_interval()->set_seconds(5);
  ASSERT_TRUE(FinishControllerConfig("/etc/berth/controller.yaml", &config).ok());
  EXPECT_EQ(config.audit().interval().seconds(), 5);
  for (const int64_t wrong : {0, -1, 86401}) {
    config.mutable_audit()->mutable_interval()->set_seconds(wrong);
    EXPECT_EQ(ReasonOf(Finish(config)), Reason::kInvalidField) << wrong;
  }
}

TEST(ControllerConfig, OneOfSeveralControllersMustKnowHowToBeReached) {
  internal::v1::ControllerConfig config = WithStore("etcd { endpoints: '127.0.0.1:1' }");
  config.mutable_api()->set_address("0.0.0.0:7440");
  EXPECT_EQ(ReasonOf(Finish(config)), Reason::kMissingField);
  config.mutable_advertise()->set_api("controller-1.example:7440");
  EXPECT_TRUE(Finish(config).ok()) << Finish(config);
  config.mutable_agent_link()->set_address("[::]:7441");
  EXPECT_EQ(ReasonOf(Finish(config)), Reason::kMissingField);
  config.mutable_advertise()->set_agent_link("controller-1.example:7441");
  EXPECT_TRUE(Finish(config).ok()) << Finish(config);

  internal::v1::ControllerConfig alone = WithStore("memory {}");
  alone.mutable_api()->set_address("0.0.0.0:7440");
  EXPECT_TRUE(Finish(alone).ok()) << Finish(alone);
}

}  // namespace
}  // namespace berth
