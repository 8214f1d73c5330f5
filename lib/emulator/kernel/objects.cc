// SPDX-License-Identifier: Apache-2.0
#include "lib/emulator/kernel/objects.h"

#include <fcntl.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

#include "lib/emulator/kernel/context.h"
#include "lib/emulator/kernel/mock.h"
#include "lib/iommufd/uapi/iommufd.h"

namespace berth::emulator {

std::string_view ToString(ObjectType type) {
  switch (type) {
    case ObjectType::kDevice:
      return "DEVICE";
    case ObjectType::kIoas:
      return "IOAS";
    case ObjectType::kHwptPaging:
      return "HWPT_PAGING";
    case ObjectType::kHwptNested:
      return "HWPT_NESTED";
    case ObjectType::kViommu:
      return "VIOMMU";
    case ObjectType::kVdevice:
      return "VDEVICE";
    case ObjectType::kVeventq:
      return "VEVENTQ";
    case ObjectType::kFault:
      return "FAULT";
    case ObjectType::kHwQueue:
      return "HW_QUEUE";
    case ObjectType::kAccess:
      return "ACCESS";
    case ObjectType::kSelftest:
      return "SELFTEST";
  }
  return "UNKNOWN";
}

EventQueue::~EventQueue() = default;

void EventQueue::Wake() {
  if (wake_fd < 0 || empty()) return;
  // One byte is enough for POLLIN; more find no room at worst, and then there is one.
  const char byte = 1;
  (void)!::send(wake_fd, &byte, 1, MSG_DONTWAIT | MSG_NOSIGNAL);
}

void EventQueue::Report(const void* payload, size_t size) {
  if (records_.size() >= depth) return Lose();
  const bool was_empty = empty();
  lost_ = false;
  const auto* bytes = static_cast<const std::byte*>(payload);
  records_.push_back({NextSequence(), {bytes, bytes + size}});
  if (was_empty) Wake();
}

void EventQueue::Lose() {
  const bool was_empty = empty();
  lost_ = true;
  lost_sequence_ = NextSequence();
  if (was_empty) Wake();
}

uint32_t EventQueue::NextSequence() {
  const uint32_t sequence = sequence_;
  sequence_ = sequence_ == uapi::kVeventMaxSequence ? 0 : sequence_ + 1;
  return sequence;
}

std::vector<std::byte> EventQueue::Read(size_t size, size_t writable, int64_t* rc) {
  std::vector<std::byte> out;
  const auto append = [&out](const void* from, size_t bytes) {
    const auto* begin = static_cast<const std::byte*>(from);
    out.insert(out.end(), begin, begin + bytes);
  };
  *rc = 0;
  while (!records_.empty()) {
    const Record& record = records_.front();
    const uapi::IommufdVeventHeader header = {0, record.sequence};
    if (size - out.size() < sizeof(header) + record.payload.size()) {
      if (out.empty()) *rc = -EINVAL;
      break;
    }
    // What cannot be delivered stays in the queue.
    if (out.size() + sizeof(header) + record.payload.size() > writable) {
      if (out.empty()) *rc = -EFAULT;
      break;
    }
    append(&header, sizeof(header));
    append(record.payload.data(), record.payload.size());
    records_.pop_front();
  }
  if (records_.empty() && lost_ && size - out.size() >= sizeof(uapi::IommufdVeventHeader)) {
    if (out.size() + sizeof(uapi::IommufdVeventHeader) > writable) {
      *rc = out.empty() ? -EFAULT : static_cast<int64_t>(out.size());
      return out;
    }
    const uapi::IommufdVeventHeader header = {uapi::kVeventLostEvents, lost_sequence_};
    append(&header, sizeof(header));
    lost_ = false;
  }
  if (*rc == 0) *rc = static_cast<int64_t>(out.size());
  return out;
}

HwptPaging::~HwptPaging() {
  if (in_iopt) {
    std::erase(ioas->hwpts, this);
    ioas->iopt.RemoveDomain(this);
  }
  if (vmid != 0) {
    unit->smmu->InvalidateVmid(vmid);
    unit->FreeVmid(vmid);
  }
}

Viommu::Viommu() : Object(kType) {}

int Viommu::RetireWindow() {
  if (vintf != 0) return unit->cmdqv->RetirePage0(vintf);
  if (mock == nullptr || !mock->page.valid()) return 0;
  return ::fcntl(mock->page.get(), F_ADD_SEALS, F_SEAL_WRITE) == 0 ? 0 : -EBUSY;
}

int Viommu::WindowFd() const {
  if (vintf != 0) return unit->cmdqv->Page0Fd(vintf);
  return mock != nullptr ? mock->page.get() : -1;
}

const Vdevice* Viommu::FindVdevice(const Function* function) const {
  for (const auto& [virt_id, vdevice] : vdevices) {
    if (vdevice->device->function == function) return vdevice;
  }
  return nullptr;
}

Viommu::~Viommu() {
  if (mmap_offset != 0) context->FreeWindow(mmap_offset);
  if (vintf != 0) unit->FreeVintf(vintf);
  if (cookie != 0) context->machine().by_cookie.erase(cookie);
}

void DeviceObject::Own(Context* owner, Function* owned) {
  context = owner;
  function = owned;
  function->group->owner = owner;
  ++function->group->bound;
}

DeviceObject::~DeviceObject() {
  if (function != nullptr && --function->group->bound == 0) function->group->owner = nullptr;
}

Vdevice::~Vdevice() {
  if (sid_slot >= 0) viommu->unit->cmdqv->RemoveSid(viommu->vintf, sid_slot);
  if (listed) viommu->vdevices.erase(virt_id);
  if (device != nullptr) device->vdevice = nullptr;
}

Veventq::~Veventq() {
  if (viommu.get() != nullptr) viommu->veventqs.erase(event_type);
}

Access::~Access() {
  if (length != 0) ioas->iopt.Unpin(iova, length);
  if (added) ioas->iopt.RemoveAccess();
}

HwQueue::~HwQueue() {
  if (mock) viommu->mock->OnQueueEnd();
  if (mapped) {
    viommu->unit->cmdqv->UnmapLvcmdq(viommu->vintf, static_cast<int>(index));
    viommu->queues.erase(index);
  }
  if (access_id == 0) return;
  Object* access = context->FindAny(access_id);
  --access->users;
  context->Remove(access);
}

}  // namespace berth::emulator
