// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_TESTS_TSAN_REAL_H_
#define BERTH_TESTS_TSAN_REAL_H_

#include <dlfcn.h>

#include <cstdio>
#include <cstdlib>
#include <utility>

namespace berth::tsan {

// The definition of the symbol `name` that a shared library has and that one of the program's
// stands before, as a function. Aborts when no library has it: then its version has changed, and
// ThreadSanitizer would silently see less.
template <typename Result, typename... Arguments>
class Real {
 public:
  explicit Real(const char* name)
      : function_(reinterpret_cast<Result (*)(Arguments...)>(::dlsym(RTLD_NEXT, name))) {
    if (function_ != nullptr) return;
    std::fprintf(stderr, "tests/tsan: no library has %s\n", name);
    std::abort();
  }
  Result operator()(Arguments... arguments) const {
    return function_(std::forward<Arguments>(arguments)...);
  }

 private:
  Result (*const function_)(Arguments...);
};

}  // namespace berth::tsan

#endif  // BERTH_TESTS_TSAN_REAL_H_
