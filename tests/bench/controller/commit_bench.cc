// SPDX-License-Identifier: Apache-2.0
#include "tests/bench/controller/commit_bench.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <iostream>
#include <memory>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/synchronization/blocking_counter.h"
#include "absl/synchronization/mutex.h"
#include "lib/base/clock.h"
#include "lib/base/status.h"
#include "lib/store/etcd/client.h"
#include "lib/store/etcd/etcd_store.h"
#include "lib/store/sqlite_store.h"
#include "tests/bench/report.h"

namespace berth::bench {
namespace {

using SteadyClock = std::chrono::steady_clock;

// A Create stores the assignment and, for its request_id, the answer: about so much for one GPU.
constexpr size_t kAssignmentBytes = 350;
constexpr size_t kRequestBytes = 450;
constexpr char kRequestKind[] = "request";

double SecondsSince(SteadyClock::time_point start) {
  return std::chrono::duration<double>(SteadyClock::now() - start).count();
}

Transaction Create(int64_t term, int number) {
  const RecordKey assignment{"assignment", absl::StrFormat("bench-%07d", number)};
  const RecordKey request{kRequestKind, absl::StrFormat("bench!%036d", number)};
  return {.fence_term = term,
          .preconditions = {{.key = assignment, .revision = Precondition::kAbsent}},
          .puts = {{.key = assignment, .payload = std::string(kAssignmentBytes, 'a')},
                   {.key = request, .payload = std::string(kRequestBytes, 'r')}},
          .deletes = {}};
}

absl::StatusOr<std::unique_ptr<Store>> Open(const CommitBenchOptions& options,
                                            const StoreOptions& common) {
  if (!options.folder.empty()) {
    SqliteStoreOptions sqlite;
    static_cast<StoreOptions&>(sqlite) = common;
    return OpenSqliteStore(options.folder + "/commit_bench.db", sqlite);
  }
  EtcdStoreOptions etcd;
  static_cast<StoreOptions&>(etcd) = common;
  etcd.etcd.endpoints = options.etcd;
  etcd.prefix = "/commit-bench";
  etcd.clock = &Clock::Real();
  return OpenEtcdStore(etcd);
}

// So many transactions, of which some wait at any time: each callback hands the next one over.
class Commits {
 public:
  Commits(Store* store, int transactions)
      : store_(store), term_(store->epoch().term), transactions_(transactions) {}

  absl::Status Run(int waiting) {
    absl::BlockingCounter running(waiting);
    for (int i = 0; i < waiting; ++i) Next(&running);
    running.Wait();
    absl::MutexLock lock(&mu_);
    return error_;
  }
  [[nodiscard]] std::vector<double> latencies_us() const {
    absl::MutexLock lock(&mu_);
    return latencies_us_;
  }

 private:
  void Next(absl::BlockingCounter* running) {
    const int number = next_++;
    if (number >= transactions_) {
      running->DecrementCount();
      return;
    }
    const auto start = SteadyClock::now();
    const absl::Status accepted = store_->Commit(
        Create(term_, number), [this, running, start](const absl::StatusOr<Revision>& at) {
          Note(at.status(), 1e6 * SecondsSince(start));
          Next(running);
        });
    if (accepted.ok()) return;
    Note(accepted, 0);
    running->DecrementCount();
  }
  void Note(const absl::Status& status, double us) {
    absl::MutexLock lock(&mu_);
    error_.Update(status);
    if (!status.ok()) next_ = transactions_;
    latencies_us_.push_back(us);
  }

  Store* const store_;
  const int64_t term_;
  const int transactions_;
  std::atomic<int> next_{0};
  mutable absl::Mutex mu_;
  absl::Status error_ ABSL_GUARDED_BY(mu_);
  std::vector<double> latencies_us_ ABSL_GUARDED_BY(mu_);
};

// What etcd does for as many callers with a Txn for each Create, without leadership, group commit
// or log: the same keys and values, through the same client.
absl::StatusOr<double> BareTxnRate(const CommitBenchOptions& options) {
  constexpr int kClients = 8;
  std::vector<std::shared_ptr<EtcdClient>> clients;
  for (int i = 0; i < kClients; ++i) {
    BERTH_ASSIGN_OR_RETURN(clients.emplace_back(), EtcdClient::Make({.endpoints = options.etcd}));
  }
  std::atomic<int> next{0};
  const int count = options.transactions / 4;
  absl::Mutex mu;
  absl::Status error;
  std::vector<std::thread> callers;
  const auto start = SteadyClock::now();
  for (int i = 0; i < options.waiting; ++i) {
    callers.emplace_back([&, client = clients[static_cast<size_t>(i) % kClients]] {
      for (int number = next++; number < count; number = next++) {
        etcdserverpb::TxnRequest txn;
        for (const Put& put : Create(0, number).puts) {
          auto* const request = txn.add_success()->mutable_request_put();
          request->set_key(absl::StrCat("/bare-txn/", put.key.kind, "!", put.key.id));
          request->set_value(put.payload);
        }
        const absl::Status status = client->Txn(txn).status();
        absl::MutexLock lock(&mu);
        error.Update(status);
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  if (!error.ok()) return error;
  return count / SecondsSince(start);
}

}  // namespace

absl::Status BenchCommit(const CommitBenchOptions& options) {
  const bool etcd = options.folder.empty();
  std::cerr << "commit_rate: " << (etcd ? "etcd" : "sqlite") << "\n";
  std::atomic<int64_t> commits{0};
  StoreOptions common;
  common.unlogged_kinds = {kRequestKind};
  common.on_commit = [&commits](const CommitStats&) { ++commits; };
  Conditions conditions = {
      {"store", JsonText(etcd ? "etcd" : "sqlite")},
      {"waiting", absl::StrCat(options.waiting)},
      {"records_per_transaction", "2"},
      {"bytes_per_transaction", absl::StrCat(kAssignmentBytes + kRequestBytes)}};
  if (etcd) {
    BERTH_ASSIGN_OR_RETURN(const double bare, BareTxnRate(options));
    conditions.emplace_back("etcd_members", absl::StrCat(options.etcd.size()));
    conditions.emplace_back("bare_txn_rate", JsonNumber(bare));
  }
  BERTH_ASSIGN_OR_RETURN(const std::unique_ptr<Store> store, Open(options, common));
  Commits load(store.get(), options.transactions);
  const auto start = SteadyClock::now();
  BERTH_RETURN_IF_ERROR(load.Run(options.waiting));
  const double rate = options.transactions / SecondsSince(start);
  conditions.emplace_back("transactions_per_commit",
                          JsonNumber(options.transactions / static_cast<double>(commits)));
  PrintRate("commit_rate", rate, QuantilesOf(load.latencies_us()), conditions);
  return absl::OkStatus();
}

}  // namespace berth::bench
