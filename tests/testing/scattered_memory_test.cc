// SPDX-License-Identifier: Apache-2.0
#include "tests/testing/scattered_memory.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <set>
#include <vector>

#include "lib/base/mapping.h"
#include "lib/base/status.h"

namespace berth::testing {
namespace {

constexpr size_t kPage = 4096;
constexpr size_t kPages = 256;

std::vector<uint64_t> Frames(const Mapping& memory) {
  const UniqueFd pagemap(::open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC));
  std::vector<uint64_t> frames(kPages);
  const auto at = reinterpret_cast<uint64_t>(memory.data()) / kPage * sizeof(uint64_t);
  EXPECT_EQ(::pread(pagemap.get(), frames.data(), frames.size() * sizeof(uint64_t),
                    static_cast<off_t>(at)),
            static_cast<ssize_t>(frames.size() * sizeof(uint64_t)));
  for (uint64_t& frame : frames) frame &= (uint64_t{1} << 55) - 1;
  return frames;
}

TEST(ScatteredMemoryTest, HasNoAdjacentPages) {
  // A kernel that is short of memory may move pages at any time: never in every attempt.
  size_t adjacent = 1;
  for (int attempt = 0; attempt < 20 && adjacent > 0; ++attempt) {
    const auto memfd = ScatteredMemory(kPages * kPage, PageKind::kSmall);
    if (ErrnoOf(memfd.status()) == EPERM) GTEST_SKIP() << "needs CAP_SYS_ADMIN, for pagemap";
    if (ErrnoOf(memfd.status()) == ENOMEM) continue;
    ASSERT_TRUE(memfd.ok()) << memfd.status();
    struct stat status = {};
    ASSERT_EQ(::fstat(memfd->get(), &status), 0);
    EXPECT_EQ(status.st_size, static_cast<off_t>(kPages * kPage));
    EXPECT_EQ(status.st_blocks, static_cast<blkcnt_t>(kPages * kPage / 512));
    const auto memory = Mapping::Map(memfd->get(), 0, kPages * kPage, Mapping::Access::kRead);
    ASSERT_TRUE(memory.ok());
    EXPECT_TRUE(std::all_of(memory->data(), memory->data() + memory->size(),
                            [](std::byte byte) { return byte == std::byte{0}; }));
    const std::vector<uint64_t> frames = Frames(*memory);
    const std::set<uint64_t> taken(frames.begin(), frames.end());
    adjacent = static_cast<size_t>(
        std::ranges::count_if(taken, [&](uint64_t frame) { return taken.contains(frame + 1); }));
  }
  EXPECT_EQ(adjacent, 0U);
}

}  // namespace
}  // namespace berth::testing
