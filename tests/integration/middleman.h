// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_TESTS_INTEGRATION_MIDDLEMAN_H_
#define BERTH_TESTS_INTEGRATION_MIDDLEMAN_H_

#include <grpcpp/server.h>

#include <atomic>
#include <memory>
#include <string>

namespace berth::testing {

// Between agents and their controller, and loses what it is told to: what a bug in either would do,
// since a stream loses nothing by itself. Serves as long as it lives.
class Middleman {
 public:
  // Both are addresses of gRPC's: "unix:/tmp/x.sock".
  Middleman(const std::string& listen, const std::string& controller);
  ~Middleman();
  Middleman(const Middleman&) = delete;
  Middleman& operator=(const Middleman&) = delete;

  // Whether changes of what is desired are lost from now on.
  void LoseDeltas(bool lose) { lose_deltas_ = lose; }
  // So many have been lost.
  [[nodiscard]] int lost() const { return lost_; }

 private:
  class Service;

  std::atomic<bool> lose_deltas_ = false;
  std::atomic<int> lost_ = 0;
  std::unique_ptr<Service> service_;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace berth::testing

#endif  // BERTH_TESTS_INTEGRATION_MIDDLEMAN_H_
