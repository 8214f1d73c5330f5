// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_TESTS_AGENT_GRANTS_HELD_DEVICE_H_
#define BERTH_TESTS_AGENT_GRANTS_HELD_DEVICE_H_

#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <utility>

#include "lib/iommufd/context.h"
#include "lib/iommufd/device.h"
#include "lib/iommufd/kernel_api.h"

namespace berth::testing {

// A device that somebody has, as the VMM of an agent before this one.
class HeldDevice {
 public:
  HeldDevice(KernelApi* kernel, const std::string& cdev) {
    absl::StatusOr<Context> context = Context::Open(kernel);
    EXPECT_TRUE(context.ok()) << context.status();
    context_.emplace(*std::move(context));
    absl::StatusOr<Device> device = Device::Open(*context_, cdev);
    EXPECT_TRUE(device.ok()) << device.status();
    device_.emplace(*std::move(device));
  }

 private:
  std::optional<Context> context_;
  std::optional<Device> device_;
};

}  // namespace berth::testing

#endif  // BERTH_TESTS_AGENT_GRANTS_HELD_DEVICE_H_
