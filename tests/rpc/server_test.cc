// SPDX-License-Identifier: Apache-2.0
#include "lib/rpc/server.h"

#include <gmock/gmock.h>
#include <grpcpp/generic/generic_stub.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "lib/base/status.h"
#include "lib/base/unique_fd.h"
#include "lib/rpc/limits.h"
#include "tests/rpc/test_service.h"

namespace berth {
namespace {

using testing::HasSubstr;

// Calls `method` of a service whose messages this test has no C++ for.
grpc::Status CallRaw(const std::shared_ptr<grpc::Channel>& channel, const std::string& method,
                     const std::string& request, std::string& response) {
  grpc::ClientContext context;
  SetDeadline(context, absl::Seconds(20));
  const grpc::Slice slice(request);
  const grpc::ByteBuffer out(&slice, 1);
  grpc::ByteBuffer in;
  absl::Mutex mu;
  bool done = false;
  grpc::Status status;
  grpc::GenericStub(channel).UnaryCall(&context, method, {}, &out, &in, [&](grpc::Status result) {
    absl::MutexLock lock(&mu);
    status = std::move(result);
    done = true;
  });
  absl::MutexLock lock(&mu);
  mu.Await(absl::Condition(&done));
  std::vector<grpc::Slice> slices;
  if (status.ok() && in.Dump(&slices).ok()) {
    for (const grpc::Slice& part : slices) {
      response.append(reinterpret_cast<const char*>(part.begin()), part.size());
    }
  }
  return status;
}

// grpc.health.v1: HealthCheckResponse.status is field 1; SERVING 1, NOT_SERVING 2.
int Health(const std::shared_ptr<grpc::Channel>& channel) {
  std::string response;
  const grpc::Status status = CallRaw(channel, "/grpc.health.v1.Health/Check", "", response);
  EXPECT_TRUE(status.ok()) << status.error_message();
  return response.size() == 2 && response[0] == 0x08 ? response[1] : -1;
}

class ServerTest : public testing::Test {
 protected:
  ServerTest() {
    folder_ = testing::TempDir() + "berth-rpc-XXXXXX";
    if (mkdtemp(folder_.data()) == nullptr) std::abort();
  }
  ~ServerTest() override { std::filesystem::remove_all(folder_); }

  std::string Socket() const { return folder_ + "/x.sock"; }

