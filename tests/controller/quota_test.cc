// SPDX-License-Identifier: Apache-2.0
//
// Quotas: what operators say, and what it keeps owners from.
#include <string>

#include "absl/strings/str_cat.h"
#include "berth/v1/quota_service.pb.h"
#include "tests/controller/controller_fixture.h"

namespace berth::controller_test {
namespace {

using testing::HasSubstr;
using v1::Assignment;

class QuotaTest : public ControllerTest {
 protected:
  // The quota of whoever calls here.
  v1::Quota Mine() {
    const auto probe = client().Create([] {
      auto request = CreateOf("probe");
      request.mutable_assignment()->mutable_spec()->set_when_unavailable(v1::AssignmentSpec::QUEUE);
      return request;
    }());
    EXPECT_THAT(probe, IsOk());
    EXPECT_THAT(client().Delete("assignments/probe"), IsOk());
    client().AwaitGone("assignments/probe");
    v1::Quota quota;
    quota.set_name("quotas/" + probe->owner());
    return quota;
  }
  absl::StatusOr<v1::Quota> Update(const v1::Quota& quota, const std::string& request_id = "") {
    v1::UpdateQuotaRequest request;
    *request.mutable_quota() = quota;
    request.set_request_id(request_id);
    return client().Call<v1::Quota>("QuotaService/UpdateQuota", request);
  }
  absl::StatusOr<v1::Quota> Get(const std::string& name) {
    v1::GetQuotaRequest request;
    request.set_name(name);
    return client().Call<v1::Quota>("QuotaService/GetQuota", request);
  }
  absl::StatusOr<v1::Quota> Remove(const std::string& name, const std::string& etag = "") {
    v1::DeleteQuotaRequest request;
    request.set_name(name);
    request.set_etag(etag);
    return client().Call<v1::Quota>("QuotaService/DeleteQuota", request);
  }
  std::unique_ptr<FakeAgent> Host(const std::string& id, int devices,
                                  const std::string& device_class = "gpu") {
    return AddHost({.host_id = id,
                    .host_uid = "uid-of-" + id,
                    .inventory = MakeInventory(
                        {.devices_per_unit = devices, .vintfs = 8, .device_class = device_class})});
  }
};

TEST_F(QuotaTest, AnOwnerHoldsNoMoreDevicesOfAClassThanItMay) {
  v1::Quota quota = Mine();
  const auto gpus = Host("h1", 8);
  const auto nics = Host("h2", 8, "nic");
  (*quota.mutable_max_devices())["gpu"] = 3;
  ASSERT_THAT(Update(quota), IsOk());
  ASSERT_THAT(client().Create(CreateOf("a", 2)), IsOk());
  const auto refused = client().Create(CreateOf("b", 2));
  ASSERT_THAT(refused, FailsWith(Reason::kQuotaExceeded));
  EXPECT_EQ(MetadataOf(refused.status()).at("limit"), "devices/gpu");
  EXPECT_EQ(MetadataOf(refused.status()).at("used"), "2");
  EXPECT_EQ(MetadataOf(refused.status()).at("max"), "3");
  EXPECT_THAT(client().Create(CreateOf("c", 1)), IsOk());
  EXPECT_THAT(client().Create(CreateOf("d", 8, "nic")), IsOk()) << "a class without a limit";
  const auto shown = Get(quota.name());
  ASSERT_THAT(shown, IsOk());
  EXPECT_EQ(shown->used_vintfs(), 3);
  EXPECT_EQ(shown->used_devices().at("gpu"), 3);
  EXPECT_EQ(shown->used_devices().at("nic"), 8);
  ASSERT_THAT(client().Delete("assignments/a"), IsOk());
  client().AwaitGone("assignments/a");
  EXPECT_THAT(client().Create(CreateOf("b", 2)), IsOk()) << "what is given back may be taken";
}

TEST_F(QuotaTest, AnOwnerHoldsNoMoreVintfsThanItMay) {
  v1::Quota quota = Mine();
  const auto agent = Host("h1", 8);
  quota.set_max_vintfs(2);
  ASSERT_THAT(Update(quota), IsOk());
  ASSERT_THAT(client().Create(CreateOf("a")), IsOk());
  v1::BatchCreateAssignmentsRequest gang;
  *gang.add_requests() = CreateOf("b");
  *gang.add_requests() = CreateOf("c");
  const auto refused = client().Call<v1::BatchCreateAssignmentsResponse>(
      "AssignmentService/BatchCreateAssignments", gang);
  ASSERT_THAT(refused, FailsWith(Reason::kQuotaExceeded)) << "each alone would do";
  EXPECT_THAT(std::string(refused.status().message()), HasSubstr("requests[1]"));
  EXPECT_EQ(client().GetHost("hosts/h1")->free_device_count(), 7);
  EXPECT_THAT(client().Create(CreateOf("b")), IsOk());
  quota.set_max_vintfs(0);
  ASSERT_THAT(Update(quota), IsOk());
  EXPECT_THAT(client().Get("assignments/a"), IsOk()) << "what is held stays";
  EXPECT_THAT(client().Create(CreateOf("d")), FailsWith(Reason::kQuotaExceeded));
}

TEST_F(QuotaTest, WhatIsQueuedWaitsForTheQuotaToo) {
  v1::Quota quota = Mine();
  const auto agent = Host("h1", 8);
  quota.set_max_vintfs(1);
  ASSERT_THAT(Update(quota), IsOk());
  ASSERT_THAT(client().Create(CreateOf("a")), IsOk());
  auto request = CreateOf("b");
  request.mutable_assignment()->mutable_spec()->set_when_unavailable(v1::AssignmentSpec::QUEUE);
  const auto waiting = client().Create(request);
  ASSERT_THAT(waiting, IsOk());
  EXPECT_EQ(waiting->intent(), Assignment::PENDING);
  EXPECT_EQ(waiting->failure().reason(), "QUOTA_EXCEEDED");
  EXPECT_FALSE(waiting->has_placement());
  quota.set_max_vintfs(2);
  ASSERT_THAT(Update(quota), IsOk());
  client().AwaitObserved("assignments/b", Assignment::PREPARED);
}

TEST_F(QuotaTest, AreStoredAndCountedAfterARestart) {
  ControllerTest::Stop();
  config.mutable_store()->mutable_sqlite()->set_path(folder + "/book.db");
  Start();
  v1::Quota quota = Mine();
  auto agent = Host("h1", 8);
  (*quota.mutable_max_devices())["gpu"] = 2;
  ASSERT_THAT(Update(quota), IsOk());
  v1::Quota odd;
  odd.set_name("quotas/spiffe://cluster/ns/team a");
  odd.set_max_vintfs(1);
  ASSERT_THAT(Update(odd), IsOk());
  ASSERT_THAT(client().Create(CreateOf("a", 2)), IsOk());
  agent.reset();
  Restart();
  agent = Host("h1", 8);
  EXPECT_THAT(client().Create(CreateOf("b")), FailsWith(Reason::kQuotaExceeded));
  EXPECT_EQ(Get(odd.name())->max_vintfs(), 1);
  const auto list =
      client().Call<v1::ListQuotasResponse>("QuotaService/ListQuotas", v1::ListQuotasRequest());
  ASSERT_THAT(list, IsOk());
  EXPECT_EQ(list->quotas_size(), 2);
  v1::ListQuotasRequest one;
  one.set_page_size(1);
  const auto page = client().Call<v1::ListQuotasResponse>("QuotaService/ListQuotas", one);
  ASSERT_THAT(page, IsOk());
  ASSERT_EQ(page->quotas_size(), 1);
  one.set_page_token(page->next_page_token());
  EXPECT_EQ(client().Call<v1::ListQuotasResponse>("QuotaService/ListQuotas", one)->quotas(0).name(),
            list->quotas(1).name());
}

TEST_F(QuotaTest, ChangesAreGuardedByEtagAndRequestId) {
  v1::Quota quota;
  quota.set_name("quotas/alice");
  EXPECT_THAT(Get(quota.name()), FailsWith(Reason::kNotFound));
  EXPECT_THAT(Remove(quota.name()), FailsWith(Reason::kNotFound));
  quota.set_etag("r1");
  EXPECT_THAT(Update(quota), FailsWith(Reason::kEtagMismatch));
  quota.clear_etag();
  const auto first = Update(quota, "once");
  ASSERT_THAT(first, IsOk());
  EXPECT_EQ(Update(quota, "once")->etag(), first->etag());
  quota.set_max_vintfs(7);
  EXPECT_THAT(Update(quota, "once"), FailsWith(Reason::kRequestIdReused));
  quota.set_etag(first->etag());
  const auto second = Update(quota);
  ASSERT_THAT(second, IsOk());
  EXPECT_THAT(Update(quota), FailsWith(Reason::kEtagMismatch));
  EXPECT_EQ(Get(quota.name())->etag(), second->etag());
  EXPECT_THAT(Remove(quota.name(), first->etag()), FailsWith(Reason::kEtagMismatch));
  EXPECT_THAT(Remove(quota.name(), second->etag()), IsOk());
  EXPECT_THAT(Get(quota.name()), FailsWith(Reason::kNotFound));
}

TEST_F(QuotaTest, WhatIsNoQuotaIsRefused) {
  v1::Quota quota;
  for (const char* name : {"", "alice", "quotas/", "quota/alice"}) {
    quota.set_name(name);
    EXPECT_THAT(Update(quota), FailsWith(Reason::kInvalidField)) << name;
  }
  quota.set_name("quotas/" + std::string(257, 'x'));
  EXPECT_THAT(Update(quota), FailsWith(Reason::kInvalidField));
  quota.set_name("quotas/alice");
  quota.set_max_vintfs(-1);
  EXPECT_THAT(Update(quota), FailsWith(Reason::kInvalidField));
  quota.set_max_vintfs(1);
  (*quota.mutable_max_devices())["gpu"] = -1;
  EXPECT_THAT(Update(quota), FailsWith(Reason::kInvalidField));
  (*quota.mutable_max_devices())["gpu"] = 1;
  (*quota.mutable_max_devices())[""] = 1;
  EXPECT_THAT(Update(quota), FailsWith(Reason::kInvalidField));
}

}  // namespace
}  // namespace berth::controller_test
