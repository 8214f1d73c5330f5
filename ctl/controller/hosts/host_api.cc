// SPDX-License-Identifier: Apache-2.0
//
// The users' side of HostRegistry.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "ctl/controller/book/convert.h"
#include "ctl/controller/book/list_page.h"
#include "ctl/controller/book/validate.h"
#include "ctl/controller/hosts/host_registry.h"
#include "lib/base/absl_view.h"
#include "lib/base/status.h"
#include "lib/config/duration.h"
#include "lib/config/timestamp.h"

namespace berth {
namespace {

using internal::v1::HostRecord;

constexpr int kMaxTaints = 64;

absl::Status NoSuchHost(const std::string& name) {
  return Error(Reason::kNotFound, absl::StrCat(name, " does not exist"), {{"name", name}});
}

absl::StatusOr<std::string> ParseHostName(const std::string& name) {
  std::string id = HostIdOf(name);
  if (id.empty()) {
    return Error(Reason::kInvalidField,
                 absl::StrCat("name: \"", name.substr(0, 80), "\" is not \"hosts/...\""),
                 {{"field", "name"}});
  }
  return id;
}

absl::Status CheckTaints(const google::protobuf::RepeatedPtrField<v1::Taint>& taints) {
  if (taints.size() > kMaxTaints) return Error(Reason::kTooLarge, "taints: more than 64");
  for (const v1::Taint& taint : taints) {
    const bool effect = taint.effect() == v1::Taint::NO_NEW || taint.effect() == v1::Taint::EVICT;
    if (taint.key().empty() || taint.key().size() > 128 || taint.value().size() > 256 || !effect) {
      return Error(
          Reason::kInvalidField,
          absl::StrCat("taints: \"", taint.key().substr(0, 80),
                       "\" needs a key of 1-128 bytes, a value of at most 256 and the effect "
                       "NO_NEW or EVICT"));
    }
  }
  return absl::OkStatus();
}

absl::Status ApplyUpdate(const v1::UpdateHostRequest& request, HostRecord* record) {
  const v1::Host& host = request.host();
  if (request.update_mask().paths().empty()) {
    return Error(Reason::kMissingField,
                 "update_mask is empty: name display_name, labels or taints");
  }
  for (const std::string& path : request.update_mask().paths()) {
    if (path == "display_name") {
      if (host.display_name().size() > 256) {
        return Error(Reason::kTooLarge, "display_name has more than 256 bytes");
      }
      record->set_display_name(host.display_name());
    } else if (path == "labels") {
      BERTH_RETURN_IF_ERROR(ValidateLabels(host.labels(), "labels"));
      *record->mutable_labels() = host.labels();
    } else if (path == "taints") {
      BERTH_RETURN_IF_ERROR(CheckTaints(host.taints()));
      *record->mutable_taints() = host.taints();
      // Output only: whoever sends back what was read must not make it last.
      record->mutable_taints()->erase(
          std::remove_if(
              record->mutable_taints()->begin(), record->mutable_taints()->end(),
              [](const v1::Taint& taint) { return taint.key() == LinkHealth::kFlappingTaint; }),
          record->mutable_taints()->end());
    } else {
      return Error(Reason::kInvalidField,
                   absl::StrCat("update_mask: \"", path.substr(0, 80),
                                "\" cannot be changed; display_name, labels and taints can"),
                   {{"field", "update_mask"}});
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<v1::Host> HostRegistry::Get(const v1::GetHostRequest& request) {
  BERTH_ASSIGN_OR_RETURN(const std::string id, ParseHostName(request.name()));
  absl::MutexLock lock(&fleet_->mu);
  const auto found = fleet_->hosts.find(id);
  if (found == fleet_->hosts.end() || found->second.committed == nullptr)
    return NoSuchHost(request.name());
  return fleet_->Render(id, found->second, request.view() == v1::BASIC ? v1::BASIC : v1::FULL);
}

absl::StatusOr<v1::ListHostsResponse> HostRegistry::List(const v1::ListHostsRequest& request) {
  BERTH_RETURN_IF_ERROR(ValidateSelector(request.label_selector()));
  const std::string query =
      absl::StrCat("hosts|", request.view(), "|", LabelSelectorKey(request.label_selector()));
  absl::MutexLock lock(&fleet_->mu);
  BERTH_ASSIGN_OR_RETURN(ListPage page,
                         ListPage::Start(query, request.page_size(), request.page_token(),
                                         fleet_->Position().ToToken()));
  v1::ListHostsResponse response;
  response.set_watch_token(page.watch_token());
  for (auto it = fleet_->hosts.upper_bound(page.after()); it != fleet_->hosts.end(); ++it) {
    if (it->second.committed == nullptr) continue;
    const std::map<std::string, std::string> labels = EffectiveLabels(*it->second.committed);
    if (!MatchesLabels(request.label_selector(), Labels(labels.begin(), labels.end()))) continue;
    v1::Host host =
        fleet_->Render(it->first, it->second, request.view() == v1::FULL ? v1::FULL : v1::BASIC);
    if (!page.Take(it->first, host.ByteSizeLong())) {
      response.set_next_page_token(page.NextToken());
      break;
    }
    *response.add_hosts() = std::move(host);
  }
  return response;
}

absl::StatusOr<std::pair<std::string, HostEntry*>> HostRegistry::FindForChange(
    const std::string& name, const std::string& etag) {
  BERTH_ASSIGN_OR_RETURN(std::string id, ParseHostName(name));
  const auto found = fleet_->hosts.find(id);
  if (found == fleet_->hosts.end() || found->second.committed == nullptr ||
      found->second.latest == nullptr) {
    return NoSuchHost(name);
  }
  const HostEntry& entry = found->second;
  if (!etag.empty() && (entry.latest != entry.committed || etag != MakeEtag(entry.revision))) {
    return Error(Reason::kEtagMismatch,
                 absl::StrCat(name, " has changed since it was read; read it again"),
                 {{"name", name}});
  }
  return std::make_pair(std::move(id), &found->second);
}

absl::StatusOr<HostRegistry::HostChange> HostRegistry::DecideEdit(const std::string& name,
                                                                  const std::string& etag,
                                                                  const Edit& edit) {
  BERTH_ASSIGN_OR_RETURN(const auto found, FindForChange(name, etag));
  const auto& [id, entry] = found;
  auto record = std::make_shared<HostRecord>(*entry->latest);
  BERTH_RETURN_IF_ERROR(edit(record.get()));
  // Its agent's labels and the users' count together.
  if (const absl::Status valid = CheckRecord(id, *record); !valid.ok()) {
    return Error(Reason::kInvalidField, StdView(valid.message()), {{"name", name}});
  }
  *record->mutable_update_time() = ToTimestamp(fleet_->clock().Now());
  HostChange change;
  HostEntry next = *entry;
  next.committed = record;
  change.response = fleet_->Render(id, next, v1::BASIC);
  change.response.clear_etag();
  change.changes.hosts.emplace_back(id, std::move(record));
  change.then = [this] { tracker_->Sweep(); };
  return change;
}

void HostRegistry::RunChange(MutationSpec<v1::Host> spec) {
  spec.finish = FinishEtag<v1::Host>;
  RunMutation<v1::Host>(*fleet_, spec);
}

template <typename Request>
void HostRegistry::RunEdit(std::string_view method, const Request& request,
                           const std::string& owner, const std::string& name,
                           const std::string& etag, const Edit& edit, Answer&& answer) {
  RunChange(
      {.method = method,
       .owner = &owner,
       .request = &request,
       .request_id = request.request_id(),
       .decide = [&]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return DecideEdit(name, etag, edit); },
       .finish = {},
       .answer = std::move(answer)});
}

void HostRegistry::Update(const v1::UpdateHostRequest& request, const std::string& owner,
                          Answer answer) {
  const auto edit = [&request](HostRecord* record) { return ApplyUpdate(request, record); };
  if (request.validate_only()) {
    absl::MutexLock lock(&fleet_->mu);
    absl::StatusOr<HostChange> change =
        DecideEdit(request.host().name(), request.host().etag(), edit);
    if (!change.ok()) return answer(change.status());
    return answer(std::move(change->response));
  }
  RunEdit("UpdateHost", request, owner, request.host().name(), request.host().etag(), edit,
          std::move(answer));
}

void HostRegistry::Cordon(const v1::CordonHostRequest& request, const std::string& owner,
                          Answer answer) {
  const auto edit = [](HostRecord* record) {
    record->set_cordoned(true);
    return absl::OkStatus();
  };
  RunEdit("CordonHost", request, owner, request.name(), request.etag(), edit, std::move(answer));
}

void HostRegistry::Uncordon(const v1::UncordonHostRequest& request, const std::string& owner,
                            Answer answer) {
  const auto edit = [](HostRecord* record) {
    record->set_cordoned(false);
    record->set_draining(false);
    record->clear_drain_start_time();
    record->clear_drain_deadline();
    return absl::OkStatus();
  };
  RunEdit("UncordonHost", request, owner, request.name(), request.etag(), edit, std::move(answer));
}

void HostRegistry::Drain(const v1::DrainHostRequest& request, const std::string& owner,
                         Answer answer) {
  const absl::Duration deadline = FromProtoDuration(request.deadline());
  if (deadline < absl::ZeroDuration() || deadline > kMaxDeadline) {
    return answer(Error(Reason::kInvalidField, "deadline: is not 0s to 8784h (366 days)",
                        {{"field", "deadline"}}));
  }
  const auto edit = [&, now = fleet_->clock().Now()](HostRecord* record) {
    if (!record->draining()) *record->mutable_drain_start_time() = ToTimestamp(now);
    record->set_cordoned(true);
    record->set_draining(true);
    record->clear_drain_deadline();
    if (request.has_deadline()) *record->mutable_drain_deadline() = ToTimestamp(now + deadline);
    return absl::OkStatus();
  };
  RunEdit("DrainHost", request, owner, request.name(), request.etag(), edit, std::move(answer));
}

absl::StatusOr<HostRegistry::HostChange> HostRegistry::DecideGone(const std::string& id,
                                                                  const HostEntry& entry) {
  if (entry.state != v1::Host::LOST) {
    return Error(Reason::kStateConflict,
                 absl::StrCat(HostName(id), " is ", v1::Host::State_Name(entry.state),
                              "; only a LOST host can be said to be gone"));
  }
  auto record = std::make_shared<HostRecord>(*entry.latest);
  record->set_gone(true);
  *record->mutable_update_time() = ToTimestamp(fleet_->clock().Now());
  HostChange change;
  HostEntry next = entry;
  next.committed = record;
  change.response = fleet_->Render(id, next, v1::BASIC);
  change.response.clear_etag();
  change.changes.hosts.emplace_back(id, std::move(record));
  change.then = [this, id] { EndGone(id); };
  return change;
}

absl::StatusOr<HostRegistry::HostChange> HostRegistry::DecideDelete(
    const v1::DeleteHostRequest& request) {
  BERTH_ASSIGN_OR_RETURN(const auto found, FindForChange(request.name(), request.etag()));
  const auto& [id, entry] = found;
  if (entry->session != nullptr) {
    return Error(Reason::kStateConflict,
                 absl::StrCat(request.name(), " is connected; stop its agent first"));
  }
  if (request.gone()) return DecideGone(id, *entry);
  if (const size_t charged = fleet_->CountOnHost(id); charged > 0) {
    return Error(Reason::kStateConflict,
                 absl::StrCat(charged, " assignments are charged to ", request.name(),
                              "; delete them first (they end when the host is back), or say that "
                              "it is gone"));
  }
  HostChange change;
  change.response = fleet_->Render(id, *entry, v1::BASIC);
  change.response.clear_etag();
  change.changes.hosts.emplace_back(id, nullptr);
  // It may have been READY a moment ago; nothing is placed there while its end is written.
  (void)fleet_->engine.SetHostSchedulable(HostId(id), placement::Schedulability::kNotReady);
  change.undo = [this, id = id]() ABSL_NO_THREAD_SAFETY_ANALYSIS {
    (void)fleet_->UpdateEngine(id, fleet_->hosts.at(id));
  };
  return change;
}

void HostRegistry::Delete(const v1::DeleteHostRequest& request, const std::string& owner,
                          Answer answer) {
  RunChange({.method = "DeleteHost",
             .owner = &owner,
             .request = &request,
             .request_id = request.request_id(),
             .decide = [&]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return DecideDelete(request); },
             .finish = {},
             .answer = std::move(answer)});
}

}  // namespace berth
