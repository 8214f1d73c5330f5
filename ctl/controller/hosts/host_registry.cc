// SPDX-License-Identifier: Apache-2.0
//
// The agents' side of HostRegistry: connections, heartbeats, inventories. The users' side is in
// host_api.cc.
#include "ctl/controller/hosts/host_registry.h"

#include <google/protobuf/util/message_differencer.h>

#include <algorithm>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "ctl/controller/book/convert.h"
#include "lib/base/ids.h"
#include "lib/base/status.h"
#include "lib/config/duration.h"
#include "lib/config/timestamp.h"
#include "lib/daemon/daemon.h"

namespace berth {
namespace {

using internal::v1::HostRecord;

constexpr size_t kMaxEndpoint = 256;

bool IsHostId(const std::string& id) {
  const auto inner = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
  };
  return !id.empty() && id.size() <= 63 && std::all_of(id.begin(), id.end(), inner) &&
         id.front() != '-' && id.back() != '-';
}

auto Order(const agent::v1::Epoch& epoch) {
  return std::make_tuple(epoch.restore_count(), epoch.term());
}

v1::Condition MakeCondition(const std::string& type, const absl::Status& status, absl::Time now) {
  v1::Condition condition;
  const absl::string_view message = status.message();
  condition.set_type(type);
  condition.set_status(status.ok());
  condition.set_reason(std::string(ReasonName(ReasonOf(status))));
  condition.set_message(std::string(message));
  *condition.mutable_last_transition_time() = ToTimestamp(now);
  return condition;
}

}  // namespace

absl::Status HostRegistry::CheckRecord(const std::string& host_id, const HostRecord& record) {
  const ErrorMetadata metadata = {{"host", host_id}};
  if (record.inventory().attach_endpoint().size() > kMaxEndpoint) {
    return Error(Reason::kBadInventory,
                 absl::StrCat("attach_endpoint has more than ", kMaxEndpoint, " bytes"), metadata);
  }
  for (const v1::Unit& unit : record.inventory().units()) {
    if (unit.profile() != v1::Unit::PROFILE_UNSPECIFIED &&
        v1::Unit::Profile_IsValid(unit.profile()))
      continue;
    return Error(Reason::kBadInventory,
                 absl::StrCat("unit ", unit.id().substr(0, 80),
                              " has a profile that this controller does not know"),
                 metadata);
  }
  return placement::ValidateSnapshot(ToSnapshot(host_id, record));
}

absl::Status HostRegistry::CheckHello(const agent::v1::Hello& hello) const {
  if (hello.protocol_version() != kAgentProtocolVersion) {
    return Error(Reason::kVersionSkew,
                 absl::StrCat("the agent speaks version ", hello.protocol_version(),
                              " of the agent link, this controller version ", kAgentProtocolVersion,
                              "; they may be one release apart"));
  }
  if (!IsHostId(hello.host_id())) {
    return Error(Reason::kInvalidField, absl::StrCat("host_id \"", hello.host_id().substr(0, 80),
                                                     "\" is not 1-63 of [a-z0-9-]"));
  }
  if (hello.host_uid().empty() || hello.host_uid().size() > 64) {
    return Error(Reason::kMissingField, "host_uid is missing or too long");
  }
  const agent::v1::Epoch own = fleet_->epoch();
  if (hello.highest_epoch().store_uid() == own.store_uid() &&
      Order(hello.highest_epoch()) > Order(own)) {
    fleet_->CountFenced(Fence::kEpoch);
    return Error(Reason::kFenced, "the agent has obeyed a later controller than this one");
  }
  if (fleet_->hosts.count(hello.host_id()) == 0 && fleet_->hosts.size() >= options_.max_hosts) {
    return Error(Reason::kOverloaded,
                 absl::StrCat("there are ", options_.max_hosts, " hosts already"));
  }
  return absl::OkStatus();
}

absl::Status HostRegistry::CheckAgainstRecord(const agent::v1::Hello& hello,
                                              const HostEntry& entry) const {
  const HostRecord& record = *entry.latest;
  const ErrorMetadata metadata = {{"host", HostName(hello.host_id())}};
  if (record.gone()) {
    return Error(Reason::kUnavailable,
                 absl::StrCat(HostName(hello.host_id()),
                              " is being forgotten, because it was said to be gone; dial again"),
                 metadata);
  }
  // Of a host whose record was left out nobody knows which machine it is.
  if (hello.host_uid() != record.host_uid() && !record.host_uid().empty()) {
    const bool in_use = entry.session != nullptr || fleet_->CountOnHost(hello.host_id()) > 0;
    if (!in_use) return absl::OkStatus();
    return Error(
        Reason::kHostNameTaken,
        absl::StrCat(HostName(hello.host_id()),
                     " is another machine; give this one another host_id, or delete that host"),
        metadata);
  }
  if (hello.incarnation() < record.incarnation()) {
    fleet_->CountFenced(Fence::kIncarnation);
    return Error(
        Reason::kFenced,
        absl::StrCat("incarnation ", hello.incarnation(), " of ", HostName(hello.host_id()),
                     " is over: incarnation ", record.incarnation(), " has been here"),
        metadata);
  }
  return absl::OkStatus();
}

