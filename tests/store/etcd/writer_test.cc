// SPDX-License-Identifier: Apache-2.0
//
// What happens between the writer and etcd, step by step: a proxy in front of a real etcd loses
// requests and answers as each test says.
#include "lib/store/etcd/writer.h"

#include <gmock/gmock.h>
#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>

#include <deque>
#include <map>

#include "etcd/rpc.grpc.pb.h"
#include "lib/store/etcd/etcd_medium.h"
#include "lib/store/etcd/leadership.h"
#include "tests/store/store_suite.h"
#include "tests/testing/etcd_server.h"

namespace berth {
namespace {

namespace pb = etcdserverpb;
using ::berth::testing::EtcdServer;
using ::berth::testing::GetFromEtcd;
using ::berth::testing::PutInEtcd;
using ::testing::ElementsAre;
using ::testing::Pair;

EtcdServer& Server() {
  static EtcdServer server;
  return server;
}

const grpc::Status kNoAnswer(grpc::StatusCode::UNAVAILABLE, "the answer is lost");
const grpc::Status kFull(grpc::StatusCode::RESOURCE_EXHAUSTED,
                         "etcdserver: mvcc: database space exceeded");

// Those of etcd's services that are forwarded as they are.
class LeaseProxy final : public pb::Lease::Service {
 public:
  explicit LeaseProxy(const std::shared_ptr<grpc::Channel>& etcd)
      : etcd_(pb::Lease::NewStub(etcd)) {}
  grpc::Status LeaseGrant(grpc::ServerContext*, const pb::LeaseGrantRequest* request,
                          pb::LeaseGrantResponse* response) override {
    grpc::ClientContext context;
    return etcd_->LeaseGrant(&context, *request, response);
  }
  grpc::Status LeaseRevoke(grpc::ServerContext*, const pb::LeaseRevokeRequest* request,
                           pb::LeaseRevokeResponse* response) override {
    grpc::ClientContext context;
    return etcd_->LeaseRevoke(&context, *request, response);
  }

 private:
  const std::unique_ptr<pb::Lease::Stub> etcd_;
};

class MaintenanceProxy final : public pb::Maintenance::Service {
 public:
  explicit MaintenanceProxy(const std::shared_ptr<grpc::Channel>& etcd)
      : etcd_(pb::Maintenance::NewStub(etcd)) {}
  grpc::Status Status(grpc::ServerContext*, const pb::StatusRequest* request,
                      pb::StatusResponse* response) override {
    grpc::ClientContext context;
    return etcd_->Status(&context, *request, response);
  }

 private:
  const std::unique_ptr<pb::Maintenance::Stub> etcd_;
};

// etcd's KV service, in front of a real one. Calls come one after the other.
class Proxy final : public pb::KV::Service {
 public:
  using OnTxn = std::function<grpc::Status(const pb::TxnRequest&, pb::TxnResponse*)>;

  Proxy()
      : channel_(grpc::CreateChannel(Server().address(), grpc::InsecureChannelCredentials())),
        etcd_(pb::KV::NewStub(channel_)) {
    int port = 0;
    server_ = grpc::ServerBuilder()
                  .AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port)
                  .RegisterService(this)
                  .RegisterService(&leases_)
                  .RegisterService(&maintenance_)
                  .BuildAndStart();
    address_ = "127.0.0.1:" + std::to_string(port);
  }
  ~Proxy() override { server_->Shutdown(); }

  // What becomes of Txns that write, from now on, one function each; then they are forwarded.
  void Next(std::vector<OnTxn> script) {
    absl::MutexLock lock(&mu_);
    script_.assign(script.begin(), script.end());
  }
  std::vector<pb::TxnRequest> writes() const {
    absl::MutexLock lock(&mu_);
    return writes_;
  }
  // Whether one without compares has written.
  bool unguarded() const {
    absl::MutexLock lock(&mu_);
    return unguarded_;
  }
  grpc::Status Forward(const pb::TxnRequest& request, pb::TxnResponse* response) {
    grpc::ClientContext context;
    return etcd_->Txn(&context, request, response);
  }
  const std::string& address() const { return address_; }

  grpc::Status Range(grpc::ServerContext*, const pb::RangeRequest* request,
                     pb::RangeResponse* response) override {
    grpc::ClientContext context;
    return etcd_->Range(&context, *request, response);
  }
  grpc::Status Txn(grpc::ServerContext*, const pb::TxnRequest* request,
                   pb::TxnResponse* response) override {
    OnTxn on_txn;
    if (request->compare_size() > 0) {
      absl::MutexLock lock(&mu_);
      writes_.push_back(*request);
      if (!script_.empty()) {
        on_txn = script_.front();
        script_.pop_front();
      }
    } else {
      absl::MutexLock lock(&mu_);
      for (const pb::RequestOp& op : request->success()) unguarded_ |= !op.has_request_range();
    }
    return on_txn ? on_txn(*request, response) : Forward(*request, response);
  }

