// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_LIB_EMULATOR_HARDWARE_REGISTER_BLOCK_H_
#define BERTH_LIB_EMULATOR_HARDWARE_REGISTER_BLOCK_H_

#include <cstddef>
#include <cstdint>
#include <utility>

#include "absl/status/statusor.h"
#include "lib/base/mapping.h"
#include "lib/base/unique_fd.h"
#include "lib/emulator/hardware/registers.h"

namespace berth::emulator {

// The registers of one CMDQV as shared memory: the configuration page, the pages of the vCMDQs, and
// two pages for each VINTF (registers.h). All of it is one range of addresses; page0 of a VINTF can
// be put onto a file of its own. Move-only. Not thread-safe.
class RegisterBlock {
 public:
  // Bytes.
  static size_t Size(int vintfs) { return VintfPage0(vintfs); }

  // Zeroed memory that only this process reaches.
  static absl::StatusOr<RegisterBlock> Create(int vintfs);
  // The part of a file that begins at `offset`, which must be a multiple of the page size: whoever
  // else maps it reads and writes the same registers. The file must be long enough, and must stay
  // so: its end under the mapping is SIGBUS. Errors: INVALID_ARGUMENT, or as Mapping::Map().
  static absl::StatusOr<RegisterBlock> OnFile(int fd, uint64_t offset, int vintfs);

  RegisterBlock(RegisterBlock&&) noexcept = default;
  RegisterBlock& operator=(RegisterBlock&&) noexcept = default;

  // Whether others may write anywhere in it at any time.
  [[nodiscard]] bool shared() const { return shared_; }
  [[nodiscard]] RegisterView view() const { return RegisterView(mapping_.data()); }

  // Puts page0 of `vintf` onto `fd` (kRegisterPageSize bytes, writable). 0 or a negative errno.
  int MovePage0(int vintf, int fd);
  // Puts it back to where the rest is; the file is mapped no more.
  void ReturnPage0(int vintf);

 private:
  RegisterBlock(UniqueFd fd, uint64_t offset, Mapping mapping, bool shared)
      : fd_(std::move(fd)), offset_(offset), mapping_(std::move(mapping)), shared_(shared) {}

  UniqueFd fd_;
  uint64_t offset_ = 0;
  Mapping mapping_;
  bool shared_ = false;
};

}  // namespace berth::emulator

#endif  // BERTH_LIB_EMULATOR_HARDWARE_REGISTER_BLOCK_H_
