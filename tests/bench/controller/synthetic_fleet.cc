// SPDX-License-Identifier: Apache-2.0
#include "tests/bench/controller/synthetic_fleet.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>

#include <map>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "berth/agent/v1/agent_link.grpc.pb.h"

namespace berth::bench {
namespace {

using agent::v1::AgentLink;
using agent::v1::AgentMessage;
using agent::v1::ControllerMessage;
using agent::v1::DesiredGrant;
using agent::v1::GrantStatus;

constexpr int kSessionsPerChannel = 200;
// More than this at the same moment the controller may send away, to come again (OVERLOADED): these
// agents dial once.
constexpr int kAtOnce = 1000;
constexpr int kMaxReports = 1024;  // of one GrantReport

void AddDevice(agent::v1::Inventory* inventory, const v1::Unit& unit) {
  const int index = inventory->devices_size();
  v1::Device* device = inventory->add_devices();
  device->set_address(absl::StrFormat("%04x:01:00.0", index));
  device->set_vendor_id(0x10de);
  device->set_device_id(0x2342);
  device->set_pci_class(0x030200);
  device->set_serial(absl::StrFormat("%016x", index));
  device->set_id(absl::StrFormat("%04x-01-00-0-10de-2342-%s", index, device->serial()));
  device->set_class_("gpu");
  device->set_unit(unit.id());
  device->set_iommu_group(index);
  device->set_numa_node(unit.numa_node());
  device->set_resettable(true);
  device->set_assignable(true);
}

agent::v1::Inventory MakeInventory(const FleetShape& shape) {
  agent::v1::Inventory inventory;
  for (int u = 0; u < shape.units_per_host; ++u) {
    v1::Unit* unit = inventory.add_units();
    unit->set_id(absl::StrFormat("smmu3.0x%x", 0x11000000 + u * 0x1000000));
    unit->set_profile(v1::Unit::TEGRA241_CMDQV);
    unit->set_vintfs(kUnitVintfs);
    unit->set_vintf_source(v1::Unit::CONFIGURED);
    unit->set_vcmdqs_per_vintf(2);
    unit->set_sids_per_vintf(16);
    unit->set_max_queue_log2(19);
    unit->set_numa_node(u);
    for (int d = 0; d < shape.gpus_per_unit; ++d) AddDevice(&inventory, *unit);
  }
  v1::HugePages* pages = inventory.add_huge_pages();
  pages->set_page_size_bytes(int64_t{2} << 20);
  pages->set_total(100'000);
  pages->set_free(100'000);
  inventory.set_attach_endpoint("/run/berth/vmm.sock");
  return inventory;
}

}  // namespace

// One session. Deleted by the fleet after OnDone().
class SyntheticAgent : public grpc::ClientBidiReactor<AgentMessage, ControllerMessage> {
 public:
  SyntheticAgent(const std::shared_ptr<grpc::Channel>& channel, int index, const FleetShape& shape,
                 const OnGrant* on_grant)
      : stub_(AgentLink::NewStub(channel)), on_grant_(*on_grant) {
    agent::v1::Hello* hello = out_.mutable_hello();
    hello->set_host_id(absl::StrFormat("bench-%06d", index));
    hello->set_host_uid(absl::StrFormat("00000000-0000-4000-8000-%012x", index));
    hello->set_incarnation(shape.incarnation);
    hello->set_agent_version("0.1.0");
    hello->set_protocol_version(1);
    *hello->mutable_inventory() = MakeInventory(shape);
    stub_->async()->Session(&context_, this);
    StartRead(&in_);
    StartWrite(&out_);
    writing_ = true;
    AddHold();  // heartbeats write from another thread
    StartCall();
  }

  void Heartbeat() {
    absl::MutexLock lock(&mu_);
    heartbeat_due_ = true;
    Pump();
  }

  void Cancel() {
    context_.TryCancel();
    {
      absl::MutexLock lock(&mu_);
      if (held_) RemoveHold();
      held_ = false;
    }
    done_.WaitForNotification();
  }

  bool AwaitWelcome(absl::Duration patience) {
    return welcomed_.WaitForNotificationWithTimeout(patience);
  }
  bool Stands() const { return !broken_; }
  int64_t desired() const { return desired_; }

 private:
  void OnReadDone(bool ok) override {
    if (!ok) {
      broken_ = true;
      return;
    }
    absl::MutexLock lock(&mu_);
    last_heard_ = absl::Now();
    if (in_.has_welcome()) {
      for (const DesiredGrant& grant : in_.welcome().desired()) Report(grant);
      desired_ = in_.welcome().desired_size();
      if (!welcomed_.HasBeenNotified()) welcomed_.Notify();
    } else if (in_.has_delta()) {
      for (const DesiredGrant& grant : in_.delta().upserts()) Report(grant);
    }
    StartRead(&in_);
    Pump();
  }

  void OnWriteDone(bool ok) override {
    absl::MutexLock lock(&mu_);
    writing_ = false;
    if (ok) Pump();
  }

  void OnDone(const grpc::Status&) override {
    broken_ = true;
    done_.Notify();
  }

  void Report(const DesiredGrant& grant) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    GrantStatus& status = reports_[grant.assignment_uid()];
    status.set_assignment_uid(grant.assignment_uid());
    status.set_generation(grant.generation());
    const bool going = grant.intent() == v1::Assignment::RELEASING;
    status.set_observed(going ? v1::Assignment::GONE : v1::Assignment::PREPARED);
    *status.mutable_units() = grant.units();
    if (on_grant_ && !going) on_grant_(grant.assignment_uid());
  }

  void Pump() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    if (writing_ || !held_) return;
    out_.Clear();
    if (!reports_.empty()) {
      agent::v1::GrantReport* report = out_.mutable_grants();
      while (!reports_.empty() && report->grants_size() < kMaxReports) {
        *report->add_grants() = std::move(reports_.begin()->second);
        reports_.erase(reports_.begin());
      }
    } else if (heartbeat_due_) {
      out_.mutable_heartbeat()->set_sequence(++sequence_);
      out_.mutable_heartbeat()->set_needs_no_answer(absl::Now() - last_heard_ <
                                                    absl::Seconds(kAsksAfterSilenceSeconds));
      heartbeat_due_ = false;
    } else {
      return;
    }
    writing_ = true;
    StartWrite(&out_);
  }

