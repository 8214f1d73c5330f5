// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_TESTS_ORACLE_USER_MEMORY_H_
#define BERTH_TESTS_ORACLE_USER_MEMORY_H_

#include <cstddef>
#include <cstdint>
#include <span>

#include "lib/base/mapping.h"

namespace berth::oracle {

// The caller's memory as the recorder laid it out: where structs stand, and the buffers that their
// pointers name.
class UserMemory {
 public:
  // How a recorded pointer looks: "ptr" of a step.
  enum Pointer : uint8_t { kNull = 0, kValid = 1, kUnmapped = 2, kReadOnly = 3 };
  static constexpr size_t kBufferSize = 128 * 1024;

  UserMemory();

  // A place for a struct of `size` bytes, zeroed; at most kBufferSize.
  std::byte* PlaceStruct(size_t size);
  // Takes the right to write from the struct's page, and gives it back.
  void ProtectStruct();
  void UnprotectStruct();

  // The address for `pointer`; the valid and the read-only buffer hold `data`, then zeroes.
  std::byte* PlaceBuffer(Pointer pointer, std::span<const std::byte> data);

 private:
  // Anonymous memory of this process.
  class Block {
   public:
    explicit Block(int protection);
    ~Block();
    Block(const Block&) = delete;
    Block& operator=(const Block&) = delete;
    std::byte* data() { return data_; }
    void Protect(int protection);

   private:
    std::byte* data_;
  };

  Block struct_;
  Block valid_;
  Block read_only_;
  Block unmapped_;
};

}  // namespace berth::oracle

#endif  // BERTH_TESTS_ORACLE_USER_MEMORY_H_
