// SPDX-License-Identifier: Apache-2.0
//
// Recorded command streams: tests/data/traces/README.md says what the files are.
#ifndef BERTH_LIB_VMM_EXAMPLE_TRACE_H_
#define BERTH_LIB_VMM_EXAMPLE_TRACE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "lib/vmm/example/command_queue.h"
#include "lib/vmm/example/outcome.h"

namespace berth::example {

// What was written into one queue.
struct Stream {
  uint32_t queue = 0;
  std::vector<Command> commands;
  std::vector<uint32_t> batches;  // commands of each doorbell; they add up to all of them
};

// Streams that ran at the same time.
struct Trace {
  std::string name;
  std::vector<Stream> streams;
};

// The names that DIRECTORY/index.tsv lists, in its order.
Outcome ListTraces(const std::string& directory, std::vector<std::string>* names);
Outcome LoadTrace(const std::string& directory, const std::string& name, Trace* trace);

// `stream` with its StreamIDs replaced: the k-th that occurs becomes vsids[k mod their number].
Stream WithVsids(const Stream& stream, const std::vector<uint32_t>& vsids);

}  // namespace berth::example

#endif  // BERTH_LIB_VMM_EXAMPLE_TRACE_H_
