// SPDX-License-Identifier: Apache-2.0
#include "lib/store/etcd/leadership.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "lib/base/status.h"
#include "lib/store/etcd/layout.h"

namespace berth {
namespace {

namespace pb = etcdserverpb;

// The lease is renewed so often while it lives.
constexpr int kRenewalsPerTtl = 3;
// One who waits is asked so often whether to go on.
constexpr absl::Duration kLook = absl::Milliseconds(250);

pb::RangeRequest OnlyKey(const std::string& key) {
  pb::RangeRequest range;
  range.set_key(key);
  return range;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Leadership>> Leadership::Acquire(
    const std::shared_ptr<EtcdClient>& client, const Options& options) {
  const absl::Time deadline = options.clock->Now() + options.wait;
  for (;;) {
    BERTH_ASSIGN_OR_RETURN(const pb::RangeResponse found, client->Range(OnlyKey(options.key)));
    if (found.kvs().empty()) {
      const absl::Time now = options.clock->Now();
      BERTH_ASSIGN_OR_RETURN(const pb::LeaseGrantResponse lease, client->GrantLease(options.ttl));
      std::unique_ptr<Leadership> leadership(new Leadership(client, options, lease, now));
      BERTH_ASSIGN_OR_RETURN(const bool taken, leadership->Take());
      if (!taken) continue;
      leadership->thread_ = std::thread([raw = leadership.get(), now] { raw->Run(now); });
      return leadership;
    }
    const internal::v1::EtcdLeader holder = DecodeEtcdLeader(found.kvs(0).value());
    const absl::Duration left = deadline - options.clock->Now();
    const bool goes_on = left > absl::ZeroDuration() &&
                         (options.keep_waiting == nullptr || options.keep_waiting(holder));
    if (!goes_on) {
      return Error(
          Reason::kStoreLocked,
          absl::StrCat("the store in etcd is held by ", holder.description(), " (", options.key,
                       "); when that process is dead, its lease ends by itself"),
          {{"holder", holder.description()}});
    }
    // Whatever comes of it, the next look decides.
    const absl::Duration limit = options.keep_waiting == nullptr ? left : std::min(left, kLook);
    (void)client->AwaitDeletion(options.key, found.kvs(0).mod_revision() + 1, limit);
  }
}

Leadership::Leadership(std::shared_ptr<EtcdClient> client, Options options,
                       const pb::LeaseGrantResponse& lease, absl::Time granted_at)
    : client_(std::move(client)),
      options_(std::move(options)),
      lease_(lease.id()),
      ttl_(absl::Seconds(lease.ttl())),
      valid_until_(granted_at + ttl_) {}

Leadership::~Leadership() {
  {
    absl::MutexLock lock(&mu_);
    stopping_ = true;
  }
  if (thread_.joinable()) thread_.join();
  // Should it fail, the lease ends by itself.
  (void)client_->RevokeLease(lease_);
}

absl::StatusOr<bool> Leadership::Take() {
  pb::TxnRequest txn;
  pb::Compare& absent = *txn.add_compare();
  absent.set_target(pb::Compare::CREATE);
  absent.set_key(options_.key);
  absent.set_create_revision(0);
  pb::PutRequest& put = *txn.add_success()->mutable_request_put();
  put.set_key(options_.key);
  put.set_value(EncodeEtcdLeader(options_.holder));
  put.set_lease(lease_);
  *txn.add_failure()->mutable_request_range() = OnlyKey(options_.key);
  // May be repeated: if the first has taken the key although no answer came, the second finds it
  // with this lease.
  BERTH_ASSIGN_OR_RETURN(const pb::TxnResponse response, client_->RepeatTxn(txn));
  if (response.succeeded()) {
    create_revision_ = response.header().revision();
    return true;
  }
  const auto& found = response.responses(0).response_range().kvs();
  if (found.empty() || found[0].lease() != lease_) return false;
  create_revision_ = found[0].create_revision();
  return true;
}

pb::Compare Leadership::fence() const {
  pb::Compare compare;
  compare.set_target(pb::Compare::CREATE);
  compare.set_key(options_.key);
  compare.set_create_revision(create_revision_);
  return compare;
}

absl::Time Leadership::valid_until() const {
  absl::MutexLock lock(&mu_);
  return valid_until_;
}

absl::Status Leadership::Renew(absl::Time now) {
  const absl::StatusOr<absl::Duration> left = client_->KeepAlive(lease_, ttl_ / kRenewalsPerTtl);
  if (left.ok() && *left <= absl::ZeroDuration()) {
    return Error(Reason::kFenced,
                 "the lease of this controller in etcd has ended: it leads no more");
  }
  absl::MutexLock lock(&mu_);
  if (left.ok()) {
    valid_until_ = now + *left;
  } else if (options_.clock->Now() >= valid_until_) {
    return Error(
        Reason::kFenced,
        absl::StrCat("the lease of this controller in etcd could not be renewed in time, so"
                     " that another may lead: ",
                     left.status().message()));
  }
  return absl::OkStatus();
}

void Leadership::Run(absl::Time granted_at) {
  for (absl::Time renewed_at = granted_at;;) {
    {
      absl::MutexLock lock(&mu_);
      const absl::Time next = renewed_at + ttl_ / kRenewalsPerTtl;
      if (options_.clock->AwaitWithDeadline(&mu_, absl::Condition(&stopping_), next)) return;
    }
    renewed_at = options_.clock->Now();
    if (const absl::Status lost = Renew(renewed_at); !lost.ok()) {
      if (options_.on_lost) options_.on_lost(lost);
      return;
    }
  }
}

}  // namespace berth
