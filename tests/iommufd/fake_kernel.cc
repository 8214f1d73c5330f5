// SPDX-License-Identifier: Apache-2.0
#include "tests/iommufd/fake_kernel.h"

#include <fcntl.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "lib/base/status.h"
#include "lib/iommufd/uapi/ops.h"

namespace berth::testing {
namespace {

constexpr uint64_t kPage0Offset = 0x1000;

bool IsOpen(int fd) { return fd >= 0 && ::fcntl(fd, F_GETFD) >= 0; }

}  // namespace

absl::StatusOr<UniqueFd> FakeKernel::OpenContext() { return UniqueFd(::eventfd(0, EFD_CLOEXEC)); }

absl::StatusOr<UniqueFd> FakeKernel::OpenDevice(const std::string& name) {
  if (name == "missing") return ErrnoToStatus(ENOENT, "open");
  return UniqueFd(::eventfd(0, EFD_CLOEXEC));
}

void FakeKernel::FailCall(uapi::Request request, int error, int n) {
  failures_[request] = {n, error};
}

void FakeKernel::FailAnyCall(int n, int error) { any_failure_ = {n, error}; }

void FakeKernel::Answer(uapi::Request request, std::function<void(void*)> answer) {
  answers_[request] = std::move(answer);
}

int FakeKernel::ErrorFor(uapi::Request request) {
  if (any_failure_.first >= 0 && any_failure_.first-- == 0) return any_failure_.second;
  const auto it = failures_.find(request);
  if (it == failures_.end() || it->second.first-- > 0) return 0;
  const int error = it->second.second;
  failures_.erase(it);
  return error;
}

uint32_t FakeKernel::Add(uapi::Request request, std::set<uint32_t> parents, int fd) {
  objects_[next_id_] = {std::string(uapi::RequestName(request)), std::move(parents), fd};
  return next_id_++;
}

int FakeKernel::Destroy(uint32_t id) {
  const auto it = objects_.find(id);
  if (it == objects_.end()) return -ENOENT;
  const bool used = std::any_of(objects_.begin(), objects_.end(), [&](const auto& entry) {
    return entry.second.parents.count(id) != 0;
  });
  if (used || IsOpen(it->second.fd)) return -EBUSY;
  calls.back() += " " + it->second.made_by;
  objects_.erase(it);
  return 0;
}

std::vector<std::string> FakeKernel::Alive() const {
  std::vector<std::string> alive;
  for (const auto& [id, object] : objects_) alive.push_back(object.made_by);
  return alive;
}

int FakeKernel::Answered(uapi::Request request, void* arg) {
  const auto it = answers_.find(request);
  if (it == answers_.end()) return 0;
  const auto answer = std::move(it->second);
  answers_.erase(it);
  answer(arg);
  return 0;
}

int FakeKernel::Ioctl(int /*fd*/, unsigned long request, void* arg) {  // NOLINT
  calls.emplace_back(uapi::RequestName(request));
  if (const int error = ErrorFor(request); error != 0) {
    Answered(request, arg);
    return -error;
  }
  switch (request) {
    case uapi::kIommuDestroy:
      return Destroy(static_cast<uapi::IommuDestroy*>(arg)->id);
    case uapi::kVfioDeviceBindIommufd:
      static_cast<uapi::VfioDeviceBindIommufd*>(arg)->out_devid = next_id_++;
      break;
    case uapi::kIommuIoasAlloc:
      static_cast<uapi::IommuIoasAlloc*>(arg)->out_ioas_id = Add(request, {});
      break;
    case uapi::kIommuHwptAlloc: {
      auto* alloc = static_cast<uapi::IommuHwptAlloc*>(arg);
      alloc->out_hwpt_id = Add(request, {alloc->pt_id});
      break;
    }
    case uapi::kIommuViommuAlloc: {
      auto* alloc = static_cast<uapi::IommuViommuAlloc*>(arg);
      if (alloc->data_len == sizeof(uapi::IommuViommuTegra241Cmdqv)) {
        const uapi::IommuViommuTegra241Cmdqv data = {kPage0Offset, kPage0Size};
        std::memcpy(reinterpret_cast<void*>(alloc->data_uptr), &data, sizeof(data));
      }
      alloc->out_viommu_id = Add(request, {alloc->hwpt_id});
      break;
    }
    case uapi::kIommuVdeviceAlloc: {
      auto* alloc = static_cast<uapi::IommuVdeviceAlloc*>(arg);
      alloc->out_vdevice_id = Add(request, {alloc->viommu_id});
      break;
    }
    case uapi::kIommuHwQueueAlloc: {
      auto* alloc = static_cast<uapi::IommuHwQueueAlloc*>(arg);
      alloc->out_hw_queue_id = Add(request, {alloc->viommu_id});
      break;
    }
    case uapi::kIommuVeventqAlloc: {
      auto* alloc = static_cast<uapi::IommuVeventqAlloc*>(arg);
      alloc->out_veventq_fd = ::eventfd(0, EFD_CLOEXEC);
      alloc->out_veventq_id = Add(request, {alloc->viommu_id}, alloc->out_veventq_fd);
      break;
    }
    default:
      break;
  }
  return Answered(request, arg);
}

ssize_t FakeKernel::ReadEvents(int /*fd*/, void* buffer, size_t size) {
  if (read_result != 0) return read_result;
  const size_t count = std::min(size, events.size());
  std::memcpy(buffer, events.data(), count);
  events.clear();
  return static_cast<ssize_t>(count);
}

ssize_t FakeKernel::ReadRegion(int, void*, size_t, uint64_t) { return -EINVAL; }
ssize_t FakeKernel::WriteRegion(int, const void*, size_t, uint64_t) { return -EINVAL; }

absl::StatusOr<MappedRegion> FakeKernel::RegionForVmm(int context, uint64_t offset,
                                                      uint64_t length) {
  if (offset != kPage0Offset || length != kPage0Size) return Error(Reason::kNotFound, "no region");
  return MappedRegion{UniqueFd(::fcntl(context, F_DUPFD_CLOEXEC, 0)), MappedRegion::Kind::kIommufd,
                      offset, length};
}

}  // namespace berth::testing
