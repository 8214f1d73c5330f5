// SPDX-License-Identifier: Apache-2.0
//
// The contract of lib/iommufd/mapped_region.h, checked from a second process. The cases are in
// mapped_region_cases.cc; both suites are instantiated together.
#ifndef BERTH_TESTS_CONFORMANCE_MAPPED_REGION_SUITE_H_
#define BERTH_TESTS_CONFORMANCE_MAPPED_REGION_SUITE_H_

#include "tests/conformance/kernel_api_suite.h"
#include "tests/conformance/vmm_process.h"

namespace berth::conformance {

class MappedRegionSuite : public KernelApiSuite {
 protected:
  // A vIOMMU whose page0 is on offer.
  struct Offer {
    uint32_t viommu = 0;
    MappedRegion region;
  };
  Offer NewOffer(const Vm& vm);

  // The first that the device has.
  std::optional<uapi::VfioRegionInfo> MappableBar(const Device& device);

  // Sends the region to the process as Berth does, and has it mapped there.
  static void GiveAndMap(VmmProcess& vmm, const MappedRegion& region);

  // Loads the register until it has `value`; hardware takes its time. False after 10 s.
  static bool ReadsInTime(VmmProcess& vmm, uint64_t offset, uint32_t value);
  // FreeVintfs() becomes `count`: for what ends without a call to the kernel. False after 10 s.
  bool FreeVintfsInTime(int count);
};

}  // namespace berth::conformance

#endif  // BERTH_TESTS_CONFORMANCE_MAPPED_REGION_SUITE_H_
