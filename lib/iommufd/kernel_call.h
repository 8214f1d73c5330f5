// SPDX-License-Identifier: Apache-2.0
//
// How the objects of this folder call the kernel, and what its errors mean to Berth.
#ifndef BERTH_LIB_IOMMUFD_KERNEL_CALL_H_
#define BERTH_LIB_IOMMUFD_KERNEL_CALL_H_

#include <string_view>

#include "absl/status/status.h"
#include "lib/base/status.h"
#include "lib/iommufd/kernel_api.h"
#include "lib/iommufd/uapi/vfio.h"

namespace berth {

// What a call was about; some errnos of DESTROY mean different things for different objects.
enum class ObjectKind { kNone, kIoas, kHwpt, kViommu, kVdevice, kHwQueue, kVeventq };

std::string_view ToString(ObjectKind kind);

// A zeroed uapi struct with its size set.
template <typename Struct>
constexpr Struct Sized() {
  Struct arg{};
  if constexpr (requires { arg.argsz; }) {
    arg.argsz = sizeof(Struct);
  } else {
    arg.size = sizeof(Struct);
  }
  return arg;
}

// The reason behind `error` (positive) of `request` on an object of `kind`: the one table that
// refines ErrnoToStatus().
Reason ReasonOfErrno(uapi::Request request, ObjectKind kind, int error);

// An error of the call `call` with `error` (positive). Metadata: "call", "errno", and `metadata`.
absl::Status CallError(Reason reason, int error, std::string_view call,
                       const ErrorMetadata& metadata);

// Calls `request` and turns a failure into an error with ReasonOfErrno().
absl::Status CallKernel(KernelApi& kernel, int fd, uapi::Request request, void* arg,
                        const ErrorMetadata& metadata, ObjectKind kind = ObjectKind::kNone);

}  // namespace berth

#endif  // BERTH_LIB_IOMMUFD_KERNEL_CALL_H_
