// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_CTL_CLI_PRINTER_CAPACITY_H_
#define BERTH_CTL_CLI_PRINTER_CAPACITY_H_

#include <string>

#include "berth/v1/capacity_service.pb.h"
#include "ctl/cli/printer/table.h"

namespace berth::cli {

// A table of the fleet, and one of the units when there are any.
std::string CapacityTables(const v1::Capacity& capacity);

}  // namespace berth::cli

#endif  // BERTH_CTL_CLI_PRINTER_CAPACITY_H_
