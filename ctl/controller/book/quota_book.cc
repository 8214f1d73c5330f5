// SPDX-License-Identifier: Apache-2.0
#include "ctl/controller/book/quota_book.h"

#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "ctl/controller/book/list_page.h"
#include "lib/base/status.h"

namespace berth {
namespace {

using internal::v1::QuotaRecord;
using v1::Quota;

constexpr char kQuotas[] = "quotas/";
constexpr size_t kMaxOwner = 256;
constexpr int kMaxClasses = 64;
constexpr size_t kMaxClass = 256;

absl::Status Invalid(const std::string& field, const std::string& what) {
  return Error(Reason::kInvalidField, absl::StrCat(field, ": ", what), {{"field", field}});
}

// "quotas/x" -> "x". Owners are what certificates say, so there is little that
// they cannot be.
absl::StatusOr<std::string> ParseOwner(const std::string& name, const std::string& field) {
  constexpr size_t kPrefix = sizeof(kQuotas) - 1;
  if (name.rfind(kQuotas, 0) != 0 || name.size() == kPrefix || name.size() > kPrefix + kMaxOwner) {
    return Invalid(field, absl::StrCat("\"", name.substr(0, 80), "\" is not \"quotas/...\""));
  }
  return name.substr(kPrefix);
}

absl::Status NoQuota(const std::string& name) {
  return Error(Reason::kNotFound, absl::StrCat(name, " does not exist: there is no limit"),
               {{"name", name}});
}

absl::Status Validate(const Quota& quota) {
  if (quota.max_vintfs() < 0) return Invalid("quota.max_vintfs", "is negative");
  if (quota.max_devices().size() > kMaxClasses) {
    return Invalid("quota.max_devices", absl::StrCat("more than ", kMaxClasses, " classes"));
  }
  for (const auto& [device_class, max] : quota.max_devices()) {
    if (device_class.empty() || device_class.size() > kMaxClass || max < 0) {
      return Invalid("quota.max_devices",
                     absl::StrCat("\"", device_class.substr(0, 80),
                                  "\" needs a class of 1-256 bytes and a number of 0 or more"));
    }
  }
  return absl::OkStatus();
}

}  // namespace

Quota QuotaBook::Render(const QuotaRecord& record) const {
  Quota quota = record.quota();
  const QuotaUse used = fleet_->quotas.UsedBy(quota.name().substr(sizeof(kQuotas) - 1));
  quota.set_used_vintfs(used.vintfs);
  for (const auto& [device_class, count] : used.devices) {
    (*quota.mutable_used_devices())[device_class] = count;
  }
  return quota;
}

absl::StatusOr<Quota> QuotaBook::Get(const v1::GetQuotaRequest& request) {
  BERTH_ASSIGN_OR_RETURN(const std::string owner, ParseOwner(request.name(), "name"));
  absl::MutexLock lock(&fleet_->mu);
  const auto entry = fleet_->quotas.entries.find(OwnerElement(owner));
  if (entry == fleet_->quotas.entries.end() || entry->second.committed == nullptr) {
    return NoQuota(request.name());
  }
  Quota quota = Render(*entry->second.committed);
  quota.set_etag(MakeEtag(entry->second.revision));
  return quota;
}

absl::StatusOr<v1::ListQuotasResponse> QuotaBook::List(const v1::ListQuotasRequest& request) {
  absl::MutexLock lock(&fleet_->mu);
  BERTH_ASSIGN_OR_RETURN(ListPage page,
                         ListPage::Start("quotas", request.page_size(), request.page_token(),
                                         fleet_->Position().ToToken()));
  v1::ListQuotasResponse response;
  const auto& entries = fleet_->quotas.entries;
  for (auto it = entries.upper_bound(page.after()); it != entries.end(); ++it) {
    if (it->second.committed == nullptr) continue;
    Quota quota = Render(*it->second.committed);
    quota.set_etag(MakeEtag(it->second.revision));
    if (!page.Take(it->first, quota.ByteSizeLong())) {
      response.set_next_page_token(page.NextToken());
      break;
    }
    *response.add_quotas() = std::move(quota);
  }
  return response;
}

absl::Status QuotaBook::CheckEtag(const QuotaTable::Entry* entry, const Quota& named,
                                  const std::string& etag) {
  const bool current = entry != nullptr && entry->latest == entry->committed &&
                       entry->committed != nullptr && etag == MakeEtag(entry->revision);
  if (etag.empty() || current) return absl::OkStatus();
  return Error(Reason::kEtagMismatch,
               absl::StrCat(named.name(), " has changed since it was read; read it again"),
               {{"name", named.name()}});
}

absl::StatusOr<Decision<Quota>> QuotaBook::DecideUpdate(const v1::UpdateQuotaRequest& request) {
  BERTH_ASSIGN_OR_RETURN(const std::string owner, ParseOwner(request.quota().name(), "quota.name"));
  BERTH_RETURN_IF_ERROR(Validate(request.quota()));
  const std::string id = OwnerElement(owner);
  auto& entries = fleet_->quotas.entries;
  const auto entry = entries.find(id);
  BERTH_RETURN_IF_ERROR(CheckEtag(entry == entries.end() ? nullptr : &entry->second,
                                  request.quota(), request.quota().etag()));
  if (entry == entries.end() && entries.size() >= kMaxQuotas) {
    return Error(Reason::kOverloaded,
                 absl::StrCat("there are ", kMaxQuotas, " quotas already; delete some"));
  }
  auto record = std::make_shared<QuotaRecord>();
  Quota* quota = record->mutable_quota();
  quota->set_name(request.quota().name());
  if (request.quota().has_max_vintfs()) quota->set_max_vintfs(request.quota().max_vintfs());
  *quota->mutable_max_devices() = request.quota().max_devices();
  Decision<Quota> change;
  change.response = Render(*record);
  change.changes.quotas.emplace_back(id, std::move(record));
  change.then = [tracker = tracker_] { tracker->Sweep(); };
  return change;
}

absl::StatusOr<Decision<Quota>> QuotaBook::DecideDelete(const v1::DeleteQuotaRequest& request) {
  BERTH_ASSIGN_OR_RETURN(const std::string owner, ParseOwner(request.name(), "name"));
  const std::string id = OwnerElement(owner);
  auto& entries = fleet_->quotas.entries;
  const auto entry = entries.find(id);
  Decision<Quota> change;
  if (fleet_->quotas.unreadable.count(id) > 0 && request.etag().empty()) {
    change.response.set_name(request.name());
    change.changes.quotas.emplace_back(id, nullptr);
    change.then = [tracker = tracker_] { tracker->Sweep(); };
    return change;
  }
  if (entry == entries.end() || entry->second.committed == nullptr ||
      entry->second.latest == nullptr) {
    return NoQuota(request.name());
  }
  change.response = Render(*entry->second.latest);
  BERTH_RETURN_IF_ERROR(CheckEtag(&entry->second, change.response, request.etag()));
  change.changes.quotas.emplace_back(id, nullptr);
  change.then = [tracker = tracker_] { tracker->Sweep(); };
  return change;
}

void QuotaBook::Update(const v1::UpdateQuotaRequest& request, const std::string& caller,
                       Answer answer) {
  RunMutation<Quota>(
      *fleet_, {.method = "UpdateQuota",
                .owner = &caller,
                .request = &request,
                .request_id = request.request_id(),
                .decide = [&]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return DecideUpdate(request); },
                .finish = FinishEtag<Quota>,
                .answer = std::move(answer)});
}

void QuotaBook::Delete(const v1::DeleteQuotaRequest& request, const std::string& caller,
                       Answer answer) {
  RunMutation<Quota>(
      *fleet_, {.method = "DeleteQuota",
                .owner = &caller,
                .request = &request,
                .request_id = request.request_id(),
                .decide = [&]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return DecideDelete(request); },
                .finish = FinishEtag<Quota>,
                .answer = std::move(answer)});
}

}  // namespace berth
