// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_LIB_VMM_EXAMPLE_REPORT_H_
#define BERTH_LIB_VMM_EXAMPLE_REPORT_H_

#include <cstdint>
#include <ostream>
#include <string>
#include <vector>

#include "lib/vmm/example/command_queue.h"
#include "lib/vmm/example/continuity.h"
#include "lib/vmm/example/outcome.h"
#include "lib/vmm/example/player.h"

namespace berth::example {

// What happened to one VM. Steps that were not reached are zero or empty.
struct Report {
  struct UnitLine {
    std::string id;
    uint32_t vcmdqs = 0;
    uint32_t sid_slots = 0;
    uint32_t queue_log2 = 0;
    size_t page0_length = 0;
    std::vector<Counts> executed;  // by queue
  };
  struct DeviceLine {
    std::string address;
    std::string id;
    uint32_t unit = 0;
    uint32_t vsid = 0;
    bool translated = false;
  };
  std::string assignment;
  uint64_t session = 0;
  uint32_t isolation = 0;
  size_t memory_bytes = 0;
  size_t page_bytes = 0;
  uint64_t guest_address = 0;
  std::vector<UnitLine> units;
  std::vector<DeviceLine> devices;
  std::vector<std::string> traces;
  PlayResult play;
  bool played = false;    // every trace to its end; false: `play` is what was done until then
  bool complete = false;  // the hardware has executed every command of every queue
  bool recovered = false;
  std::string error_unit;
  uint64_t error_event_ns = 0;  // from the doorbell to the forwarded event
  uint32_t trapped_commands = 0;
  bool reset = false;
  bool detached = false;

  [[nodiscard]] Counts executed() const;
};

// The value below which `percent` of `samples` lie; 0 without samples.
uint64_t Percentile(std::vector<uint64_t> samples, double percent);

void PrintForPeople(const Report& report, std::ostream& out);
// One JSON object on one line. With an outcome that is not ok it has "error" and "exit_code".
void PrintJson(const Report& report, const Outcome& outcome, std::ostream& out);
// {"samples_us":[...],...} of --bench attach.
void PrintAttachJson(const std::vector<uint64_t>& samples_ns, std::ostream& out);
// {"batches":...} of --bench continuity.
void PrintContinuityJson(const Continuity& result, std::ostream& out);

}  // namespace berth::example

#endif  // BERTH_LIB_VMM_EXAMPLE_REPORT_H_
