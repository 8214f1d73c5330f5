// SPDX-License-Identifier: Apache-2.0
#include "tests/integration/controllers.h"

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <gtest/gtest.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "berth/v1/capacity_service.grpc.pb.h"
#include "lib/base/status.h"
#include "lib/rpc/channel.h"
#include "lib/rpc/error.h"
#include "lib/rpc/request.h"
#include "tests/integration/cluster.h"

namespace berth::testing {

Controllers::Controllers(std::string folder, size_t count, int lease_seconds, Agents agents,
                         const std::string& host)
    : folder_(std::move(folder)), lease_seconds_(lease_seconds) {
  controllers_.resize(count);
  for (size_t i = 0; i < count; ++i) {
    Controller& controller = controllers_[i];
    controller.config = absl::StrCat(folder_, "/controller", i, ".yaml");
    controller.log = absl::StrCat(folder_, "/controller", i, ".log");
    std::vector<std::string> endpoints;
    for (const std::string& address : etcd_.addresses()) {
      controller.networks.push_back(std::make_unique<TcpProxy>(address));
      endpoints.push_back(controller.networks.back()->address());
    }
    controller.agents =
        std::make_unique<TcpProxy>(agents == Agents::kReachDoor ? door(i) : listener(i), host);
    WriteFile(controller.config,
              absl::StrCat("api: {address: \"", api(i), "\"}\nagent_link: {address: \"",
                           listener(i), "\"}\nadvertise: {agent_link: \"", link(i),
                           "\"}\nstore: {etcd: {endpoints: [\"", absl::StrJoin(endpoints, "\", \""),
                           "\"], lease_ttl: ", lease_seconds_, "s}}\n",
                           "cluster_key_file: ", folder_, "/cluster.key\n"));
    Start(i);
    if (i == 0) {
      AwaitLeader();
    } else {
      AwaitStandingBy(i);
    }
  }
}

void Controllers::Start(size_t index, const std::vector<std::string>& args) {
  Controller& controller = controllers_.at(index);
  Process::Options options = {.program = ProgramFile("berth-controller"),
                              .args = {"--config", controller.config},
                              .out = controller.log,
                              .err = ""};
  options.args.insert(options.args.end(), args.begin(), args.end());
  controller.process = std::make_unique<Process>(options);
}

void Controllers::UseKey(size_t index, const std::string& cluster_key_file) {
  const std::string& config = controllers_.at(index).config;
  WriteFile(config,
            absl::StrReplaceAll(ReadFile(config), {{folder_ + "/cluster.key", cluster_key_file}}));
}

void Controllers::CutFromEtcd(size_t index) {
  for (const auto& network : controllers_.at(index).networks) network->Cut();
}

void Controllers::HealToEtcd(size_t index) {
  for (const auto& network : controllers_.at(index).networks) network->Heal();
}

std::string Controllers::api(size_t index) const {
  return absl::StrCat("unix:", folder_, "/api", index, ".sock");
}

std::string Controllers::door(size_t index) const {
  return absl::StrCat("unix:", folder_, "/door", index, ".sock");
}

std::string Controllers::listener(size_t index) const {
  return absl::StrCat("unix:", folder_, "/link", index, ".sock");
}

std::string Controllers::link(size_t index) const {
  return controllers_.at(index).agents->address();
}

std::vector<std::string> Controllers::apis() const {
  std::vector<std::string> all;
  for (size_t i = 0; i < controllers_.size(); ++i) all.push_back(api(i));
  return all;
}

std::vector<std::string> Controllers::links() const {
  std::vector<std::string> all;
  for (size_t i = 0; i < controllers_.size(); ++i) all.push_back(link(i));
  return all;
}

absl::Status Controllers::Ask(size_t index) const {
  const auto channel = MakeChannel({.address = api(index)});
  if (!channel.ok()) return channel.status();
  grpc::ClientContext context;
  SetDeadline(context, absl::Seconds(1));
  v1::Capacity capacity;
  return FromGrpcStatus(
      v1::CapacityService::NewStub(*channel)->GetCapacity(&context, {}, &capacity));
}

size_t Controllers::AwaitLeader(size_t except) {
  size_t leader = kNobody;
  WaitFor("a controller leads", [&] {
    for (size_t i = 0; i < controllers_.size(); ++i) {
      if (i == except || controllers_[i].process == nullptr || !Ask(i).ok()) continue;
      leader = i;
      return true;
    }
    return false;
  });
  return leader;
}

void Controllers::AwaitStandingBy(size_t index) {
  WaitFor(absl::StrCat("controller ", index, " stands by"), [&] { return StandsBy(index); });
}

bool Controllers::Leads(size_t index) const { return Ask(index).ok(); }

bool Controllers::StandsBy(size_t index) const {
  const absl::Status answer = Ask(index);
  return ReasonOf(answer) == Reason::kNotLeader && !MetadataOf(answer)["leader"].empty();
}

}  // namespace berth::testing
