// SPDX-License-Identifier: Apache-2.0
//
// Numbers for operators. A component takes `Metrics&` in its constructor, adds what it counts once,
// and keeps the handles. Names follow Prometheus: berth_<component>_<what>_<unit>[_total].
#ifndef BERTH_LIB_DAEMON_METRICS_H_
#define BERTH_LIB_DAEMON_METRICS_H_

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"

namespace prometheus {
class Counter;
class Exposer;
class Gauge;
class Histogram;
class Registry;
}  // namespace prometheus

namespace berth {

// Handles are copyable and thread-safe, and live as long as their Metrics.
class Counter {
 public:
  explicit Counter(prometheus::Counter* impl) : impl_(impl) {}
  void Increment(double by = 1);

 private:
  prometheus::Counter* impl_;
};

class Gauge {
 public:
  explicit Gauge(prometheus::Gauge* impl) : impl_(impl) {}
  void Set(double value);

 private:
  prometheus::Gauge* impl_;
};

class Histogram {
 public:
  explicit Histogram(prometheus::Histogram* impl) : impl_(impl) {}
  void Observe(double value);

 private:
  prometheus::Histogram* impl_;
};

// Thread-safe.
class Metrics {
 public:
  using Labels = std::map<std::string, std::string>;

  Metrics();
  ~Metrics();
  Metrics(const Metrics&) = delete;
  Metrics& operator=(const Metrics&) = delete;

  // The same name and labels give the same series. A name that Prometheus does not allow is a
  // programming error.
  Counter AddCounter(const std::string& name, const std::string& help, const Labels& labels = {});
  Gauge AddGauge(const std::string& name, const std::string& help, const Labels& labels = {});
  // `bounds`: upper bounds of the buckets, ascending; one for +Inf is added.
  Histogram AddHistogram(const std::string& name, const std::string& help,
                         const std::vector<double>& bounds, const Labels& labels = {});

  // Serves GET /metrics over plain HTTP at "127.0.0.1:9440"; a port alone means loopback, port 0 a
  // free one. Errors: kInvalidField, kSystemError (the address is taken). Call at most once.
  absl::Status Expose(const std::string& address);
  // The port of Expose(), 0 before.
  [[nodiscard]] int port() const;

  // What GET /metrics answers.
  [[nodiscard]] std::string Text() const;

 private:
  const std::shared_ptr<prometheus::Registry> registry_;
  std::unique_ptr<prometheus::Exposer> exposer_;
};

}  // namespace berth

#endif  // BERTH_LIB_DAEMON_METRICS_H_
