// SPDX-License-Identifier: Apache-2.0
//
// The caller's memory as system calls see it: bad pointers are an error here, not a signal.
#ifndef BERTH_LIB_EMULATOR_USER_MEMORY_H_
#define BERTH_LIB_EMULATOR_USER_MEMORY_H_

#include <cstddef>
#include <cstdint>

namespace berth::emulator {

// Copies from `from` of this process; returns how many bytes could be read before the first page
// that cannot.
size_t ReadUser(uint64_t from, void* to, size_t size);
// Whether all `size` bytes could be written.
bool WriteUser(uint64_t to, const void* from, size_t size);
bool ZeroUser(uint64_t to, size_t size);
// Whether all `size` bytes could be written now. Writes nothing.
bool IsWritable(uint64_t at, size_t size);
// How many of them, before the first page that cannot.
size_t WritablePrefix(uint64_t at, size_t size);

}  // namespace berth::emulator

#endif  // BERTH_LIB_EMULATOR_USER_MEMORY_H_
