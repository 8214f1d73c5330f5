// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_LIB_EMULATOR_HOST_FILE_H_
#define BERTH_LIB_EMULATOR_HOST_FILE_H_

#include <string>

#include "absl/status/statusor.h"
#include "lib/emulator/host_spec.h"

namespace berth::internal::v1 {
class EmulatedHost;
}  // namespace berth::internal::v1

namespace berth::emulator {

// The host that a message describes, defaults filled in and ranges expanded; valid. Errors: as
// Validate().
absl::StatusOr<HostSpec> HostFromProto(const berth::internal::v1::EmulatedHost& proto);

// The same from a YAML file. Errors: also those of LoadYamlFile().
absl::StatusOr<HostSpec> LoadHostFile(const std::string& path);

}  // namespace berth::emulator

#endif  // BERTH_LIB_EMULATOR_HOST_FILE_H_
