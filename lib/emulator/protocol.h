// SPDX-License-Identifier: Apache-2.0
//
// What travels between EmulatorClient and the emulator's Server: one SEQPACKET packet for a call,
// one for its reply, on a channel that carries one call at a time. Both sides are of one build or
// one release apart, so the version is checked in every header and everything else is validated as
// if the peer were hostile.
//
// A context, a cdev and an event queue are the client's end of a socketpair that the server made.
// No call travels on those; they are passed by SCM_RIGHTS in the call that they are meant by, and
// the server knows them by their inode, as a kernel's fd table leads to a struct file.
#ifndef BERTH_LIB_EMULATOR_PROTOCOL_H_
#define BERTH_LIB_EMULATOR_PROTOCOL_H_

#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace berth::emulator {

inline constexpr uint32_t kProtocolMagic = 0x42455245;  // "EREB" in memory
inline constexpr uint32_t kProtocolVersion = 1;

enum class CallOp : uint32_t {
  kOpenContext = 1,  // reply: one fd
  kOpenDevice = 2,   // struct part: the cdev's name; reply: one fd
  kIoctl = 3,        // `request`; struct part: the argument; `in`, `out`: the buffer it points to
  kReadEvents = 4,   // `out_size`: the buffer's size; `length`: how much of it can be written
  kReadRegion = 5,   // `offset`, `out_size`
  kWriteRegion = 6,  // `offset`, in part
  kRegion = 7,       // `offset`, `length`; reply: one fd
};

// What the caller's memory looks like to copy_from_user() and copy_to_user().
enum CallFlags : uint32_t {
  kStructFault = 1,        // the struct could only be read up to struct_size
  kStructTailNonZero = 2,  // a byte beyond the first kMaxStruct of the caller's struct is not zero
  kStructTailFault = 4,    // one of those bytes could not be read
  kStructReadOnly = 8,     // the struct cannot be written
  kBufferReadOnly = 16,    // the buffer that a pointer in the struct names cannot be written
  kInnerFd = 32,       // the fd inside the struct is open in the caller and comes as the last fd;
                       // HWPT_GET_DIRTY_BITMAP: a memfd for the bits
  kInInMemfd = 64,     // the in part is not in the packet but in a memfd, which comes after
                       // the target
  kInInMemory = 1024,  // the in part is in the caller's memory: /proc/PID/mem comes after the
                       // target, `offset` is the address
  kMaySetRlimitMode = 128,  // the caller has CAP_SYS_RESOURCE
  kMayLockMemory = 512,     // the caller has CAP_IPC_LOCK (of calls that map memory)
  kUserFault = 256,         // of IOAS_MAP: a page of the range cannot be had
  kEventfds = 2048,  // VFIO_DEVICE_SET_IRQS: fds come last, and each number that is not negative in
                     // the struct says which of them is meant; too large a one, that it is not open
  kNoFdLeft = 4096,  // the caller has no number for another fd
};

struct CallHeader {
  uint32_t magic;
  uint32_t version;
  CallOp op;
  uint32_t flags;
  uint64_t request;  // kIoctl
  uint64_t offset;   // kReadRegion, kWriteRegion, kRegion; IOAS_MAP: in the fd that comes along;
                     // kInInMemory
  uint64_t length;   // kRegion, kReadEvents; calls that map memory: RLIMIT_MEMLOCK, bytes
  uint32_t struct_size;  // bytes of the struct in the packet, at most kMaxStruct
  uint32_t user_size;    // what the struct's first u32 says
  uint32_t in_size;      // bytes of the in part: as much of the buffer as could be read
  uint32_t out_size;     // bytes that the caller can take
};
static_assert(sizeof(CallHeader) == 56 && std::is_trivially_copyable_v<CallHeader>);

enum ReplyFlags : uint32_t {
  kWriteStruct = 1,  // the struct part is to be copied back
  kNewFd = 2,        // an fd comes along
};

inline constexpr uint32_t kNoOffset = ~uint32_t{0};

struct ReplyHeader {
  uint32_t magic;
  uint32_t version;
  uint32_t flags;
  uint32_t fd_offset;    // where in the struct the new fd's number goes, or kNoOffset
  int64_t result;        // of the call: >= 0, or a negative errno
  uint32_t struct_size;  // bytes of the struct part
  uint32_t out_size;     // bytes of the out part
  uint64_t zero_to;      // the caller's buffer is zeroed from out_size up to here
};
static_assert(sizeof(ReplyHeader) == 40 && std::is_trivially_copyable_v<ReplyHeader>);

// Bounds. A page is what iommufd would ever look at in one struct; a longer one must end in zeroes.
inline constexpr size_t kMaxStruct = 4096;
// The part of a packet behind header and struct; a larger in part goes into a memfd.
inline constexpr size_t kMaxInline = 64 * 1024;
// The largest in part that is sent: HWPT_INVALIDATE with as many commands as Linux accepts (2^18 in
// one kmalloc of 4 MiB), each in its own 16 bytes. Whatever is larger stays where it is, and is
// read there as far as the call comes (kInInMemory).
inline constexpr size_t kMaxIn = 8 * 1024 * 1024;
// The largest out part: IOVA ranges, event records, region data.
inline constexpr size_t kMaxOut = kMaxInline;
inline constexpr size_t kMaxPacket = sizeof(CallHeader) + kMaxStruct + kMaxInline;
// As many as an index of an emulated device has interrupts.
inline constexpr size_t kMaxEventfds = 8;
// Target, memfd or memory, fds inside the struct.
inline constexpr size_t kMaxFds = 2 + kMaxEventfds;

}  // namespace berth::emulator

#endif  // BERTH_LIB_EMULATOR_PROTOCOL_H_
