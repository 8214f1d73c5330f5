// SPDX-License-Identifier: Apache-2.0
#include "tests/cli/fake_server.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "lib/base/status.h"
#include "lib/rpc/error.h"

namespace berth::cli {
namespace {

constexpr char kListToken[] = "store/7";

grpc::ServerUnaryReactor* Finish(grpc::CallbackServerContext* context, const absl::Status& status) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(ToGrpcStatus(status));
  return reactor;
}

template <typename Resource>
absl::Status Find(const std::map<std::string, Resource>& resources, const std::string& name,
                  Resource* found) {
  const auto it = resources.find(name);
  if (it == resources.end()) return Error(Reason::kNotFound, absl::StrCat(name, " does not exist"));
  *found = it->second;
  return absl::OkStatus();
}

// A page of at most `limit`; page tokens are positions.
template <typename Resource, typename Request, typename Response>
void Page(const std::map<std::string, Resource>& resources, const Request& request, int limit,
          Response* response, google::protobuf::RepeatedPtrField<Resource>* page) {
  int position = 0;
  if (!request.page_token().empty()) {
    EXPECT_TRUE(absl::SimpleAtoi(request.page_token(), &position));
  }
  const int end = position + std::min(limit, request.page_size());
  int i = 0;
  for (const auto& [name, resource] : resources) {
    if (i >= position && i < end) *page->Add() = resource;
    ++i;
  }
  if (end < i) response->set_next_page_token(absl::StrCat(end));
  response->set_watch_token(kListToken);
}

template <typename Response>
class Player : public grpc::ServerWriteReactor<Response> {
 public:
  explicit Player(Script<Response> script) : script_(std::move(script)) { Step(); }

  void OnWriteDone(bool) override { Step(); }
  void OnCancel() override { End(absl::CancelledError("the caller has gone")); }
  void OnDone() override { delete this; }

 private:
  void Step() {
    absl::MutexLock lock(&mu_);
    if (ended_) return;
    if (next_ < script_.messages.size()) {
      this->StartWrite(&script_.messages[next_++]);
    } else if (script_.end.has_value()) {
      ended_ = true;
      this->Finish(ToGrpcStatus(*script_.end));
    }
  }

  void End(const absl::Status& status) {
    absl::MutexLock lock(&mu_);
    if (std::exchange(ended_, true)) return;
    this->Finish(ToGrpcStatus(status));
  }

  absl::Mutex mu_;
  const Script<Response> script_;
  size_t next_ ABSL_GUARDED_BY(mu_) = 0;
  bool ended_ ABSL_GUARDED_BY(mu_) = false;
};

template <typename Response>
Player<Response>* Play(const absl::Status& failure, std::deque<Script<Response>>* scripts) {
  if (!failure.ok()) return new Player<Response>({.messages = {}, .end = failure});
  if (scripts->empty()) return new Player<Response>({});
  Script<Response> script = std::move(scripts->front());
  scripts->pop_front();
  return new Player<Response>(std::move(script));
}

}  // namespace

