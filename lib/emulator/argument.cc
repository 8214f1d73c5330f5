// SPDX-License-Identifier: Apache-2.0
#include "lib/emulator/argument.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstring>

#include "lib/emulator/user_memory.h"
#include "lib/iommufd/uapi/ops.h"
#include "lib/iommufd/uapi/vfio.h"

namespace berth::emulator {
namespace {

enum class Direction : uint8_t { kIn, kOut, kInOut };

// Where a struct names a buffer: `count_offset` holds how many elements of `unit` bytes.
struct BufferField {
  uapi::Request request;
  size_t pointer_offset;
  size_t count_offset;
  uint32_t unit;  // 0: `count` bytes for each of HWPT_INVALIDATE's entries
  Direction direction;
};

constexpr size_t kFixedCount = ~size_t{0};  // one element

constexpr BufferField kBuffers[] = {
    {uapi::kIommuIoasAllowIovas, offsetof(uapi::IommuIoasAllowIovas, allowed_iovas),
     offsetof(uapi::IommuIoasAllowIovas, num_iovas), sizeof(uapi::IommuIovaRange), Direction::kIn},
    {uapi::kIommuIoasIovaRanges, offsetof(uapi::IommuIoasIovaRanges, allowed_iovas),
     offsetof(uapi::IommuIoasIovaRanges, num_iovas), sizeof(uapi::IommuIovaRange), Direction::kOut},
    {uapi::kIommuHwptAlloc, offsetof(uapi::IommuHwptAlloc, data_uptr),
     offsetof(uapi::IommuHwptAlloc, data_len), 1, Direction::kIn},
    {uapi::kIommuGetHwInfo, offsetof(uapi::IommuHwInfo, data_uptr),
     offsetof(uapi::IommuHwInfo, data_len), 1, Direction::kOut},
    {uapi::kIommuHwptInvalidate, offsetof(uapi::IommuHwptInvalidate, data_uptr),
     offsetof(uapi::IommuHwptInvalidate, entry_num), 0, Direction::kIn},
    {uapi::kIommuViommuAlloc, offsetof(uapi::IommuViommuAlloc, data_uptr),
     offsetof(uapi::IommuViommuAlloc, data_len), 1, Direction::kInOut},
    {uapi::kVfioDeviceBindIommufd, offsetof(uapi::VfioDeviceBindIommufd, token_uuid_ptr),
     kFixedCount, 16, Direction::kIn},
};

// Driver data is a few dozen bytes; whatever a caller claims, no more is looked at.
constexpr uint64_t kMaxDriverData = 4096;
// HWPT_INVALIDATE's entries have at most a page, of 64 KiB at most.
constexpr uint64_t kMaxEntry = 64 * 1024;

}  // namespace

bool HasCapability(int capability) {
  __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {};
  if (::syscall(SYS_capget, &header, data) != 0) return false;
  return (data[CAP_TO_INDEX(capability)].effective & CAP_TO_MASK(capability)) != 0;
}

template <typename T>
T Argument::Field(size_t offset) const {
  T value = {};
  if (offset + sizeof(T) <= struct_bytes.size()) {
    std::memcpy(&value, struct_bytes.data() + offset, sizeof(T));
  }
  return value;
}

void Argument::LoadStruct(size_t least) {
  // One look at most structs; the size is their first field.
  std::array<std::byte, 64> head;
  size_t known = ReadUser(address, head.data(), head.size());
  if (known < sizeof(user_size)) {
    flags |= kStructFault;
    return;
  }
  std::memcpy(&user_size, head.data(), sizeof(user_size));
  const size_t size = std::clamp<size_t>(user_size, least, kMaxStruct);
  struct_bytes.assign(head.begin(), head.begin() + static_cast<ptrdiff_t>(std::min(known, size)));
  if (known == head.size() && size > known) {
    struct_bytes.resize(size);
    known += ReadUser(address + known, struct_bytes.data() + known, size - known);
    struct_bytes.resize(known);
  }
  if (struct_bytes.size() < size) {
    flags |= kStructFault;
    return;
  }
  for (uint64_t at = size; at < user_size;) {
    std::array<std::byte, 4096> tail;
    const size_t step = std::min<uint64_t>(tail.size(), user_size - at);
    const size_t read = ReadUser(address + at, tail.data(), step);
    const auto end = tail.begin() + static_cast<ptrdiff_t>(read);
    if (std::any_of(tail.begin(), end, [](std::byte byte) { return byte != std::byte{0}; })) {
      flags |= kStructTailNonZero;
      return;
    }
    if (read < step) {
      flags |= kStructTailFault;
      return;
    }
    at += step;
  }
}

void Argument::LoadBuffer(unsigned long request) {  // NOLINT(google-runtime-int)
  const auto* field = std::ranges::find(kBuffers, request, &BufferField::request);
  if (field == std::end(kBuffers)) return;
  buffer_address = Field<uint64_t>(field->pointer_offset);
  uint64_t count = field->count_offset == kFixedCount ? 1 : Field<uint32_t>(field->count_offset);
  if (request == uapi::kVfioDeviceBindIommufd &&
      (Field<uint32_t>(offsetof(uapi::VfioDeviceBindIommufd, flags)) & uapi::kVfioBindFlagToken) ==
          0) {
    count = 0;
  }
  uint64_t unit = field->unit;
  if (unit == 0) {
    unit = Field<uint32_t>(offsetof(uapi::IommuHwptInvalidate, entry_len));
    // Refused before any of it is read (hw_pagetable.c).
    if (unit > kMaxEntry || count > uapi::kHwptInvalidateMaxEntries) return;
  }
  uint64_t size = count * unit;
  if (unit == 1) size = std::min(size, kMaxDriverData);
  if (field->direction != Direction::kOut) {
    if (size > kMaxIn) memory.Reset(::open("/proc/self/mem", O_RDONLY | O_CLOEXEC));
    in.resize(memory.valid() ? 0 : std::min<uint64_t>(size, kMaxIn));
    in.resize(ReadUser(buffer_address, in.data(), in.size()));
  }
  if (field->direction != Direction::kIn) {
    out_size = std::min<uint64_t>(size, kMaxOut);
    // Only an allocation has to be undone when its answer cannot be written; what else is written
    // shows that by itself.
    if (field->direction == Direction::kInOut && !IsWritable(buffer_address, out_size)) {
      flags |= kBufferReadOnly;
    }
  }
}

void Argument::LoadInnerFd(unsigned long request) {  // NOLINT(google-runtime-int)
  int fd = -1;
  if (request == uapi::kVfioDeviceBindIommufd) {
    fd = Field<int32_t>(offsetof(uapi::VfioDeviceBindIommufd, iommufd));
  } else if (request == uapi::kIommuIoasMapFile) {
    fd = Field<int32_t>(offsetof(uapi::IommuIoasMapFile, fd));
  } else {
    return;
  }
  // One that is not open stays behind: EBADF where the kernel looks for it.
  if (fd < 0 || ::fcntl(fd, F_GETFD) < 0) return;
  flags |= kInnerFd;
  inner_fd = fd;
}

void Argument::LoadEventfds() {
  constexpr size_t kHead = sizeof(uapi::VfioIrqSet);
  constexpr int32_t kNotOpen = INT32_MAX;
  if ((Field<uint32_t>(offsetof(uapi::VfioIrqSet, flags)) & uapi::kVfioIrqSetDataEventfd) == 0) {
    return;
  }
  // Where there are more, the kernel refuses their number before it looks at any.
  const size_t count =
      std::min<size_t>(Field<uint32_t>(offsetof(uapi::VfioIrqSet, count)), kMaxEventfds);
  for (size_t at = kHead; at < kHead + count * sizeof(int32_t); at += sizeof(int32_t)) {
    if (struct_bytes.size() < at + sizeof(int32_t)) break;
    auto fd = Field<int32_t>(at);
    if (fd < 0) continue;
    const bool open = ::fcntl(fd, F_GETFD) >= 0;
    const int32_t number = open ? static_cast<int32_t>(eventfds.size()) : kNotOpen;
    if (open) eventfds.push_back(fd);
    std::memcpy(&struct_bytes[at], &number, sizeof(number));
  }
  if (!eventfds.empty()) flags |= kEventfds;
}

void Argument::LoadUserPages() {
  if (struct_bytes.size() < sizeof(uapi::IommuIoasMap)) return;
  const bool writes =
      (Field<uint32_t>(offsetof(uapi::IommuIoasMap, flags)) & uapi::kIoasMapWriteable) != 0;
  user_pages = FindUserPages(Field<uint64_t>(offsetof(uapi::IommuIoasMap, user_va)),
                             Field<uint64_t>(offsetof(uapi::IommuIoasMap, length)),
                             writes ? UserAccess::kWrite : UserAccess::kRead);
  if (!user_pages.file.valid()) return;
  inner_fd = user_pages.file.get();
  flags |= kInnerFd;
  if (!user_pages.accessible) flags |= kUserFault;
}

// iova_bitmap.c, iova_bitmap_alloc(): a bit for each page of the lowest power of two in page_size.
// One that is longer than any in part stays behind: ENOMEM where the kernel allocates.
void Argument::LoadDirtyBitmap() {
  using Cmd = uapi::IommuHwptGetDirtyBitmap;
  const auto length = Field<uint64_t>(offsetof(Cmd, length));
  const auto page_size = Field<uint64_t>(offsetof(Cmd, page_size));
  if (length == 0 || page_size == 0) return;
  const uint64_t size = ((length - 1) >> std::countr_zero(page_size)) / 8 + 1;
  if (size > kMaxIn) return;
  buffer_address = Field<uint64_t>(offsetof(Cmd, data));
  bits_size = size;
  bits.Reset(::memfd_create("berth-bits", MFD_CLOEXEC));
  if (!bits.valid() || ::ftruncate(bits.get(), static_cast<off_t>(size)) != 0) return;
  inner_fd = bits.get();
  flags |= kInnerFd;
}

void Argument::StoreBits() const {
  std::array<std::byte, 4096> set;
  std::array<std::byte, 4096> bitmap;
  for (uint64_t at = 0; at < bits_size;) {
    // Not beyond the end of a page of the caller's: each can be written or not.
    const uint64_t to = buffer_address + at;
    const size_t step = std::min<uint64_t>(set.size() - to % set.size(), bits_size - at);
    const ssize_t got = ::pread(bits.get(), set.data(), step, static_cast<off_t>(at));
    at += step;
    if (got != static_cast<ssize_t>(step)) continue;
    const auto end = set.begin() + static_cast<ptrdiff_t>(step);
    if (std::all_of(set.begin(), end, [](std::byte b) { return b == std::byte{0}; })) continue;
    if (ReadUser(to, bitmap.data(), step) != step) continue;
    for (size_t i = 0; i < step; ++i) bitmap[i] |= set[i];
    (void)WriteUser(to, bitmap.data(), step);
  }
}

void Argument::Load(unsigned long request, uint64_t arg, const Capable& capable) {  // NOLINT
  address = arg;
  if (request == uapi::kVfioDeviceReset) return;  // has no argument
  // VFIO reads the whole struct before it looks at argsz (vfio_main.c), iommufd the size alone.
  const uapi::Op* vfio = uapi::FindVfioOp(request);
  LoadStruct(vfio != nullptr ? vfio->min_size : sizeof(user_size));
  if (!struct_bytes.empty() && !IsWritable(arg, struct_bytes.size())) flags |= kStructReadOnly;
  if (request == uapi::kIommuOption && capable(CAP_SYS_RESOURCE)) flags |= kMaySetRlimitMode;
  if (request == uapi::kIommuIoasMap || request == uapi::kIommuIoasMapFile ||
      request == uapi::kIommuIoasChangeProcess) {
    if (capable(CAP_IPC_LOCK)) flags |= kMayLockMemory;
    rlimit limit = {};
    ::getrlimit(RLIMIT_MEMLOCK, &limit);
    memlock_limit = limit.rlim_cur;
  }
  LoadInnerFd(request);
  if (request == uapi::kVfioDeviceSetIrqs) LoadEventfds();
  if (request == uapi::kIommuIoasMap) LoadUserPages();
  if (request == uapi::kIommuHwptGetDirtyBitmap) LoadDirtyBitmap();
  LoadBuffer(request);
}

}  // namespace berth::emulator
