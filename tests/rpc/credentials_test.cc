// SPDX-License-Identifier: Apache-2.0
#include "lib/rpc/credentials.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "lib/base/status.h"
#include "tests/rpc/certificates.h"
#include "tests/rpc/test_service.h"

namespace berth {
namespace {

using testing::Contains;
using testing::HasSubstr;

TEST(LocalAddresses, AreToldFromOthers) {
  for (const char* local :
       {"unix:/run/berth/x.sock", "unix-abstract:x", "127.0.0.1:7440", "127.1.2.3:0", "[::1]:7440",
        "localhost:1", "dns:///localhost:1", "ipv4:127.0.0.1:1", "ipv6:[::1]:1"}) {
    EXPECT_TRUE(IsLocalAddress(local)) << local;
  }
  for (const char* remote : {"0.0.0.0:7440", "[::]:7440", "10.0.0.1:7440", "controller:7440",
                             "127.example.com:7440", "localhost.example.com:1", "127.0.0.1", ""}) {
    EXPECT_FALSE(IsLocalAddress(remote)) << remote;
  }
}

TEST(Credentials, PlaintextIsForLocalAddressesUnlessAllowed) {
  EXPECT_TRUE(MakeServerCredentials("127.0.0.1:0", {}, Plaintext::kLocalOnly).ok());
  EXPECT_TRUE(MakeChannelCredentials("unix:x", {}, Plaintext::kLocalOnly).ok());
  EXPECT_EQ(ReasonOf(MakeServerCredentials("0.0.0.0:0", {}, Plaintext::kLocalOnly).status()),
            Reason::kPermissionDenied);
  EXPECT_EQ(ReasonOf(MakeChannelCredentials("host:1", {}, Plaintext::kLocalOnly).status()),
            Reason::kPermissionDenied);
  EXPECT_TRUE(MakeServerCredentials("0.0.0.0:0", {}, Plaintext::kAnywhere).ok());
}

TEST(Credentials, OptionsThatContradictThemselvesNameTheField) {
  const TestAuthority authority;
  const TlsOptions full = authority.Issue("server", "DNS:localhost");
  const auto server = [](const TlsOptions& tls) {
    return MakeServerCredentials("127.0.0.1:0", tls, Plaintext::kLocalOnly).status();
  };
  const auto client = [](const TlsOptions& tls) {
    return MakeChannelCredentials("127.0.0.1:1", tls, Plaintext::kLocalOnly).status();
  };
  EXPECT_EQ(MetadataOf(server({.ca_file = full.ca_file}))["field"], "certificate_file");
  EXPECT_EQ(MetadataOf(server({.certificate_file = full.certificate_file}))["field"], "key_file");
  EXPECT_EQ(MetadataOf(client({.certificate_file = full.certificate_file}))["field"], "ca_file");
  EXPECT_EQ(MetadataOf(client({.key_file = full.key_file, .ca_file = full.ca_file}))["field"],
            "certificate_file");
  EXPECT_TRUE(server(full).ok());
  EXPECT_TRUE(client({.ca_file = full.ca_file}).ok());
}

TEST(Credentials, FilesThatCannotBeUsedAreNamed) {
  const TestAuthority authority;
  const TlsOptions good = authority.Issue("good", "DNS:localhost");
  const TlsOptions other = authority.Issue("other", "DNS:localhost");
  const auto server = [](const TlsOptions& tls) {
    return MakeServerCredentials("127.0.0.1:0", tls, Plaintext::kLocalOnly).status();
  };
  TlsOptions tls = good;
  tls.key_file = authority.folder() + "/missing.key";
  EXPECT_EQ(ReasonOf(server(tls)), Reason::kNotFound);
  EXPECT_EQ(MetadataOf(server(tls))["path"], tls.key_file);

  tls.key_file = other.key_file;
  EXPECT_EQ(ReasonOf(server(tls)), Reason::kInvalidField);
  EXPECT_THAT(std::string(server(tls).message()), HasSubstr(other.key_file));

  tls = good;
  tls.ca_file = authority.folder() + "/letter";
  std::ofstream(tls.ca_file) << "no certificate";
  EXPECT_EQ(ReasonOf(server(tls)), Reason::kInvalidField);
  EXPECT_EQ(MetadataOf(server(tls))["path"], tls.ca_file);
  tls = good;
  tls.certificate_file = authority.folder() + "/letter";
  EXPECT_EQ(MetadataOf(server(tls))["path"], tls.certificate_file);
}

class TlsConnection : public testing::Test {
 protected:
  std::shared_ptr<grpc::Channel> Dial(const RpcServer& server, const TlsOptions& tls) const {
    return MustDial({.address = server.address(), .tls = tls});
  }

