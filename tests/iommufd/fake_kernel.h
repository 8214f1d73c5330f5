// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_TESTS_IOMMUFD_FAKE_KERNEL_H_
#define BERTH_TESTS_IOMMUFD_FAKE_KERNEL_H_

#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "lib/iommufd/kernel_api.h"
#include "lib/iommufd/uapi/vfio.h"

namespace berth::testing {

// A kernel that only keeps the books: which ids are alive, which of them build on which, in what
// order they were made and destroyed. It does what is asked unless a test tells it to fail. For
// behaviour there is the emulator. Not thread-safe.
class FakeKernel : public KernelApi {
 public:
  absl::StatusOr<UniqueFd> OpenContext() override;
  absl::StatusOr<UniqueFd> OpenDevice(const std::string& name) override;
  int Ioctl(int fd, unsigned long request, void* arg) override;  // NOLINT(google-runtime-int)
  ssize_t ReadEvents(int fd, void* buffer, size_t size) override;
  ssize_t ReadRegion(int fd, void* buffer, size_t size, uint64_t offset) override;
  ssize_t WriteRegion(int fd, const void* buffer, size_t size, uint64_t offset) override;
  absl::StatusOr<MappedRegion> RegionForVmm(int context, uint64_t offset, uint64_t length) override;

  // The `n`-th call of `request` from now (0: the next) fails with `error`.
  void FailCall(uapi::Request request, int error, int n = 0);
  // The `n`-th ioctl of any kind from now fails with `error`.
  void FailAnyCall(int n, int error);
  // What the next successful call of `request` does to its struct, after the fake's own answer.
  void Answer(uapi::Request request, std::function<void(void*)> answer);

  // What the next read of an event fd returns: bytes, or a negative errno.
  std::vector<std::byte> events;
  int read_result = 0;

  // Names of the calls, in order; DESTROY with what it destroys: "DESTROY VIOMMU_ALLOC".
  std::vector<std::string> calls;
  // Calls that created what is still alive, in order: "IOAS_ALLOC", "HWPT_ALLOC", ...
  [[nodiscard]] std::vector<std::string> Alive() const;

 private:
  struct Object {
    std::string made_by;
    std::set<uint32_t> parents;
    int fd = -1;  // pins the object while it is open
  };

  uint32_t Add(uapi::Request request, std::set<uint32_t> parents, int fd = -1);
  int Destroy(uint32_t id);
  int ErrorFor(uapi::Request request);
  int Answered(uapi::Request request, void* arg);

  uint32_t next_id_ = 1;
  std::map<uint32_t, Object> objects_;
  std::map<uapi::Request, std::pair<int, int>> failures_;  // calls to go, errno
  std::pair<int, int> any_failure_ = {-1, 0};
  std::map<uapi::Request, std::function<void(void*)>> answers_;
};

}  // namespace berth::testing

#endif  // BERTH_TESTS_IOMMUFD_FAKE_KERNEL_H_
