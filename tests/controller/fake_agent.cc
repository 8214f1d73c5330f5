// SPDX-License-Identifier: Apache-2.0
#include "tests/controller/fake_agent.h"

#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "berth/agent/v1/agent_link.grpc.pb.h"
#include "lib/rpc/error.h"

namespace berth::controller_test {

using agent::v1::AgentMessage;
using agent::v1::ControllerMessage;
using agent::v1::DesiredGrant;
using agent::v1::GrantStatus;
using v1::Assignment;

constexpr absl::Duration kPatience = absl::Seconds(30);

agent::v1::Inventory MakeInventory(const InventoryShape& shape) {
  agent::v1::Inventory inventory;
  inventory.set_attach_endpoint("/run/berth/vmm.sock");
  int number = 0;
  for (int u = 0; u < shape.units; ++u) {
    v1::Unit* unit = inventory.add_units();
    unit->set_id(absl::StrCat("unit", u));
    unit->set_profile(v1::Unit::TEGRA241_CMDQV);
    unit->set_vintfs(shape.vintfs);
    unit->set_vintf_source(v1::Unit::CONFIGURED);
    unit->set_vcmdqs_per_vintf(2);
    unit->set_sids_per_vintf(16);
    unit->set_max_queue_log2(19);
    for (int d = 0; d < shape.devices_per_unit; ++d, ++number) {
      v1::Device* device = inventory.add_devices();
      device->set_id(absl::StrCat(shape.device_class, number));
      device->set_address(absl::StrCat("0000:0", number, ":00.0"));
      device->set_class_(shape.device_class);
      device->set_unit(unit->id());
      device->set_iommu_group(number);
      device->set_numa_node(-1);
      device->set_resettable(true);
      device->set_assignable(true);
    }
  }
  return inventory;
}

GrantStatus StatusOf(const DesiredGrant& desired, Assignment::Observed observed) {
  GrantStatus status;
  status.set_assignment_uid(desired.assignment_uid());
  status.set_generation(desired.generation());
  status.set_observed(observed);
  return status;
}

class FakeAgent::Impl {
 public:
  Impl(const std::string& address, Options options)
      : options_(std::move(options)),
        stub_(agent::v1::AgentLink::NewStub(
            grpc::CreateChannel(address, grpc::InsecureChannelCredentials()))),
        stream_(stub_->Session(&context_)) {
    AgentMessage message;
    agent::v1::Hello* hello = message.mutable_hello();
    hello->set_host_id(options_.host_id);
    hello->set_host_uid(options_.host_uid);
    hello->set_incarnation(options_.incarnation);
    hello->set_agent_version("0.1.0");
    hello->set_protocol_version(1);
    *hello->mutable_inventory() = options_.inventory;
    for (const GrantStatus& status : options_.grants) {
      *hello->add_grants() = status;
      absl::MutexLock lock(&mu_);
      reported_[status.assignment_uid()] = status;
    }
    if (options_.edit_hello) options_.edit_hello(hello);
    Send(message);
    reader_ = std::thread([this] { Read(); });
  }

  ~Impl() {
    context_.TryCancel();
    reader_.join();
  }

  void Send(const AgentMessage& message) {
    absl::MutexLock lock(&write_mu_);
    stream_->Write(message);
  }

  void Disconnect() { context_.TryCancel(); }

  void Report(const GrantStatus& status) {
    {
      absl::MutexLock lock(&mu_);
      reported_[status.assignment_uid()] = status;
    }
    AgentMessage message;
    *message.mutable_grants()->add_grants() = status;
    Send(message);
  }

  // Waits until `condition` holds of the state below, or the stream has ended.
  template <typename Condition>
  void Await(const char* what, const Condition& condition) ABSL_NO_THREAD_SAFETY_ANALYSIS {
    const auto met = [&]()
                         ABSL_NO_THREAD_SAFETY_ANALYSIS { return condition() || end_.has_value(); };
    if (!mu_.AwaitWithTimeout(absl::Condition(&met), kPatience) || !condition()) {
      ADD_FAILURE() << options_.host_id << " waited in vain for " << what
                    << "; stream: " << (end_.has_value() ? end_->ToString() : "open");
    }
  }

 private:
  friend class FakeAgent;

