// SPDX-License-Identifier: Apache-2.0
#include "ctl/controller/book/convert.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "lib/base/status.h"
#include "lib/placement/engine.h"

namespace berth {
namespace {

internal::v1::HostRecord Record() {
  internal::v1::HostRecord record;
  agent::v1::Inventory* inventory = record.mutable_inventory();
  inventory->set_attach_endpoint("/run/vmm.sock");
  for (const char* id : {"unit0", "unit1"}) {
    v1::Unit* unit = inventory->add_units();
    unit->set_id(id);
    unit->set_profile(v1::Unit::TEGRA241_CMDQV);
    unit->set_vintf_source(v1::Unit::OBSERVED);
    unit->set_vintfs(63);
    unit->set_vcmdqs_per_vintf(2);
    unit->set_sids_per_vintf(16);
    unit->set_max_queue_log2(19);
    for (const char* part : {"a", "b"}) {
      v1::Device* device = inventory->add_devices();
      device->set_id(std::string(id) + part);
      device->set_address(std::string("0000:01:00.") + part);
      device->set_class_("gpu");
      device->set_unit(id);
      // Both functions behind a unit travel together.
      device->set_iommu_group(unit->id() == "unit0" ? 1 : 2);
      device->set_numa_node(1);
      device->set_vendor_id(0x10de);
      device->set_assignable(true);
      (*device->mutable_attributes())["memory_mib"].set_int_value(98304);
      (*device->mutable_attributes())["mig"].set_bool_value(true);
      (*device->mutable_attributes())["model"].set_string_value("H100");
    }
  }
  v1::HugePages* pages = inventory->add_huge_pages();
  pages->set_page_size_bytes(1 << 21);
  pages->set_total(10);
  pages->set_free(7);
  (*inventory->mutable_labels())["rack"] = "from-agent";
  (*inventory->mutable_labels())["row"] = "4";
  (*record.mutable_labels())["rack"] = "from-operator";
  v1::Taint* taint = record.add_taints();
  taint->set_key("fan");
  taint->set_effect(v1::Taint::EVICT);
  return record;
}

TEST(ToSnapshotTest, CarriesEverythingThatPlacementLooksAt) {
  const placement::HostSnapshot snapshot = ToSnapshot("h1", Record());
  EXPECT_TRUE(placement::ValidateSnapshot(snapshot).ok());
  EXPECT_EQ(snapshot.id.str(), "h1");
  EXPECT_EQ(snapshot.labels.at("rack"), "from-operator");
  EXPECT_EQ(snapshot.labels.at("row"), "4");
  ASSERT_EQ(snapshot.taints.size(), 1U);
  EXPECT_EQ(snapshot.taints[0].effect, placement::TaintEffect::kEvict);
  ASSERT_EQ(snapshot.units.size(), 2U);
  EXPECT_EQ(snapshot.units[0].capacity, (UnitCapacity{.profile = UnitProfile::kTegra241Cmdqv,
                                                      .source = VintfSource::kObserved,
                                                      .vintfs = 63,
                                                      .vcmdqs_per_vintf = 2,
                                                      .sids_per_vintf = 16,
                                                      .max_queue_log2 = 19}));
  ASSERT_EQ(snapshot.devices.size(), 4U);
  const placement::DeviceSnapshot& device = snapshot.devices[0];
  EXPECT_EQ(device.attributes.at("memory_mib"), placement::AttributeValue(int64_t{98304}));
  EXPECT_EQ(device.attributes.at("mig"), placement::AttributeValue(true));
  EXPECT_EQ(device.attributes.at("model"), placement::AttributeValue(std::string("H100")));
  EXPECT_EQ(device.numa_node, 1);
  EXPECT_EQ(device.vendor_id, 0x10deU);
  ASSERT_EQ(snapshot.huge_pages.size(), 1U);
  EXPECT_EQ(snapshot.huge_pages[0].count, 7);
}

TEST(ToSnapshotTest, ANegativeNumberIsRefusedLater) {
  auto record = Record();
  record.mutable_inventory()->mutable_units(0)->set_vintfs(-1);
  EXPECT_EQ(ReasonOf(placement::ValidateSnapshot(ToSnapshot("h1", record))), Reason::kBadInventory);
}

TEST(ToSnapshotTest, LeavesDevicesWithoutAUnitOut) {
  auto record = Record();
  record.mutable_inventory()->mutable_devices(3)->clear_unit();
  EXPECT_EQ(ToSnapshot("h1", record).devices.size(), 3U);
}

TEST(ToPlacementRequestTest, CarriesEverythingThatWasAsked) {
  v1::AssignmentSpec spec;
  v1::DeviceRequest* gpu = spec.add_device_requests();
  gpu->set_name("gpu");
  for (const char* device_class : {"gpu", "nic"}) {
    v1::DeviceAlternative* alternative = gpu->add_alternatives();
    alternative->set_class_(device_class);
    alternative->mutable_queues()->set_need(v1::QueueRequest::REQUIRED);
    v1::Requirement* requirement = alternative->add_requirements();
    requirement->set_key("memory_mib");
    requirement->set_operator_(v1::Requirement::GT);
    requirement->add_values("80000");
  }
  gpu->mutable_alternatives(1)->set_count(3);
  spec.add_constraints()->mutable_same_attribute()->set_key("model");
  spec.mutable_constraints(0)->add_requests("gpu");
  spec.add_constraints()->mutable_same_numa_node();
  spec.add_constraints()->mutable_distinct_units();
  v1::Toleration* toleration = spec.add_tolerations();
  toleration->set_key("fan");
  toleration->set_effect(v1::Taint::EVICT);
  spec.mutable_huge_pages()->set_page_size_bytes(1 << 21);
  spec.mutable_huge_pages()->set_count(4);
  spec.set_policy(v1::AssignmentSpec::SPREAD);

  const auto request = ToPlacementRequest(spec, 42);
  ASSERT_TRUE(request.ok()) << request.status();
  EXPECT_EQ(request->seed, 42U);
  ASSERT_EQ(request->devices.size(), 1U);
  ASSERT_EQ(request->devices[0].alternatives.size(), 2U);
  EXPECT_EQ(request->devices[0].alternatives[0].count, 1U);
  EXPECT_EQ(request->devices[0].alternatives[1].count, 3U);
  EXPECT_EQ(request->devices[0].alternatives[1].queues.need, placement::QueueNeed::kRequired);
  EXPECT_EQ(request->devices[0].alternatives[0].requirements[0].op, placement::Operator::kGt);
  ASSERT_EQ(request->constraints.size(), 3U);
  EXPECT_EQ(request->constraints[0].attribute, "model");
  EXPECT_EQ(request->constraints[1].kind, placement::Constraint::Kind::kSameNumaNode);
  EXPECT_EQ(request->constraints[2].kind, placement::Constraint::Kind::kDistinctUnits);
  EXPECT_EQ(request->tolerations[0].effect, placement::Toleration::Effect::kEvict);
  EXPECT_EQ(request->huge_pages[0].count, 4);
  EXPECT_EQ(request->policy, placement::Policy::kSpread);
}

// What the engine places goes into the store and comes back as the same charge.
TEST(PlacementTest, SurvivesTheWayThroughTheStore) {
  const auto record = Record();
  placement::Engine engine;
  placement::HostSnapshot snapshot = ToSnapshot("h1", record);
  snapshot.taints.clear();
  ASSERT_TRUE(engine.UpsertHost(snapshot).ok());
  v1::AssignmentSpec spec;
  v1::DeviceRequest* gpu = spec.add_device_requests();
  gpu->set_name("gpu");
  gpu->set_class_("gpu");
  spec.mutable_huge_pages()->set_page_size_bytes(1 << 21);
  spec.mutable_huge_pages()->set_count(4);
  const auto request = ToPlacementRequest(spec, 0);
  ASSERT_TRUE(request.ok()) << request.status();
  const auto placed = engine.Place(*request);
  ASSERT_TRUE(placed.ok()) << placed.status();

  const v1::Placement proto = ToProto(*placed, record.inventory());
  EXPECT_EQ(proto.host(), "hosts/h1");
  EXPECT_EQ(proto.attach_endpoint(), "/run/vmm.sock");
  ASSERT_EQ(proto.units_size(), 1);
  EXPECT_EQ(proto.units(0).profile(), v1::Unit::TEGRA241_CMDQV);
  EXPECT_EQ(proto.units(0).vcmdqs(), 2);
  ASSERT_EQ(proto.units(0).devices_size(), 2) << "the whole IOMMU group";
  EXPECT_EQ(proto.units(0).devices(0).request(), "gpu");
  EXPECT_EQ(proto.units(0).devices(1).request(), "") << "it only travels along";
  EXPECT_NE(proto.units(0).devices(0).address(), "");

  EXPECT_EQ(FromProto(proto, spec), *placed);
  ASSERT_TRUE(engine.Reserve(AssignmentUid("u"), FromProto(proto, spec)).ok());
  EXPECT_TRUE(engine.Check().ok());
}

TEST(NamesTest, GoBothWays) {
  EXPECT_EQ(HostIdOf(HostName("h1")), "h1");
  EXPECT_EQ(AssignmentIdOf(AssignmentName("vm")), "vm");
  EXPECT_EQ(HostIdOf("assignments/vm"), "");
  EXPECT_EQ(AssignmentIdOf("vm"), "");
}

}  // namespace
}  // namespace berth
