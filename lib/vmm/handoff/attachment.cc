// SPDX-License-Identifier: Apache-2.0
#include "lib/vmm/handoff/attachment.h"

#include <array>
#include <utility>

#include "lib/base/status.h"
#include "lib/vmm/berth_vmm.h"

namespace berth::handoff {

void Attachment::Closer::operator()(berth_vmm* vmm) const { berth_vmm_close(vmm); }

absl::Status Attachment::LastError(const berth_vmm* vmm) {
  const auto reason = ReasonFromNumber(berth_vmm_last_reason(vmm));
  return Error(reason.value_or(Reason::kInternal), berth_vmm_last_message(vmm));
}

absl::StatusOr<Attachment> Attachment::Take(const std::string& socket,
                                            const std::string& assignment,
                                            const std::string& token) {
  berth_vmm* vmm = nullptr;
  if (berth_vmm_new(&vmm) != 0) return Error(Reason::kOutOfMemory, "no memory");
  Attachment attachment((Vmm(vmm)));
  int iommufd = -1;
  std::array<int, BERTH_VMM_MAX_HAND_OFF_DEVICES> cdevs = {};
  uint32_t count = cdevs.size();
  if (berth_vmm_attach_hand_off(vmm, socket.c_str(), assignment.c_str(), token.c_str(), &iommufd,
                                cdevs.data(), &count) != 0) {
    return LastError(vmm);
  }
  attachment.iommufd_.Reset(iommufd);
  for (uint32_t i = 0; i < count; ++i) {
    attachment.devices_.push_back({.cdev = UniqueFd(cdevs[i]), .address = {}, .id = {}});
  }
  BERTH_RETURN_IF_ERROR(attachment.Describe());
  return attachment;
}

absl::Status Attachment::Describe() {
  for (uint32_t i = 0; i < devices_.size(); ++i) {
    berth_vmm_hand_off_device facts;
    if (berth_vmm_get_hand_off_device(vmm_.get(), i, &facts, sizeof(facts)) != 0) {
      return LastError(vmm_.get());
    }
    devices_[i].address = facts.address;
    devices_[i].id = facts.id;
  }
  return absl::OkStatus();
}

absl::Status Attachment::Confirm() {
  return berth_vmm_confirm_hand_off(vmm_.get()) == 0 ? absl::OkStatus() : LastError(vmm_.get());
}

absl::Status Attachment::ConfirmFor(int pidfd) {
  return berth_vmm_confirm_hand_off_to(vmm_.get(), pidfd) == 0 ? absl::OkStatus()
                                                               : LastError(vmm_.get());
}

}  // namespace berth::handoff
