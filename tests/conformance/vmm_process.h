// SPDX-License-Identifier: Apache-2.0
//
// A second process that behaves as a VMM does with a MappedRegion: gets the fd by SCM_RIGHTS, maps,
// loads and stores, forks, dies.
#ifndef BERTH_TESTS_CONFORMANCE_VMM_PROCESS_H_
#define BERTH_TESTS_CONFORMANCE_VMM_PROCESS_H_

#include <sys/types.h>

#include <cstdint>

#include "lib/base/unique_fd.h"
#include "lib/iommufd/mapped_region.h"

namespace berth::conformance {

// What the process is asked (one SEQPACKET packet, kTakeFd with the fd) and what it answers (an
// int64: 0 or a value, or a negative errno).
enum class VmmOp : uint32_t {
  kTakeFd,  // keeps the fd that comes along, in place of the one before
  kCloseFd,
  kMap,    // maps the fd: `offset`, `length`
  kUnmap,  // `length` bytes from the start of the mapping; it keeps the rest
  kLoad,   // u32 at `offset`
  kStore,  // u32 `value` at `offset`
  kFork,   // a child that does nothing but inherit
  kKillChild,
};
struct VmmRequest {
  VmmOp op;
  uint32_t value;
  uint64_t offset;
  uint64_t length;
};

class VmmProcess {
 public:
  // Starts the program "conformance_vmm" that lies beside this one.
  VmmProcess();
  // Kills the process and waits until it is gone.
  ~VmmProcess() { Kill(); }
  VmmProcess(const VmmProcess&) = delete;
  VmmProcess& operator=(const VmmProcess&) = delete;

  int64_t TakeFd(int fd);
  int64_t CloseFd() { return Ask({VmmOp::kCloseFd, 0, 0, 0}); }
  int64_t Map(const MappedRegion& region) {
    return Ask({VmmOp::kMap, 0, region.offset, region.length});
  }
  int64_t Unmap(uint64_t length) { return Ask({VmmOp::kUnmap, 0, 0, length}); }
  int64_t Load(uint64_t offset) { return Ask({VmmOp::kLoad, 0, offset, 0}); }
  int64_t Store(uint64_t offset, uint32_t value) { return Ask({VmmOp::kStore, value, offset, 0}); }
  // A child that inherits all and does nothing until KillChild().
  int64_t Fork() { return Ask({VmmOp::kFork, 0, 0, 0}); }
  int64_t KillChild() { return Ask({VmmOp::kKillChild, 0, 0, 0}); }
  // SIGKILL, as a VMM dies; returns when the process is reaped.
  void Kill();

 private:
  int64_t Ask(const VmmRequest& request, int fd = -1);

  UniqueFd socket_;
  pid_t pid_ = -1;
};

}  // namespace berth::conformance

#endif  // BERTH_TESTS_CONFORMANCE_VMM_PROCESS_H_