  mutable absl::Mutex mu_;
  std::optional<agent::v1::Welcome> welcome_ ABSL_GUARDED_BY(mu_);
  std::map<std::string, DesiredGrant> desired_ ABSL_GUARDED_BY(mu_);  // by name
  std::set<std::string> forgotten_ ABSL_GUARDED_BY(mu_);
  std::map<std::string, GrantStatus> reported_ ABSL_GUARDED_BY(mu_);  // by uid
  std::vector<agent::v1::AuditRequest> audits_ ABSL_GUARDED_BY(mu_);
  int64_t acknowledged_ ABSL_GUARDED_BY(mu_) = 0;
  int answers_ ABSL_GUARDED_BY(mu_) = 0;
  int64_t sequence_ ABSL_GUARDED_BY(mu_) = 0;
  std::optional<absl::Status> end_ ABSL_GUARDED_BY(mu_);

  void Read() {
    ControllerMessage message;
    while (stream_->Read(&message)) {
      std::vector<DesiredGrant> news;
      {
        absl::MutexLock lock(&mu_);
        if (message.has_welcome()) {
          EXPECT_FALSE(welcome_.has_value()) << "Welcome comes once";
          welcome_ = message.welcome();
          news = {welcome_->desired().begin(), welcome_->desired().end()};
        } else {
          EXPECT_TRUE(welcome_.has_value()) << "Welcome comes first";
        }
        news.insert(news.end(), message.delta().upserts().begin(), message.delta().upserts().end());
        // Only what is to be done: a new token is not.
        const auto same = [this](const DesiredGrant& grant) ABSL_NO_THREAD_SAFETY_ANALYSIS {
          DesiredGrant& known = desired_[grant.assignment()];
          const DesiredGrant before = std::exchange(known, grant);
          return before.assignment_uid() == grant.assignment_uid() &&
                 before.generation() == grant.generation() && before.intent() == grant.intent();
        };
        news.erase(std::remove_if(news.begin(), news.end(), same), news.end());
        for (const std::string& uid : message.delta().forget()) {
          forgotten_.insert(uid);
          reported_.erase(uid);
        }
        if (message.has_heartbeat_ack()) {
          acknowledged_ = message.heartbeat_ack().sequence();
          ++answers_;
        }
      }
      for (const DesiredGrant& grant : news) Oblige(grant);
      if (message.has_audit()) {
        if (options_.answers_audits) AnswerAudit(message.audit());
        absl::MutexLock lock(&mu_);
        audits_.push_back(message.audit());
      }
    }
    const absl::Status end = FromGrpcStatus(stream_->Finish());
    absl::MutexLock lock(&mu_);
    end_ = end;
  }

  void AnswerAudit(const agent::v1::AuditRequest& request) {
    AgentMessage message;
    agent::v1::AuditReport* report = message.mutable_audit();
    report->set_sequence(request.sequence());
    {
      absl::MutexLock lock(&mu_);
      for (const auto& [uid, status] : reported_) {
        agent::v1::GrantAudit* grant = report->add_grants();
        *grant->mutable_status() = status;
        for (const auto& [name, desired] : desired_) {
          if (desired.assignment_uid() != uid) continue;
          grant->set_assignment(name);
          grant->set_intent(desired.intent());
        }
      }
    }
    if (options_.edit_audit) options_.edit_audit(report);
    Send(message);
  }

  void Oblige(const DesiredGrant& grant) {
    if (options_.manner == Manner::kSilent) return;
    if (grant.intent() == Assignment::RELEASING) return Report(StatusOf(grant, Assignment::GONE));
    if (options_.manner == Manner::kFailing) {
      GrantStatus status = StatusOf(grant, Assignment::GONE);
      status.mutable_failure()->set_reason("KERNEL_REFUSED");
      status.mutable_failure()->set_message(absl::StrCat("no vIOMMU on ", options_.host_id));
      return Report(status);
    }
    Report(StatusOf(grant, Assignment::PREPARING));
    Report(StatusOf(grant, Assignment::PREPARED));
  }

