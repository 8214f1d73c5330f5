// SPDX-License-Identifier: Apache-2.0
#include "lib/emulator/host_tree.h"

#include <array>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "lib/base/status.h"
#include "lib/emulator/kernel/machine.h"

namespace berth::emulator {
namespace {

namespace fs = std::filesystem;

// Collects the first error of many small steps.
class TreeWriter {
 public:
  explicit TreeWriter(fs::path root) : root_(std::move(root)) {}

  void Folder(const fs::path& path) {
    std::error_code error;
    fs::create_directories(root_ / path, error);
    Note(error.value(), path);
  }
  void File(const fs::path& path, std::string_view content) {
    Folder(path.parent_path());
    std::ofstream out(root_ / path, std::ios::binary);
    out << content;
    out.close();
    if (!out) Note(EIO, path);
  }
  // `target` is relative to the tree's root.
  void Link(const fs::path& path, const fs::path& target) {
    Folder(path.parent_path());
    std::error_code error;
    fs::create_symlink(target.lexically_relative(path.parent_path()), root_ / path, error);
    Note(error.value(), path);
  }
  [[nodiscard]] const absl::Status& status() const { return status_; }

 private:
  void Note(int error, const fs::path& path) {
    if (error == 0 || !status_.ok()) return;
    status_ = Annotate(ErrnoToStatus(error, "writing"), (root_ / path).string());
  }

  const fs::path root_;
  absl::Status status_;
};

constexpr char kDevices[] = "bus/pci/devices";

std::string GroupOf(const DeviceSpec& device) {
  return absl::StrCat("kernel/iommu_groups/", device.iommu_group);
}
std::string UnitOf(const DeviceSpec& device) { return "class/iommu/" + device.unit; }

// What leads to a device's folder.
std::array<fs::path, 2> LinksTo(const DeviceSpec& device) {
  const std::string address = device.address.ToString();
  return {fs::path(UnitOf(device)) / "devices" / address,
          fs::path(GroupOf(device)) / "devices" / address};
}

// The content of the folder; its links are as if it were the device's own.
void WriteContent(const DeviceSpec& device, const fs::path& folder, TreeWriter* tree) {
  tree->File(folder / "vendor", absl::StrFormat("0x%04x\n", device.vendor));
  tree->File(folder / "device", absl::StrFormat("0x%04x\n", device.device));
  tree->File(folder / "class", absl::StrFormat("0x%06x\n", device.class_code));
  tree->File(folder / "numa_node", absl::StrCat(device.numa_node, "\n"));
  // The kernel has no such file for a function that cannot be reset.
  if (!device.reset_method.empty()) {
    tree->File(folder / "reset_method", device.reset_method + "\n");
  }
  const std::vector<std::byte> config = ConfigSpace(device);
  tree->File(folder / "config",
             std::string_view(reinterpret_cast<const char*>(config.data()), config.size()));
  tree->Folder(folder / "vfio-dev" / device.vfio_name);
  tree->Link(folder / "driver", "bus/pci/drivers/vfio-pci");
  tree->Link(folder / "iommu_group", GroupOf(device));
  tree->Link(folder / "iommu", UnitOf(device));
}

void WriteLinks(const DeviceSpec& device, TreeWriter* tree) {
  for (const fs::path& link : LinksTo(device)) {
    tree->Link(link, fs::path(kDevices) / device.address.ToString());
  }
}

absl::Status Failed(const std::error_code& error, const std::string& what, const fs::path& path) {
  return Annotate(ErrnoToStatus(error.value(), what), path.string());
}

// The way out of the tree and into it leads through a folder beside it, on the same level so that
// relative links hold.
absl::Status TakeOut(const fs::path& root, const DeviceSpec& device) {
  const std::string address = device.address.ToString();
  const fs::path aside = root / "bus/pci/.gone" / address;
  std::error_code error;
  for (const fs::path& link : LinksTo(device)) {
    fs::remove(root / link, error);
    if (error) return Failed(error, "removing", root / link);
  }
  fs::create_directories(aside.parent_path(), error);
  if (!error) fs::rename(root / kDevices / address, aside, error);
  if (error) return Failed(error, "removing", root / kDevices / address);
  fs::remove_all(aside.parent_path(), error);  // what stays is nowhere to be seen
  return absl::OkStatus();
}

absl::Status PutBack(const fs::path& root, const DeviceSpec& device) {
  const std::string address = device.address.ToString();
  const fs::path aside = fs::path("bus/pci/.back") / address;
  std::error_code error;
  fs::remove_all(root / aside, error);  // of an earlier try
  TreeWriter tree(root);
  WriteContent(device, aside, &tree);
  BERTH_RETURN_IF_ERROR(tree.status());
  fs::rename(root / aside, root / kDevices / address, error);
  if (error) return Failed(error, "writing", root / kDevices / address);
  WriteLinks(device, &tree);
  return tree.status();
}

}  // namespace

absl::Status WriteHostTree(const std::string& root, const HostSpec& host) {
  const fs::path fresh = root + ".new";
  std::error_code error;
  fs::remove_all(fresh, error);
  if (error) return Annotate(ErrnoToStatus(error.value(), "removing"), fresh.string());
  TreeWriter tree(fresh);
  tree.Folder("bus/pci/drivers/vfio-pci");
  for (const UnitSpec& unit : host.units) tree.Folder("class/iommu/" + unit.id + "/devices");
  for (const DeviceSpec& device : host.devices) {
    WriteContent(device, fs::path(kDevices) / device.address.ToString(), &tree);
    WriteLinks(device, &tree);
  }
  const fs::path pages = "kernel/mm/hugepages/hugepages-2048kB";
  tree.File(pages / "nr_hugepages", absl::StrCat(host.huge_pages_total, "\n"));
  tree.File(pages / "free_hugepages", absl::StrCat(host.huge_pages_free, "\n"));
  BERTH_RETURN_IF_ERROR(tree.status());
  fs::remove_all(root, error);
  if (!error) fs::rename(fresh, root, error);
  if (error) return Annotate(ErrnoToStatus(error.value(), "replacing"), root);
  return absl::OkStatus();
}

absl::Status HostTree::Update(const std::function<bool(const std::string&)>& is_gone) {
  absl::MutexLock lock(&mu_);
  for (const DeviceSpec& device : host_.devices) {
    const std::string address = device.address.ToString();
    const bool gone = is_gone(address);
    if (gone == gone_.contains(address)) continue;
    if (gone) {
      BERTH_RETURN_IF_ERROR(TakeOut(root_, device));
      gone_.insert(address);
    } else {
      BERTH_RETURN_IF_ERROR(PutBack(root_, device));
      gone_.erase(address);
    }
  }
  return absl::OkStatus();
}

}  // namespace berth::emulator
