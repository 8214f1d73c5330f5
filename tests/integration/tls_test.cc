// SPDX-License-Identifier: Apache-2.0
//
// A fleet that trusts certificates: both of the controller's listeners ask for one, and agent and
// berthctl show theirs. Strangers are told why they are turned away.
#include <gmock/gmock.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>

#include <filesystem>
#include <regex>

#include "absl/strings/str_cat.h"
#include "tests/integration/cluster.h"
#include "tests/rpc/certificates.h"

namespace berth::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

std::string Yaml(const TlsOptions& tls) {
  return absl::StrCat("tls: {certificate_file: ", tls.certificate_file,
                      ", key_file: ", tls.key_file, ", ca_file: ", tls.ca_file, "}");
}

class Tls : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_NE(::mkdtemp(folder_.data()), nullptr);
    StartController();
  }
  void TearDown() override {
    agent_.reset();
    controller_.reset();
    KillStranger(ListenerOf(folder_ + "/run/emulator/emulator.sock", SOCK_SEQPACKET));
    if (HasFailure()) std::cerr << ControllerLog() << AgentLog();
    std::filesystem::remove_all(folder_);
  }

  void StartController() {
    const TlsOptions tls = authority_.Issue("controller", "IP:127.0.0.1");
    WriteFile(folder_ + "/controller.yaml",
              absl::StrCat("api: {address: \"127.0.0.1:0\", ", Yaml(tls),
                           "}\nagent_link: {address: \"127.0.0.1:0\", ", Yaml(tls),
                           "}\nstore: {memory: {}}\ncluster_key_file: cluster.key\n"
                           "roles:\n"
                           "- {identity: \"spiffe://fleet/agent/*\", role: AGENT}\n"
                           "- {identity: alice, role: ADMIN}\n"
                           "- {identity: bob, role: VIEWER}\n"));
    controller_ = Start("berth-controller", "controller");
    WaitFor("the controller serves", [&] {
      std::smatch match;
      const std::string log = ControllerLog();
      if (!std::regex_search(log, match, std::regex("serving api=(\\S+) agents=(\\S+)\\s"))) {
        return false;
      }
      api_ = match[1];
      link_ = match[2];
      return true;
    });
  }
  void StartAgent(const TlsOptions& tls) {
    agent_.reset();
    WriteFile(folder_ + "/agent.yaml",
              absl::StrCat("host_id: gh200\nruntime_dir: ", folder_, "/run\nstate_dir: ", folder_,
                           "/state\nbackend: {emulated: {host_file: ",
                           SourceFile("deploy/examples/hosts/gh200.yaml"),
                           "}}\ncontroller: {addresses: [\"", link_, "\"], ", Yaml(tls), "}\n"));
    agent_ = Start("berth-agent", "agent");
  }
  std::unique_ptr<Process> Start(const std::string& program, const std::string& name) {
    const std::string stem = absl::StrCat(folder_, "/", name);
    return std::make_unique<Process>(Process::Options{.program = ProgramFile(program),
                                                      .args = {"--config", stem + ".yaml"},
                                                      .out = stem + ".log",
                                                      .err = ""});
  }
  std::string ControllerLog() { return ReadFile(folder_ + "/controller.log"); }
  std::string AgentLog() { return ReadFile(folder_ + "/agent.log"); }

  Output Ctl(const TlsOptions& tls, std::vector<std::string> args) {
    args.insert(args.begin(), {"--server", api_});
    const auto add = [&args](const std::string& flag, const std::string& file) {
      if (!file.empty()) args.insert(args.end(), {flag, file});
    };
    add("--tls-ca", tls.ca_file);
    add("--tls-cert", tls.certificate_file);
    add("--tls-key", tls.key_file);
    const std::string stem = absl::StrCat(folder_, "/ctl", ++runs_);
    Process process({.program = ProgramFile("berthctl"),
                     .args = args,
                     .out = stem + ".out",
                     .err = stem + ".err"});
    process.CloseStdin();
    const int code = process.Wait();
    return {.code = code, .out = ReadFile(stem + ".out"), .err = ReadFile(stem + ".err")};
  }

  const TestAuthority authority_;
  const TestAuthority stranger_;
  std::string folder_ = "/tmp/berth-tls.XXXXXX";
  std::string api_;
  std::string link_;
  std::unique_ptr<Process> controller_;
  std::unique_ptr<Process> agent_;
  int runs_ = 0;
};

