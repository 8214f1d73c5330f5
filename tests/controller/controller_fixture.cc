// SPDX-License-Identifier: Apache-2.0
#include "tests/controller/controller_fixture.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/security/credentials.h>
#include <stdlib.h>

#include <deque>
#include <filesystem>
#include <optional>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "berth/v1/assignment_service.grpc.pb.h"
#include "berth/v1/host_service.grpc.pb.h"
#include "ctl/controller/daemon/controller_config.h"
#include "lib/rpc/error.h"
#include "lib/rpc/request.h"

namespace berth::controller_test {

constexpr absl::Duration kPatience = absl::Seconds(30);

template <typename Response>
class WatchStream<Response>::Impl {
 public:
  using Open = std::function<std::unique_ptr<grpc::ClientReader<Response>>(grpc::ClientContext*)>;
  Impl(const Open& open, Reading reading) : reading_(reading == Reading::kNow) {
    stream_ = open(&context_);
    reader_ = std::thread([this] { Read(); });
  }
  ~Impl() {
    context_.TryCancel();
    StartReading();
    reader_.join();
  }

  void StartReading() {
    absl::MutexLock lock(&mu_);
    reading_ = true;
  }

  absl::StatusOr<Response> Next() {
    absl::MutexLock lock(&mu_);
    const auto ready = [this]() ABSL_NO_THREAD_SAFETY_ANALYSIS {
      return !messages_.empty() || end_.has_value();
    };
    if (!mu_.AwaitWithTimeout(absl::Condition(&ready), kPatience)) {
      return absl::DeadlineExceededError("the watch says nothing");
    }
    if (messages_.empty()) return *end_;
    Response response = std::move(messages_.front());
    messages_.pop_front();
    return response;
  }

