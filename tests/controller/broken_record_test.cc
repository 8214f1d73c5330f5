// SPDX-License-Identifier: Apache-2.0
//
// Records that cannot be read, of every kind and on every store: the controller leaves them out,
// names them, lets nothing take their place quietly, and serves the rest.
#include <functional>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "berth/internal/v1/records.pb.h"
#include "berth/v1/quota_service.pb.h"
#include "ctl/controller/book/fleet.h"
#include "lib/store/etcd/etcd_medium.h"
#include "lib/store/memory_store.h"
#include "lib/store/sqlite_medium.h"
#include "tests/controller/controller_fixture.h"
#include "tests/testing/etcd_server.h"

namespace berth::controller_test {
namespace {

using ::testing::HasSubstr;
using v1::Assignment;

enum class Where { kMemory, kSqlite, kEtcd };

class BrokenRecordTest : public ControllerTest, public ::testing::WithParamInterface<Where> {
 protected:
  BrokenRecordTest() : ControllerTest(Kind::kSqlite) {}

  void SetUp() override {
    switch (GetParam()) {
      case Where::kMemory: {
        const auto memory = std::make_shared<MemoryMedium>();
        open_store = [memory] { return OpenMemoryStore(memory); };
        medium_ = memory;
        break;
      }
      case Where::kSqlite:
        medium_ = SqliteMedium(config.store().sqlite().path());
        break;
      case Where::kEtcd:
        UseEtcd();
        break;
    }
    Start();
  }

  // Changes stored payloads, while no controller runs.
  void Edit(const std::function<void(Record*)>& edit) {
    Stop();
    auto snapshot = medium_->Read([](const RecordKey& key, const absl::Status& why) {
      ADD_FAILURE() << key.id << ": " << why;
    });
    ASSERT_THAT(snapshot, IsOk());
    for (Record& record : snapshot->records) edit(&record);
    ASSERT_THAT(medium_->Write(*snapshot, StoreMedium::IfExists::kReplace), IsOk());
    Start();
  }
  absl::StatusOr<v1::Host> Uncordon() {
    v1::UncordonHostRequest request;
    request.set_name("hosts/h1");
    return client().Call<v1::Host>("HostService/UncordonHost", request);
  }

 private:
  void UseEtcd() {
    static const testing::EtcdServer server;
    static int number = 0;
    const std::string prefix = absl::StrCat("/broken-record-test/", ++number);
    auto* etcd = config.mutable_store()->mutable_etcd();
    etcd->add_endpoints(server.address());
    etcd->set_prefix(prefix);
    // The clock of the test stands still: nothing is renewed.
    etcd->mutable_lease_ttl()->set_seconds(600);
    EtcdStoreOptions options;
    options.etcd = server.ClientOptions();
    options.prefix = prefix;
    options.lease_ttl = absl::Minutes(10);
    options.clock = &clock;
    medium_ = EtcdMedium(options);
  }