HostRecordPtr HostRegistry::RecordOf(const agent::v1::Hello& hello, const HostEntry* entry) const {
  auto record = std::make_shared<HostRecord>();
  const bool known = entry != nullptr && entry->latest != nullptr;
  if (known &&
      (entry->latest->host_uid() == hello.host_uid() || entry->latest->host_uid().empty())) {
    *record = *entry->latest;
  }
  const google::protobuf::Timestamp now = ToTimestamp(fleet_->clock().Now());
  if (record->uid().empty()) {
    record->set_uid(NewUuid());
    *record->mutable_create_time() = now;
  }
  record->set_host_uid(hello.host_uid());
  record->set_incarnation(hello.incarnation());
  record->set_agent_version(hello.agent_version().substr(0, 64));
  *record->mutable_inventory() = hello.inventory();
  if (known && google::protobuf::util::MessageDifferencer::Equals(*record, *entry->latest)) {
    return entry->latest;
  }
  *record->mutable_update_time() = now;
  return record;
}

absl::StatusOr<HostRecordPtr> HostRegistry::CheckConnect(const agent::v1::Hello& hello) const {
  BERTH_RETURN_IF_ERROR(CheckHello(hello));
  const auto found = fleet_->hosts.find(hello.host_id());
  const HostEntry* entry = found == fleet_->hosts.end() ? nullptr : &found->second;
  if (entry != nullptr && entry->latest != nullptr) {
    BERTH_RETURN_IF_ERROR(CheckAgainstRecord(hello, *entry));
  }
  HostRecordPtr record = RecordOf(hello, entry);
  BERTH_RETURN_IF_ERROR(CheckRecord(hello.host_id(), *record));
  return record;
}

absl::Status HostRegistry::Connect(const agent::v1::Hello& hello,
                                   std::shared_ptr<HostSession> session) {
  absl::MutexLock lock(&fleet_->mu);
  const auto found = fleet_->hosts.find(hello.host_id());
  HostEntry* const entry = found == fleet_->hosts.end() ? nullptr : &found->second;
  const absl::StatusOr<HostRecordPtr> record = CheckConnect(hello);
  if (!record.ok()) {
    // Another machine of that name says nothing of this one's link.
    const bool own = entry != nullptr && entry->committed != nullptr &&
                     entry->committed->host_uid() == hello.host_uid();
    if (own && entry->link.NoteRefused(fleet_->clock().Now(), record.status())) {
      OnLinkChanged(hello.host_id(), entry);
    }
    return record.status();
  }
  ChangeSet changes;
  if (entry == nullptr || *record != entry->latest)
    changes.hosts.emplace_back(hello.host_id(), *record);
  // Without changes too: the commit proves that this controller still leads, and orders the Welcome
  // among everything else that agents are told.
  return fleet_->Submit(std::move(changes), [this, hello, session = std::move(session)](Revision) {
    OnConnected(hello, session);
  });
}

void HostRegistry::OnConnected(const agent::v1::Hello& hello,
                               const std::shared_ptr<HostSession>& session) {
  std::shared_ptr<HostSession> replaced;
  agent::v1::Welcome welcome;
  {
    absl::MutexLock lock(&fleet_->mu);
    const auto found = fleet_->hosts.find(hello.host_id());
    if (found == fleet_->hosts.end() || found->second.committed == nullptr) {
      replaced = session;
    } else {
      HostEntry& entry = found->second;
      replaced = std::exchange(entry.session, session);
      bool news = entry.link.NoteWelcome();
      if (replaced != nullptr) {
        news |= entry.link.NoteEnd(fleet_->clock().Now(),
                                   Error(Reason::kFenced, "a newer one has taken its place"));
      }
      if (news) OnLinkChanged(hello.host_id(), &entry);
      entry.heard_before = fleet_->clock().Now();
      // Before the agent can say anything newer, and before the host counts as back: what it
      // reported before it was lost is not believed for a moment.
      tracker_->AssertFleetHeld();
      tracker_->ReportAll(hello.host_id(), {hello.grants().begin(), hello.grants().end()});
      SetConditions(hello.host_id(), &entry, {});
      for (agent::v1::DesiredGrant& grant : tracker_->DesiredFor(hello.host_id())) {
        *welcome.add_desired() = std::move(grant);
      }
    }
  }
  if (replaced != nullptr) {
    if (replaced != session) fleet_->CountFenced(Fence::kSession);
    replaced->Close(
        Error(Reason::kFenced, replaced == session
                                   ? "the host was deleted while it connected"
                                   : "a newer session of this agent has taken its place"));
  }
  if (replaced == session) return;
  *welcome.mutable_epoch() = fleet_->epoch();
  *welcome.mutable_heartbeat_interval() = ToProtoDuration(options_.heartbeat_interval);
  welcome.set_controller_version(Version());
  welcome.set_protocol_version(kAgentProtocolVersion);
  if (!session->Welcome(std::move(welcome))) return Disconnect(hello.host_id(), session.get());
  tracker_->Sweep();
}