 private:
  void Read() {
    {
      absl::MutexLock lock(&mu_);
      mu_.Await(absl::Condition(&reading_));
    }
    Response response;
    while (stream_->Read(&response)) {
      absl::MutexLock lock(&mu_);
      messages_.push_back(response);
    }
    const absl::Status end = FromGrpcStatus(stream_->Finish());
    absl::MutexLock lock(&mu_);
    end_ = end.ok() ? absl::UnknownError("the watch ended without an error") : end;
  }

  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReader<Response>> stream_;
  absl::Mutex mu_;
  bool reading_ ABSL_GUARDED_BY(mu_);
  std::deque<Response> messages_ ABSL_GUARDED_BY(mu_);
  std::optional<absl::Status> end_ ABSL_GUARDED_BY(mu_);
  std::thread reader_;
};

template <typename Response>
WatchStream<Response>::WatchStream(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
template <typename Response>
WatchStream<Response>::~WatchStream() = default;
template <typename Response>
absl::StatusOr<Response> WatchStream<Response>::Next() {
  return impl_->Next();
}
template <typename Response>
void WatchStream<Response>::StartReading() {
  impl_->StartReading();
}
template class WatchStream<v1::WatchAssignmentsResponse>;
template class WatchStream<v1::WatchHostsResponse>;

// A connection of its own, also where another client has one to the same address, with a window
// that does not grow: who does not read is soon not sent to.
std::shared_ptr<grpc::Channel> OwnChannel(const std::string& address) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
}

Client::Client(const std::string& address) : channel_(OwnChannel(address)) {}
Client::~Client() = default;

grpc::Status Client::CallForStatus(const std::string& method,
                                   const google::protobuf::Message& request,
                                   grpc::ByteBuffer* response) {
  grpc::ClientContext context;
  SetDeadline(context, kPatience);
  const std::string bytes = request.SerializeAsString();
  const grpc::Slice slice(bytes);
  const grpc::ByteBuffer out(&slice, 1);
  grpc::Status status;
  grpc::CompletionQueue queue;
  grpc::GenericStub stub(channel_);
  const auto call = stub.PrepareUnaryCall(&context, "/berth.v1." + method, out, &queue);
  call->StartCall();
  call->Finish(response, &status, nullptr);
  void* tag = nullptr;
  bool ok = false;
  queue.Next(&tag, &ok);
  return status;
}

absl::Status Client::CallRaw(const std::string& method, const google::protobuf::Message& request,
                             google::protobuf::Message* response) {
  grpc::ByteBuffer in;
  const grpc::Status status = CallForStatus(method, request, &in);
  if (!status.ok()) return FromGrpcStatus(status);
  grpc::Slice answer;
  if (!in.DumpToSingleSlice(&answer).ok() ||
      !response->ParseFromArray(answer.begin(), static_cast<int>(answer.size()))) {
    return absl::InternalError("the answer cannot be parsed");
  }
  return absl::OkStatus();
}

absl::StatusOr<v1::Assignment> Client::Create(const v1::CreateAssignmentRequest& request) {
  return Call<v1::Assignment>("AssignmentService/CreateAssignment", request);
}

absl::StatusOr<v1::Assignment> Client::Get(const std::string& name) {
  v1::GetAssignmentRequest request;
  request.set_name(name);
  return Call<v1::Assignment>("AssignmentService/GetAssignment", request);
}

absl::StatusOr<v1::Assignment> Client::Delete(const std::string& name) {
  v1::DeleteAssignmentRequest request;
  request.set_name(name);
  return Call<v1::Assignment>("AssignmentService/DeleteAssignment", request);
}

absl::StatusOr<v1::Host> Client::GetHost(const std::string& name) {
  v1::GetHostRequest request;
  request.set_name(name);
  return Call<v1::Host>("HostService/GetHost", request);
}

std::unique_ptr<AssignmentWatch> Client::Watch(const v1::WatchAssignmentsRequest& request,
                                               AssignmentWatch::Reading reading) {
  const auto open = [&](grpc::ClientContext* context) {
    return v1::AssignmentService::NewStub(channel_)->WatchAssignments(context, request);
  };
  return std::make_unique<AssignmentWatch>(std::make_unique<AssignmentWatch::Impl>(open, reading));
}

std::unique_ptr<HostWatch> Client::WatchHosts(const v1::WatchHostsRequest& request) {
  const auto open = [&](grpc::ClientContext* context) {
    return v1::HostService::NewStub(channel_)->WatchHosts(context, request);
  };
  return std::make_unique<HostWatch>(
      std::make_unique<HostWatch::Impl>(open, HostWatch::Reading::kNow));
}

v1::Assignment Client::Await(const std::string& name,
                             const std::function<bool(const v1::Assignment&)>& is) {
  v1::WatchAssignmentsRequest request;
  request.set_name(name);
  const auto watch = Watch(request);
  v1::Assignment last;
  for (;;) {
    const auto message = watch->Next();
    if (!message.ok()) {
      ADD_FAILURE() << name << ": " << message.status() << "; last seen: " << last.DebugString();
      return last;
    }
    for (const v1::AssignmentEvent& event : message->events()) {
      last = event.assignment();
      if (event.type() == v1::AssignmentEvent::PUT && is(last)) return last;
    }
  }
}

v1::Assignment Client::AwaitObserved(const std::string& name, v1::Assignment::Observed observed) {
  return Await(name, [&](const v1::Assignment& a) { return a.observed() == observed; });
}

v1::Assignment Client::AwaitIntent(const std::string& name, v1::Assignment::Intent intent) {
  return Await(name, [&](const v1::Assignment& a) { return a.intent() == intent; });
}

void Client::AwaitGone(const std::string& name) {
  v1::WatchAssignmentsRequest request;
  request.set_name(name);
  const auto watch = Watch(request);
  for (bool first = true;; first = false) {
    const auto message = watch->Next();
    ASSERT_THAT(message, IsOk()) << name;
    if (first && message->events().empty()) return;
    for (const v1::AssignmentEvent& event : message->events()) {
      if (event.type() == v1::AssignmentEvent::DELETE) return;
    }
  }
}

v1::Host Client::AwaitHost(const std::string& name,
                           const std::function<bool(const v1::Host&)>& is) {
  v1::WatchHostsRequest request;
  request.set_name(name);
  request.set_view(v1::FULL);
  const auto watch = WatchHosts(request);
  v1::Host last;
  for (;;) {
    const auto message = watch->Next();
    if (!message.ok()) {
      ADD_FAILURE() << name << ": " << message.status() << "; last seen: " << last.DebugString();
      return last;
    }
    for (const v1::HostEvent& event : message->events()) {
      last = event.host();
      if (event.type() == v1::HostEvent::PUT && is(last)) return last;
    }
  }
}

v1::Host Client::AwaitHostState(const std::string& name, v1::Host::State state) {
  return AwaitHost(name, [&](const v1::Host& host) { return host.state() == state; });
}

ControllerTest::ControllerTest(Kind kind) {
  std::string pattern = (std::filesystem::temp_directory_path() / "berth-test-XXXXXX").string();
  folder = ::mkdtemp(pattern.data());
  config.mutable_api()->set_address("127.0.0.1:0");
  config.mutable_agent_link()->set_address("127.0.0.1:0");
  if (kind == Kind::kSqlite) {
    config.mutable_store()->mutable_sqlite()->set_path(folder + "/book.db");
  } else {
    config.mutable_store()->mutable_memory();
  }
  config.set_cluster_key_file(folder + "/key");
}

ControllerTest::~ControllerTest() {
  Stop();
  std::filesystem::remove_all(folder);
  if (HasFailure()) std::cerr << log_text_.str();
}

void ControllerTest::Start() {
  ASSERT_THAT(FinishControllerConfig(folder + "/controller.yaml", &config), IsOk());
  auto started = ControllerDaemon::Start({.config = config,
                                          .clock = &clock,
                                          .log = &log_,
                                          .metrics = &metrics,
                                          .on_fatal = on_fatal,
                                          .open_store = open_store});
  ASSERT_THAT(started, IsOk());
  daemon = *std::move(started);
  client_ = std::make_unique<Client>(daemon->api_address());
}

void ControllerTest::Stop() {
  client_.reset();
  daemon.reset();
}

std::unique_ptr<FakeAgent> ControllerTest::Connect(FakeAgent::Options options) {
  return std::make_unique<FakeAgent>(daemon->agent_link_address(), std::move(options));
}

std::unique_ptr<FakeAgent> ControllerTest::AddHost(FakeAgent::Options options) {
  const std::string name = absl::StrCat("hosts/", options.host_id);
  auto agent = Connect(std::move(options));
  EXPECT_THAT(agent->AwaitWelcome(), IsOk());
  client().AwaitHostState(name, v1::Host::READY);
  return agent;
}

v1::CreateAssignmentRequest CreateOf(const std::string& id, int count,
                                     const std::string& device_class) {
  v1::CreateAssignmentRequest request;
  request.set_assignment_id(id);
  v1::DeviceRequest* devices = request.mutable_assignment()->mutable_spec()->add_device_requests();
  devices->set_name("devices");
  devices->set_class_(device_class);
  devices->set_count(count);
  return request;
}

}  // namespace berth::controller_test
