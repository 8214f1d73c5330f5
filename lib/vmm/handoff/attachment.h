// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_LIB_VMM_HANDOFF_ATTACHMENT_H_
#define BERTH_LIB_VMM_HANDOFF_ATTACHMENT_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "lib/base/unique_fd.h"

struct berth_vmm;

namespace berth::handoff {

// A device of the assignment.
struct HandedDevice {
  UniqueFd cdev;  // unbound
  std::string address;
  std::string id;
};

// What the agent handed off, until somebody else has it. Without a confirmation the agent takes it
// back when this ends.
class Attachment {
 public:
  // Errors: those of berth_vmm_attach_hand_off().
  static absl::StatusOr<Attachment> Take(const std::string& socket, const std::string& assignment,
                                         const std::string& token);

  [[nodiscard]] int iommufd() const { return iommufd_.get(); }
  [[nodiscard]] const std::vector<HandedDevice>& devices() const { return devices_; }

  // This process has the fds, also after execve(2). Errors: of berth_vmm_confirm_hand_off().
  absl::Status Confirm();
  // Another has them.
  absl::Status ConfirmFor(int pidfd);

 private:
  struct Closer {
    void operator()(berth_vmm* vmm) const;
  };
  using Vmm = std::unique_ptr<berth_vmm, Closer>;
  explicit Attachment(Vmm vmm) : vmm_(std::move(vmm)) {}
  static absl::Status LastError(const berth_vmm* vmm);
  absl::Status Describe();

  Vmm vmm_;
  UniqueFd iommufd_;
  std::vector<HandedDevice> devices_;
};

}  // namespace berth::handoff

#endif  // BERTH_LIB_VMM_HANDOFF_ATTACHMENT_H_