void HostRegistry::OnLinkChanged(const std::string& id, HostEntry* entry) {
  if (entry->committed == nullptr) return;
  (void)fleet_->UpdateEngine(id, *entry);
  fleet_->PublishObserved(id, entry);
}

void HostRegistry::Disconnect(const std::string& host_id, const HostSession* session,
                              const absl::Status& why) {
  absl::MutexLock lock(&fleet_->mu);
  const auto found = fleet_->hosts.find(host_id);
  if (found == fleet_->hosts.end() || found->second.session.get() != session) return;
  found->second.heard_before = found->second.LastHeard();
  found->second.session.reset();
  if (found->second.link.NoteEnd(fleet_->clock().Now(), why)) {
    OnLinkChanged(host_id, &found->second);
  }
}

v1::Host::State HostRegistry::StateOf(const HostEntry& entry) const {
  const absl::Duration silence = fleet_->clock().Now() - entry.LastHeard();
  if (silence > options_.lost_after) return v1::Host::LOST;
  if (silence > options_.suspect_after) return v1::Host::SUSPECT;
  const auto wrong = [](const v1::Condition& condition) { return !condition.status(); };
  const auto& found = entry.committed->inventory().conditions();
  return std::any_of(entry.conditions.begin(), entry.conditions.end(), wrong) ||
                 std::any_of(found.begin(), found.end(), wrong)
             ? v1::Host::BROKEN
             : v1::Host::READY;
}

void HostRegistry::SetState(const std::string& id, HostEntry* entry) {
  if (entry->committed == nullptr) return;
  const v1::Host::State state = StateOf(*entry);
  if (state != entry->state) fleet_->SetHostState(id, entry, state);
}

void HostRegistry::SetConditions(const std::string& id, HostEntry* entry,
                                 std::vector<v1::Condition> conditions) {
  const bool news = !entry->conditions.empty() || !conditions.empty();
  entry->conditions = std::move(conditions);
  const v1::Host::State before = entry->state;
  SetState(id, entry);
  if (news && entry->state == before) fleet_->PublishObserved(id, entry);
}

void HostRegistry::Heartbeat(const std::string& host_id, HostSession* session) {
  const absl::Time now = fleet_->clock().Now();
  // Without a silence before it, it changes no state.
  if (now - session->Hear(now) <= options_.suspect_after) return;
  absl::MutexLock lock(&fleet_->mu);
  const auto found = fleet_->hosts.find(host_id);
  if (found == fleet_->hosts.end() || found->second.session.get() != session) return;
  SetState(host_id, &found->second);
}

absl::Status HostRegistry::UpdateInventory(const std::string& host_id, const HostSession* session,
                                           const agent::v1::Inventory& inventory) {
  absl::MutexLock lock(&fleet_->mu);
  const auto found = fleet_->hosts.find(host_id);
  if (found == fleet_->hosts.end() || found->second.session.get() != session ||
      found->second.latest == nullptr) {
    return absl::OkStatus();
  }
  HostEntry& entry = found->second;
  auto record = std::make_shared<HostRecord>(*entry.latest);
  *record->mutable_inventory() = inventory;
  if (absl::Status valid = CheckRecord(host_id, *record); !valid.ok()) {
    SetConditions(host_id, &entry, {MakeCondition("InventoryValid", valid, fleet_->clock().Now())});
    return valid;
  }
  *record->mutable_update_time() = ToTimestamp(fleet_->clock().Now());
  ChangeSet changes;
  changes.hosts.emplace_back(host_id, std::move(record));
  return fleet_->Submit(std::move(changes), [this, host_id](Revision) {
    {
      absl::MutexLock done_lock(&fleet_->mu);
      const auto host = fleet_->hosts.find(host_id);
      if (host != fleet_->hosts.end()) SetConditions(host_id, &host->second, {});
    }
    tracker_->Sweep();
  });
}

void HostRegistry::Tick() {
  std::vector<std::string> gone;
  bool calmer = false;
  {
    absl::MutexLock lock(&fleet_->mu);
    for (auto& [id, entry] : fleet_->hosts) {
      SetState(id, &entry);
      if (entry.link.Review(fleet_->clock().Now(), entry.session != nullptr)) {
        OnLinkChanged(id, &entry);
        calmer = true;
      }
      if (entry.committed != nullptr && entry.committed->gone()) gone.push_back(id);
    }
  }
  if (calmer) tracker_->Sweep();
  for (const std::string& id : gone) EndGone(id);
}

}  // namespace berth
