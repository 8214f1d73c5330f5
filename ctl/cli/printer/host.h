// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_CTL_CLI_PRINTER_HOST_H_
#define BERTH_CTL_CLI_PRINTER_HOST_H_

#include <string>

#include "absl/time/time.h"
#include "berth/v1/host.pb.h"
#include "ctl/cli/printer/table.h"

namespace berth::cli {

// Whether it is being drained, and nothing is left there.
bool IsDrained(const v1::Host& host);
// "READY", "READY,CORDONED", "LOST,DRAINING", "READY,DRAINED", "LOST,GONE".
std::string HostState(const v1::Host& host);

TableRow HostHeader(Width width);
TableRow HostRow(const v1::Host& host, Width width, absl::Time now);
std::string DescribeHost(const v1::Host& host, absl::Time now);

}  // namespace berth::cli

#endif  // BERTH_CTL_CLI_PRINTER_HOST_H_