TEST_F(Tls, AnAssignmentIsMadeAndReleasedByThoseWhoShowTheirCertificates) {
  StartAgent(authority_.Issue("agent", "URI:spiffe://fleet/agent/gh200"));
  const TlsOptions alice = authority_.Issue("alice", "");
  WaitFor("the host is there", [&] { return Ctl(alice, {"get", "host", "gh200"}).code == 0; });
  const Output ready = Ctl(alice, {"wait", "host/gh200", "--for", "ready"});
  EXPECT_EQ(ready.code, 0) << ready.err;
  const Output created = Ctl(alice, {"create", "-f", SourceFile("deploy/examples/assignment.yaml"),
                                     "--token-file", folder_ + "/token", "--wait"});
  EXPECT_EQ(created.code, 0) << created.err;
  EXPECT_THAT(created.out, HasSubstr("training-vm prepared"));
  const Output deleted = Ctl(alice, {"delete", "assignment", "training-vm", "--wait"});
  EXPECT_EQ(deleted.code, 0) << deleted.err;
}

TEST_F(Tls, ClientsAreToldWhyTheyAreTurnedAway) {
  TlsOptions alice = authority_.Issue("alice", "");
  EXPECT_EQ(Ctl(alice, {"get", "hosts"}).code, 0);

  alice.ca_file = stranger_.ca_file();
  const Output distrusts = Ctl(alice, {"get", "hosts"});
  EXPECT_EQ(distrusts.code, 6);
  EXPECT_THAT(distrusts.err, AllOf(HasSubstr(api_), HasSubstr("the TLS handshake failed")));

  TlsOptions mallory = stranger_.Issue("alice", "");
  mallory.ca_file = authority_.ca_file();
  const Output distrusted = Ctl(mallory, {"get", "hosts"});
  EXPECT_EQ(distrusted.code, 6);
  EXPECT_THAT(distrusted.err, HasSubstr(api_));

  EXPECT_EQ(Ctl({.ca_file = authority_.ca_file()}, {"get", "hosts"}).code, 6) << "no certificate";
  EXPECT_EQ(Ctl({}, {"get", "hosts"}).code, 6) << "no TLS";

  const TlsOptions nobody = authority_.Issue("nobody", "");
  const Output no_role = Ctl(nobody, {"get", "hosts"});
  EXPECT_EQ(no_role.code, 7);
  EXPECT_THAT(no_role.err, AllOf(HasSubstr("nobody may not call"), HasSubstr("viewer"),
                                 HasSubstr("PERMISSION_DENIED")));
  const TlsOptions bob = authority_.Issue("bob", "");
  EXPECT_EQ(Ctl(bob, {"get", "hosts"}).code, 0);
  const Output too_much = Ctl(bob, {"cordon", "gh200"});
  EXPECT_EQ(too_much.code, 7);
  EXPECT_THAT(too_much.err, HasSubstr("operator"));
}

TEST_F(Tls, AgentsAreToldWhyTheyAreTurnedAway) {
  const auto says = [this](const std::string& text) {
    WaitFor("the agent says: " + text, [&] { return AgentLog().find(text) != std::string::npos; });
  };
  TlsOptions agent = authority_.Issue("agent", "URI:spiffe://fleet/agent/gh200");
  agent.ca_file = stranger_.ca_file();
  StartAgent(agent);
  says("not connected to the controller error=\"" + link_ + ": the TLS handshake failed; are both");

  StartAgent(authority_.Issue("alice", ""));  // a person is no agent
  says("alice may not call /berth.agent.v1.AgentLink/Session, which needs the role agent");

  StartAgent(authority_.Issue("agent", "URI:spiffe://fleet/agent/gh200"));
  says("connected to the controller desired=");
}

TEST_F(Tls, AListenerThatAsksForCertificatesNeedsRoles) {
  const TlsOptions tls = authority_.Issue("controller", "IP:127.0.0.1");
  for (const std::string listener : {"api", "agent_link"}) {
    const std::string file = absl::StrCat(folder_, "/", listener, ".yaml");
    WriteFile(file, absl::StrCat(listener, ": {address: \"127.0.0.1:0\", ", Yaml(tls),
                                 "}\nstore: {memory: {}}\ncluster_key_file: cluster.key\n"));
    Process check({.program = ProgramFile("berth-controller"),
                   .args = {"--config", file, "--check-config"},
                   .out = file + ".out",
                   .err = ""});
    EXPECT_EQ(check.Wait(), 3);
    EXPECT_THAT(ReadFile(file + ".out"), HasSubstr(listener + " asks for certificates (ca_file)"));
  }
}

}  // namespace
}  // namespace berth::testing