 private:
  const std::shared_ptr<grpc::Channel> channel_;
  const std::unique_ptr<pb::KV::Stub> etcd_;
  LeaseProxy leases_{channel_};
  MaintenanceProxy maintenance_{channel_};
  std::string address_;
  mutable absl::Mutex mu_;
  std::deque<OnTxn> script_ ABSL_GUARDED_BY(mu_);
  std::vector<pb::TxnRequest> writes_ ABSL_GUARDED_BY(mu_);
  bool unguarded_ ABSL_GUARDED_BY(mu_) = false;
  std::unique_ptr<grpc::Server> server_;
};

class EtcdWriterTest : public ::testing::Test {
 protected:
  EtcdWriterTest() {
    static int number = 0;
    prefix_ = "/writer-test/" + std::to_string(++number);
    layout_ = EtcdLayout(prefix_);
    leadership_ = Lead("first");
    writer_ = TakeOver(*leadership_, proxy_.address());
  }

  static internal::v1::EtcdLeader Holder(const std::string& description) {
    internal::v1::EtcdLeader holder;
    holder.set_description(description);
    return holder;
  }
  std::unique_ptr<Leadership> Lead(const std::string& holder) {
    auto leadership = Leadership::Acquire(direct_, {.key = layout_.LeaderKey(),
                                                    .holder = Holder(holder),
                                                    .ttl = absl::Minutes(10),
                                                    .clock = &Clock::Real()});
    EXPECT_TRUE(leadership.ok()) << leadership.status();
    return *std::move(leadership);
  }
  std::unique_ptr<EtcdWriter> TakeOver(const Leadership& leadership, const std::string& address) {
    EtcdClientOptions options = Server().ClientOptions();
    options.endpoints = {address};
    auto writer = EtcdWriter::TakeOver(*EtcdClient::Make(options), layout_, leadership.fence(),
                                       StoreOptions(), kAttempts);
    EXPECT_TRUE(writer.ok()) << writer.status();
    return *std::move(writer);
  }
  // Each its own outcome.
  static std::vector<absl::StatusOr<Revision>> Commit(EtcdWriter& writer,
                                                      std::vector<Transaction> transactions) {
    std::vector<CommitQueue::Item> items;
    for (Transaction& transaction : transactions) {
      items.push_back({std::move(transaction), nullptr, Revision{0}});
    }
    writer.Commit(absl::MakeSpan(items));
    std::vector<absl::StatusOr<Revision>> outcomes;
    for (CommitQueue::Item& item : items) outcomes.push_back(std::move(item.outcome));
    return outcomes;
  }
  absl::StatusOr<Revision> Commit(Transaction transaction) {
    return Commit(*writer_, {std::move(transaction)})[0];
  }
  // id -> payload, as it is in etcd.
  std::map<std::string, std::string> Stored() {
    std::map<std::string, std::string> all;
    const auto loaded = EtcdReader(direct_, layout_)
                            .Load([&](const Record& r) { all[r.key.id] = r.payload; },
                                  [](const auto& key, const auto&) { ADD_FAILURE() << key.id; });
    EXPECT_TRUE(loaded.ok()) << loaded.status();
    return all;
  }
  Proxy::OnTxn AnswerLost() {
    return [this](const pb::TxnRequest& request, pb::TxnResponse* response) {
      EXPECT_TRUE(proxy_.Forward(request, response).ok());
      return kNoAnswer;
    };
  }
  static Proxy::OnTxn RequestLost() {
    return [](const pb::TxnRequest&, pb::TxnResponse*) { return kNoAnswer; };
  }

  // A store as its maker reaches it, through the proxy.
  std::unique_ptr<StoreMedium> Outside() {
    EtcdStoreOptions options;
    options.etcd = Server().ClientOptions();
    options.etcd.endpoints = {proxy_.address()};
    options.prefix = prefix_;
    options.holder = Holder("an administrator");
    options.lease_ttl = absl::Minutes(10);
    options.clock = &Clock::Real();
    return EtcdMedium(options);
  }

  static StoreSnapshot Sample() {
    return {.epoch = {"uid", 0, 1}, .revision = 5, .records = {{Key("a"), 1, "1"}}};
  }