  std::string folder_;
  TestService service_;
};

TEST_F(ServerTest, APortOfZeroIsTheOneThatWasFree) {
  const auto server = MustStart({.address = "127.0.0.1:0"}, service_);
  EXPECT_GT(server->port(), 0);
  EXPECT_EQ(server->address(), "127.0.0.1:" + std::to_string(server->port()));
  EXPECT_TRUE(CallGetHost(MustDial({.address = server->address()})).ok());
  EXPECT_EQ(service_.peer().kind, PeerIdentity::Kind::kLoopback);
}

TEST_F(ServerTest, APortIsNotSharedInSilence) {
  const auto first = MustStart({.address = "127.0.0.1:0"}, service_);
  TestService other;
  const auto second = RpcServer::Start({.address = first->address()}, {&other}, nullptr);
  EXPECT_EQ(ReasonOf(second.status()), Reason::kStateConflict);
  EXPECT_EQ(MetadataOf(second.status())["address"], first->address());
}

TEST_F(ServerTest, AUnixSocketIsForItsGroupAndItsPeersAreKnownAsSuch) {
  const auto server = MustStart({.address = "unix:" + Socket()}, service_);
  struct stat info = {};
  ASSERT_EQ(stat(Socket().c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0660u);
  EXPECT_EQ(server->port(), 0);
  EXPECT_TRUE(CallGetHost(MustDial({.address = server->address()})).ok());
  EXPECT_EQ(service_.peer().kind, PeerIdentity::Kind::kUnixSocket);
}

TEST_F(ServerTest, AUnixSocketInUseIsNotTakenAway) {
  const auto first = MustStart({.address = "unix:" + Socket()}, service_);
  TestService other;
  const auto second = RpcServer::Start({.address = first->address()}, {&other}, nullptr);
  EXPECT_EQ(ReasonOf(second.status()), Reason::kStateConflict);
  EXPECT_TRUE(CallGetHost(MustDial({.address = first->address()})).ok());
}

TEST_F(ServerTest, AUnixSocketThatIsLeftOverIsReplaced) {
  {
    const UniqueFd dead(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un name = {};
    name.sun_family = AF_UNIX;
    Socket().copy(name.sun_path, sizeof(name.sun_path) - 1);
    ASSERT_EQ(bind(dead.get(), reinterpret_cast<sockaddr*>(&name), sizeof(name)), 0);
    ASSERT_EQ(listen(dead.get(), 1), 0);
  }
  const auto server = MustStart({.address = "unix:" + Socket()}, service_);
  EXPECT_TRUE(CallGetHost(MustDial({.address = server->address()})).ok());
}

TEST_F(ServerTest, AddressesThatAreNoneAreRefused) {
  for (const std::string& address :
       {std::string(), std::string("7440"), std::string(":7440"), std::string("127.0.0.1:70000"),
        std::string("127.0.0.1:http"), "unix:" + std::string(200, 'x')}) {
    const auto server = RpcServer::Start({.address = address}, {&service_}, nullptr);
    EXPECT_EQ(ReasonOf(server.status()), Reason::kInvalidField) << address;
  }
  const auto open = RpcServer::Start({.address = "0.0.0.0:0"}, {&service_}, nullptr);
  EXPECT_EQ(ReasonOf(open.status()), Reason::kPermissionDenied);
}

TEST_F(ServerTest, ErrorsOfHandlersArriveWholeAlsoWhenTheyAreLong) {
  const auto server = MustStart({.address = "127.0.0.1:0"}, service_);
  const auto channel = MustDial({.address = server->address()});
  service_.FailWith(Error(Reason::kHostNotReady, "the host is draining", {{"host", "hosts/a"}}));
  const absl::Status seen = CallGetHost(channel);
  EXPECT_EQ(ReasonOf(seen), Reason::kHostNotReady);
  EXPECT_EQ(MetadataOf(seen)["host"], "hosts/a");

  ErrorMetadata metadata;
  for (int i = 0; i < 100; ++i) metadata["key" + std::to_string(i)] = std::string(300, '\xfc');
  std::string message;
  while (message.size() < 50'000) message += "\xe2\x82\xac";
  service_.FailWith(Error(Reason::kNoCapacity, message, metadata));
  EXPECT_EQ(ReasonOf(CallGetHost(channel)), Reason::kNoCapacity);
}

TEST_F(ServerTest, AMessageThatIsTooLargeIsRefusedAndTheConnectionLives) {
  const auto server = MustStart({.address = "127.0.0.1:0"}, service_);
  const auto channel = MustDial({.address = server->address()});
  EXPECT_EQ(ReasonOf(CallGetHost(channel, std::string(kMaxRpcMessageBytes + 1, 'x'))),
            Reason::kOverloaded);
  EXPECT_TRUE(CallGetHost(channel).ok());
}

TEST_F(ServerTest, HealthFollowsTheOwner) {
  const auto server = MustStart({.address = "127.0.0.1:0"}, service_);
  const auto channel = MustDial({.address = server->address()});
  EXPECT_EQ(Health(channel), 1);
  server->SetServing(Serving::kNo);
  EXPECT_EQ(Health(channel), 2);
  server->SetServing(Serving::kYes);
  EXPECT_EQ(Health(channel), 1);
}

TEST_F(ServerTest, ReflectionListsTheServices) {
  const auto server = MustStart({.address = "127.0.0.1:0"}, service_);
  const auto channel = MustDial({.address = server->address()});
  // A stream; that the method exists is enough: a wrong request is an argument error, not
  // UNIMPLEMENTED.
  std::string response;
  const grpc::Status status =
      CallRaw(channel, "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
              // ServerReflectionRequest.list_services = "*"
              "\x3a\x01*", response);
  EXPECT_NE(status.error_code(), grpc::StatusCode::UNIMPLEMENTED) << status.error_message();
  EXPECT_THAT(response, HasSubstr("berth.v1.HostService"));
}

TEST_F(ServerTest, ShutdownEndsStreamsAndRefusesCalls) {
  const auto server = MustStart({.address = "127.0.0.1:0"}, service_);
  const auto channel = MustDial({.address = server->address()});
  const auto stub = v1::HostService::NewStub(channel);
  grpc::ClientContext context;
  const auto stream = stub->WatchHosts(&context, {});
  stream->WaitForInitialMetadata();
  server->Shutdown(absl::Milliseconds(1));
  EXPECT_FALSE(stream->Finish().ok());
  EXPECT_EQ(ReasonOf(CallGetHost(channel)), Reason::kUnavailable);
  server->Shutdown(absl::ZeroDuration());
}

}  // namespace
}  // namespace berth
