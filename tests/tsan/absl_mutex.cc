// SPDX-License-Identifier: Apache-2.0
//
// Debian's libabsl_synchronization is not instrumented, so ThreadSanitizer sees neither its atomics
// nor its futexes, and takes everything that a mutex guards for a race. The definitions here stand
// before the library's (the dynamic linker takes the program's first), tell ThreadSanitizer that a
// lock acquires and an unlock releases, and call the library's. Reads inside the library's calls
// are ignored: they are Conditions, which any thread that holds the mutex may evaluate.
#include <sanitizer/tsan_interface.h>

#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "tests/tsan/real.h"

extern "C" {
void AnnotateIgnoreReadsBegin(const char* file, int line);
void AnnotateIgnoreReadsEnd(const char* file, int line);
}

namespace {

// Calls the library's definition without looking at what it reads.
template <typename Result, typename... Arguments>
class Quiet {
 public:
  explicit Quiet(const char* name) : real_(name) {}
  Result operator()(Arguments... arguments) const {
    AnnotateIgnoreReadsBegin(__FILE__, __LINE__);
    struct End {
      ~End() { AnnotateIgnoreReadsEnd(__FILE__, __LINE__); }
    } end;
    return real_(arguments...);
  }

 private:
  const berth::tsan::Real<Result, Arguments...> real_;
};

// While it exists the mutex is not held, as far as ThreadSanitizer can know.
class Released {
 public:
  explicit Released(absl::Mutex* mutex) : mutex_(mutex) { __tsan_release(mutex_); }
  ~Released() { __tsan_acquire(mutex_); }

 private:
  absl::Mutex* const mutex_;
};

}  // namespace

// Debian puts Abseil's inline namespace into every symbol.
#define BERTH_MUTEX "_ZN4absl7debian35Mutex"
#define BERTH_CONDITION "ERKNS0_9ConditionE"
#define BERTH_CONDVAR "_ZN4absl7debian37CondVar"
#define BERTH_NOTIFICATION "_ZNK4absl7debian312Notification"

#define BERTH_REAL(name, result, ...) \
  static const Quiet<result, __VA_ARGS__> real(name) /* static: looked up once */

namespace absl {

void Mutex::Lock() {
  BERTH_REAL(BERTH_MUTEX "4LockEv", void, Mutex*);
  real(this);
  __tsan_acquire(this);
}

void Mutex::Unlock() {
  BERTH_REAL(BERTH_MUTEX "6UnlockEv", void, Mutex*);
  __tsan_release(this);
  real(this);
}

bool Mutex::TryLock() {
  BERTH_REAL(BERTH_MUTEX "7TryLockEv", bool, Mutex*);
  const bool locked = real(this);
  if (locked) __tsan_acquire(this);
  return locked;
}

void Mutex::ReaderLock() {
  BERTH_REAL(BERTH_MUTEX "10ReaderLockEv", void, Mutex*);
  real(this);
  __tsan_acquire(this);
}

void Mutex::ReaderUnlock() {
  BERTH_REAL(BERTH_MUTEX "12ReaderUnlockEv", void, Mutex*);
  __tsan_release(this);
  real(this);
}

void Mutex::LockWhen(const Condition& condition) {
  BERTH_REAL(BERTH_MUTEX "8LockWhen" BERTH_CONDITION, void, Mutex*, const Condition&);
  real(this, condition);
  __tsan_acquire(this);
}

bool Mutex::LockWhenWithTimeout(const Condition& condition, Duration timeout) {
  BERTH_REAL(BERTH_MUTEX "19LockWhenWithTimeout" BERTH_CONDITION "NS0_8DurationE", bool, Mutex*,
             const Condition&, Duration);
  const bool result = real(this, condition, timeout);
  __tsan_acquire(this);
  return result;
}

bool Mutex::LockWhenWithDeadline(const Condition& condition, Time deadline) {
  BERTH_REAL(BERTH_MUTEX "20LockWhenWithDeadline" BERTH_CONDITION "NS0_4TimeE", bool, Mutex*,
             const Condition&, Time);
  const bool result = real(this, condition, deadline);
  __tsan_acquire(this);
  return result;
}

void Mutex::Await(const Condition& condition) {
  BERTH_REAL(BERTH_MUTEX "5Await" BERTH_CONDITION, void, Mutex*, const Condition&);
  const Released released(this);
  real(this, condition);
}

bool Mutex::AwaitWithTimeout(const Condition& condition, Duration timeout) {
  BERTH_REAL(BERTH_MUTEX "16AwaitWithTimeout" BERTH_CONDITION "NS0_8DurationE", bool, Mutex*,
             const Condition&, Duration);
  const Released released(this);
  return real(this, condition, timeout);
}

bool Mutex::AwaitWithDeadline(const Condition& condition, Time deadline) {
  BERTH_REAL(BERTH_MUTEX "17AwaitWithDeadline" BERTH_CONDITION "NS0_4TimeE", bool, Mutex*,
             const Condition&, Time);
  const Released released(this);
  return real(this, condition, deadline);
}

void CondVar::Wait(Mutex* mutex) {
  BERTH_REAL(BERTH_CONDVAR "4WaitEPNS0_5MutexE", void, CondVar*, Mutex*);
  const Released released(mutex);
  real(this, mutex);
}

bool CondVar::WaitWithTimeout(Mutex* mutex, Duration timeout) {
  BERTH_REAL(BERTH_CONDVAR "15WaitWithTimeoutEPNS0_5MutexENS0_8DurationE", bool, CondVar*, Mutex*,
             Duration);
  const Released released(mutex);
  return real(this, mutex, timeout);
}

bool CondVar::WaitWithDeadline(Mutex* mutex, Time deadline) {
  BERTH_REAL(BERTH_CONDVAR "16WaitWithDeadlineEPNS0_5MutexENS0_4TimeE", bool, CondVar*, Mutex*,
             Time);
  const Released released(mutex);
  return real(this, mutex, deadline);
}

void Notification::Notify() {
  BERTH_REAL("_ZN4absl7debian312Notification6NotifyEv", void, Notification*);
  __tsan_release(this);
  real(this);
}

void Notification::WaitForNotification() const {
  BERTH_REAL(BERTH_NOTIFICATION "19WaitForNotificationEv", void, const Notification*);
  real(this);
  __tsan_acquire(const_cast<Notification*>(this));
}

bool Notification::WaitForNotificationWithTimeout(Duration timeout) const {
  BERTH_REAL(BERTH_NOTIFICATION "30WaitForNotificationWithTimeoutENS0_8DurationE", bool,
             const Notification*, Duration);
  const bool notified = real(this, timeout);
  if (notified) __tsan_acquire(const_cast<Notification*>(this));
  return notified;
}

bool Notification::WaitForNotificationWithDeadline(Time deadline) const {
  BERTH_REAL(BERTH_NOTIFICATION "31WaitForNotificationWithDeadlineENS0_4TimeE", bool,
             const Notification*, Time);
  const bool notified = real(this, deadline);
  if (notified) __tsan_acquire(const_cast<Notification*>(this));
  return notified;
}

}  // namespace absl