  static constexpr int kAttempts = 4;
  Proxy proxy_;
  const std::shared_ptr<EtcdClient> direct_ = Server().Client();
  std::string prefix_;
  EtcdLayout layout_{"/"};
  std::unique_ptr<Leadership> leadership_;
  std::unique_ptr<EtcdWriter> writer_;
};

TEST_F(EtcdWriterTest, ACommitWhoseAnswerIsLostIsFoundOut) {
  proxy_.Next({AnswerLost()});
  EXPECT_EQ(Commit(PutOne("a", "1")).value_or(-1), 1);
  EXPECT_EQ(proxy_.writes().size(), 3u) << "taking over, the commit, and finding out";
  EXPECT_EQ(Commit(PutOne("a", "2")).value_or(-1), 2);
  EXPECT_THAT(Stored(), ElementsAre(Pair("a", "2")));
}

TEST_F(EtcdWriterTest, ACommitThatNeverArrivedIsSentAgain) {
  proxy_.Next({RequestLost()});
  EXPECT_EQ(Commit(PutOne("a", "1")).value_or(-1), 1);
  EXPECT_THAT(Stored(), ElementsAre(Pair("a", "1")));
}

TEST_F(EtcdWriterTest, FindingOutMayItselfLoseItsAnswers) {
  proxy_.Next({AnswerLost(), AnswerLost(), RequestLost()});
  EXPECT_EQ(Commit(PutOne("a", "1")).value_or(-1), 1);
  proxy_.Next({RequestLost(), AnswerLost(), AnswerLost()});
  EXPECT_EQ(Commit(PutOne("b", "2")).value_or(-1), 2);
  EXPECT_THAT(Stored(), ElementsAre(Pair("a", "1"), Pair("b", "2")));
}

TEST_F(EtcdWriterTest, ACommitThatArrivesAfterItWasGivenUpDoesNothing) {
  pb::TxnRequest late;
  proxy_.Next({[&late](const pb::TxnRequest& request, pb::TxnResponse*) {
    late = request;
    return kNoAnswer;
  }});
  EXPECT_EQ(Commit(PutOne("a", "1")).value_or(-1), 1);
  EXPECT_EQ(Commit(DeleteOne("a")).value_or(-1), 2);
  pb::TxnResponse response;
  ASSERT_TRUE(proxy_.Forward(late, &response).ok());
  EXPECT_FALSE(response.succeeded());
  EXPECT_TRUE(Stored().empty());
  EXPECT_EQ(Commit(PutOne("b", "3")).value_or(-1), 3);
}

TEST_F(EtcdWriterTest, AnOutcomeThatCannotBeFoundOutIsUnknownAndTheLast) {
  proxy_.Next(std::vector<Proxy::OnTxn>(1 + kAttempts, RequestLost()));
  const absl::Status unknown = Commit(PutOne("a", "1")).status();
  EXPECT_EQ(ReasonOf(unknown), Reason::kStoreFailed) << unknown;
  EXPECT_EQ(MetadataOf(unknown)["outcome"], "unknown");
  // etcd answers again, and yet: what is assumed of it may be wrong.
  const absl::Status after = Commit(PutOne("b", "2")).status();
  EXPECT_EQ(ReasonOf(after), Reason::kStoreFailed) << after;
  EXPECT_EQ(MetadataOf(after)["outcome"], "not_committed");
  EXPECT_TRUE(Stored().empty());
}

TEST_F(EtcdWriterTest, AFullServerHasCommittedOrNotAndTheWriterKnows) {
  proxy_.Next({[this](const pb::TxnRequest& request, pb::TxnResponse* response) {
    EXPECT_TRUE(proxy_.Forward(request, response).ok());
    return kFull;
  }});
  EXPECT_EQ(Commit(PutOne("a", "1")).value_or(-1), 1);
  proxy_.Next({[](const pb::TxnRequest&, pb::TxnResponse*) { return kFull; }});
  const absl::Status refused = Commit(PutOne("b", "2")).status();
  EXPECT_EQ(ReasonOf(refused), Reason::kStoreFailed) << refused;
  EXPECT_EQ(MetadataOf(refused)["outcome"], "not_committed");
  EXPECT_EQ(Commit(DeleteOne("a")).value_or(-1), 2) << "it goes on";
}

TEST_F(EtcdWriterTest, ARefusalConcernsItsOwnCommit) {
  proxy_.Next({[](const pb::TxnRequest&, pb::TxnResponse*) {
    return grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, "etcdserver: request is too large");
  }});
  const absl::Status refused = Commit(PutOne("a", "1")).status();
  EXPECT_EQ(MetadataOf(refused)["outcome"], "not_committed") << refused;
  EXPECT_EQ(Commit(PutOne("a", "1")).value_or(-1), 1);
}

