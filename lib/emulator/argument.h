// SPDX-License-Identifier: Apache-2.0
//
// What an ioctl of the caller takes along: its struct, the buffer and the fd that the struct names.
#ifndef BERTH_LIB_EMULATOR_ARGUMENT_H_
#define BERTH_LIB_EMULATOR_ARGUMENT_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include "lib/base/unique_fd.h"
#include "lib/emulator/protocol.h"
#include "lib/emulator/user_pages.h"

namespace berth::emulator {

// Whether the caller has a capability (CAP_* of linux/capability.h), as the kernel's capable().
using Capable = std::function<bool(int capability)>;
// By what the thread has in its effective set.
bool HasCapability(int capability);

// The caller's memory behind one ioctl argument, read once.
struct Argument {
  // Fills `this` from `arg` as far as it can be read; `capable` says which of its capabilities the
  // caller has.
  void Load(unsigned long request, uint64_t arg, const Capable& capable);  // NOLINT: of ioctl(2)

  uint64_t address = 0;
  uint32_t flags = 0;  // CallFlags
  uint32_t user_size = 0;
  std::vector<std::byte> struct_bytes;
  uint64_t buffer_address = 0;
  std::vector<std::byte> in;
  UniqueFd memory;  // valid: the buffer has more than kMaxIn and is to be read here, at its address
  uint64_t out_size = 0;
  int inner_fd = -1;
  std::vector<int> eventfds;   // of SET_IRQS: kEventfds
  uint64_t memlock_limit = 0;  // of calls that map memory, bytes
  UserPages user_pages;        // of IOAS_MAP; `inner_fd` is its file
  UniqueFd bits;               // of HWPT_GET_DIRTY_BITMAP: a memfd as long as the bitmap
  uint64_t bits_size = 0;

  // Sets in the caller's bitmap what has been written into `bits`, where it can be written.
  void StoreBits() const;

 private:
  // `least` bytes are read whatever the struct says of its size.
  void LoadStruct(size_t least);
  void LoadBuffer(unsigned long request);   // NOLINT(google-runtime-int)
  void LoadInnerFd(unsigned long request);  // NOLINT(google-runtime-int)
  void LoadEventfds();
  void LoadUserPages();
  void LoadDirtyBitmap();
  template <typename T>
  [[nodiscard]] T Field(size_t offset) const;
};

}  // namespace berth::emulator

#endif  // BERTH_LIB_EMULATOR_ARGUMENT_H_