  const std::unique_ptr<AgentLink::Stub> stub_;
  const OnGrant& on_grant_;
  grpc::ClientContext context_;
  absl::Notification welcomed_;
  absl::Notification done_;
  std::atomic<bool> broken_{false};
  std::atomic<int64_t> desired_{0};
  ControllerMessage in_;
  absl::Mutex mu_;
  AgentMessage out_;  // gRPC's while writing_
  bool writing_ ABSL_GUARDED_BY(mu_) = false;
  bool held_ ABSL_GUARDED_BY(mu_) = true;
  bool heartbeat_due_ ABSL_GUARDED_BY(mu_) = false;
  int64_t sequence_ ABSL_GUARDED_BY(mu_) = 0;
  absl::Time last_heard_ ABSL_GUARDED_BY(mu_);
  std::map<std::string, GrantStatus> reports_ ABSL_GUARDED_BY(mu_);
};

SyntheticFleet::SyntheticFleet(const std::string& agents_address, const FleetShape& shape,
                               OnGrant on_grant)
    : on_grant_(std::move(on_grant)) {
  std::shared_ptr<grpc::Channel> channel;
  for (int i = 0; i < shape.hosts; ++i) {
    if (i % kSessionsPerChannel == 0) {
      grpc::ChannelArguments arguments;
      arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);  // a connection of its own
      channel =
          grpc::CreateCustomChannel(agents_address, grpc::InsecureChannelCredentials(), arguments);
      ++connections_;
    }
    agents_.push_back(std::make_unique<SyntheticAgent>(channel, i, shape, &on_grant_));
    if (agents_.size() % kAtOnce == 0) {
      for (size_t j = agents_.size() - kAtOnce; j < agents_.size(); ++j) {
        agents_[j]->AwaitWelcome(absl::Seconds(60));
      }
    }
  }
  heartbeats_ = std::thread([this] { SendHeartbeats(); });
}

SyntheticFleet::~SyntheticFleet() {
  stop_.Notify();
  heartbeats_.join();
  for (const auto& agent : agents_) agent->Cancel();
}

absl::Status SyntheticFleet::AwaitWelcome() {
  for (size_t i = 0; i < agents_.size(); ++i) {
    if (!agents_[i]->AwaitWelcome(absl::Seconds(60))) {
      return absl::DeadlineExceededError(absl::StrCat("agent ", i, " was not welcomed"));
    }
  }
  return Check();
}

int64_t SyntheticFleet::desired() const {
  int64_t sum = 0;
  for (const auto& agent : agents_) sum += agent->desired();
  return sum;
}

absl::Status SyntheticFleet::Check() const {
  for (size_t i = 0; i < agents_.size(); ++i) {
    if (!agents_[i]->Stands()) {
      return absl::UnavailableError(absl::StrCat("the session of agent ", i, " has ended"));
    }
  }
  return absl::OkStatus();
}

// Each agent once a second, as real ones do, and spread over it.
void SyntheticFleet::SendHeartbeats() {
  constexpr int kSlots = 20;
  for (size_t slot = 0;; slot = (slot + 1) % kSlots) {
    if (stop_.WaitForNotificationWithTimeout(absl::Seconds(1) / kSlots)) return;
    for (size_t i = slot; i < agents_.size(); i += kSlots) agents_[i]->Heartbeat();
  }
}

}  // namespace berth::bench
