// SPDX-License-Identifier: Apache-2.0
//
// A VMM that knows nothing of Berth: it makes its own ioctls on fds that it inherited.
//   fd_vmm EMULATOR_SOCKET IOMMUFD CDEV [keeps-WHAT|immortal]
// Takes a VINTF of the device's unit, prints "holding", and waits to be killed. With "keeps-WHAT" a
// child of it, whose pid follows, has WHAT, too, and nothing else: "iommufd", "cdev", "veventq",
// "page0" (mapped), or "all". With "immortal" its context outlives all fds.
#include <unistd.h>

#include <cstdlib>
#include <iostream>
#include <map>
#include <string>

#include "lib/base/mapping.h"
#include "lib/base/unique_fd.h"
#include "lib/emulator/emulator_client.h"
#include "lib/iommufd/context.h"
#include "lib/iommufd/device.h"
#include "lib/iommufd/hwpt.h"
#include "lib/iommufd/ioas.h"
#include "lib/iommufd/veventq.h"
#include "lib/iommufd/viommu.h"
#include "tests/testing/lost_vintf.h"

namespace {

template <typename T>
T Must(absl::StatusOr<T> made) {
  if (made.ok()) return *std::move(made);
  std::cerr << "fd_vmm: " << made.status() << "\n";
  std::exit(1);
}

// What is mapped stays mapped.
void CloseAllBut(int kept) {
  for (int fd = 3; fd < 1024; ++fd) {
    if (fd != kept) ::close(fd);
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4) return 2;
  berth::emulator::EmulatorClient kernel(argv[1]);
  const auto context = berth::Context::Adopt(&kernel, berth::UniqueFd(std::atoi(argv[2])));
  auto device =
      Must(berth::Device::Bind(context, berth::UniqueFd(std::atoi(argv[3])), "handed off"));
  auto ioas = Must(berth::Ioas::Create(context));
  auto parent = Must(berth::Hwpt::CreateNestingParent(device, ioas));
  auto viommu = Must(berth::Viommu::Create(device, parent, berth::Viommu::Type::kTegra241Cmdqv));
  const std::string how = argc > 4 ? argv[4] : "";
  if (how == "immortal") {
    if (const absl::Status status = berth::testing::MakeImmortal(context); !status.ok()) {
      std::cerr << "fd_vmm: " << status << "\n";
      return 1;
    }
  }
  auto events = Must(berth::Veventq::Create(viommu, berth::Veventq::Type::kArmSmmuv3, 16));
  berth::Mapping page0;
  if (how == "keeps-page0" || how == "keeps-all") {
    const auto region = Must(viommu.RegionForVmm());
    page0 = Must(berth::Mapping::Map(region.fd.get(), region.offset, region.length,
                                     berth::Mapping::Access::kReadWrite));
  }
  const std::map<std::string, int> fds = {{"keeps-iommufd", context.fd()},
                                          {"keeps-cdev", device.fd()},
                                          {"keeps-veventq", events.fd()},
                                          {"keeps-page0", -1}};
  std::cout << "holding";
  if (how.rfind("keeps-", 0) == 0) {
    const pid_t keeper = ::fork();
    if (keeper == 0) {
      if (const auto fd = fds.find(how); fd != fds.end()) CloseAllBut(fd->second);
      for (;;) ::pause();
    }
    std::cout << " " << keeper;
  }
  std::cout << std::endl;
  for (;;) ::pause();
}
