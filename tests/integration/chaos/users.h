// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_TESTS_INTEGRATION_CHAOS_USERS_H_
#define BERTH_TESTS_INTEGRATION_CHAOS_USERS_H_

#include <atomic>
#include <functional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "ctl/cli/client.h"
#include "tests/integration/history.h"
#include "tests/integration/process.h"

namespace berth::testing {

// What users do, a thread each, whatever happens to the fleet. What they were told goes into a
// history.
class Users {
 public:
  struct Options {
    std::vector<std::string> controllers;
    std::string folder;  // for what VMMs print
    int count = 6;
    uint32_t seed = 0;
  };
  Users(Options options, History* history);
  ~Users();  // ends them
  Users(const Users&) = delete;
  Users& operator=(const Users&) = delete;

  // They end what they do, and do no more.
  void Pause();
  // Nobody does anything, and no VMM runs.
  bool paused() const;
  void Resume();
  // They delete what they hold, and end. Not while they pause.
  void Finish();

  [[nodiscard]] uint64_t operations() const { return operations_; }
  [[nodiscard]] uint64_t attached() const { return attached_; }
  [[nodiscard]] uint64_t killed() const { return killed_; }

 private:
  static constexpr size_t kHeldByEach = 3;

  void Run(int user);
  // Waits while they pause; false: it is over.
  bool MayGoOn();
  struct Held {
    std::string id;
    std::string attach_token;
  };
  // Adds it to `mine` when it was created.
  void Create(const std::string& id, std::mt19937& random, std::vector<Held>* mine);
  void Delete(const std::string& id);
  // Somebody attaches, and leaves in order or is killed.
  void Attach(const Held& held, std::mt19937& random);
  // Repeats `call` until somebody has answered it. With little patience for each: one of the
  // controllers may be stopped.
  template <typename Result>
  Result Ask(const std::function<Result(cli::Client&)>& call);

  const Options options_;
  History& history_;
  std::atomic<uint64_t> operations_ = 0;
  std::atomic<uint64_t> attached_ = 0;
  std::atomic<uint64_t> killed_ = 0;
  std::atomic<bool> giving_up_ = false;
  mutable absl::Mutex mu_;
  bool pausing_ ABSL_GUARDED_BY(mu_) = false;
  bool finishing_ ABSL_GUARDED_BY(mu_) = false;
  int idle_ ABSL_GUARDED_BY(mu_) = 0;
  std::vector<std::thread> threads_;
};

}  // namespace berth::testing

#endif  // BERTH_TESTS_INTEGRATION_CHAOS_USERS_H_
