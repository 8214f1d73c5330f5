// SPDX-License-Identifier: Apache-2.0
#include "agent/inventory/device_use.h"

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <system_error>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "lib/base/status.h"

namespace berth {
namespace {

namespace fs = std::filesystem;

std::string FirstLine(const fs::path& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  absl::StripAsciiWhitespace(&line);
  return line;
}

std::vector<std::string> Names(const fs::path& folder) {
  std::vector<std::string> names;
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, error)) {
    names.push_back(entry.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

// The entries of /sys/class/KIND that are children of the device, however deep (a disk is below its
// controller's SCSI host, a partition below its disk).
std::vector<std::string> ChildrenOf(const std::string& device, const fs::path& kind) {
  std::vector<std::string> children;
  for (std::string& name : Names(kind)) {
    std::error_code error;
    const std::string target = fs::canonical(kind / name, error).string();
    if (!error && absl::StartsWith(target, device + "/")) children.push_back(std::move(name));
  }
  return children;
}

// The disk that one path of an NVMe namespace ("nvme0c1n2") belongs to ("nvme0n2"): it hangs below
// no PCI device when the kernel has it as multipath (Linux drivers/nvme/host/multipath.c,
// nvme_mpath_set_disk_name()). Empty: `name` is no such path.
std::string MultipathHead(const std::string& name) {
  if (!absl::StartsWith(name, "nvme")) return "";
  const size_t path = name.find('c', 4);
  const size_t space = path == std::string::npos ? path : name.find('n', path);
  return space == std::string::npos ? "" : name.substr(0, path) + name.substr(space);
}

struct Mount {
  std::string number;  // "259:1"
  std::string point;
  std::string source;  // "/dev/nvme0n1p1"
};

// proc(5): "36 35 98:0 /root /point options optional... - type source options".
std::vector<Mount> ReadMounts(const fs::path& proc) {
  std::vector<Mount> mounts;
  std::ifstream file(proc / "self/mountinfo");
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    Mount mount;
    std::string skipped;
    words >> skipped >> skipped >> mount.number >> skipped >> mount.point;
    while (words >> skipped && skipped != "-") {
    }
    words >> skipped >> mount.source;
    mounts.push_back(std::move(mount));
  }
  return mounts;
}

bool IsSwap(const std::string& disk, const fs::path& proc) {
  std::ifstream file(proc / "swaps");
  for (std::string line; std::getline(file, line);) {
    if (line.substr(0, line.find_first_of(" \t")) == "/dev/" + disk) return true;
  }
  return false;
}

// Empty: nobody uses it.
std::string UseOfDisk(const std::string& disk, const HostFiles& files) {
  const fs::path entry = fs::path(files.sysfs_root) / "class/block" / disk;
  const std::string number = FirstLine(entry / "dev");
  for (const Mount& mount : ReadMounts(files.proc_root)) {
    // Some filesystems (btrfs) have a number of their own.
    if (mount.source == "/dev/" + disk || (!number.empty() && mount.number == number)) {
      return absl::StrCat("disk ", disk, " is mounted at ", mount.point);
    }
  }
  if (IsSwap(disk, files.proc_root)) return absl::StrCat("disk ", disk, " is swap space");
  if (const auto holders = Names(entry / "holders"); !holders.empty()) {
    return absl::StrCat("disk ", disk, " is a part of ", holders.front());
  }
  const absl::Status claimed = files.claim_disk(disk);
  if (claimed.ok()) return "";
  if (ReasonOf(claimed) == Reason::kDeviceBusy) return absl::StrCat("disk ", disk, " is in use");
  return absl::StrCat("disk ", disk, " may be in use: ", claimed.message());
}

std::vector<std::string> DisksOf(const std::string& device, const fs::path& sysfs) {
  std::vector<std::string> disks = ChildrenOf(device, sysfs / "class/block");
  for (size_t i = 0, paths = disks.size(); i < paths; ++i) {
    const std::string head = MultipathHead(disks[i]);
    if (head.empty()) continue;
    // Nobody can open a path by itself.
    disks[i] = head;
    for (const std::string& name : Names(sysfs / "class/block")) {
      if (absl::StartsWith(name, head + "p")) disks.push_back(name);
    }
  }
  std::sort(disks.begin(), disks.end());
  disks.erase(std::unique(disks.begin(), disks.end()), disks.end());
  return disks;
}

}  // namespace

std::vector<std::string> UsesOf(const PciFunction& function, const HostFiles& files) {
  const fs::path sysfs = files.sysfs_root;
  const fs::path folder = sysfs / "bus/pci/devices" / function.address;
  std::error_code error;
  const std::string device = fs::canonical(folder, error).string();
  if (error) return {absl::StrCat("it cannot be looked at: ", error.message())};
  std::vector<std::string> uses;
  for (const std::string& disk : DisksOf(device, sysfs)) {
    if (std::string use = UseOfDisk(disk, files); !use.empty()) uses.push_back(std::move(use));
  }
  for (const std::string& name : ChildrenOf(device, sysfs / "class/net")) {
    constexpr uint32_t kUp = 1;  // IFF_UP, netdevice(7)
    uint32_t flags = kUp;        // what cannot be read counts as up
    const bool known = absl::SimpleHexAtoi(FirstLine(sysfs / "class/net" / name / "flags"), &flags);
    if (!known || (flags & kUp) != 0) {
      uses.push_back(absl::StrCat("network interface ", name, " is up"));
    }
  }
  for (const char* file : {"boot_vga", "boot_display"}) {
    if (FirstLine(folder / file) != "1") continue;
    uses.emplace_back("it is the display that this host booted with");
    break;
  }
  // They go with their physical function's driver.
  int enabled = 0;
  if (absl::SimpleAtoi(FirstLine(folder / "sriov_numvfs"), &enabled) && enabled > 0) {
    uses.push_back(absl::StrCat(enabled, " virtual functions of it are enabled"));
  }
  return uses;
}

}  // namespace berth