TEST_F(EtcdWriterTest, ALeaderThatIsReplacedWhileItsCommitIsLostIsFenced) {
  std::unique_ptr<Leadership> next;
  std::unique_ptr<EtcdWriter> writer;
  proxy_.Next({[&](const pb::TxnRequest&, pb::TxnResponse*) {
    EXPECT_TRUE(direct_->RevokeLease(leadership_->lease()).ok());
    next = Lead("next");
    writer = TakeOver(*next, Server().address());
    return kNoAnswer;
  }});
  const absl::Status fenced = Commit(PutOne("a", "1")).status();
  EXPECT_EQ(ReasonOf(fenced), Reason::kFenced) << fenced;
  EXPECT_EQ(MetadataOf(fenced)["holder"], "next");
  EXPECT_TRUE(Stored().empty());
  EXPECT_EQ(Commit(*writer, {PutOne("a", "2")})[0].value_or(-1), 1);
}

TEST_F(EtcdWriterTest, WhoCannotTellItsCommitFromTheNextLeadersSaysSo) {
  std::unique_ptr<Leadership> next;
  std::unique_ptr<EtcdWriter> writer;
  proxy_.Next({[&](const pb::TxnRequest&, pb::TxnResponse*) {
    EXPECT_TRUE(direct_->RevokeLease(leadership_->lease()).ok());
    next = Lead("next");
    writer = TakeOver(*next, Server().address());
    EXPECT_TRUE(Commit(*writer, {PutOne("b", "2")})[0].ok());
    return kNoAnswer;
  }});
  const absl::Status unknown = Commit(PutOne("a", "1")).status();
  EXPECT_EQ(ReasonOf(unknown), Reason::kStoreFailed) << unknown;
  EXPECT_EQ(MetadataOf(unknown)["outcome"], "unknown");
  EXPECT_THAT(Stored(), ElementsAre(Pair("b", "2")));
}

TEST_F(EtcdWriterTest, ABatchIsSentInAsFewTxnsAsTheLimitAllows) {
  std::vector<Transaction> batch;
  for (int i = 0; i < 200; ++i) batch.push_back(PutOne(std::to_string(i), "v"));
  const auto outcomes = Commit(*writer_, batch);
  for (int i = 0; i < 200; ++i) EXPECT_EQ(outcomes[static_cast<size_t>(i)].value_or(-1), i + 1);
  EXPECT_EQ(Stored().size(), 200u);
  const std::vector<pb::TxnRequest> writes = proxy_.writes();
  ASSERT_EQ(writes.size(), 3u) << "taking over, and two";
  for (const pb::TxnRequest& write : writes) {
    EXPECT_LE(write.success_size(), static_cast<int>(kEtcdMaxOperations));
    ASSERT_EQ(write.compare_size(), 2) << "the fence is part of every Txn";
    EXPECT_EQ(write.compare(0).DebugString(), leadership_->fence().DebugString());
  }
}

// Every Txn that writes, whatever part of the store sends it.
TEST_F(EtcdWriterTest, NothingIsWrittenWithoutTheFenceAndTheHead) {
  const pb::Compare fence = leadership_->fence();
  ASSERT_TRUE(Commit(PutOne("a", "1")).ok());
  ASSERT_TRUE(Commit(DeleteOne("a")).ok());
  ASSERT_TRUE(writer_->Compact(1).ok());
  // Finding out, sending again.
  proxy_.Next({RequestLost(), RequestLost(), AnswerLost()});
  ASSERT_TRUE(Commit(PutOne("a", "2")).ok());
  proxy_.Next({AnswerLost()});
  ASSERT_TRUE(writer_->Compact(2).ok());
  const std::vector<pb::TxnRequest> of_writer = proxy_.writes();
  EXPECT_GE(of_writer.size(), 8U);
  for (const pb::TxnRequest& write : of_writer) {
    ASSERT_EQ(write.compare_size(), 2) << write.DebugString();
    EXPECT_EQ(write.compare(0).DebugString(), fence.DebugString());
    EXPECT_EQ(write.compare(1).target(), pb::Compare::MOD);
    EXPECT_EQ(write.compare(1).key(), layout_.HeadKey());
  }

  // A whole store, by its maker.
  leadership_.reset();
  ASSERT_TRUE(Outside()->Write(Sample(), StoreMedium::IfExists::kReplace).ok());
  std::vector<pb::TxnRequest> made = proxy_.writes();
  made.erase(made.begin(), made.begin() + static_cast<std::ptrdiff_t>(of_writer.size()));
  ASSERT_EQ(made.size(), 4U) << "to lead, to clear, records, to finish";
  EXPECT_EQ(made[0].compare(0).key(), layout_.LeaderKey());
  for (size_t i = 1; i < made.size(); ++i) {
    ASSERT_EQ(made[i].compare_size(), 2) << made[i].DebugString();
    EXPECT_EQ(made[i].compare(0).DebugString(), made[1].compare(0).DebugString());
    EXPECT_EQ(made[i].compare(1).key(), layout_.HeadKey());
  }
  EXPECT_EQ(made[1].compare(0).target(), pb::Compare::CREATE);
  EXPECT_EQ(made[1].compare(0).key(), layout_.LeaderKey());
  EXPECT_GT(made[1].compare(0).create_revision(), fence.create_revision());
  EXPECT_FALSE(proxy_.unguarded()) << "a Txn without compares has written";
}

