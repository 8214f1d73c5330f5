// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_LIB_BASE_UNIQUE_FD_H_
#define BERTH_LIB_BASE_UNIQUE_FD_H_

#include <unistd.h>

#include <utility>

namespace berth {

// Owns one file descriptor and closes it. Move-only; -1 is "none". Not thread-safe.
class UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd) : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(other.Release()) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    if (this != &other) Reset(other.Release());
    return *this;
  }
  UniqueFd(const UniqueFd&) = delete;
  UniqueFd& operator=(const UniqueFd&) = delete;
  ~UniqueFd() { Reset(); }

  [[nodiscard]] int get() const { return fd_; }
  [[nodiscard]] bool valid() const { return fd_ >= 0; }

  // Gives the descriptor up without closing it.
  [[nodiscard]] int Release() { return std::exchange(fd_, -1); }

  // close(2) may report an error but always frees the descriptor on Linux, so none is returned.
  void Reset(int fd = -1) {
    if (int old = std::exchange(fd_, fd); old >= 0) ::close(old);
  }

 private:
  int fd_ = -1;
};

}  // namespace berth

#endif  // BERTH_LIB_BASE_UNIQUE_FD_H_