// Each handler: remember the request, fail if the test says so, else answer.
#define BERTH_FAKE(Method, Response, body)                                                     \
  grpc::ServerUnaryReactor* Method(grpc::CallbackServerContext* context,                       \
                                   const v1::Method##Request* request, v1::Response* response) \
      override {                                                                               \
    absl::Status status = fake_->Take(#Method, *request);                                      \
    absl::MutexLock lock(&fake_->mu_);                                                         \
    if (status.ok()) status = [&]() ABSL_NO_THREAD_SAFETY_ANALYSIS -> absl::Status body();     \
    return Finish(context, status);                                                            \
  }

class FakeServer::Assignments : public v1::AssignmentService::CallbackService {
 public:
  explicit Assignments(FakeServer* fake) : fake_(fake) {}

  BERTH_FAKE(CreateAssignment, Assignment, {
    *response = request->assignment();
    response->set_name(absl::StrCat(
        "assignments/", request->assignment_id().empty() ? "made-up" : request->assignment_id()));
    response->set_uid("uid-1");
    response->set_intent(v1::Assignment::PLACED);
    response->set_attach_token("s3cret");
    if (request->validate_only()) return absl::OkStatus();
    v1::Assignment& stored = fake_->assignments_[response->name()];
    stored = *response;
    stored.clear_attach_token();
    return absl::OkStatus();
  })
  BERTH_FAKE(BatchCreateAssignments, BatchCreateAssignmentsResponse, {
    for (const v1::CreateAssignmentRequest& create : request->requests()) {
      v1::Assignment* assignment = response->add_results()->mutable_assignment();
      *assignment = create.assignment();
      assignment->set_name("assignments/" + create.assignment_id());
      assignment->set_attach_token("s3cret");
      fake_->assignments_[assignment->name()] = *assignment;
    }
    return absl::OkStatus();
  })
  BERTH_FAKE(GetAssignment, Assignment,
             { return Find(fake_->assignments_, request->name(), response); })
  BERTH_FAKE(ListAssignments, ListAssignmentsResponse, {
    Page(fake_->assignments_, *request, fake_->page_limit_, response,
         response->mutable_assignments());
    return absl::OkStatus();
  })
  BERTH_FAKE(DeleteAssignment, Assignment, {
    absl::Status found = Find(fake_->assignments_, request->name(), response);
    if (absl::IsNotFound(found) && request->allow_missing()) return absl::OkStatus();
    response->set_intent(v1::Assignment::RELEASING);
    return found;
  })
  BERTH_FAKE(RenewAssignment, Assignment, {
    BERTH_RETURN_IF_ERROR(Find(fake_->assignments_, request->name(), response));
    response->mutable_expire_time()->set_seconds(1'767'355'230);  // 2026-01-02T12:00:30Z
    return absl::OkStatus();
  })
  BERTH_FAKE(RotateToken, Assignment, {
    BERTH_RETURN_IF_ERROR(Find(fake_->assignments_, request->name(), response));
    response->set_token_version(2);
    response->set_attach_token("fresh");
    return absl::OkStatus();
  })
  BERTH_FAKE(ExplainPlacement, ExplainPlacementResponse, {
    *response = fake_->explanation_;
    return absl::OkStatus();
  })

  grpc::ServerWriteReactor<v1::WatchAssignmentsResponse>* WatchAssignments(
      grpc::CallbackServerContext*, const v1::WatchAssignmentsRequest* request) override {
    const absl::Status failure = fake_->Take("WatchAssignments", *request);
    absl::MutexLock lock(&fake_->mu_);
    return Play(failure, &fake_->assignment_scripts_);
  }

 private:
  FakeServer* const fake_;
};

class FakeServer::Hosts : public v1::HostService::CallbackService {
 public:
  explicit Hosts(FakeServer* fake) : fake_(fake) {}

  BERTH_FAKE(GetHost, Host, { return Find(fake_->hosts_, request->name(), response); })
  BERTH_FAKE(ListHosts, ListHostsResponse, {
    Page(fake_->hosts_, *request, fake_->page_limit_, response, response->mutable_hosts());
    return absl::OkStatus();
  })
  BERTH_FAKE(CordonHost, Host, { return Find(fake_->hosts_, request->name(), response); })
  BERTH_FAKE(UncordonHost, Host, { return Find(fake_->hosts_, request->name(), response); })
  BERTH_FAKE(DrainHost, Host, { return Find(fake_->hosts_, request->name(), response); })
  BERTH_FAKE(DeleteHost, Host, { return Find(fake_->hosts_, request->name(), response); })

  grpc::ServerWriteReactor<v1::WatchHostsResponse>* WatchHosts(
      grpc::CallbackServerContext*, const v1::WatchHostsRequest* request) override {
    const absl::Status failure = fake_->Take("WatchHosts", *request);
    absl::MutexLock lock(&fake_->mu_);
    return Play(failure, &fake_->host_scripts_);
  }

 private:
  FakeServer* const fake_;
};

class FakeServer::Capacities : public v1::CapacityService::CallbackService {
 public:
  explicit Capacities(FakeServer* fake) : fake_(fake) {}

  BERTH_FAKE(GetCapacity, Capacity, {
    *response = fake_->capacity_;
    return absl::OkStatus();
  })

 private:
  FakeServer* const fake_;
};

class FakeServer::Audits : public v1::AuditService::CallbackService {
 public:
  explicit Audits(FakeServer* fake) : fake_(fake) {}

  BERTH_FAKE(Audit, AuditResponse, {
    if (fake_->audits_.empty()) return Error(Reason::kNotFound, "no more pages");
    *response = std::move(fake_->audits_.front());
    fake_->audits_.pop_front();
    return absl::OkStatus();
  })

 private:
  FakeServer* const fake_;
};

#undef BERTH_FAKE

FakeServer::FakeServer()
    : assignment_service_(std::make_unique<Assignments>(this)),
      host_service_(std::make_unique<Hosts>(this)),
      capacity_service_(std::make_unique<Capacities>(this)),
      audit_service_(std::make_unique<Audits>(this)) {
  auto server = RpcServer::Start({.address = "127.0.0.1:0"},
                                 {assignment_service_.get(), host_service_.get(),
                                  capacity_service_.get(), audit_service_.get()},
                                 nullptr);
  if (!server.ok()) {
    ADD_FAILURE() << server.status();
    std::abort();
  }
  server_ = *std::move(server);
}

FakeServer::~FakeServer() = default;

absl::Status FakeServer::Take(const std::string& method, const google::protobuf::Message& request) {
  absl::MutexLock lock(&mu_);
  received_.emplace_back(request.New())->CopyFrom(request);
  std::deque<absl::Status>& failures = failures_[method];
  if (failures.empty()) return absl::OkStatus();
  absl::Status failure = std::move(failures.front());
  failures.pop_front();
  return failure;
}

void FakeServer::Put(const v1::Assignment& assignment) {
  absl::MutexLock lock(&mu_);
  assignments_[assignment.name()] = assignment;
}

void FakeServer::Put(const v1::Host& host) {
  absl::MutexLock lock(&mu_);
  hosts_[host.name()] = host;
}

void FakeServer::Set(const v1::Capacity& capacity) {
  absl::MutexLock lock(&mu_);
  capacity_ = capacity;
}

void FakeServer::Set(std::vector<v1::AuditResponse> pages) {
  absl::MutexLock lock(&mu_);
  audits_ = {pages.begin(), pages.end()};
}

void FakeServer::Set(const v1::ExplainPlacementResponse& explanation) {
  absl::MutexLock lock(&mu_);
  explanation_ = explanation;
}

void FakeServer::LimitPages(int size) {
  absl::MutexLock lock(&mu_);
  page_limit_ = size;
}

void FakeServer::FailNext(const std::string& method, const absl::Status& failure) {
  absl::MutexLock lock(&mu_);
  failures_[method].push_back(failure);
}

void FakeServer::Expect(Script<v1::WatchAssignmentsResponse> script) {
  absl::MutexLock lock(&mu_);
  assignment_scripts_.push_back(std::move(script));
}

void FakeServer::Expect(Script<v1::WatchHostsResponse> script) {
  absl::MutexLock lock(&mu_);
  host_scripts_.push_back(std::move(script));
}

}  // namespace berth::cli
