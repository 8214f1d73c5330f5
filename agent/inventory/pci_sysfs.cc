// SPDX-License-Identifier: Apache-2.0
#include "agent/inventory/pci_sysfs.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <system_error>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "lib/base/status.h"

namespace berth {
namespace {

namespace fs = std::filesystem;

// No sysfs attribute that is read here is longer; config space is 4096 bytes.
constexpr size_t kMaxAttribute = 4096;

std::optional<std::string> ReadAttribute(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return std::nullopt;
  std::string text(kMaxAttribute, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<size_t>(file.gcount()));
  return text;
}

std::string ReadText(const fs::path& path) {
  std::string text = ReadAttribute(path).value_or("");
  absl::StripAsciiWhitespace(&text);
  return text;
}

uint32_t ReadHex(const fs::path& path) {
  uint32_t value = 0;
  return absl::SimpleHexAtoi(ReadText(path), &value) ? value : 0;
}

int64_t ReadNumber(const fs::path& path, int64_t fallback) {
  int64_t value = 0;
  return absl::SimpleAtoi(ReadText(path), &value) ? value : fallback;
}

std::string LinkName(const fs::path& path) {
  std::error_code error;
  const fs::path target = fs::read_symlink(path, error);
  return error ? "" : target.filename().string();
}

// The device serial number of config space (PCIe 5.0, 7.9.3): extended capability 3, from 0x100 on.
std::string ReadSerial(const fs::path& path) {
  const std::string config = ReadAttribute(path).value_or("");
  const auto dword = [&config](size_t at) -> uint32_t {
    if (at + 4 > config.size()) return 0;
    uint32_t value = 0;
    for (size_t i = 4; i-- > 0;) value = value << 8 | static_cast<unsigned char>(config[at + i]);
    return value;
  };
  constexpr uint32_t kSerialNumber = 3;
  // A broken list must not make a loop: there is no room for more capabilities than this.
  size_t at = 0x100;
  for (int hops = 0; hops < 480 && at >= 0x100; ++hops) {
    const uint32_t header = dword(at);
    if ((header & 0xffff) == kSerialNumber) {
      return absl::StrFormat("%08x%08x", dword(at + 8), dword(at + 4));
    }
    at = header >> 20 & 0xffc;
  }
  return "";
}

std::string FindCdev(const fs::path& device) {
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(device / "vfio-dev", error)) {
    return entry.path().filename().string();
  }
  return "";
}

// "0x0000000008000000 0x00000000080fffff msi", one in a line (Linux
// Documentation/ABI/testing/sysfs-kernel-iommu_groups).
std::vector<ReservedIovas> ReadReserved(const fs::path& path) {
  std::vector<ReservedIovas> all;
  const std::string text = ReadText(path);
  for (const absl::string_view line : absl::StrSplit(text, '\n')) {
    const std::vector<std::string> words = absl::StrSplit(line, ' ', absl::SkipEmpty());
    ReservedIovas reserved;
    if (words.size() != 3 || !absl::SimpleHexAtoi(words[0], &reserved.first) ||
        !absl::SimpleHexAtoi(words[1], &reserved.last)) {
      continue;
    }
    reserved.kind = words[2];
    all.push_back(std::move(reserved));
  }
  return all;
}

std::optional<PciFunction> ReadFunction(const fs::path& device) {
  PciFunction function;
  function.address = device.filename().string();
  function.vendor_id = ReadHex(device / "vendor");
  function.device_id = ReadHex(device / "device");
  // Unplugged while it was looked at.
  if (function.vendor_id == 0 || function.vendor_id == 0xffff) return std::nullopt;
  function.pci_class = ReadHex(device / "class") & 0xffffff;
  function.serial = ReadSerial(device / "config");
  function.numa_node = static_cast<int>(ReadNumber(device / "numa_node", -1));
  int group = -1;
  if (absl::SimpleAtoi(LinkName(device / "iommu_group"), &group)) function.iommu_group = group;
  function.unit = LinkName(device / "iommu");
  function.driver = LinkName(device / "driver");
  function.cdev = FindCdev(device);
  function.reset_methods =
      absl::StrSplit(ReadText(device / "reset_method"), ' ', absl::SkipEmpty());
  function.resettable = !function.reset_methods.empty();
  function.reserved_iovas = ReadReserved(device / "iommu_group/reserved_regions");
  constexpr uint32_t kBridge = 0x06;
  function.is_endpoint = function.pci_class >> 16 != kBridge;
  return function;
}

}  // namespace

absl::StatusOr<std::vector<PciFunction>> ReadPciFunctions(const std::string& sysfs_root) {
  const fs::path folder = fs::path(sysfs_root) / "bus/pci/devices";
  std::error_code error;
  fs::directory_iterator entries(folder, error);
  if (error) return ErrnoToStatus(error.value(), absl::StrCat("reading ", folder.string()));
  std::vector<PciFunction> functions;
  for (; entries != fs::directory_iterator(); entries.increment(error)) {
    if (functions.size() >= kMaxFunctions) {
      return Error(Reason::kTooLarge,
                   absl::StrCat(folder.string(), " has more than ", kMaxFunctions, " functions"));
    }
    if (auto function = ReadFunction(entries->path())) functions.push_back(*std::move(function));
  }
  // An increment that fails makes the end.
  if (error) return ErrnoToStatus(error.value(), absl::StrCat("reading ", folder.string()));
  std::sort(functions.begin(), functions.end(),
            [](const PciFunction& a, const PciFunction& b) { return a.address < b.address; });
  return functions;
}

std::vector<HugePageCount> ReadHugePages(const std::string& sysfs_root) {
  std::vector<HugePageCount> counts;
  std::error_code error;
  const fs::path folder = fs::path(sysfs_root) / "kernel/mm/hugepages";
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, error)) {
    // "hugepages-2048kB"
    const std::string name = entry.path().filename().string();
    const size_t dash = name.find('-');
    int64_t kilobytes = 0;
    if (dash == std::string::npos || name.size() < dash + 3 ||
        !absl::SimpleAtoi(name.substr(dash + 1, name.size() - dash - 3), &kilobytes)) {
      continue;
    }
    counts.push_back({.page_size = kilobytes * 1024,
                      .total = ReadNumber(entry.path() / "nr_hugepages", 0),
                      .free = ReadNumber(entry.path() / "free_hugepages", 0)});
  }
  std::sort(counts.begin(), counts.end(), [](const HugePageCount& a, const HugePageCount& b) {
    return a.page_size < b.page_size;
  });
  return counts;
}

std::string MakeDeviceId(const PciFunction& function) {
  return absl::StrFormat(
      "%s-%04x-%04x-%s", absl::StrReplaceAll(function.address, {{":", "-"}, {".", "-"}}),
      function.vendor_id, function.device_id, function.serial.empty() ? "0" : function.serial);
}

std::string DefaultClass(uint32_t pci_class) {
  switch (pci_class >> 16) {
    case 0x03:
      return "gpu";
    case 0x02:
      return "nic";
    case 0x12:
      return "accelerator";
    case 0x01:
      return pci_class >> 8 == 0x0108 ? "nvme" : "other";
    default:
      return "other";
  }
}

}  // namespace berth