  const TestAuthority authority_;
  const TlsOptions server_tls_ = authority_.Issue("server", "DNS:localhost,IP:127.0.0.1");
  TestService service_;
};

TEST_F(TlsConnection, MutualTlsTellsTheServerWhoCalls) {
  const auto server = MustStart({.address = "127.0.0.1:0", .tls = server_tls_}, service_);
  const TlsOptions client = authority_.Issue("agent-1", "URI:spiffe://fleet/agent/h1,DNS:h1");
  const absl::Status called = CallGetHost(Dial(*server, client));
  ASSERT_TRUE(called.ok()) << called;
  const PeerIdentity peer = service_.peer();
  EXPECT_EQ(peer.kind, PeerIdentity::Kind::kCertificate);
  EXPECT_THAT(peer.names, Contains("spiffe://fleet/agent/h1"));
  EXPECT_THAT(peer.names, Contains("h1"));
  EXPECT_EQ(peer.names.back(), "agent-1");
}

TEST_F(TlsConnection, WithoutAClientCertificateMutualTlsFails) {
  const auto server = MustStart({.address = "127.0.0.1:0", .tls = server_tls_}, service_);
  EXPECT_EQ(ReasonOf(CallGetHost(Dial(*server, {.ca_file = authority_.ca_file()}))),
            Reason::kUnavailable);
}

TEST_F(TlsConnection, ServerOnlyTlsServesUnnamedClients) {
  TlsOptions one_way = server_tls_;
  one_way.ca_file.clear();
  const auto server = MustStart({.address = "127.0.0.1:0", .tls = one_way}, service_);
  const absl::Status called = CallGetHost(Dial(*server, {.ca_file = authority_.ca_file()}));
  ASSERT_TRUE(called.ok()) << called;
  EXPECT_EQ(service_.peer().kind, PeerIdentity::Kind::kLoopback);
}

TEST_F(TlsConnection, CertificatesOfAnotherAuthorityAreRefusedByEitherSide) {
  const auto server = MustStart({.address = "127.0.0.1:0", .tls = server_tls_}, service_);
  const TestAuthority stranger;
  TlsOptions client = stranger.Issue("agent-1", "DNS:h1");
  EXPECT_FALSE(CallGetHost(Dial(*server, client)).ok()) << "the client trusts another authority";
  client.ca_file = authority_.ca_file();
  EXPECT_FALSE(CallGetHost(Dial(*server, client)).ok()) << "the server does";
}

TEST_F(TlsConnection, AServerOfAnotherNameIsRefused) {
  const TlsOptions elsewhere = authority_.Issue("elsewhere", "DNS:elsewhere.example");
  const auto server = MustStart({.address = "127.0.0.1:0", .tls = elsewhere}, service_);
  const TlsOptions client = authority_.Issue("agent-1", "DNS:h1");
  EXPECT_FALSE(CallGetHost(Dial(*server, client)).ok());
  const absl::Status named = CallGetHost(
      MustDial({.address = server->address(), .tls = client, .server_name = "elsewhere.example"}));
  EXPECT_TRUE(named.ok()) << named;
}

}  // namespace
}  // namespace berth
