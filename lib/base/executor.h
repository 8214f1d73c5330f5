// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_LIB_BASE_EXECUTOR_H_
#define BERTH_LIB_BASE_EXECUTOR_H_

#include <deque>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace berth {

// A fixed number of threads that run tasks in the order in which they were added. Thread-safe.
// The destructor runs what was added, then joins.
class ThreadPool {
 public:
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  void Add(std::function<void()> task);

 private:
  void Work();

  absl::Mutex mu_;
  std::deque<std::function<void()>> tasks_ ABSL_GUARDED_BY(mu_);
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  std::vector<std::thread> threads_;
};

// Runs tasks on a pool, one at a time and in order: what one grant does never overlaps with itself
// and never waits for another grant longer than the pool is busy. Thread-safe.
class SerialExecutor {
 public:
  // `pool` must outlive the executor. At most `limit` tasks wait.
  SerialExecutor(ThreadPool* pool, size_t limit);
  // Waits until everything that was added has run.
  ~SerialExecutor();
  SerialExecutor(const SerialExecutor&) = delete;
  SerialExecutor& operator=(const SerialExecutor&) = delete;

  // Returns false, and drops the task, when `limit` tasks wait already.
  [[nodiscard]] bool TryAdd(std::function<void()> task);
  // For work that must not be lost (teardown): ignores the limit.
  void Add(std::function<void()> task);
  // Blocks until all tasks added before have run. Never call it from a task of this executor.
  void Drain();

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace berth

#endif  // BERTH_LIB_BASE_EXECUTOR_H_
