// SPDX-License-Identifier: Apache-2.0
//
// Has the kernel map and unmap memory for a device again and again (Linux
// kernel/dma/map_benchmark.c, whose driver has that device):
//   dma_map_load SECONDS THREADS GRANULE [sg]   GRANULE: pages at once; sg: as a list of that many
// Prints what it says of it.
#include <fcntl.h>
#include <sys/ioctl.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <iostream>
#include <string_view>

#include "absl/strings/numbers.h"
#include "lib/base/unique_fd.h"

namespace {

// include/uapi/linux/map_benchmark.h of Linux 7.3; times are in 100 ns.
struct MapBenchmark {
  uint64_t average_map;
  uint64_t map_deviation;
  uint64_t average_unmap;
  uint64_t unmap_deviation;
  uint32_t threads;
  uint32_t seconds;
  int32_t node;
  uint32_t dma_bits;
  uint32_t direction;
  uint32_t transmission_ns;
  uint32_t granule;
  uint8_t mode;
  uint8_t reserved[75];
};
static_assert(sizeof(MapBenchmark) == 136);
constexpr unsigned long kRun = _IOWR('d', 1, MapBenchmark);
constexpr uint8_t kScatterGather = 1;

}  // namespace

int main(int argc, char** argv) {
  MapBenchmark load = {};
  load.node = -1;
  load.dma_bits = 32;
  if (argc < 4 || argc > 5 || !absl::SimpleAtoi(argv[1], &load.seconds) ||
      !absl::SimpleAtoi(argv[2], &load.threads) || !absl::SimpleAtoi(argv[3], &load.granule) ||
      (argc == 5 && std::string_view(argv[4]) != "sg")) {
    std::cerr << "usage: dma_map_load SECONDS THREADS GRANULE [sg]\n";
    return 2;
  }
  if (argc == 5) load.mode = kScatterGather;
  const berth::UniqueFd file(::open("/sys/kernel/debug/dma_map_benchmark", O_RDWR | O_CLOEXEC));
  if (!file.valid() || ::ioctl(file.get(), kRun, &load) != 0) {
    std::cerr << "dma_map_load: " << std::strerror(errno) << "\n";
    return 1;
  }
  std::cout << load.threads << " threads, " << load.granule << " pages: map "
            << static_cast<double>(load.average_map) / 10 << " us, unmap "
            << static_cast<double>(load.average_unmap) / 10 << " us\n";
  return load.average_unmap > 0 ? 0 : 1;
}
