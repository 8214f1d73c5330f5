// SPDX-License-Identifier: Apache-2.0
//
// Holds the kernel of the machine it runs on to the suites of tests/conformance, as root and with
// nobody else at its /dev/iommu: in a guest (README.md). From the environment, what the suites must
// know: BERTH_DRIVER (selftest, arm-smmuv3, tegra241-cmdqv, intel-vtd), and unless it is selftest
// BERTH_DEVICES (names of cdevs, with commas), BERTH_GROUP (the same, of all devices of one IOMMU
// group; may be missing) and BERTH_VINTFS.
#include <gtest/gtest.h>
#include <linux/capability.h>

#include <cstdlib>
#include <iostream>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "lib/iommufd/real_kernel.h"
#include "tests/conformance/mapped_region_suite.h"
#include "tests/testing/capability.h"

namespace berth::conformance {
namespace {

std::string Variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

std::optional<Driver> DriverOf(const std::string& name) {
  if (name == "selftest") return Driver::kSelftest;
  if (name == "arm-smmuv3") return Driver::kArmSmmuv3;
  if (name == "tegra241-cmdqv") return Driver::kTegra241Cmdqv;
  if (name == "intel-vtd") return Driver::kIntelVtd;
  return std::nullopt;
}

class RealUnderTest : public KernelUnderTest {
 public:
  ~RealUnderTest() override { SetIpcLock(true); }

  static std::unique_ptr<KernelUnderTest> Make() {
    const std::optional<Driver> driver = DriverOf(Variable("BERTH_DRIVER"));
    if (!driver.has_value()) {
      std::cerr << "BERTH_DRIVER does not say which IOMMU driver this machine has\n";
      return nullptr;
    }
    auto made = std::make_unique<RealUnderTest>();
    made->machine_.driver = *driver;
    made->machine_.limits_memlock = true;
    made->machine_.devices = absl::StrSplit(Variable("BERTH_DEVICES"), ',', absl::SkipEmpty());
    made->machine_.group = absl::StrSplit(Variable("BERTH_GROUP"), ',', absl::SkipEmpty());
    if (!absl::SimpleAtoi(Variable("BERTH_VINTFS"), &made->machine_.vintfs)) {
      made->machine_.vintfs = 0;
    }
    return made;
  }

  KernelApi& kernel() override { return kernel_; }
  [[nodiscard]] const Machine& machine() const override { return machine_; }
  void SetIpcLock(bool has) override {
    EXPECT_TRUE(testing::SetEffectiveCapability(CAP_IPC_LOCK, has));
  }

 private:
  RealKernel kernel_;
  Machine machine_;
};

const auto kReal = ::testing::Values(KernelParam{"Real", &RealUnderTest::Make});

INSTANTIATE_TEST_SUITE_P(Conformance, KernelApiSuite, kReal, ParamName);
INSTANTIATE_TEST_SUITE_P(Conformance, MappedRegionSuite, kReal, ParamName);

}  // namespace
}  // namespace berth::conformance