  std::shared_ptr<StoreMedium> medium_;
};

TEST_P(BrokenRecordTest, OfEveryKindIsLeftOutAndNamedAndTheRestIsServed) {
  auto agent = AddHost({.inventory = MakeInventory({.devices_per_unit = 4})});
  auto remembered = CreateOf("good");
  remembered.set_request_id("used");
  const auto good = client().Create(remembered);
  ASSERT_THAT(good, IsOk());
  ASSERT_THAT(client().Create(CreateOf("bad")), IsOk());
  v1::UpdateQuotaRequest limit;
  limit.mutable_quota()->set_name("quotas/" + good->owner());
  limit.mutable_quota()->set_max_vintfs(100);
  ASSERT_THAT(client().Call<v1::Quota>("QuotaService/UpdateQuota", limit), IsOk());
  agent.reset();
  ASSERT_NO_FATAL_FAILURE(Edit([](Record* record) {
    if (record->key.id != "good") record->payload = "\xff\xff";
  }));

  EXPECT_EQ(client().Get("assignments/good")->uid(), good->uid());
  EXPECT_THAT(client().Get("assignments/bad"), FailsWith(Reason::kStoreCorrupt));
  EXPECT_THAT(client().Create(CreateOf("bad")), FailsWith(Reason::kStoreCorrupt));
  EXPECT_THAT(client().Create(remembered), FailsWith(Reason::kRequestIdReused));
  const auto lost = client().GetHost("hosts/h1");
  ASSERT_THAT(lost, IsOk());
  ASSERT_EQ(lost->conditions_size(), 1);
  EXPECT_EQ(lost->conditions(0).type(), "RecordReadable");
  EXPECT_EQ(lost->conditions(0).reason(), "STORE_CORRUPT");

  agent = AddHost({.incarnation = 2, .inventory = MakeInventory({.devices_per_unit = 4})});
  ASSERT_EQ(agent->welcome().desired_size(), 1);
  EXPECT_EQ(agent->welcome().desired(0).assignment_uid(), good->uid());
  EXPECT_TRUE(client().GetHost("hosts/h1")->cordoned()) << "perhaps it was";
  ASSERT_THAT(Uncordon(), IsOk());
  EXPECT_THAT(client().Create(CreateOf("new")), FailsWith(Reason::kQuotaExceeded));
  v1::DeleteQuotaRequest no_limit;
  no_limit.set_name("quotas/" + good->owner());
  ASSERT_THAT(client().Call<v1::Quota>("QuotaService/DeleteQuota", no_limit), IsOk());
  EXPECT_THAT(client().Create(CreateOf("new")), IsOk());
  ASSERT_THAT(client().Delete("assignments/bad"), IsOk());
  EXPECT_THAT(client().Get("assignments/bad"), FailsWith(Reason::kNotFound));
  EXPECT_THAT(client().Create(CreateOf("bad")), IsOk());

  agent.reset();
  Stop();
  for (const char* kind : {"assignment", "host", "quota", "request"}) {
    EXPECT_THAT(LogText(), HasSubstr(absl::StrCat("record left out kind=", kind, " id=")));
  }
}

TEST_P(BrokenRecordTest, AnAssignmentThatMakesNoSenseIsLeftOutAndCanBeDeleted) {
  auto agent = AddHost({.inventory = MakeInventory({.devices_per_unit = 4})});
  for (const char* id : {"good", "nameless", "strange", "nowhere"}) {
    ASSERT_THAT(client().Create(CreateOf(id)), IsOk());
  }
  agent.reset();
  ASSERT_NO_FATAL_FAILURE(Edit([](Record* record) {
    internal::v1::AssignmentRecord parsed;
    if (record->key.kind != kAssignmentKind || !parsed.ParseFromString(record->payload)) return;
    Assignment* assignment = parsed.mutable_assignment();
    if (record->key.id == "nameless") assignment->clear_uid();
    if (record->key.id == "strange") assignment->set_intent(static_cast<Assignment::Intent>(77));
    if (record->key.id == "nowhere") assignment->clear_placement();
    record->payload = parsed.SerializeAsString();
  }));
  agent = AddHost({.incarnation = 2, .inventory = MakeInventory({.devices_per_unit = 4})});
  EXPECT_THAT(client().Get("assignments/good"), IsOk());
  for (const char* name : {"assignments/nameless", "assignments/strange", "assignments/nowhere"}) {
    EXPECT_THAT(client().Get(name), FailsWith(Reason::kStoreCorrupt));
    EXPECT_THAT(client().Delete(name), IsOk());
    EXPECT_THAT(client().Get(name), FailsWith(Reason::kNotFound));
  }
  EXPECT_THAT(client().Create(CreateOf("three", 3)), IsOk()) << "the devices are free";
}

std::string NameOf(const ::testing::TestParamInfo<Where>& tested) {
  switch (tested.param) {
    case Where::kMemory:
      return "Memory";
    case Where::kSqlite:
      return "Sqlite";
    case Where::kEtcd:
      break;
  }
  return "Etcd";
}
INSTANTIATE_TEST_SUITE_P(Stores, BrokenRecordTest,
                         ::testing::Values(Where::kMemory, Where::kSqlite, Where::kEtcd), NameOf);

}  // namespace
}  // namespace berth::controller_test