  const Options options_;
  grpc::ClientContext context_;
  const std::unique_ptr<agent::v1::AgentLink::Stub> stub_;
  absl::Mutex write_mu_;
  const std::unique_ptr<grpc::ClientReaderWriter<AgentMessage, ControllerMessage>> stream_;
  std::thread reader_;
};

FakeAgent::FakeAgent(const std::string& address, Options options)
    : impl_(std::make_unique<Impl>(address, std::move(options))) {}
FakeAgent::~FakeAgent() = default;

absl::Status FakeAgent::AwaitWelcome() {
  absl::MutexLock lock(&impl_->mu_);
  const auto answered = [this]() ABSL_NO_THREAD_SAFETY_ANALYSIS {
    return impl_->welcome_.has_value() || impl_->end_.has_value();
  };
  impl_->Await("an answer to Hello", answered);
  return impl_->welcome_.has_value() ? absl::OkStatus()
                                     : impl_->end_.value_or(absl::UnknownError("no answer"));
}

agent::v1::Welcome FakeAgent::welcome() const {
  absl::MutexLock lock(&impl_->mu_);
  return impl_->welcome_.value_or(agent::v1::Welcome());
}

DesiredGrant FakeAgent::AwaitDesired(const std::string& assignment, Assignment::Intent intent,
                                     int64_t generation) {
  absl::MutexLock lock(&impl_->mu_);
  impl_->Await("a desired grant", [&]() ABSL_NO_THREAD_SAFETY_ANALYSIS {
    const auto found = impl_->desired_.find(assignment);
    return found != impl_->desired_.end() && found->second.intent() == intent &&
           found->second.generation() >= generation;
  });
  return impl_->desired_[assignment];
}

DesiredGrant FakeAgent::AwaitTokenHash(const std::string& assignment, const std::string& hash) {
  absl::MutexLock lock(&impl_->mu_);
  impl_->Await("a token's hash", [&]() ABSL_NO_THREAD_SAFETY_ANALYSIS {
    return impl_->desired_[assignment].token_hash() == hash;
  });
  return impl_->desired_[assignment];
}

void FakeAgent::AwaitForgotten(const std::string& assignment_uid) {
  absl::MutexLock lock(&impl_->mu_);
  impl_->Await("leave to forget", [&]() ABSL_NO_THREAD_SAFETY_ANALYSIS {
    return impl_->forgotten_.count(assignment_uid) > 0;
  });
}

bool FakeAgent::HasHeardOf(const std::string& assignment) const {
  absl::MutexLock lock(&impl_->mu_);
  return impl_->desired_.count(assignment) > 0;
}

absl::Status FakeAgent::AwaitEnd() {
  absl::MutexLock lock(&impl_->mu_);
  impl_->Await("the end of the stream",
               [&]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return impl_->end_.has_value(); });
  return impl_->end_.value_or(absl::OkStatus());
}

void FakeAgent::Report(const GrantStatus& status) { impl_->Report(status); }

void FakeAgent::SendInventory(const agent::v1::Inventory& inventory) {
  AgentMessage message;
  *message.mutable_inventory() = inventory;
  impl_->Send(message);
}

void FakeAgent::Heartbeat() {
  AgentMessage message;
  {
    absl::MutexLock lock(&impl_->mu_);
    message.mutable_heartbeat()->set_sequence(++impl_->sequence_);
  }
  impl_->Send(message);
  absl::MutexLock lock(&impl_->mu_);
  impl_->Await("the answer to a heartbeat", [&]() ABSL_NO_THREAD_SAFETY_ANALYSIS {
    return impl_->acknowledged_ == message.heartbeat().sequence();
  });
}

int FakeAgent::answers() const {
  absl::MutexLock lock(&impl_->mu_);
  return impl_->answers_;
}

agent::v1::AuditRequest FakeAgent::AwaitAudits(int count) {
  absl::MutexLock lock(&impl_->mu_);
  impl_->Await("an audit", [&]() ABSL_NO_THREAD_SAFETY_ANALYSIS {
    return impl_->audits_.size() >= static_cast<size_t>(count);
  });
  return impl_->audits_.empty() ? agent::v1::AuditRequest() : impl_->audits_.back();
}

void FakeAgent::AwaitAuditSequence(int64_t sequence) {
  absl::MutexLock lock(&impl_->mu_);
  impl_->Await("a later audit", [&]() ABSL_NO_THREAD_SAFETY_ANALYSIS {
    return !impl_->audits_.empty() && impl_->audits_.back().sequence() >= sequence;
  });
}

int FakeAgent::audits() const {
  absl::MutexLock lock(&impl_->mu_);
  return static_cast<int>(impl_->audits_.size());
}

void FakeAgent::Send(const AgentMessage& message) { impl_->Send(message); }
void FakeAgent::Disconnect() { impl_->Disconnect(); }

}  // namespace berth::controller_test
