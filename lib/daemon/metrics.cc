// SPDX-License-Identifier: Apache-2.0
#include "lib/daemon/metrics.h"

#include <prometheus/counter.h>
#include <prometheus/exposer.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <cstdint>
#include <exception>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "lib/base/status.h"

namespace berth {
namespace {

constexpr size_t kHttpThreads = 1;

}  // namespace

void Counter::Increment(double by) { impl_->Increment(by); }
void Gauge::Set(double value) { impl_->Set(value); }
void Histogram::Observe(double value) { impl_->Observe(value); }

Metrics::Metrics() : registry_(std::make_shared<prometheus::Registry>()) {}
Metrics::~Metrics() = default;

Counter Metrics::AddCounter(const std::string& name, const std::string& help,
                            const Labels& labels) {
  return Counter(
      &prometheus::BuildCounter().Name(name).Help(help).Register(*registry_).Add(labels));
}

Gauge Metrics::AddGauge(const std::string& name, const std::string& help, const Labels& labels) {
  return Gauge(&prometheus::BuildGauge().Name(name).Help(help).Register(*registry_).Add(labels));
}

Histogram Metrics::AddHistogram(const std::string& name, const std::string& help,
                                const std::vector<double>& bounds, const Labels& labels) {
  return Histogram(
      &prometheus::BuildHistogram().Name(name).Help(help).Register(*registry_).Add(labels, bounds));
}

absl::Status Metrics::Expose(const std::string& address) {
  const size_t colon = address.rfind(':');
  const std::string port = colon == std::string::npos ? address : address.substr(colon + 1);
  uint32_t number = 0;
  if (!absl::SimpleAtoi(port, &number) || number > UINT16_MAX) {
    return Error(Reason::kInvalidField,
                 absl::StrCat("metrics address \"", address, "\": expected HOST:PORT"));
  }
  const bool has_host = colon != std::string::npos && colon > 0;
  try {
    exposer_ = std::make_unique<prometheus::Exposer>(
        has_host ? address : absl::StrCat("127.0.0.1:", port), kHttpThreads);
  } catch (const std::exception& e) {
    // civetweb does not say why it cannot listen.
    return Error(Reason::kSystemError,
                 absl::StrCat("cannot serve metrics at ", address,
                              ": the address is taken or not of this machine (", e.what(), ")"));
  }
  exposer_->RegisterCollectable(registry_);
  return absl::OkStatus();
}

int Metrics::port() const { return exposer_ == nullptr ? 0 : exposer_->GetListeningPorts().at(0); }

std::string Metrics::Text() const {
  return prometheus::TextSerializer().Serialize(registry_->Collect());
}

}  // namespace berth
