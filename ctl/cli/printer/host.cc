// SPDX-License-Identifier: Apache-2.0
#include "ctl/cli/printer/host.h"

#include <map>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "ctl/cli/printer/text.h"

namespace berth::cli {
namespace {

using v1::Host;

// A host without NUMA says -1.
std::string NumaNode(int32_t node) { return node < 0 ? kNone : absl::StrCat(node); }

std::string DeviceStatus(const v1::Device& device) {
  if (!device.assignment().empty()) return device.assignment();
  if (device.assignable()) return "free";
  return absl::StrCat("unassignable: ", device.unassignable_reason());
}

TableRow UnitRow(const v1::Unit& unit) {
  return {Cell(unit.id()),
          EnumName(v1::Unit::Profile_Name, unit.profile()),
          Ratio(unit.vintfs() - unit.used_vintfs(), unit.vintfs()),
          EnumName(v1::Unit::VintfSource_Name, unit.vintf_source()),
          absl::StrCat(unit.vcmdqs_per_vintf()),
          absl::StrCat(unit.sids_per_vintf()),
          NumaNode(unit.numa_node())};
}

void WriteDevices(const Host& host, TextWriter* writer) {
  std::vector<TableRow> rows;
  for (const v1::Device& device : host.devices()) {
    rows.push_back({Cell(device.address()), Cell(device.class_()), Cell(device.unit()),
                    absl::StrCat(device.iommu_group()), TextCell(DeviceStatus(device))});
  }
  writer->Rows("Devices", {"ADDRESS", "CLASS", "UNIT", "GROUP", "STATUS"}, rows);
}

// "broken-fan,smmu3.0:berth/hardware-timeout"
std::string TaintKeys(const Host& host) {
  std::vector<std::string> keys;
  for (const v1::Taint& taint : host.taints()) keys.push_back(taint.key());
  for (const v1::Unit& unit : host.units()) {
    for (const v1::Taint& taint : unit.taints()) {
      keys.push_back(absl::StrCat(unit.id(), ":", taint.key()));
    }
  }
  return absl::StrJoin(keys, ",");
}

void WriteTaints(const Host& host, TextWriter* writer) {
  std::vector<std::string> taints;
  for (const v1::Taint& taint : host.taints()) taints.push_back(Text(taint));
  for (const v1::Unit& unit : host.units()) {
    for (const v1::Taint& taint : unit.taints()) {
      taints.push_back(absl::StrCat("unit ", unit.id(), ": ", Text(taint)));
    }
  }
  writer->List("Taints", taints);
}

// Of the host itself, then of its units and devices, each with its name in front of the type.
google::protobuf::RepeatedPtrField<v1::Condition> AllConditions(const Host& host) {
  google::protobuf::RepeatedPtrField<v1::Condition> all = host.conditions();
  const auto add = [&all](const std::string& of, const auto& conditions) {
    for (const v1::Condition& condition : conditions) {
      v1::Condition* shown = all.Add();
      *shown = condition;
      shown->set_type(absl::StrCat(of, ":", condition.type()));
    }
  };
  for (const v1::Unit& unit : host.units()) add(unit.id(), unit.conditions());
  for (const v1::Device& device : host.devices()) add(device.address(), device.conditions());
  return all;
}

void WriteHugePages(const Host& host, TextWriter* writer) {
  std::vector<TableRow> rows;
  for (const v1::HugePages& pages : host.huge_pages()) {
    rows.push_back(
        {absl::StrCat(pages.page_size_bytes() >> 10, "KiB"), Ratio(pages.free(), pages.total())});
  }
  writer->Rows("Huge pages", {"SIZE", "FREE"}, rows);
}

void WriteDrain(const v1::Drain& drain, absl::Time now, TextWriter* writer) {
  writer->Begin("Drain");
  writer->Line("Since", TimeAndAge(drain.start_time(), now));
  const std::string deadline = TimeAndAge(drain.deadline(), now);
  writer->Line("Deadline", deadline.empty() ? "none: nothing is released" : deadline);
  writer->Line("Assignments left", absl::StrCat(drain.assignments_left()));
  writer->Line("Will leave", absl::StrCat(drain.assignments_leaving()));
  writer->End();
}

}  // namespace

bool IsDrained(const Host& host) {
  return host.has_drain() && host.drain().assignments_left() == 0;
}

std::string HostState(const Host& host) {
  std::string state = EnumName(Host::State_Name, host.state());
  if (host.gone()) {
    absl::StrAppend(&state, ",GONE");
  } else if (host.draining()) {
    absl::StrAppend(&state, IsDrained(host) ? ",DRAINED" : ",DRAINING");
  } else if (host.cordoned()) {
    absl::StrAppend(&state, ",CORDONED");
  }
  return state;
}

TableRow HostHeader(Width width) {
  if (width == Width::kNormal) {
    return {"NAME", "STATE", "DEVICES", "VINTFS", "UNITS", "VERSION", "AGE"};
  }
  return {"NAME",        "STATE",     "DEVICES", "VINTFS", "UNITS", "VERSION",
          "INCARNATION", "HEARTBEAT", "LABELS",  "TAINTS", "UID",   "AGE"};
}

TableRow HostRow(const Host& host, Width width, absl::Time now) {
  int64_t vintfs = 0;
  int64_t in_use = 0;
  for (const v1::Unit& unit : host.units()) {
    // A unit without a CMDQV has vIOMMUs, but no VINTFs that could run out.
    if (unit.profile() != v1::Unit::TEGRA241_CMDQV) continue;
    vintfs += unit.vintfs();
    in_use += unit.used_vintfs();
  }
  TableRow row = {Cell(Id(host.name())),
                  HostState(host),
                  Ratio(host.free_device_count(), host.device_count()),
                  Ratio(vintfs - in_use, vintfs),
                  absl::StrCat(host.units_size()),
                  CellOr(host.agent_version(), kUnknown)};
  if (width == Width::kWide) {
    row.push_back(absl::StrCat(host.incarnation()));
    row.push_back(AgeOf(host.last_heartbeat_time(), now));
    row.push_back(Cell(JoinLabels(host.labels())));
    row.push_back(Cell(TaintKeys(host)));
    row.push_back(Cell(host.uid()));
  }
  row.push_back(AgeOf(host.create_time(), now));
  return row;
}

std::string DescribeHost(const Host& host, absl::Time now) {
  TextWriter writer;
  writer.Line("Name", Id(host.name()));
  writer.LineIfSet("Display name", host.display_name());
  writer.Line("UID", host.uid());
  writer.Line("Labels", JoinLabels(host.labels()));
  WriteTaints(host, &writer);
  writer.Line("State", HostState(host));
  writer.Line("Heartbeat", TimeAndAge(host.last_heartbeat_time(), now));
  writer.Line("Agent version", CellOr(host.agent_version(), kUnknown));
  writer.Line("Incarnation", absl::StrCat(host.incarnation()));
  writer.Line("Attach endpoint", host.attach_endpoint());
  writer.Line("Age", AgeOf(host.create_time(), now));
  writer.Line("Free devices", Ratio(host.free_device_count(), host.device_count()));
  if (host.has_drain()) WriteDrain(host.drain(), now, &writer);
  std::vector<TableRow> units;
  for (const v1::Unit& unit : host.units()) units.push_back(UnitRow(unit));
  writer.Rows("Units",
              {"UNIT", "PROFILE", "VINTFS", "SOURCE", "VCMDQS/VINTF", "SIDS/VINTF", "NUMA"}, units);
  WriteDevices(host, &writer);
  WriteHugePages(host, &writer);
  WriteConditions(AllConditions(host), now, &writer);
  return writer.text();
}

}  // namespace berth::cli
