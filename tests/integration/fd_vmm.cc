// SPDX-License-Identifier: Apache-2.0
//
// A VMM that knows nothing of Berth: it makes its own ioctls on fds that it inherited.
//   fd_vmm EMULATOR_SOCKET IOMMUFD CDEV [keeper|immortal]
// Takes a VINTF of the device's unit, prints "holding", and waits to be killed. With "keeper" a
// child of it, whose pid follows, has the fds, too; with "immortal" its context outlives all fds.
#include <unistd.h>

#include <cstdlib>
#include <iostream>
#include <string>

#include "lib/base/unique_fd.h"
#include "lib/emulator/emulator_client.h"
#include "lib/iommufd/context.h"
#include "lib/iommufd/device.h"
#include "lib/iommufd/hwpt.h"
#include "lib/iommufd/ioas.h"
#include "lib/iommufd/viommu.h"
#include "tests/testing/lost_vintf.h"

namespace {

template <typename T>
T Must(absl::StatusOr<T> made) {
  if (made.ok()) return *std::move(made);
  std::cerr << "fd_vmm: " << made.status() << "\n";
  std::exit(1);
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
  std::cout << "holding";
  if (how == "keeper") {
    const pid_t keeper = ::fork();
    if (keeper == 0) {
      for (;;) ::pause();
    }
    std::cout << " " << keeper;
  }
  std::cout << std::endl;
  for (;;) ::pause();
}
