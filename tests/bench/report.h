// SPDX-License-Identifier: Apache-2.0
//
// The lines that benches print on stdout: one JSON object for each measure.
#ifndef BERTH_TESTS_BENCH_REPORT_H_
#define BERTH_TESTS_BENCH_REPORT_H_

#include <string>
#include <utility>
#include <vector>

namespace berth::bench {

// Name -> JSON text of the value.
using Conditions = std::vector<std::pair<std::string, std::string>>;

std::string JsonNumber(double value);
std::string JsonText(const std::string& text);

struct Quantiles {
  double p50 = 0;
  double p99 = 0;
};
// Of at least one sample.
Quantiles QuantilesOf(std::vector<double> samples);

// A latency, "us": its value is p50.
void PrintLatency(const std::string& name, const Quantiles& of, const Conditions& conditions);
// A rate, "per_second", with the latencies of what was counted.
void PrintRate(const std::string& name, double per_second, const Quantiles& latency_us,
               const Conditions& conditions);

// Anything else: `unit` as in "percent" or "ratio".
void PrintMeasure(const std::string& name, const std::string& unit, double value,
                  const Quantiles& of, const Conditions& conditions);

}  // namespace berth::bench

#endif  // BERTH_TESTS_BENCH_REPORT_H_
