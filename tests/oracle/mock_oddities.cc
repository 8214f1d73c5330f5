// SPDX-License-Identifier: Apache-2.0
#include "tests/oracle/mock_oddities.h"

#include <algorithm>
#include <cerrno>

#include "lib/iommufd/uapi/iommufd_test.h"

namespace berth::oracle {

bool MockOddities::HasQueue(const Step& step, uint32_t index) const {
  const uint64_t context = step.args.Unsigned("ctx");
  const uint64_t viommu = step.args.Unsigned("viommu_id");
  return std::ranges::any_of(queues_, [&](const auto& entry) {
    return entry.first.first == context && entry.second.viommu == viommu &&
           entry.second.index == index;
  });
}

const char* MockOddities::LookAtQueue(const Step& step) {
  const auto index = static_cast<uint32_t>(step.args.Unsigned("index"));
  const bool exists = HasQueue(step, index);
  if (step.rc == -EEXIST && !exists) return "a HW queue index stays taken after its queue";
  if (step.rc != 0) return nullptr;
  queues_[{step.args.Unsigned("ctx"), step.out.Unsigned("out_hw_queue_id")}] = {
      static_cast<uint32_t>(step.args.Unsigned("viommu_id")), index};
  return exists ? "HW queue index 0 is allocated twice" : nullptr;
}

const char* MockOddities::Look(const Step& step) {
  if (step.op == "HW_QUEUE_ALLOC") return LookAtQueue(step);
  const uint64_t context = step.args.Unsigned("ctx");
  if (step.op == "DESTROY" && step.rc == 0) queues_.erase({context, step.args.Unsigned("id")});
  if (step.op == "CLOSE_IOMMUFD") {
    std::erase_if(queues_, [&](const auto& entry) { return entry.first.first == context; });
  }
  const uint64_t length = step.args.Unsigned("data_len");
  if (step.op == "VIOMMU_ALLOC" && step.rc == 0 && length != 0 &&
      length != sizeof(uapi::IommuViommuSelftest)) {
    return "vIOMMU data of another length than the struct's";
  }
  return nullptr;
}

}  // namespace berth::oracle
