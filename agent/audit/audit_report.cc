// SPDX-License-Identifier: Apache-2.0
#include "agent/audit/audit_report.h"

#include <algorithm>

#include "lib/base/status.h"

namespace berth {
namespace {

using agent::v1::AuditReport;
using agent::v1::GrantAudit;
using agent::v1::JournalAudit;
using agent::v1::StrayRecord;
using internal::v1::JournaledGrant;

// So that a report stays below gRPC's limit of a message.
constexpr size_t kMaxBytes = size_t{3} << 20;
constexpr int kMaxStrays = 256;
constexpr int kMaxHeldDevices = 256;
constexpr int kMaxFds = 64;
constexpr size_t kMaxMessage = 512;

using JournalByUid = std::map<std::string, const JournaledGrant*>;

void PutJournal(const JournaledGrant& record, JournalAudit* journal) {
  journal->set_generation(record.desired().generation());
  journal->set_call_begun(record.has_begun());
}

template <typename Message>
void PutFds(const AuditFacts& facts, const std::string& uid, Message* message) {
  const auto kept = facts.kept_fds.find(AssignmentUid(uid));
  if (!facts.fd_store_present || kept == facts.kept_fds.end()) return;
  for (const std::string& role : kept->second) {
    if (message->kept_fds_size() == kMaxFds) break;
    message->add_kept_fds(role);
  }
}

void PutObjects(const std::vector<agent::v1::KernelObject>& objects, GrantAudit* grant) {
  int others = 0;
  for (const agent::v1::KernelObject& object : objects) {
    if (object.type() == "device") {
      grant->add_bound_devices(object.owner());
    } else {
      ++others;
    }
  }
  grant->set_kernel_objects(others);
}

GrantAudit MakeGrant(const AuditFacts& facts, const JournalByUid& journal,
                     const agent::v1::LocalGrant& local) {
  GrantAudit grant;
  *grant.mutable_status() = local.status();
  grant.set_assignment(local.assignment());
  grant.set_intent(local.intent());
  const std::string& uid = local.status().assignment_uid();
  if (const auto record = journal.find(uid); record != journal.end()) {
    PutJournal(*record->second, grant.mutable_journal());
  }
  PutFds(facts, uid, &grant);
  if (const auto objects = facts.objects.find(uid); objects != facts.objects.end()) {
    PutObjects(objects->second, &grant);
  }
  return grant;
}

// What is kept of grants that are not there, by uid.
std::map<std::string, StrayRecord> StraysOf(const AuditFacts& facts, const JournalByUid& journal) {
  std::map<std::string, StrayRecord> strays;
  for (const auto& [uid, record] : journal) {
    strays[uid].set_assignment(record->desired().assignment());
    PutJournal(*record, strays[uid].mutable_journal());
  }
  if (facts.fd_store_present) {
    for (const auto& [uid, roles] : facts.kept_fds) {
      if (!roles.empty()) PutFds(facts, uid.str(), &strays[uid.str()]);
    }
  }
  for (const agent::v1::LocalGrant& grant : facts.grants) {
    strays.erase(grant.status().assignment_uid());
  }
  return strays;
}

}  // namespace

AuditFacts GatherAuditFacts(const GrantManager& grants, Keeper& keeper) {
  AuditFacts facts;
  facts.fd_store_present = keeper.has_manager();
  facts.kept_fds = keeper.KeptRoles();
  facts.journal = keeper.Records();
  // Last, since a grant is there before anything is kept of it: what is kept and has none is stray.
  facts.grants = grants.LocalGrants();
  for (const agent::v1::LocalGrant& grant : facts.grants) {
    const std::string& uid = grant.status().assignment_uid();
    absl::StatusOr<std::vector<agent::v1::KernelObject>> objects =
        grants.Objects(AssignmentUid(uid));
    if (objects.ok()) facts.objects[uid] = *std::move(objects);
  }
  return facts;
}

AuditReport MakeAuditReport(const AuditFacts& facts, int64_t sequence) {
  JournalByUid journal;
  if (facts.journal.ok()) {
    for (const JournaledGrant& record : *facts.journal) {
      journal[record.desired().assignment_uid()] = &record;
    }
  }
  AuditReport report;
  report.set_sequence(sequence);
  report.set_journal_readable(facts.journal.ok());
  report.set_fd_store_present(facts.fd_store_present);
  size_t bytes = 0;
  int left_out = 0;
  for (const agent::v1::LocalGrant& local : facts.grants) {
    GrantAudit grant = MakeGrant(facts, journal, local);
    bytes += grant.ByteSizeLong();
    if (bytes > kMaxBytes) {
      ++left_out;
      continue;
    }
    *report.add_grants() = std::move(grant);
  }
  for (auto& [uid, stray] : StraysOf(facts, journal)) {
    stray.set_assignment_uid(uid);
    if (report.strays_size() == kMaxStrays) {
      ++left_out;
      continue;
    }
    *report.add_strays() = std::move(stray);
  }
  for (const auto& [device, status] : facts.held_devices) {
    if (report.held_devices_size() == kMaxHeldDevices) {
      ++left_out;
      continue;
    }
    agent::v1::HeldDevice* held = report.add_held_devices();
    held->set_device(device.str());
    held->set_message(std::string(status.message()).substr(0, kMaxMessage));
  }
  report.set_left_out(left_out);
  return report;
}

}  // namespace berth