TEST_F(EtcdWriterTest, AStoreThatIsMadeStopsWhenAnotherLeads) {
  leadership_.reset();
  std::unique_ptr<Leadership> next;
  const auto replace = [&](const pb::TxnRequest& request, pb::TxnResponse* response) {
    EXPECT_TRUE(direct_->RevokeLease(GetFromEtcd(*direct_, layout_.LeaderKey()).lease()).ok());
    next = Lead("next");
    return proxy_.Forward(request, response);
  };
  const auto forward = [this](const pb::TxnRequest& request, pb::TxnResponse* response) {
    return proxy_.Forward(request, response);
  };
  // To lead, to clear; then the records.
  proxy_.Next({forward, forward, replace});
  const absl::Status stopped = Outside()->Write(Sample(), StoreMedium::IfExists::kReplace);
  EXPECT_EQ(ReasonOf(stopped), Reason::kFenced) << stopped;
  pb::RangeRequest range;
  range.set_key(layout_.KeyOf(Key("a")));
  EXPECT_TRUE(direct_->Range(range)->kvs().empty());
}

TEST_F(EtcdWriterTest, TheLargestTransactionIsTakenByEtcdAlsoWhenItTrimsTheLog) {
  for (int round = 0; round < 2; ++round) {
    Transaction largest;
    for (size_t i = 0; i < kMaxTransactionChanges; ++i) {
      largest.puts.push_back({Key(std::to_string(i)), std::string(6000, 'x')});
    }
    EXPECT_EQ(Commit(largest).value_or(-1), round + 1);
    ASSERT_TRUE(writer_->Compact(round).ok());
  }
  EXPECT_EQ(Stored().size(), kMaxTransactionChanges);
}

TEST_F(EtcdWriterTest, SeveralOfABatchMayChangeTheSameRecord) {
  Transaction third = DeleteOne("a");
  third.preconditions = {{Key("a"), 2}};
  Transaction fails = PutOne("b", "x");
  fails.preconditions = {{Key("a"), 2}};
  const auto outcomes =
      Commit(*writer_, {PutOne("a", "1"), PutOne("a", "2"), third, fails, PutOne("a", "4")});
  EXPECT_EQ(outcomes[2].value_or(-1), 3);
  EXPECT_EQ(ReasonOf(outcomes[3].status()), Reason::kEtagMismatch) << outcomes[3].status();
  EXPECT_EQ(outcomes[4].value_or(-1), 4);
  EXPECT_THAT(Stored(), ElementsAre(Pair("a", "4")));
  const auto log = EtcdReader(direct_, layout_).ReadChanges(0, 100);
  ASSERT_TRUE(log.ok()) << log.status();
  EXPECT_EQ(Spell(*log), "1:+a=1 2:+a=2 3:-a 4:+a=4");
}

TEST_F(EtcdWriterTest, AHeadThatSomebodySpoiltIsNotGuessed) {
  PutInEtcd(*direct_, layout_.HeadKey(), "graffiti");
  const absl::Status spoilt = Commit(PutOne("a", "1")).status();
  EXPECT_EQ(ReasonOf(spoilt), Reason::kStoreFailed) << spoilt;
  pb::RangeRequest range;
  range.set_key(layout_.KeyOf(Key("a")));
  EXPECT_TRUE(direct_->Range(range)->kvs().empty());
}

}  // namespace
}  // namespace berth
