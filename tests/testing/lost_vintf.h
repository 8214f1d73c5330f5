// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_TESTS_TESTING_LOST_VINTF_H_
#define BERTH_TESTS_TESTING_LOST_VINTF_H_

#include <tuple>
#include <utility>

#include "absl/status/status.h"
#include "lib/base/status.h"
#include "lib/base/unique_fd.h"
#include "lib/iommufd/context.h"
#include "lib/iommufd/device.h"
#include "lib/iommufd/hwpt.h"
#include "lib/iommufd/ioas.h"
#include "lib/iommufd/viommu.h"

namespace berth::testing {

// Maps a context into itself, so that it outlives all fds of it (Linux drivers/iommu/iommufd/
// pages.c, iopt_alloc_file_pages(): a mapping keeps its file, whatever that is).
inline absl::Status MakeImmortal(const Context& context) {
  BERTH_ASSIGN_OR_RETURN(Ioas ioas, Ioas::Create(context));
  BERTH_RETURN_IF_ERROR(ioas.MapFile({.fd = context.fd(), .length = 64 << 10, .iova = 1 << 20}));
  std::ignore = ioas.Forget();
  return absl::OkStatus();
}

// What a VMM does that has the raw fds of a hand-off: takes a VINTF of the device's unit, makes the
// context immortal, and closes its fds.
inline absl::Status LoseVintf(KernelApi* kernel, UniqueFd iommufd, UniqueFd cdev) {
  const Context context = Context::Adopt(kernel, std::move(iommufd));
  BERTH_ASSIGN_OR_RETURN(Device device, Device::Bind(context, std::move(cdev), "handed off"));
  BERTH_ASSIGN_OR_RETURN(Ioas ioas, Ioas::Create(context));
  BERTH_ASSIGN_OR_RETURN(Hwpt parent, Hwpt::CreateNestingParent(device, ioas));
  BERTH_ASSIGN_OR_RETURN(Viommu viommu,
                         Viommu::Create(device, parent, Viommu::Type::kTegra241Cmdqv));
  BERTH_RETURN_IF_ERROR(MakeImmortal(context));
  std::ignore = viommu.Forget();
  std::ignore = parent.Forget();
  std::ignore = ioas.Forget();
  return absl::OkStatus();
}

}  // namespace berth::testing

#endif  // BERTH_TESTS_TESTING_LOST_VINTF_H_
