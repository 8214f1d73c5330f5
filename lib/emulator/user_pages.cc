// SPDX-License-Identifier: Apache-2.0
#include "lib/emulator/user_pages.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <optional>
#include <sstream>
#include <string>

// Linux 5.14; older headers lack them.
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#define MADV_POPULATE_WRITE 23
#endif

namespace berth::emulator {
namespace {

// A line of /proc/self/maps.
struct Vma {
  uint64_t start = 0;
  uint64_t end = 0;
  uint64_t offset = 0;
  bool shared = false;
  dev_t device = 0;
  ino_t inode = 0;    // 0: no file
  std::string range;  // "start-end" as /proc/self/map_files spells it
};

uint64_t FromHex(const std::string& text) {
  uint64_t value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value, 16);
  return value;
}

// The mapping that holds the whole range.
std::optional<Vma> FindVma(uint64_t address, uint64_t last) {
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    std::istringstream words(line);
    Vma vma;
    std::string permissions;
    std::string offset;
    std::string device;
    words >> vma.range >> permissions >> offset >> device >> vma.inode;
    const size_t dash = vma.range.find('-');
    if (dash == std::string::npos) continue;
    vma.start = FromHex(vma.range.substr(0, dash));
    vma.end = FromHex(vma.range.substr(dash + 1));
    if (address < vma.start || last >= vma.end) continue;
    vma.offset = FromHex(offset);
    vma.shared = permissions.size() > 3 && permissions[3] == 's' && vma.inode != 0;
    const size_t colon = std::min(device.find(':'), device.size());
    vma.device =
        makedev(static_cast<unsigned>(FromHex(device.substr(0, colon))),
                static_cast<unsigned>(FromHex(device.substr(std::min(colon + 1, device.size())))));
    return vma;
  }
  return std::nullopt;
}

// map_files needs a capability; the process that mapped the file often has it open still.
UniqueFd OpenMappedFile(const Vma& vma) {
  const std::string link = "/proc/self/map_files/" + vma.range;
  UniqueFd file(::open(link.c_str(), O_RDWR | O_CLOEXEC));
  if (file.valid()) return file;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd", error)) {
    struct stat info;
    const int fd = std::atoi(entry.path().filename().c_str());
    if (::fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) continue;
    if (info.st_dev != vma.device || info.st_ino != vma.inode) continue;
    return UniqueFd(::fcntl(fd, F_DUPFD_CLOEXEC, 0));
  }
  return {};
}

bool Populate(uint64_t address, uint64_t length, UserAccess access) {
  const auto page = static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
  const uint64_t start = address & ~(page - 1);
  const uint64_t size = (address - start + length + page - 1) & ~(page - 1);
  const int advice = access == UserAccess::kWrite ? MADV_POPULATE_WRITE : MADV_POPULATE_READ;
  int rc = 0;
  do {
    rc = ::madvise(reinterpret_cast<void*>(start), size, advice);  // NOLINT: a user pointer
  } while (rc != 0 && errno == EINTR);
  return rc == 0;
}

}  // namespace

UserPages FindUserPages(uint64_t address, uint64_t length, UserAccess access) {
  UserPages pages;
  uint64_t last = 0;
  const bool wraps = length == 0 || __builtin_add_overflow(address, length - 1, &last);
  pages.accessible = !wraps && Populate(address, length, access);
  if (pages.accessible) {
    if (const auto vma = FindVma(address, last); vma && vma->shared) {
      pages.file = OpenMappedFile(*vma);
      pages.offset = vma->offset + (address - vma->start);
    }
  }
  if (!pages.file.valid()) {
    pages.file.Reset(::open("/proc/self/mem", O_RDWR | O_CLOEXEC));
    pages.offset = address;
  }
  return pages;
}

}  // namespace berth::emulator
