// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_LIB_EMULATOR_KERNEL_USER_CALL_H_
#define BERTH_LIB_EMULATOR_KERNEL_USER_CALL_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "absl/time/time.h"
#include "lib/base/unique_fd.h"
#include "lib/emulator/kernel/memlock.h"
#include "lib/emulator/protocol.h"
#include "lib/iommufd/uapi/iommufd.h"
#include "lib/iommufd/uapi/ops.h"

namespace berth::emulator {

// One ioctl as the kernel's side sees it: the caller's memory, and what goes back. The In part came
// over the wire; nothing in it is trusted.
class UserCall {
 public:
  struct In {
    uint64_t request = 0;
    uint32_t flags = 0;              // CallFlags
    uint32_t user_size = 0;          // the struct's first u32
    std::span<const std::byte> arg;  // the struct, as far as it was sent
    std::span<const std::byte>
        buffer;       // what a pointer inside the struct names, as far as readable
    UniqueFd memory;  // valid: it is read here instead, from buffer_address on
    uint64_t buffer_address = 0;
    size_t out_size = 0;  // what fits there
    UniqueFd inner_fd;
    std::vector<UniqueFd> eventfds;  // of SET_IRQS, which its struct numbers from 0
    Payer payer;                     // of IOAS_MAP, IOAS_MAP_FILE, IOAS_CHANGE_PROCESS
    uint64_t user_offset = 0;        // of IOAS_MAP: where its range begins in inner_fd
  };

  explicit UserCall(In in) : in_(std::move(in)) {}

  [[nodiscard]] uint64_t request() const { return in_.request; }
  [[nodiscard]] uint32_t flags() const { return in_.flags; }
  [[nodiscard]] const Payer& payer() const { return in_.payer; }
  [[nodiscard]] uint64_t user_offset() const { return in_.user_offset; }
  [[nodiscard]] uint32_t user_size() const { return in_.user_size; }

  // copy_struct_from_user() as iommufd_fops_ioctl() does it: get_user() of the size, then -EINVAL,
  // -E2BIG, -EFAULT in that order.
  int LoadStruct(const uapi::Op& op);
  // copy_from_user() of the first `size` bytes, as VFIO does: -EFAULT.
  int LoadPrefix(size_t size);
  // copy_from_user() of what is behind the struct, from its byte `offset` on: -EFAULT.
  int CopyFromStruct(size_t offset, std::span<std::byte> to) const;
  // Whether the struct's bytes from `known` up to its own size are zero: 0, -E2BIG or -EFAULT.
  [[nodiscard]] int CheckTail(size_t known) const;

  // The struct, zeroed beyond what was loaded.
  template <typename T>
  T& As() {
    static_assert(sizeof(T) <= sizeof(struct_));
    return *reinterpret_cast<T*>(struct_.data());
  }

  // copy_to_user() of the struct: -EFAULT when the caller cannot be written to.
  int Respond();

  // copy_from_user() of the buffer: -EFAULT.
  int CopyFromUser(uint64_t offset, void* to, size_t size) const;
  // iommu_copy_struct_from_full_user_array(): HWPT_INVALIDATE's entries, of `entry_size` bytes here
  // and of any length at the caller's, to `to`, which has room for all. -EINVAL, -E2BIG, -EFAULT.
  int CopyFullArray(const uapi::IommuHwptInvalidate& cmd, uint32_t type, std::span<std::byte> to,
                    size_t entry_size) const;
  // copy_to_user() to the start of the buffer, and zeroes from there up to `zero_to`: -EFAULT.
  int CopyToUser(const void* from, size_t size, uint64_t zero_to = 0);

  // HWPT_GET_DIRTY_BITMAP: sets these bits in the caller's bitmap, from its first byte on, as far
  // as it can be written; others stay. -ENOMEM. Once.
  int PutBits(std::span<const std::byte> bits);

  // fget() of the fd inside the struct: -EBADF. Once.
  int TakeInnerFd(UniqueFd* fd);
  // The same of an eventfd, by its number in the struct. Each once.
  int TakeEventfd(int32_t number, UniqueFd* fd);
  // The caller's memory is no longer there; closes the fd inside the struct if nobody took it.
  void DropInput() {
    in_.inner_fd.Reset();
    in_.eventfds.clear();
    in_.memory.Reset();
    in_.arg = in_.buffer = {};
  }
  // The fd is installed in the caller and its number written at `offset` of the struct.
  void ReturnFd(UniqueFd fd, size_t offset);

  // How long the call should have taken, but did not: the caller's answer is to wait for it.
  void SetDuration(absl::Duration duration) { duration_ = duration; }
  [[nodiscard]] absl::Duration duration() const { return duration_; }

  // What goes back.
  [[nodiscard]] bool writes_struct() const { return respond_; }
  [[nodiscard]] std::span<const std::byte> struct_bytes() const;
  [[nodiscard]] std::span<const std::byte> out() const { return out_; }
  [[nodiscard]] uint64_t zero_to() const { return zero_to_; }
  [[nodiscard]] const UniqueFd& new_fd() const { return new_fd_; }
  [[nodiscard]] uint32_t fd_offset() const { return fd_offset_; }

 private:
  // As much of the buffer in the caller's memory as one look takes.
  struct Window {
    uint64_t offset = 0;
    std::vector<std::byte> bytes;
  };
  int CopyFromMemory(uint64_t offset, void* to, size_t size) const;
  [[nodiscard]] int CheckZeroes(uint64_t offset, size_t size) const;

  In in_;
  mutable Window window_;
  alignas(8) std::array<std::byte, 80> struct_ = {};
  size_t loaded_ = 0;
  bool respond_ = false;
  std::vector<std::byte> out_;
  uint64_t zero_to_ = 0;
  UniqueFd new_fd_;
  absl::Duration duration_;
  uint32_t fd_offset_ = kNoOffset;
};

}  // namespace berth::emulator

#endif  // BERTH_LIB_EMULATOR_KERNEL_USER_CALL_H_
