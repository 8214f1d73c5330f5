// SPDX-License-Identifier: Apache-2.0
#include "agent/inventory/unit_record.h"

#include <cstring>

namespace berth {

internal::v1::JournaledUnitFacts ToRecord(const std::string& unit, const UnitFacts& facts) {
  internal::v1::JournaledUnitFacts record;
  record.set_id(unit);
  record.set_profile(facts.profile);
  record.set_vcmdqs_per_vintf(facts.vcmdqs_per_vintf);
  record.set_sids_per_vintf(facts.sids_per_vintf);
  record.set_max_queue_log2(facts.max_queue_log2);
  record.set_cmdqv_version(facts.cmdqv_version);
  if (facts.smmu.has_value()) record.set_smmu(&*facts.smmu, sizeof(*facts.smmu));
  if (facts.observed_vintfs.has_value()) record.set_observed_vintfs(*facts.observed_vintfs);
  return record;
}

UnitFacts FromRecord(const internal::v1::JournaledUnitFacts& record) {
  UnitFacts facts;
  facts.profile = record.profile();
  facts.vcmdqs_per_vintf = record.vcmdqs_per_vintf();
  facts.sids_per_vintf = record.sids_per_vintf();
  facts.max_queue_log2 = record.max_queue_log2();
  facts.cmdqv_version = record.cmdqv_version();
  if (record.smmu().size() == sizeof(uapi::IommuHwInfoArmSmmuv3)) {
    std::memcpy(&facts.smmu.emplace(), record.smmu().data(), record.smmu().size());
  }
  if (record.has_observed_vintfs()) facts.observed_vintfs = record.observed_vintfs();
  return facts;
}

}  // namespace berth
