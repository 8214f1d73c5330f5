// SPDX-License-Identifier: Apache-2.0
#include "lib/rpc/authorise.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lib/base/status.h"

namespace berth {
namespace {

using Kind = PeerIdentity::Kind;

constexpr char kGet[] = "/berth.v1.HostService/GetHost";
constexpr char kDrain[] = "/berth.v1.HostService/DrainHost";
constexpr char kSession[] = "/berth.agent.v1.AgentLink/Session";

AuthorisationPolicy Policy() {
  AuthorisationPolicy policy;
  policy.methods = {{kGet, Role::kViewer}, {kDrain, Role::kOperator}, {kSession, Role::kAgent}};
  policy.bindings = {{"spiffe://fleet/agent/*", Role::kAgent},
                     {"alice", Role::kViewer},
                     {"ops.example", Role::kOperator}};
  return policy;
}

PeerIdentity Certificate(std::vector<std::string> names) {
  return {Kind::kCertificate, std::move(names)};
}

TEST(Roles, EachIncludesTheOneBelowAndAgentStandsApart) {
  const Role people[] = {Role::kViewer, Role::kUser, Role::kOperator, Role::kAdmin};
  for (const Role held : people) {
    for (const Role required : people) EXPECT_EQ(Includes(held, required), held >= required);
    EXPECT_FALSE(Includes(held, Role::kAgent));
    EXPECT_FALSE(Includes(Role::kAgent, held));
    EXPECT_FALSE(Includes(Role::kNone, held));
    EXPECT_FALSE(Includes(held, Role::kNone));
  }
  EXPECT_TRUE(Includes(Role::kAgent, Role::kAgent));
}

TEST(Authoriser, CertificatesHaveTheRolesOfAnyOfTheirNames) {
  const Authoriser authoriser(Policy());
  EXPECT_TRUE(authoriser.Check(Certificate({"alice"}), kGet).ok());
  EXPECT_EQ(ReasonOf(authoriser.Check(Certificate({"alice"}), kDrain)), Reason::kPermissionDenied);
  EXPECT_TRUE(authoriser.Check(Certificate({"alice", "ops.example"}), kDrain).ok());
  EXPECT_TRUE(authoriser.Check(Certificate({"spiffe://fleet/agent/h1"}), kSession).ok());
  EXPECT_FALSE(authoriser.Check(Certificate({"spiffe://fleet/agent/h1"}), kGet).ok());
  EXPECT_FALSE(authoriser.Check(Certificate({"spiffe://fleet/agen"}), kSession).ok());
  EXPECT_FALSE(authoriser.Check(Certificate({"alice2"}), kGet).ok());
  EXPECT_FALSE(authoriser.Check(Certificate({}), kGet).ok());
}

TEST(Authoriser, PeersWithoutCertificatesHaveWhatThePolicySays) {
  AuthorisationPolicy policy = Policy();
  policy.loopback = Role::kViewer;
  const Authoriser authoriser(policy);
  EXPECT_TRUE(authoriser.Check({Kind::kUnixSocket, {}}, kDrain).ok());
  EXPECT_TRUE(authoriser.Check({Kind::kLoopback, {}}, kGet).ok());
  EXPECT_FALSE(authoriser.Check({Kind::kLoopback, {}}, kDrain).ok());
  const absl::Status stranger = authoriser.Check({Kind::kAnonymous, {}}, kGet);
  EXPECT_EQ(ReasonOf(stranger), Reason::kUnauthenticated);
  EXPECT_EQ(MetadataOf(stranger)["role"], "viewer");
}

TEST(Authoriser, AMethodThatNobodyListedIsRefusedToEverybody) {
  const Authoriser authoriser(Policy());
  for (const Kind kind : {Kind::kAnonymous, Kind::kLoopback, Kind::kUnixSocket}) {
    EXPECT_FALSE(authoriser.Check({kind, {}}, "/berth.v1.HostService/Invented").ok());
  }
  EXPECT_EQ(ReasonOf(authoriser.Check(Certificate({"ops.example"}), "/x/y")),
            Reason::kPermissionDenied);
}

TEST(PeerIdentity, HasANameForLogs) {
  EXPECT_EQ(Certificate({"first", "second"}).name(), "first");
  EXPECT_EQ(Certificate({}).name(), "unnamed");
  EXPECT_EQ((PeerIdentity{Kind::kUnixSocket, {}}).name(), "unix");
  EXPECT_EQ((PeerIdentity{Kind::kLoopback, {}}).name(), "loopback");
  EXPECT_EQ(PeerIdentity{}.name(), "anonymous");
}

}  // namespace
}  // namespace berth
