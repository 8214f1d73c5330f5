// SPDX-License-Identifier: Apache-2.0
#include "ctl/controller/book/check_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "berth/internal/v1/records.pb.h"
#include "ctl/controller/book/fleet.h"
#include "lib/base/status.h"
#include "lib/store/memory_store.h"

namespace berth {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// An assignment that has one device of "hosts/h".
Record Placed(const std::string& id, const std::string& uid, const std::string& device) {
  internal::v1::AssignmentRecord record;
  v1::Assignment& assignment = *record.mutable_assignment();
  assignment.set_name("assignments/" + id);
  assignment.set_uid(uid);
  assignment.set_intent(v1::Assignment::PLACED);
  assignment.set_generation(1);
  assignment.mutable_placement()->set_host("hosts/h");
  v1::UnitPlacement& unit = *assignment.mutable_placement()->add_units();
  unit.set_unit("smmu3.0");
  unit.set_profile(v1::Unit::TEGRA241_CMDQV);
  unit.add_devices()->set_device(device);
  return {{kAssignmentKind, id}, 1, record.SerializeAsString()};
}

class CheckStoreTest : public ::testing::Test {
 protected:
  StoreReport Check(const std::vector<Record>& records) {
    const StoreSnapshot snapshot{.epoch = {"some-uid", 2, 7}, .revision = 9, .records = records};
    EXPECT_TRUE(medium_.Write(snapshot, StoreMedium::IfExists::kReplace).ok());
    auto report = CheckStore(medium_, &clock_);
    EXPECT_TRUE(report.ok()) << report.status();
    return report.ok() ? *std::move(report) : StoreReport{};
  }

  FakeClock clock_{absl::FromUnixSeconds(1'700'000'000)};
  MemoryMedium medium_;
};

TEST_F(CheckStoreTest, ASoundStoreIsCounted) {
  internal::v1::HostRecord host;
  host.set_uid("host-uid");
  internal::v1::RequestRecord request;
  const StoreReport report = Check({Placed("a", "1", "d1"),
                                    Placed("b", "2", "d2"),
                                    {{kHostKind, "h"}, 1, host.SerializeAsString()},
                                    {{kRequestKind, "x/y/z"}, 1, request.SerializeAsString()}});
  EXPECT_EQ(report.epoch, (StoreEpoch{"some-uid", 2, 7}));
  EXPECT_EQ(report.revision, 9);
  EXPECT_EQ(report.assignments, 2U);
  EXPECT_EQ(report.hosts, 1U);
  EXPECT_EQ(report.requests, 1U);
  EXPECT_THAT(report.problems, IsEmpty());
}

TEST_F(CheckStoreTest, RecordsThatWouldBeLeftOutAreNamed) {
  Record renamed = Placed("a", "1", "d1");
  renamed.key.id = "b";
  const StoreReport report = Check({Placed("a", "1", "d1"),
                                    {{kAssignmentKind, "rotten"}, 1, "\xff\xff"},
                                    renamed,
                                    Placed("twin", "1", "d3"),
                                    {{kHostKind, "h"}, 1, "\xff\xff"},
                                    {{"surprise", "s"}, 1, ""}});
  EXPECT_EQ(report.assignments, 1U);
  EXPECT_EQ(report.hosts, 0U);
  EXPECT_THAT(
      report.problems,
      ElementsAre(HasSubstr("assignment b: it is the record of \"assignments/a\""),
                  HasSubstr("assignment rotten: the payload cannot be parsed"),
                  HasSubstr("assignment twin: a has the same uid, 1"),
                  HasSubstr("host h: the payload cannot be parsed"), HasSubstr("surprise s: ")));
}

TEST_F(CheckStoreTest, ARecordThatIsDamagedIsNamed) {
  Check({Placed("a", "1", "d1")});
  ASSERT_TRUE(medium_.Damage({kAssignmentKind, "a"}));
  const auto report = CheckStore(medium_, &clock_);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_THAT(report->problems, ElementsAre(HasSubstr("assignment a: ")));
}

// Whatever becomes of a stored byte, the rest is loaded.
TEST_F(CheckStoreTest, NoByteThatIsChangedIsFatal) {
  internal::v1::HostRecord host;
  host.set_uid("host-uid");
  host.set_host_uid("machine");
  host.mutable_inventory()->add_units()->set_id("smmu3.0");
  internal::v1::QuotaRecord quota;
  quota.mutable_quota()->set_name("quotas/alice");
  quota.mutable_quota()->set_max_vintfs(3);
  internal::v1::RequestRecord request;
  request.set_response("answer");
  request.mutable_create_time()->set_seconds(1'700'000'000);
  const std::vector<Record> sound = {Placed("a", "1", "d1"),
                                     {{kHostKind, "h"}, 1, host.SerializeAsString()},
                                     {{kQuotaKind, "alice"}, 1, quota.SerializeAsString()},
                                     {{kRequestKind, "alice/m/r"}, 1, request.SerializeAsString()}};
  ASSERT_THAT(Check(sound).problems, IsEmpty());
  const Record other = Placed("other", "2", "d2");
  for (size_t broken = 0; broken < sound.size(); ++broken) {
    for (size_t at = 0; at < sound[broken].payload.size(); ++at) {
      for (const int flip : {0x01, 0x08, 0x40, 0x80, 0xff}) {
        std::vector<Record> records = sound;
        records[broken].payload[at] = static_cast<char>(records[broken].payload[at] ^ flip);
        records.push_back(other);
        EXPECT_GE(Check(records).assignments, 1U) << records[broken].key.kind << " byte " << at;
      }
    }
  }
}

TEST_F(CheckStoreTest, ADeviceThatIsGrantedTwiceIsSaid) {
  const StoreReport report = Check({Placed("a", "1", "d1"), Placed("b", "2", "d1")});
  EXPECT_EQ(report.assignments, 2U);
  EXPECT_THAT(report.problems, ElementsAre(HasSubstr("d1")));
}

}  // namespace
}  // namespace berth
