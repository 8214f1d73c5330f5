// SPDX-License-Identifier: Apache-2.0
#include "tests/bench/report.h"

#include <algorithm>
#include <iomanip>
#include <iostream>
#include <sstream>

namespace berth::bench {

void PrintMeasure(const std::string& name, const std::string& unit, double value,
                  const Quantiles& of, const Conditions& conditions) {
  std::ostringstream line;
  line << "{\"name\":" << JsonText(name) << ",\"value\":" << JsonNumber(value)
       << ",\"unit\":" << JsonText(unit) << ",\"p50\":" << JsonNumber(of.p50)
       << ",\"p99\":" << JsonNumber(of.p99) << ",\"conditions\":{";
  const char* separator = "";
  for (const auto& [key, text] : conditions) {
    line << separator << JsonText(key) << ":" << text;
    separator = ",";
  }
  std::cout << line.str() << "}}" << std::endl;
}

std::string JsonNumber(double value) {
  std::ostringstream out;
  out << std::fixed << std::setprecision(value < 1000 ? 2 : 0) << value;
  return out.str();
}

std::string JsonText(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + "\"";
}

Quantiles QuantilesOf(std::vector<double> samples) {
  std::sort(samples.begin(), samples.end());
  const auto at = [&](double q) {
    return samples[static_cast<size_t>(q * static_cast<double>(samples.size() - 1))];
  };
  return {at(0.5), at(0.99)};
}

void PrintLatency(const std::string& name, const Quantiles& of, const Conditions& conditions) {
  PrintMeasure(name, "us", of.p50, of, conditions);
}

void PrintRate(const std::string& name, double per_second, const Quantiles& latency_us,
               const Conditions& conditions) {
  PrintMeasure(name, "per_second", per_second, latency_us, conditions);
}

}  // namespace berth::bench
