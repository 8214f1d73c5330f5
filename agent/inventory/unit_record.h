// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_AGENT_INVENTORY_UNIT_RECORD_H_
#define BERTH_AGENT_INVENTORY_UNIT_RECORD_H_

#include <string>

#include "agent/inventory/unit_probe.h"
#include "berth/internal/v1/journal.pb.h"

namespace berth {

// A unit for the journal, and back: an agent that starts while VMMs have all devices of a unit
// cannot ask for it.
internal::v1::JournaledUnitFacts ToRecord(const std::string& unit, const UnitFacts& facts);
UnitFacts FromRecord(const internal::v1::JournaledUnitFacts& record);

}  // namespace berth

#endif  // BERTH_AGENT_INVENTORY_UNIT_RECORD_H_
