// SPDX-License-Identifier: Apache-2.0
#include "lib/store/etcd/etcd_store.h"

#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "lib/base/status.h"
#include "lib/store/commit_queue.h"
#include "lib/store/etcd/layout.h"
#include "lib/store/etcd/leadership.h"
#include "lib/store/etcd/reader.h"
#include "lib/store/etcd/writer.h"

namespace berth {
namespace {

constexpr int kOldestMajor = 3;
constexpr int kOldestMinor = 4;

// What would otherwise show as a strange error of the first commit.
absl::Status CheckServer(EtcdClient& client) {
  BERTH_ASSIGN_OR_RETURN(const etcdserverpb::StatusResponse status, client.Status());
  const std::vector<std::string> parts = absl::StrSplit(status.version(), '.');
  int major = 0;
  int minor = 0;
  const bool numbers =
      parts.size() >= 2 && absl::SimpleAtoi(parts[0], &major) && absl::SimpleAtoi(parts[1], &minor);
  if (!numbers || std::pair(major, minor) < std::pair(kOldestMajor, kOldestMinor)) {
    return Error(Reason::kVersionSkew,
                 absl::StrCat("etcd is of version \"", status.version(), "\"; Berth needs ",
                              kOldestMajor, ".", kOldestMinor, " or later"),
                 {{"version", status.version()}});
  }
  if (!status.errors().empty()) {
    const std::string alarms = absl::StrJoin(status.errors(), ", ");
    return Error(Reason::kStoreFailed, absl::StrCat("etcd has raised an alarm: ", alarms),
                 {{"outcome", "not_committed"}});
  }
  return absl::OkStatus();
}

class EtcdStore : public Store {
 public:
  EtcdStore(std::unique_ptr<Leadership> leadership, std::unique_ptr<EtcdWriter> writer,
            EtcdReader reader, const StoreOptions& options)
      : leadership_(std::move(leadership)),
        writer_(std::move(writer)),
        reader_(std::move(reader)),
        queue_(options, [this](absl::Span<CommitQueue::Item> batch) { writer_->Commit(batch); }) {}

  StoreEpoch epoch() const override { return writer_->epoch(); }
  Revision CurrentRevision() const override { return writer_->revision(); }
  absl::Status Commit(Transaction transaction, CommitCallback done) override {
    BERTH_RETURN_IF_ERROR(writer_->CheckSize(transaction));
    return queue_.Add(std::move(transaction), std::move(done));
  }
  absl::StatusOr<Revision> Load(const OnRecord& on_record, const OnBroken& on_broken) override {
    return reader_.Load(on_record, on_broken);
  }
  absl::StatusOr<Record> Get(const RecordKey& key) override { return reader_.Get(key); }
  absl::StatusOr<ChangeLog> ReadChanges(Revision after, size_t limit) override {
    return reader_.ReadChanges(after, limit);
  }
  absl::Status Compact(Revision up_to) override { return writer_->Compact(up_to); }

 private:
  // In this order: the queue commits its rest first, the leadership goes last.
  const std::unique_ptr<Leadership> leadership_;
  const std::unique_ptr<EtcdWriter> writer_;
  const EtcdReader reader_;
  CommitQueue queue_;
};

}  // namespace

absl::StatusOr<std::shared_ptr<EtcdClient>> DialEtcd(const EtcdStoreOptions& options) {
  BERTH_RETURN_IF_ERROR(ValidateEtcdPrefix(options.prefix));
  BERTH_ASSIGN_OR_RETURN(std::shared_ptr<EtcdClient> client, EtcdClient::Make(options.etcd));
  BERTH_RETURN_IF_ERROR(CheckServer(*client));
  return client;
}

absl::StatusOr<std::unique_ptr<Store>> OpenEtcdStore(const EtcdStoreOptions& options) {
  BERTH_ASSIGN_OR_RETURN(std::shared_ptr<EtcdClient> client, DialEtcd(options));
  const EtcdLayout layout(options.prefix);
  BERTH_ASSIGN_OR_RETURN(std::unique_ptr<Leadership> leadership,
                         Leadership::Acquire(client, {.key = layout.LeaderKey(),
                                                      .holder = options.holder,
                                                      .ttl = options.lease_ttl,
                                                      .wait = options.acquire_timeout,
                                                      .keep_waiting = options.keep_waiting,
                                                      .clock = options.clock,
                                                      .on_lost = options.on_lost}));
  BERTH_ASSIGN_OR_RETURN(
      std::unique_ptr<EtcdWriter> writer,
      EtcdWriter::TakeOver(client, layout, leadership->fence(), options, options.etcd.attempts));
  return std::make_unique<EtcdStore>(std::move(leadership), std::move(writer),
                                     EtcdReader(client, layout), options);
}

}  // namespace berth
