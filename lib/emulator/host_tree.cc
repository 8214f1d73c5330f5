// SPDX-License-Identifier: Apache-2.0
#include "lib/emulator/host_tree.h"

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

void WriteDevice(const DeviceSpec& device, TreeWriter* tree) {
  const std::string address = device.address.ToString();
  const std::string group = absl::StrCat("kernel/iommu_groups/", device.iommu_group);
  const std::string unit = "class/iommu/" + device.unit;
  const fs::path folder = "bus/pci/devices/" + address;
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
  tree->Link(folder / "iommu_group", group);
  tree->Link(folder / "iommu", unit);
  tree->Link(fs::path(unit) / "devices" / address, folder);
  tree->Link(fs::path(group) / "devices" / address, folder);
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
  for (const DeviceSpec& device : host.devices) WriteDevice(device, &tree);
  const fs::path pages = "kernel/mm/hugepages/hugepages-2048kB";
  tree.File(pages / "nr_hugepages", absl::StrCat(host.huge_pages_total, "\n"));
  tree.File(pages / "free_hugepages", absl::StrCat(host.huge_pages_free, "\n"));
  BERTH_RETURN_IF_ERROR(tree.status());
  fs::remove_all(root, error);
  if (!error) fs::rename(fresh, root, error);
  if (error) return Annotate(ErrnoToStatus(error.value(), "replacing"), root);
  return absl::OkStatus();
}

}  // namespace berth::emulator
