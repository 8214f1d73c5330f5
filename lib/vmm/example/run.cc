// SPDX-License-Identifier: Apache-2.0
#include "lib/vmm/example/run.h"

#include <functional>
#include <optional>
#include <vector>

#include "lib/vmm/example/attach_bench.h"
#include "lib/vmm/example/continuity.h"
#include "lib/vmm/example/hold.h"
#include "lib/vmm/example/report.h"
#include "lib/vmm/example/scenario.h"

namespace berth::example {
namespace {

Outcome RunOnce(const Options& options, std::ostream& out) {
  std::optional<Hold> hold;
  std::function<void()> wait;
  Report report;
  if (options.hold) {
    hold.emplace();
    // Whoever started us waits for this line.
    wait = [&] {
      out << "holding" << std::endl;
      hold->Wait();
    };
  }
  Outcome outcome = RunScenario(options, wait, &report);
  if (options.json) {
    PrintJson(report, outcome, out);
  } else {
    PrintForPeople(report, out);
  }
  return outcome;
}

Outcome RunAttachBench(const Options& options, std::ostream& out) {
  std::vector<uint64_t> samples;
  Outcome outcome = MeasureAttach(options, &samples);
  if (outcome.ok()) PrintAttachJson(samples, out);
  return outcome;
}

Outcome RunContinuityBench(const Options& options, std::ostream& out) {
  const Hold hold;
  Continuity result;
  Outcome outcome = RunContinuity(
      options, [&] { out << "holding" << std::endl; }, [&] { return hold.Over(); }, &result);
  if (outcome.ok()) PrintContinuityJson(result, out);
  return outcome;
}

}  // namespace

int Run(const Options& options, std::ostream& out, std::ostream& err) {
  const Outcome outcome = options.bench == "attach"       ? RunAttachBench(options, out)
                          : options.bench == "continuity" ? RunContinuityBench(options, out)
                                                          : RunOnce(options, out);
  out.flush();
  if (!outcome.ok()) err << "berth-example-vmm: " << outcome.message << "\n";
  return static_cast<int>(outcome.code);
}

}  // namespace berth::example
