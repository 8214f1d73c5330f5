// SPDX-License-Identifier: Apache-2.0
#include "lib/base/executor.h"

#include <utility>

namespace berth {

ThreadPool::ThreadPool(int threads) {
  threads_.reserve(static_cast<size_t>(threads));
  for (int i = 0; i < threads; ++i) threads_.emplace_back([this] { Work(); });
}

ThreadPool::~ThreadPool() {
  {
    absl::MutexLock lock(&mu_);
    stopping_ = true;
  }
  for (std::thread& thread : threads_) thread.join();
}

void ThreadPool::Add(std::function<void()> task) {
  absl::MutexLock lock(&mu_);
  tasks_.push_back(std::move(task));
}

void ThreadPool::Work() {
  const auto ready = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    return stopping_ || !tasks_.empty();
  };
  for (;;) {
    std::function<void()> task;
    {
      absl::MutexLock lock(&mu_);
      mu_.Await(absl::Condition(&ready));
      if (tasks_.empty()) return;
      task = std::move(tasks_.front());
      tasks_.pop_front();
    }
    task();
  }
}

struct SerialExecutor::State : std::enable_shared_from_this<State> {
  ThreadPool* pool = nullptr;
  size_t limit = 0;
  absl::Mutex mu;
  std::deque<std::function<void()>> tasks ABSL_GUARDED_BY(mu);
  bool running ABSL_GUARDED_BY(mu) = false;

  bool Idle() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu) { return tasks.empty() && !running; }
  // Whether the caller is to Schedule() once it has let go of `mu`: the thread that wakes for the
  // task takes `mu` first, and on the same core it wakes while the caller would still hold it.
  [[nodiscard]] bool Add(std::function<void()> task) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu) {
    tasks.push_back(std::move(task));
    return !std::exchange(running, true);
  }
  void Schedule() ABSL_LOCKS_EXCLUDED(mu) {
    pool->Add([self = shared_from_this()] { self->RunOne(); });
  }
  void RunOne() ABSL_LOCKS_EXCLUDED(mu);
};

SerialExecutor::SerialExecutor(ThreadPool* pool, size_t limit) : state_(std::make_shared<State>()) {
  state_->pool = pool;
  state_->limit = limit;
}

SerialExecutor::~SerialExecutor() { Drain(); }

void SerialExecutor::Drain() {
  absl::MutexLock lock(&state_->mu);
  state_->mu.Await(absl::Condition(state_.get(), &State::Idle));
}

bool SerialExecutor::TryAdd(std::function<void()> task) {
  {
    absl::MutexLock lock(&state_->mu);
    if (state_->tasks.size() >= state_->limit) return false;
    if (!state_->Add(std::move(task))) return true;
  }
  state_->Schedule();
  return true;
}

void SerialExecutor::Add(std::function<void()> task) {
  {
    absl::MutexLock lock(&state_->mu);
    if (!state_->Add(std::move(task))) return;
  }
  state_->Schedule();
}

void SerialExecutor::State::RunOne() {
  std::function<void()> task;
  {
    absl::MutexLock lock(&mu);
    task = std::move(tasks.front());
    tasks.pop_front();
  }
  task();
  // What the task captured is released before anybody can see the executor idle.
  task = nullptr;
  {
    absl::MutexLock lock(&mu);
    if (tasks.empty()) {
      running = false;
      return;
    }
  }
  // One task per turn, so that a busy grant does not keep a thread from the others.
  Schedule();
}

}  // namespace berth
