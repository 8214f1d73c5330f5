// SPDX-License-Identifier: Apache-2.0
#include "lib/emulator/kernel/user_call.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace berth::emulator {
namespace {

// Bytes of the caller's memory that are read at once.
constexpr size_t kWindow = 64 * 1024;

// fget(), which does not take O_PATH fds.
int Take(UniqueFd* from, UniqueFd* to) {
  if (!from->valid() || (::fcntl(from->get(), F_GETFL) & O_PATH) != 0) return -EBADF;
  *to = std::move(*from);
  return 0;
}

}  // namespace

int UserCall::LoadPrefix(size_t size) {
  if (in_.arg.size() < size) return -EFAULT;
  struct_.fill(std::byte{0});
  std::memcpy(struct_.data(), in_.arg.data(), size);
  loaded_ = size;
  return 0;
}

int UserCall::CopyFromStruct(size_t offset, std::span<std::byte> to) const {
  if (offset > in_.arg.size() || in_.arg.size() - offset < to.size()) return -EFAULT;
  if (!to.empty()) std::memcpy(to.data(), in_.arg.data() + offset, to.size());
  return 0;
}

int UserCall::CheckTail(size_t known) const {
  if (in_.user_size <= known) return 0;
  const size_t sent = std::min<size_t>(in_.user_size, in_.arg.size());
  for (size_t i = known; i < sent; ++i) {
    if (in_.arg[i] != std::byte{0}) return -E2BIG;
  }
  if ((in_.flags & kStructFault) != 0) return -EFAULT;
  if ((in_.flags & kStructTailNonZero) != 0) return -E2BIG;
  return (in_.flags & kStructTailFault) != 0 ? -EFAULT : 0;
}

int UserCall::LoadStruct(const uapi::Op& op) {
  if (in_.arg.size() < sizeof(uint32_t)) return -EFAULT;
  if (in_.user_size < op.min_size) return -EINVAL;
  if (int rc = CheckTail(op.struct_size); rc != 0) return rc;
  return LoadPrefix(std::min(in_.user_size, op.struct_size));
}

int UserCall::Respond() {
  if ((in_.flags & kStructReadOnly) != 0) return -EFAULT;
  respond_ = true;
  return 0;
}

std::span<const std::byte> UserCall::struct_bytes() const {
  return std::span<const std::byte>(struct_).first(loaded_);
}

int UserCall::CopyFromUser(uint64_t offset, void* to, size_t size) const {
  if (in_.memory.valid()) return CopyFromMemory(offset, to, size);
  if (offset > in_.buffer.size() || in_.buffer.size() - offset < size) return -EFAULT;
  if (size > 0) std::memcpy(to, in_.buffer.data() + offset, size);
  return 0;
}

// What the caller changes meanwhile is seen or not, as it is with copy_from_user().
int UserCall::CopyFromMemory(uint64_t offset, void* to, size_t size) const {
  auto* out = static_cast<std::byte*>(to);
  while (size > 0) {
    const uint64_t skip = offset - window_.offset;
    if (offset < window_.offset || skip >= window_.bytes.size()) {
      window_.offset = offset;
      window_.bytes.resize(kWindow);
      const auto address = static_cast<off_t>(in_.buffer_address + offset);
      const ssize_t got = ::pread(in_.memory.get(), window_.bytes.data(), kWindow, address);
      window_.bytes.resize(got > 0 ? static_cast<size_t>(got) : 0);
      if (got <= 0) return -EFAULT;
      continue;
    }
    const size_t step = std::min<size_t>(size, window_.bytes.size() - skip);
    std::memcpy(out, window_.bytes.data() + skip, step);
    offset += step;
    out += step;
    size -= step;
  }
  return 0;
}

// check_zeroed_user(): -E2BIG before -EFAULT where a byte that is not zero comes first.
int UserCall::CheckZeroes(uint64_t offset, size_t size) const {
  std::array<std::byte, 4096> bytes;
  for (size_t done = 0; done < size;) {
    size_t step = std::min(bytes.size(), size - done);
    if (CopyFromUser(offset + done, bytes.data(), step) != 0) {
      step = 1;
      if (int rc = CopyFromUser(offset + done, bytes.data(), step); rc != 0) return rc;
    }
    const auto end = bytes.begin() + static_cast<ptrdiff_t>(step);
    if (std::any_of(bytes.begin(), end, [](std::byte byte) { return byte != std::byte{0}; })) {
      return -E2BIG;
    }
    done += step;
  }
  return 0;
}

int UserCall::CopyFullArray(const uapi::IommuHwptInvalidate& cmd, uint32_t type,
                            std::span<std::byte> to, size_t entry_size) const {
  if (cmd.entry_num == 0 || cmd.data_type != type) return -EINVAL;
  if (cmd.entry_len == entry_size) return CopyFromUser(0, to.data(), to.size());
  const size_t known = std::min<size_t>(cmd.entry_len, entry_size);
  for (size_t i = 0; i < cmd.entry_num; ++i) {
    const uint64_t at = uint64_t{i} * cmd.entry_len;
    if (int rc = CheckZeroes(at + known, cmd.entry_len - known); rc != 0) return rc;
    if (int rc = CopyFromUser(at, &to[i * entry_size], known); rc != 0) return rc;
  }
  return 0;
}

int UserCall::CopyToUser(const void* from, size_t size, uint64_t zero_to) {
  if (size == 0 && zero_to == 0) return 0;
  if ((in_.flags & kBufferReadOnly) != 0 || size > in_.out_size) return -EFAULT;
  const auto* bytes = static_cast<const std::byte*>(from);
  out_.assign(bytes, bytes + size);
  zero_to_ = zero_to;
  return 0;
}

// The caller has sent an empty file, from which it sets the bits itself: the bitmap may be large,
// and others may write to it at the same time.
int UserCall::PutBits(std::span<const std::byte> bits) {
  const UniqueFd file = std::move(in_.inner_fd);
  struct stat info;
  if (!file.valid() || ::fstat(file.get(), &info) != 0 || !S_ISREG(info.st_mode) ||
      static_cast<uint64_t>(info.st_size) < bits.size()) {
    return -ENOMEM;
  }
  for (size_t done = 0; done < bits.size();) {
    const ssize_t count =
        ::pwrite(file.get(), &bits[done], bits.size() - done, static_cast<off_t>(done));
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return -ENOMEM;
    done += static_cast<size_t>(count);
  }
  return 0;
}

int UserCall::TakeInnerFd(UniqueFd* fd) { return Take(&in_.inner_fd, fd); }

int UserCall::TakeEventfd(int32_t number, UniqueFd* fd) {
  if (number < 0 || static_cast<size_t>(number) >= in_.eventfds.size()) return -EBADF;
  return Take(&in_.eventfds[static_cast<size_t>(number)], fd);
}

void UserCall::ReturnFd(UniqueFd fd, size_t offset) {
  new_fd_ = std::move(fd);
  fd_offset_ = static_cast<uint32_t>(offset);
}

}  // namespace berth::emulator
