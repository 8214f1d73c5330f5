// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_TESTS_AGENT_GRANTS_FAILING_KERNEL_H_
#define BERTH_TESTS_AGENT_GRANTS_FAILING_KERNEL_H_

#include <atomic>
#include <cerrno>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "lib/base/status.h"
#include "lib/iommufd/kernel_api.h"
#include "lib/iommufd/uapi/iommufd.h"

namespace berth::testing {

// A kernel that fails one call, chosen by its number or its request, and else does what `base`
// does.
class FailingKernel : public KernelApi {
 public:
  explicit FailingKernel(KernelApi* base) : base_(base) {}

  // The call number `n` from now, counted from 0, fails with `error` before it reaches the kernel.
  // A DESTROY fails with EBUSY: it has no other error for an object that is there.
  void FailCall(int n, int error) {
    error_ = error;
    failed_ = false;
    remaining_ = n;
  }
  // Every `request` fails with `error`, until 0 is said.
  void FailRequest(unsigned long request, int error) {  // NOLINT(google-runtime-int)
    request_error_ = error;
    request_ = request;
  }
  // Every read of events fails with `error`, until 0 is said.
  void FailReads(int error) { read_error_ = error; }
  [[nodiscard]] bool failed() const { return failed_; }
  // The calls since it was asked last, as FailCall() counts them: requests, 0 for an open.
  std::vector<uapi::Request> TakeCalls() {
    absl::MutexLock lock(&mu_);
    return std::exchange(calls_, {});
  }

  absl::StatusOr<UniqueFd> OpenContext() override {
    Note(0);
    if (Fails()) return ErrnoToStatus(error_, "open(/dev/iommu)");
    return base_->OpenContext();
  }
  absl::StatusOr<UniqueFd> OpenDevice(const std::string& name) override {
    Note(0);
    if (Fails()) return ErrnoToStatus(error_, "open of a cdev");
    return base_->OpenDevice(name);
  }
  int Ioctl(int fd, unsigned long request, void* arg) override {  // NOLINT(google-runtime-int)
    Note(request);
    if (request_error_ != 0 && request == request_) return -request_error_;
    if (!Fails()) return base_->Ioctl(fd, request, arg);
    return request == uapi::kIommuDestroy ? -EBUSY : -error_;
  }
  ssize_t ReadEvents(int fd, void* buffer, size_t size) override {
    if (const int error = read_error_; error != 0) return -error;
    return base_->ReadEvents(fd, buffer, size);
  }
  ssize_t ReadRegion(int fd, void* buffer, size_t size, uint64_t offset) override {
    return base_->ReadRegion(fd, buffer, size, offset);
  }
  ssize_t WriteRegion(int fd, const void* buffer, size_t size, uint64_t offset) override {
    return base_->WriteRegion(fd, buffer, size, offset);
  }
  absl::StatusOr<MappedRegion> RegionForVmm(int context, uint64_t offset,
                                            uint64_t length) override {
    return base_->RegionForVmm(context, offset, length);
  }

 private:
  void Note(uapi::Request request) {
    absl::MutexLock lock(&mu_);
    calls_.push_back(request);
  }
  bool Fails() {
    if (remaining_ < 0 || remaining_-- > 0) return false;
    failed_ = true;
    return true;
  }

  KernelApi* const base_;
  std::atomic<int> remaining_ = -1;
  std::atomic<int> error_ = 0;
  std::atomic<bool> failed_ = false;
  std::atomic<unsigned long> request_ = 0;  // NOLINT(google-runtime-int)
  std::atomic<int> request_error_ = 0;
  std::atomic<int> read_error_ = 0;
  absl::Mutex mu_;
  std::vector<uapi::Request> calls_ ABSL_GUARDED_BY(mu_);
};

}  // namespace berth::testing

#endif  // BERTH_TESTS_AGENT_GRANTS_FAILING_KERNEL_H_
