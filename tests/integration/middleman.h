// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_TESTS_INTEGRATION_MIDDLEMAN_H_
#define BERTH_TESTS_INTEGRATION_MIDDLEMAN_H_

#include <grpcpp/server.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace berth::testing {

// Between agents and their controller. It loses what it is told to, as a bug in either would, since
// a stream loses nothing by itself: it numbers what is left anew. Or it does what a bad proxy does:
// holds, repeats and swaps messages, in both directions. Serves as long as it lives. Of a session
// that the controller ends the agent hears only that, not why. Thread-safe.
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

  enum class Harm : uint8_t { kNone, kHold, kRepeat, kSwap };
  // From now on: kHold keeps each message for kHeld; kRepeat sends one in kOneIn twice; kSwap sends
  // one in kOneIn after the one that comes next.
  void Do(Harm harm);
  static constexpr absl::Duration kHeld = absl::Milliseconds(100);
  static constexpr uint32_t kOneIn = 8;

 private:
  class Service;
  class Flow;

  // After a while, when messages are held.
  Harm HarmNow();

  absl::Mutex mu_;
  Harm harm_ ABSL_GUARDED_BY(mu_) = Harm::kNone;
  std::atomic<uint32_t> passed_ = 0;  // messages
  std::atomic<bool> lose_deltas_ = false;
  std::atomic<int> lost_ = 0;
  std::unique_ptr<Service> service_;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace berth::testing

#endif  // BERTH_TESTS_INTEGRATION_MIDDLEMAN_H_
