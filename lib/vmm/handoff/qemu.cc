// SPDX-License-Identifier: Apache-2.0
#include "lib/vmm/handoff/qemu.h"

#include <google/protobuf/struct.pb.h>

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "lib/base/status.h"
#include "lib/vmm/handoff/holder.h"

namespace berth::handoff {
namespace {

using google::protobuf::Struct;

Struct Arguments(const std::vector<std::pair<std::string, std::string>>& texts) {
  Struct arguments;
  for (const auto& [key, text] : texts) (*arguments.mutable_fields())[key].set_string_value(text);
  return arguments;
}

// What has been asked of QEMU, so that it can be taken back.
class Plug {
 public:
  Plug(QmpClient& qmp, std::string id) : qmp_(qmp), id_(std::move(id)) {}

  // In QEMU's monitor an fd has a name, which is no number (QEMU monitor/fds.c).
  absl::Status GiveFd(const std::string& name, int fd) {
    BERTH_RETURN_IF_ERROR(qmp_.Execute("getfd", Arguments({{"fdname", name}}), fd));
    undo_.emplace_back("closefd", Arguments({{"fdname", name}}));
    return absl::OkStatus();
  }
  absl::Status GiveAll(const Attachment& attachment) {
    BERTH_RETURN_IF_ERROR(GiveFd(Context(), attachment.iommufd()));
    for (size_t i = 0; i < attachment.devices().size(); ++i) {
      BERTH_RETURN_IF_ERROR(GiveFd(Device(i), attachment.devices()[i].cdev.get()));
    }
    return absl::OkStatus();
  }
  absl::Status AddContext() {
    BERTH_RETURN_IF_ERROR(qmp_.Execute(
        "object-add", Arguments({{"qom-type", "iommufd"}, {"id", id_}, {"fd", Context()}})));
    undo_.emplace_back("object-del", Arguments({{"id", id_}}));
    return absl::OkStatus();
  }
  absl::Status AddDevice(size_t number, const std::vector<Property>& properties) {
    Struct arguments = Arguments(
        {{"driver", "vfio-pci"}, {"id", Device(number)}, {"iommufd", id_}, {"fd", Device(number)}});
    for (const Property& property : properties) {
      if (property.device.value_or(number) != number) continue;
      (*arguments.mutable_fields())[property.key] = property.value;
    }
    BERTH_RETURN_IF_ERROR(qmp_.Execute("device_add", arguments));
    undo_.emplace_back("device_del", Arguments({{"id", Device(number)}}));
    return absl::OkStatus();
  }
  // The last first. A name that a later step has used up is not there any more, which is fine.
  void Undo() {
    for (auto step = undo_.rbegin(); step != undo_.rend(); ++step) {
      qmp_.Execute(step->first, step->second).IgnoreError();
    }
  }

 private:
  [[nodiscard]] std::string Context() const { return absl::StrCat(id_, "-iommufd"); }
  [[nodiscard]] std::string Device(size_t number) const { return absl::StrCat(id_, "-", number); }

  QmpClient& qmp_;
  const std::string id_;
  std::vector<std::pair<std::string, Struct>> undo_;
};

absl::Status CheckProperties(const Options& options, size_t devices) {
  for (const Property& property : options.properties) {
    if (property.device.value_or(0) < devices) continue;
    return Error(Reason::kInvalidField,
                 absl::StrCat("--property ", *property.device, ":", property.key,
                              ": the assignment has ", devices, " devices, counted from 0"));
  }
  return absl::OkStatus();
}

// QEMU's process, once it is known to have the devices.
absl::StatusOr<Holder> FindHolder(const QmpClient& qmp, const Options& options,
                                  const Attachment& attachment) {
  absl::StatusOr<Holder> holder = options.pid != 0 ? HolderOf(options.pid) : ListenerOn(qmp.fd());
  if (!holder.ok()) return holder;
  std::vector<int> cdevs;
  for (const HandedDevice& device : attachment.devices()) cdevs.push_back(device.cdev.get());
  BERTH_RETURN_IF_ERROR(CheckHolds(*holder, cdevs));
  return holder;
}

absl::Status PlugAll(Plug& plug, const QmpClient& qmp, const Options& options,
                     Attachment& attachment) {
  BERTH_RETURN_IF_ERROR(plug.GiveAll(attachment));
  // Before QEMU does anything with them, so that a wrong --pid costs nothing.
  BERTH_ASSIGN_OR_RETURN(const Holder holder, FindHolder(qmp, options, attachment));
  BERTH_RETURN_IF_ERROR(plug.AddContext());
  for (size_t i = 0; i < attachment.devices().size(); ++i) {
    BERTH_RETURN_IF_ERROR(plug.AddDevice(i, options.properties));
  }
  return attachment.ConfirmFor(holder.pidfd.get());
}

}  // namespace

absl::Status PlugInto(QmpClient& qmp, const Options& options, Attachment& attachment) {
  BERTH_RETURN_IF_ERROR(CheckProperties(options, attachment.devices().size()));
  Plug plug(qmp, options.id);
  absl::Status status = PlugAll(plug, qmp, options, attachment);
  if (!status.ok()) plug.Undo();
  return status;
}

}  // namespace berth::handoff
