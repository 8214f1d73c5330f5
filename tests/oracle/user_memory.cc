// SPDX-License-Identifier: Apache-2.0
#include "tests/oracle/user_memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

namespace berth::oracle {

UserMemory::Block::Block(int protection)
    : data_(static_cast<std::byte*>(
          ::mmap(nullptr, kBufferSize, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0))) {
  if (data_ == MAP_FAILED) std::abort();
}

UserMemory::Block::~Block() { ::munmap(data_, kBufferSize); }

void UserMemory::Block::Protect(int protection) { ::mprotect(data_, kBufferSize, protection); }

UserMemory::UserMemory()
    : struct_(PROT_READ | PROT_WRITE),
      valid_(PROT_READ | PROT_WRITE),
      read_only_(PROT_READ | PROT_WRITE),
      unmapped_(PROT_NONE) {}

std::byte* UserMemory::PlaceStruct(size_t size) {
  std::memset(struct_.data(), 0, std::min(size, kBufferSize));
  return struct_.data();
}

void UserMemory::ProtectStruct() { struct_.Protect(PROT_READ); }
void UserMemory::UnprotectStruct() { struct_.Protect(PROT_READ | PROT_WRITE); }

std::byte* UserMemory::PlaceBuffer(Pointer pointer, std::span<const std::byte> data) {
  Block* block = nullptr;
  switch (pointer) {
    case kNull:
      return nullptr;
    case kUnmapped:
      return unmapped_.data();
    case kValid:
      block = &valid_;
      break;
    case kReadOnly:
      block = &read_only_;
      read_only_.Protect(PROT_READ | PROT_WRITE);
      break;
  }
  std::memset(block->data(), 0, kBufferSize);
  if (!data.empty()) {
    std::memcpy(block->data(), data.data(), std::min(data.size(), kBufferSize));
  }
  if (pointer == kReadOnly) read_only_.Protect(PROT_READ);
  return block->data();
}

}  // namespace berth::oracle
